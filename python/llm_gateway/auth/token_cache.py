"""Tokens that were verified a while ago."""

import hashlib
from collections import OrderedDict

from llm_gateway.subscriber import Subscriber


class TokenCache:
    """Subscribers by the SHA-256 of the whole token; the least recently used goes first.

    The whole token, since two tokens may share all but their last bytes; its hash, since a token is a secret.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[bytes, tuple[Subscriber, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, token: bytes, now: float) -> Subscriber | None:
        """Returns the subscriber, unless the entry's time is over."""
        digest = hashlib.sha256(token).digest()
        entry = self._entries.get(digest)
        if entry is None:
            return None
        subscriber, until = entry
        if now >= until:
            del self._entries[digest]
            return None
        self._entries.move_to_end(digest)
        return subscriber

    def put(self, token: bytes, subscriber: Subscriber, until: float) -> None:
        """Keeps `subscriber` until that Unix time in seconds."""
        self._entries[hashlib.sha256(token).digest()] = (subscriber, until)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
