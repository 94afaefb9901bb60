"""Personal keys: `ogw_...`, made by their owner or an operator, kept as an HMAC."""

import builtins
import logging
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from llm_gateway.auth.accounts import Accounts
from llm_gateway.auth.known_keys import KnownKeys
from llm_gateway.auth.personal_key_peppers import peppers
from llm_gateway.auth.personal_key_shelves import KeyShelves, Row
from llm_gateway.auth.personal_key_text import PREFIX, new
from llm_gateway.auth.provider import Provider
from llm_gateway.auth.refusal import refusal
from llm_gateway.auth.revocations import Revocations
from llm_gateway.config.schema import Settings
from llm_gateway.errors import Fault
from llm_gateway.records import Records
from llm_gateway.subscriber import Subscriber

__all__ = ["PREFIX", "PersonalKey", "PersonalKeys", "build"]

_log = logging.getLogger("llm_gateway.auth")

NAME_CHARACTERS = 100
_DAY_S = 24 * 3600
_ID_BYTES = 8


class PersonalKey(NamedTuple):
    """What is known of a key but the key itself; times in Unix seconds."""

    id: str
    name: str
    tier: str
    created_at: int
    expires_at: int
    last_used_at: int | None


class PersonalKeys:
    """Makes, lists, revokes and checks personal keys.

    `provider` is asked whether their owners still have an account, if the settings want it. `clock` gives
    seconds that only grow.
    """

    def __init__(
        self,
        settings: Settings,
        records: Records,
        revocations: Revocations,
        provider: Provider | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = settings.keys
        self._tiers = settings.tiers.keys()
        self._shelves = KeyShelves(records, peppers(settings))
        self._known = KnownKeys(self._shelves, settings.quota.local_for_s, clock)
        self._revocations = revocations
        self._accounts: Accounts | None = None
        if settings.auth.introspect and settings.auth.provider == "keycloak" and provider is not None:
            self._accounts = Accounts(settings.auth, provider, clock)

    async def authenticate(self, credential: bytes) -> Subscriber:
        """Returns whose key it is. A key in use costs a hash and no call to the store.

        Raises: `unauthenticated`; `forbidden` if its tier is no more; `overloaded` while it cannot be looked
        up.
        """
        known = await self._known.get(credential)
        row = known.row
        if self._revocations.revoked_at(row.revocation) is not None:
            raise refusal("a personal key that was revoked")
        if row.life_s() <= 0:
            raise refusal("a personal key that has expired")
        if self._accounts is not None:
            await self._accounts.check(row.user)
        if row.tier not in self._tiers:
            raise Fault("forbidden", "no subscription; ask your administrator for a tier", should_retry=False)
        self._known.used(known)
        return Subscriber(
            user=row.user, tier=row.tier, expires_at=float(row.expires_at), means="personal_key"
        )

    async def create(self, user: str, tier: str, name: str, days: int | None) -> tuple[str, PersonalKey]:
        """Returns a new key, which is never shown again, and its record.

        Raises: `invalid_request` for a name or life that cannot be, or too many keys; `overloaded`, when the
        owner may have a key that nobody knows, to be revoked.
        """
        if not name.strip() or not name.isprintable() or len(name) > NAME_CHARACTERS:
            text = f"the name of a key is one line of 1 to {NAME_CHARACTERS} printable characters"
            raise Fault("invalid_request", text, param="name")
        days = self._limits.default_days if days is None else days
        if not 1 <= days <= self._limits.max_days:
            text = f"a key lives 1 to {self._limits.max_days} days here"
            raise Fault("invalid_request", text, param="days")
        key, now = new(), int(time.time())
        row = Row(
            id=secrets.token_hex(_ID_BYTES),
            user=user,
            tier=tier,
            name=name,
            created_at=now,
            expires_at=now + days * _DAY_S,
            hmac=self._shelves.hmac(key),
        )
        if not await self._shelves.add(row, self._limits.max_per_user):
            text = f"there are {self._limits.max_per_user} keys already, the most here; revoke one first"
            raise Fault("invalid_request", text)
        return key, _shown(row, None)

    async def list(self, user: str, tier: str | None = None) -> list[PersonalKey]:
        """Returns the keys of `user` that still live, the newest first.

        `tier` is what the user has now, if that is known: keys of another tier follow.

        Raises: `overloaded`.
        """
        rows = await self._shelves.rows(user)
        uses = await self._shelves.uses(user)
        rows.sort(key=lambda row: (row.created_at, row.id), reverse=True)
        if tier is not None:
            rows = await self._followed(rows, tier)
        return [_shown(row, uses.get(row.id)) for row in rows]

    async def retier(self, user: str, tier: str) -> None:
        """Gives all keys of `user` the tier that the user has now. Raises: `overloaded`."""
        await self._followed(await self._shelves.rows(user), tier)

    async def revoke(self, user: str, key_id: str) -> bool:
        """Revokes a key at once, elsewhere within a second; returns whether the user had it.

        Raises: `overloaded`, when it may be revoked or not: it can be asked for again.
        """
        row = await self._shelves.row(user, key_id)
        if row is None:
            return False
        # First, so that the owner still sees, and can revoke again, what a failure leaves half done.
        remembered_s = _DAY_S + self._known.longest_s
        await self._revocations.add(row.revocation, max(1.0, min(row.life_s(), remembered_s)))
        await self._shelves.remove(row)
        return True

    async def stop(self) -> None:
        """Returns when nothing is being asked any more."""
        await self._known.stop()
        if self._accounts is not None:
            await self._accounts.stop()

    async def _followed(self, rows: builtins.list[Row], tier: str) -> builtins.list[Row]:
        followed = [row if row.tier == tier else msgspec.structs.replace(row, tier=tier) for row in rows]
        for before, row in zip(rows, followed, strict=True):
            if row is not before:
                await self._shelves.change(row)
                self._known.forget(row.user)
        return followed


def build(
    settings: Settings, records: Records, revocations: Revocations, provider: Provider | None = None
) -> PersonalKeys | None:
    """Returns the personal keys that the settings ask for, or None where they are off or cannot be kept.

    Raises: ConfigError if the pepper cannot be read or made.
    """
    if not settings.keys.enabled:
        return None
    if not peppers(settings):
        _log.warning(
            "there are no personal keys: those in Redis need a pepper; set LLM_GATEWAY_KEY_PEPPER to the "
            "output of `openssl rand -hex 32` on every replica, or keys.enabled to false"
        )
        return None
    return PersonalKeys(settings, records, revocations, provider)


def _shown(row: Row, last_used_at: int | None) -> PersonalKey:
    return PersonalKey(row.id, row.name, row.tier, row.created_at, row.expires_at, last_used_at)
