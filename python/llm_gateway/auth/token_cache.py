"""Tokens that were verified a while ago."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from llm_gateway.subscriber import Subscriber


class Admission:
    """A token that was found good: whose it is, until when, and what it can be revoked by.

    `until`, `issued_at` and `asked_at` are Unix times in seconds: `asked_at` is when its issuer last said
    that it holds, or was asked in vain. `names` are what revocations call the token and its session.
    `is_over`: the issuer has said that it holds no more.
    """

    __slots__ = ("asked_at", "is_over", "issued_at", "issuer", "names", "subscriber", "until")

    def __init__(self, subscriber: Subscriber, until: float, issuer: str, claims: Mapping[str, Any]) -> None:
        self.subscriber = subscriber
        self.until = until
        self.issuer = issuer
        self.is_over = False
        issued_at = claims.get("iat")
        self.issued_at = float(issued_at) if isinstance(issued_at, int | float) else 0.0
        self.names = tuple(
            f"{kind}:{issuer}:{value}"
            for kind in ("jti", "sid")
            if isinstance(value := claims.get(kind), str) and 0 < len(value) <= _NAME_CHARACTERS
        )
        self.asked_at: float | None = None


# Longer ones are no ids, and the store's names are bounded.
_NAME_CHARACTERS = 200


class TokenCache:
    """Admissions by the SHA-256 of the whole token; the least recently used goes first.

    The whole token, since two tokens may share all but their last bytes; its hash, since a token is a secret.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[bytes, Admission] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, token: bytes, now: float) -> Admission | None:
        """Returns the admission, unless its time is over."""
        digest = hashlib.sha256(token).digest()
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if now >= entry.until:
            del self._entries[digest]
            return None
        self._entries.move_to_end(digest)
        return entry

    def put(self, token: bytes, admission: Admission) -> None:
        """Keeps `admission` until its time is over."""
        self._entries[hashlib.sha256(token).digest()] = admission
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
