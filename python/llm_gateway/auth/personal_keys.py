"""Personal keys: `ogw_...`, made by their owner or an operator, kept as an HMAC."""

from typing import NamedTuple

from llm_gateway.auth.revocations import Revocations
from llm_gateway.config.schema import Settings
from llm_gateway.records import Records
from llm_gateway.subscriber import Subscriber

PREFIX = "ogw_"


class PersonalKey(NamedTuple):
    """What is known of a key but the key itself; times in Unix seconds."""

    id: str
    name: str
    tier: str
    created_at: int
    expires_at: int
    last_used_at: int | None


class PersonalKeys:
    """Makes, lists, revokes and checks personal keys."""

    def __init__(self, settings: Settings, records: Records, revocations: Revocations) -> None:
        self._settings = settings

    async def authenticate(self, credential: bytes) -> Subscriber:
        """Returns whose key it is. Raises: `unauthenticated`, `overloaded`."""
        raise NotImplementedError

    async def create(self, user: str, tier: str, name: str, days: int | None) -> tuple[str, PersonalKey]:
        """Returns a new key, which is never shown again, and its record.

        Raises: `invalid_request` for a name or life that cannot be, or too many keys; `overloaded`.
        """
        raise NotImplementedError

    async def list(self, user: str) -> list[PersonalKey]:
        """Returns the keys of `user` that still live, the newest first. Raises: `overloaded`."""
        raise NotImplementedError

    async def revoke(self, user: str, key_id: str) -> bool:
        """Revokes a key at once, elsewhere within a second; returns whether the user had it.

        Raises: `overloaded`.
        """
        raise NotImplementedError
