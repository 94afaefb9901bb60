"""What was revoked lately, as all replicas see it within a second."""

import asyncio
import logging
import time
from collections.abc import Callable

from llm_gateway.errors import Fault
from llm_gateway.records import Records

_log = logging.getLogger("llm_gateway.auth")

_SHELF = "revoked"
_PAUSE_S = 0.4


class Revocations:
    """A feed of revoked credentials in the store, read by every worker twice a second.

    One call that finds nothing new costs the store next to nothing, however many credentials are in use; so
    nobody has to ask about a credential to know that it is still good. While the store does not answer nobody
    can revoke either.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._revoked: dict[str, tuple[float, float]] = {}
        self._sequence = 0
        self._listeners: list[Callable[[str], None]] = []
        self._reader: asyncio.Task[None] | None = None
        self._failing = False

    def listen(self, listener: Callable[[str], None]) -> None:
        """Has `listener` called with the name of each revocation once it is known here."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Begins to read; returns after the first reading, whether or not the store answered."""
        await self._read()
        self._reader = asyncio.create_task(self._keep_reading())

    async def stop(self) -> None:
        """Returns when nothing is being read any more."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None

    async def add(self, name: str, life_s: float) -> None:
        """Revokes what `name` stands for, here at once and elsewhere within a second.

        `life_s` is how long anybody could still believe in it. `name` is no secret: a hash, or an id of a
        token.

        Raises: `overloaded` if the store does not answer; then it is revoked nowhere.
        """
        at = time.time()
        await self._records.record_put(_SHELF, name, f"{at:.3f} {at + life_s:.3f}".encode(), life_s)
        self._learn(name, at, at + life_s)

    def revoked_at(self, name: str) -> float | None:
        """Returns the Unix time in seconds at which `name` was revoked, or None."""
        found = self._revoked.get(name)
        return None if found is None else found[0]

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE_S)
            await self._read()

    async def _read(self) -> None:
        try:
            self._sequence, rows = await self._records.records(_SHELF, self._sequence)
        except Fault as fault:
            if not self._failing:
                _log.warning("revocations cannot be read: %s", fault.message)
            self._failing = True
            return
        self._failing = False
        for name, value in rows:
            at, until = map(float, value.split())
            self._learn(name, at, until)
        now = time.time()
        for name in [name for name, (_, until) in self._revoked.items() if until < now]:
            del self._revoked[name]

    def _learn(self, name: str, at: float, until: float) -> None:
        self._revoked[name] = (at, until)
        for listener in self._listeners:
            listener(name)
