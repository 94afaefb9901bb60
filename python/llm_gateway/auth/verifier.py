"""Verifies access tokens: which issuer, whose key, which rules, and whose token it is then."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from llm_gateway.auth import token
from llm_gateway.auth.claims import ClaimRules
from llm_gateway.auth.issuer import Issuer
from llm_gateway.auth.jwks import Jwks
from llm_gateway.auth.refusal import refusal
from llm_gateway.config.schema import Auth, Tier, TrustedIssuer
from llm_gateway.subscriber import USER_BYTES, Subscriber


class Verified(NamedTuple):
    """A token found good: whose it is, until which Unix time in seconds that is believed, what it says."""

    subscriber: Subscriber
    until: float
    claims: Mapping[str, Any]
    issuer: str


class _Trusted(NamedTuple):
    """An issuer, its keys and rules, and what its users' ids begin with."""

    issuer: TrustedIssuer
    keys: Jwks
    rules: ClaimRules
    prefix: str


class Verifier:
    """Verifies tokens of `auth.issuer` and of `auth.issuers`.

    `clock` gives the Unix time in seconds that tokens are judged by; `on_change` is called when an issuer's
    keys are others than before.
    """

    def __init__(
        self,
        auth: Auth,
        tiers: Mapping[str, Tier],
        *,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._auth = auth
        self._clock = clock
        named = {"": auth, **{f"{name}:": issuer for name, issuer in auth.issuers.items()}}
        # The prefixes of others: nobody of the main issuer may look like somebody of theirs.
        self._prefixes = tuple(prefix for prefix in named if prefix)
        self._trusted: dict[str, _Trusted] = {}
        for prefix, issuer in named.items():
            keys = Jwks(
                Issuer(issuer).keys,
                max_age_s=auth.jwks_max_age_s,
                cooldown_s=auth.jwks_cooldown_s,
                on_change=on_change,
            )
            rules = ClaimRules(issuer, tiers)
            self._trusted[issuer.issuer or ""] = _Trusted(issuer, keys, rules, prefix)

    async def verify(self, credential: bytes) -> Verified:
        """Returns whose token it is.

        Raises: `unauthenticated`, `forbidden`, and `overloaded` while the token's key cannot be fetched.
        """
        head = token.header(credential)
        trusted = self._trusted.get(token.claimed_issuer(credential))
        if trusted is None:
            raise refusal("another issuer")
        key = await trusted.keys.key(head.kid)
        if key is None:
            raise refusal("unknown kid")
        # From here on nothing waits, so the key cannot be withdrawn between its use and the cache.
        claims = token.verified_claims(credential, key)
        now = self._clock()
        expires_at = token.check_claims(claims, head, trusted.issuer, now, self._auth.leeway_s)
        subscriber = Subscriber(
            user=self._user(trusted, claims),
            tier=trusted.rules.tier(claims),
            expires_at=expires_at,
            means="token",
            email=email if isinstance(email := claims.get("email"), str) else None,
        )
        until = min(expires_at + self._auth.leeway_s, now + self._auth.jwks_max_age_s)
        return Verified(subscriber, until, claims, trusted.issuer.issuer or "")

    async def start(self) -> None:
        """Returns when the issuers' keys are here, or after 3 s without them."""
        await asyncio.gather(*(trusted.keys.start() for trusted in self._trusted.values()))

    async def stop(self) -> None:
        """Returns when nothing is being fetched any more."""
        await asyncio.gather(*(trusted.keys.stop() for trusted in self._trusted.values()))

    def state(self) -> str:
        """Returns `ok` once there are keys of every issuer, however old: what they signed is admitted."""
        missing = [url for url, trusted in self._trusted.items() if trusted.keys.age_s() is None]
        if not missing:
            return "ok"
        return "jwks unavailable" if len(self._trusted) == 1 else f"jwks unavailable: {', '.join(missing)}"

    def jwks_age_s(self) -> float | None:
        """Returns the age in seconds of the keys that were fetched longest ago; None before the first."""
        ages = [age for trusted in self._trusted.values() if (age := trusted.keys.age_s()) is not None]
        return max(ages, default=None)

    def _user(self, trusted: _Trusted, claims: Mapping[str, Any]) -> str:
        user = trusted.prefix + trusted.rules.user(claims)
        if len(user.encode()) > USER_BYTES:
            raise refusal("a user claim that is too long")
        if not trusted.prefix and user.startswith(self._prefixes):
            raise refusal("a user claim that looks like another issuer's")
        return user
