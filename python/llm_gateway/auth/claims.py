"""What the claims of a verified token say about its owner: user and tier; pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from llm_gateway.auth.refusal import refusal
from llm_gateway.config.schema import Tier, TrustedIssuer
from llm_gateway.errors import Fault
from llm_gateway.subscriber import USER_BYTES


class Finding(NamedTuple):
    """What stands at `place`, which may hold a tier: each name found there, and the tier it means, if any."""

    place: str
    names: list[tuple[str, str | None]]


class ClaimRules:
    """Where user and tier are found, by `auth.user_claim`, `auth.claims` and `auth.tier_names`."""

    def __init__(self, issuer: TrustedIssuer, tiers: Mapping[str, Tier]) -> None:
        self._user = pointer(issuer.user_claim, issuer.client_id)
        self._claims = issuer.claims
        self._places = [pointer(claim, issuer.client_id) for claim in issuer.claims]
        self._tier_names = issuer.tier_names | {name: name for name in tiers}
        self._ranks = {name: tier.rank for name, tier in tiers.items()}
        self._default_tier = issuer.default_tier

    def user(self, claims: Mapping[str, Any]) -> str:
        """Returns the user's id, 1 to 255 bytes of UTF-8. Raises: `unauthenticated` if there is none."""
        user = lookup(claims, self._user)
        if not isinstance(user, str) or not 0 < len(user.encode()) <= USER_BYTES:
            raise refusal("no usable user claim")
        return user

    def tier(self, claims: Mapping[str, Any]) -> str:
        """Returns the tier of the highest rank that any of the places names, else the default one.

        Raises: `forbidden` if there is neither.
        """
        found = [tier for name in self._names(claims) if (tier := self._tier_named(name)) in self._ranks]
        if found:
            return max(found, key=self._ranks.__getitem__)
        if self._default_tier is None:
            raise Fault("forbidden", "no subscription; ask your administrator for a tier", should_retry=False)
        return self._default_tier

    def explained(self, claims: Mapping[str, Any]) -> list[Finding]:
        """Returns what `tier` finds at each of the places, in their order."""
        return [
            Finding(
                text,
                [(name, tier if (tier := self._tier_named(name)) in self._ranks else None) for name in names],
            )
            for text, place in zip(self._claims, self._places, strict=True)
            for names in [list(_names(claims, place))]
        ]

    def _names(self, claims: Mapping[str, Any]) -> Iterator[str]:
        for place in self._places:
            yield from _names(claims, place)

    def _tier_named(self, name: str) -> str:
        # Keycloak writes a group as its path: `/pro` is the group `pro`.
        return self._tier_names.get(name) or self._tier_names.get(name.removeprefix("/"), "")


def _names(claims: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[str]:
    value = lookup(claims, place)
    for name in value if isinstance(value, list) else [value]:
        if isinstance(name, str):
            yield name


def pointer(text: str, client_id: str) -> tuple[str, ...]:
    """Returns the segments of a dotted path, or of a JSON pointer if `text` begins with `/`.

    A segment `<client>` stands for `client_id`, which may hold dots. Source: RFC 6901.
    """
    if text.startswith("/"):
        segments = [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]
    else:
        segments = text.split(".")
    return tuple(client_id if segment == "<client>" else segment for segment in segments)


def lookup(claims: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    """Returns the value at `place`, or None."""
    value: Any = claims
    for segment in place:
        if not isinstance(value, Mapping):
            return None
        value = value.get(segment)
    return value
