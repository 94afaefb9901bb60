"""Where personal keys are kept: on shelves of the store, by their HMAC and by their owner.

`key:<hmac>` says whose a key is, and `keys:<user>` what is known of it. A key is good while both are there:
so what an owner does not see never works, and taking the owner's record away ends it at once. When it was
used is a record of its own, so that noting it changes nothing else.
"""

import hashlib
import hmac
import time
from collections.abc import Sequence

import msgspec

from llm_gateway.records import Records

_POINTER = "key"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A key as its owner's record has it; times in Unix seconds.

    `hmac` is what it was made under: with another pepper since, it says nothing.
    """

    id: str
    user: str
    tier: str
    name: str
    created_at: int
    expires_at: int
    hmac: str

    @property
    def revocation(self) -> str:
        """What the feed of revocations calls it."""
        return f"key:{self.id}"

    def life_s(self) -> float:
        """Returns how long it lives from now, in seconds; zero or less if it does not."""
        return self.expires_at - time.time()


class _Pointer(msgspec.Struct, frozen=True, kw_only=True):
    user: str
    id: str


class KeyShelves:
    """Personal keys in the store, hashed under `peppers`, of which the first is for new ones.

    Every method raises `overloaded` if the store does not answer.
    """

    def __init__(self, records: Records, peppers: Sequence[bytes]) -> None:
        self._records = records
        self._peppers = tuple(peppers)

    def hmac(self, key: str) -> str:
        """Returns what a new key is known by, in hexadecimal digits."""
        return _hmac(self._peppers[0], key.encode())

    async def find(self, credential: bytes) -> Row | None:
        """Returns the record of a key, or None. One of an old pepper is moved to the new one."""
        for pepper in self._peppers:
            shelf = f"key:{_hmac(pepper, credential)}"
            found = await self._records.record_get(shelf, _POINTER)
            if found is None:
                continue
            pointer = msgspec.json.decode(found, type=_Pointer)
            row = await self.row(pointer.user, pointer.id)
            if row is None:
                # It was revoked while its pointer was being moved, or never finished.
                await self._records.record_take(shelf, _POINTER)
            elif pepper is not self._peppers[0]:
                await self._point(f"key:{_hmac(self._peppers[0], credential)}", row)
                await self._records.record_take(shelf, _POINTER)
            return row
        return None

    async def row(self, user: str, key_id: str) -> Row | None:
        """Returns a user's key, or None."""
        found = await self._records.record_get(f"keys:{user}", key_id)
        return None if found is None else msgspec.json.decode(found, type=Row)

    async def rows(self, user: str) -> list[Row]:
        """Returns the keys of a user, in no order."""
        _, found = await self._records.records(f"keys:{user}")
        return [msgspec.json.decode(value, type=Row) for _, value in found]

    async def add(self, row: Row, most: int) -> bool:
        """Keeps a new key, and returns whether its owner had fewer than `most`."""
        await self._point(f"key:{row.hmac}", row)
        if await self._records.record_put(
            f"keys:{row.user}", row.id, msgspec.json.encode(row), row.life_s(), when="absent", most=most
        ):
            return True
        await self._records.record_take(f"key:{row.hmac}", _POINTER)
        return False

    async def change(self, row: Row) -> bool:
        """Replaces what is known of a key, and returns whether it still was there."""
        return await self._records.record_put(
            f"keys:{row.user}", row.id, msgspec.json.encode(row), max(0.0, row.life_s()), when="present"
        )

    async def remove(self, row: Row) -> None:
        """Ends a key."""
        await self._records.record_take(f"key:{row.hmac}", _POINTER)
        await self._records.record_take(f"keys-used:{row.user}", row.id)
        await self._records.record_take(f"keys:{row.user}", row.id)

    async def note_use(self, row: Row) -> None:
        """Notes that a key is used now."""
        now = str(int(time.time())).encode()
        await self._records.record_put(f"keys-used:{row.user}", row.id, now, max(0.0, row.life_s()))

    async def uses(self, user: str) -> dict[str, int]:
        """Returns when the keys of a user were last used, by their ids."""
        _, found = await self._records.records(f"keys-used:{user}")
        return {key_id: int(value) for key_id, value in found}

    async def _point(self, shelf: str, row: Row) -> None:
        pointer = msgspec.json.encode(_Pointer(user=row.user, id=row.id))
        await self._records.record_put(shelf, _POINTER, pointer, max(0.0, row.life_s()))


def _hmac(pepper: bytes, credential: bytes) -> str:
    return hmac.new(pepper, credential, hashlib.sha256).hexdigest()
