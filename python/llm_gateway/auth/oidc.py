"""Access tokens of OIDC issuers, verified here: no request waits for an issuer in the normal case."""

import time
from collections.abc import Callable, Mapping

from llm_gateway.auth.session_watch import SessionWatch
from llm_gateway.auth.token_cache import Admission, TokenCache
from llm_gateway.auth.verifier import Verifier
from llm_gateway.config.schema import Auth, Tier
from llm_gateway.errors import Fault
from llm_gateway.subscriber import Subscriber

_CACHED_TOKENS = 10_000


class OidcTokens:
    """Authenticates by JWTs of `auth.issuer`, for example a Keycloak realm, and of `auth.issuers`.

    `clock` gives the Unix time in seconds that tokens are judged by. Without `watch` a token holds until it
    expires.
    """

    def __init__(
        self,
        auth: Auth,
        tiers: Mapping[str, Tier],
        watch: SessionWatch | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._watch = watch
        self._cache = TokenCache(_CACHED_TOKENS)
        self._verifier = Verifier(auth, tiers, on_change=self._cache.clear, clock=clock)

    async def authenticate(self, credential: bytes) -> Subscriber:
        """Returns whose access token it is. A token seen before costs one hash and no wait.

        Raises: `unauthenticated`, `forbidden`, and `overloaded` while the token's key cannot be fetched.
        """
        return (await self._admission(credential)).subscriber

    async def revoke(self, credential: bytes) -> None:
        """Revokes an access token and its session's, here and on all replicas; what is no token is left
        alone.

        Raises: `overloaded` if the store does not answer.
        """
        if self._watch is None:
            return
        try:
            admission = await self._admission(credential)
        except Fault as fault:
            # Only what would be let in can be revoked: the word of a stranger ends nobody's session.
            if fault.kind in ("unauthenticated", "forbidden"):
                return
            raise
        await self._watch.revoke(admission)

    async def start(self) -> None:
        """Returns when the issuers' keys are here, or after 3 s without them."""
        await self._verifier.start()

    async def stop(self) -> None:
        """Returns when nothing is being fetched or asked any more."""
        await self._verifier.stop()
        if self._watch is not None:
            await self._watch.stop()

    def state(self) -> str:
        """Returns `ok` once there are keys, however old: tokens signed with them are still admitted."""
        return self._verifier.state()

    def jwks_age_s(self) -> float | None:
        """Returns the seconds since the last good fetch of the issuer's keys; None before the first."""
        return self._verifier.jwks_age_s()

    async def _admission(self, credential: bytes) -> Admission:
        admission = self._cache.get(credential, self._clock())
        if admission is None:
            found = await self._verifier.verify(credential)
            admission = Admission(found.subscriber, found.until, found.issuer, found.claims)
            # Kept even if it holds no more, so that showing it again costs nobody anything.
            self._cache.put(credential, admission)
        if self._watch is not None:
            await self._watch.check(credential, admission)
        return admission
