"""Access tokens of an OIDC issuer, verified here: no request waits for the issuer in the normal case."""

import time
from collections.abc import Callable, Mapping

from llm_gateway.auth import token
from llm_gateway.auth.claims import ClaimRules
from llm_gateway.auth.issuer import Issuer
from llm_gateway.auth.jwks import Jwks
from llm_gateway.auth.refusal import refusal
from llm_gateway.auth.token_cache import TokenCache
from llm_gateway.config.schema import Auth, Tier
from llm_gateway.subscriber import Subscriber

_CACHED_TOKENS = 10_000


class OidcTokens:
    """Authenticates by JWTs of `auth.issuer`, for example a Keycloak realm.

    `clock` gives the Unix time in seconds that tokens are judged by.
    """

    def __init__(
        self, auth: Auth, tiers: Mapping[str, Tier], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._auth = auth
        self._clock = clock
        self._rules = ClaimRules(auth, tiers)
        self._cache = TokenCache(_CACHED_TOKENS)
        self._jwks = Jwks(
            Issuer(auth).keys,
            max_age_s=auth.jwks_max_age_s,
            cooldown_s=auth.jwks_cooldown_s,
            on_change=self._cache.clear,
        )

    async def authenticate(self, credential: bytes) -> Subscriber:
        """Returns whose access token it is. A token seen before costs one hash and no wait.

        Raises: `unauthenticated`, `forbidden`, and `overloaded` while the token's key cannot be fetched.
        """
        known = self._cache.get(credential, self._clock())
        if known is not None:
            return known
        head = token.header(credential)
        key = await self._jwks.key(head.kid)
        if key is None:
            raise refusal("unknown kid")
        # From here on nothing waits, so the key cannot be withdrawn between its use and the cache.
        claims = token.verified_claims(credential, key)
        now = self._clock()
        expires_at = token.check_claims(claims, head, self._auth, now)
        subscriber = Subscriber(
            user=self._rules.user(claims), tier=self._rules.tier(claims), expires_at=expires_at
        )
        until = min(expires_at + self._auth.leeway_s, now + self._auth.jwks_max_age_s)
        self._cache.put(credential, subscriber, until)
        return subscriber

    async def start(self) -> None:
        """Returns when the issuer's keys are here, or after 3 s without them."""
        await self._jwks.start()

    async def stop(self) -> None:
        """Returns when nothing is being fetched any more."""
        await self._jwks.stop()

    def state(self) -> str:
        """Returns `ok` once there are keys, however old: tokens signed with them are still admitted."""
        return "jwks unavailable" if self._jwks.age_s() is None else "ok"

    def jwks_age_s(self) -> float | None:
        """Returns the seconds since the last good fetch of the issuer's keys; None before the first."""
        return self._jwks.age_s()
