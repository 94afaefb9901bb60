"""Small things that all workers and replicas share, kept beside the quota: keys, sessions, revocations."""

from collections.abc import Awaitable
from typing import Literal, Protocol


class Records(Protocol):
    """Records on shelves, in Redis or SQLite; `_core.Core` is one.

    A shelf is a group of records that lie together, of 1 to 512 bytes; so are names. A value has at most 64
    KiB. Every method raises the fault `overloaded` (when awaited) if the store does not answer.
    """

    def record_put(
        self,
        shelf: str,
        name: str,
        value: bytes,
        life_s: float,
        when: Literal["any", "absent", "present"] = "any",
        most: int | None = None,
    ) -> Awaitable[bool]:
        """Keeps `value` for `life_s`, and returns whether it did.

        It does not if there is a record of that name and `when` is `absent`, or none and `present`, or if the
        shelf would then hold more than `most` records.
        """
        ...

    def record_get(self, shelf: str, name: str) -> Awaitable[bytes | None]:
        """Returns the value, or None."""
        ...

    def record_take(self, shelf: str, name: str) -> Awaitable[bytes | None]:
        """Returns the value, or None, and removes it: of several who take it, one gets it."""
        ...

    def records(self, shelf: str, after: int = 0) -> Awaitable[tuple[int, list[tuple[str, bytes]]]]:
        """Returns the shelf's sequence number, and (name, value) of what was put after the number `after`.

        The number grows with every put. A smaller one than `after` means that the store has lost its
        data: then everything is returned.
        """
        ...
