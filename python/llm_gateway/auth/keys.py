"""Subscribers that the configuration lists, each with a key of their own."""

import hashlib
from collections.abc import Iterable

from llm_gateway.auth.refusal import refusal
from llm_gateway.config.schema import ConfiguredSubscriber
from llm_gateway.errors import ConfigError
from llm_gateway.subscriber import Subscriber


class ConfiguredKeys:
    """Authenticates by the SHA-256 of the key.

    Looking the hash up in a map tells a guesser nothing: how long a comparison of two hashes takes says
    nothing about how near the guessed key was.
    """

    def __init__(self, subscribers: Iterable[ConfiguredSubscriber]) -> None:
        self._subscribers: dict[bytes, Subscriber] = {}
        problems: list[str] = []
        for position, configured in enumerate(subscribers):
            digest = _digest(configured)
            if digest is None:
                problems.append(f"subscribers[{position}]: set exactly one of key and key_hash")
            elif digest in self._subscribers:
                problems.append(f"subscribers[{position}]: another subscriber has the same key")
            else:
                self._subscribers[digest] = Subscriber(user=configured.user, tier=configured.tier)
        if problems:
            raise ConfigError(problems)

    async def authenticate(self, credential: bytes) -> Subscriber:
        """Returns the subscriber with this key. Raises: `unauthenticated`."""
        subscriber = self._subscribers.get(hashlib.sha256(credential).digest())
        if subscriber is None:
            raise refusal("no subscriber has this key")
        return subscriber

    async def revoke(self, credential: bytes) -> None:
        """Does nothing: a configured key is revoked in the configuration."""

    async def start(self) -> None:
        """Returns at once: there is nothing to fetch."""

    async def stop(self) -> None:
        """Returns at once."""

    def state(self) -> str:
        """Returns `ok`: configured keys cannot become unavailable."""
        return "ok"

    def jwks_age_s(self) -> float | None:
        """Returns None: there is no JWKS."""
        return None


def _digest(configured: ConfiguredSubscriber) -> bytes | None:
    if configured.key and configured.key_hash is None:
        return hashlib.sha256(configured.key.encode()).digest()
    if configured.key_hash is not None and configured.key is None:
        return bytes.fromhex(configured.key_hash.removeprefix("sha256:"))
    return None
