"""What is used of a user's windows, as `/quota` and `llm-gateway quota show --json` tell it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypedDict

Count = tuple[str, str | None, int | None, int, int | None]


class Usage(TypedDict):
    """One window. Without a limit `remaining` is None; requests in flight have neither period nor reset."""

    unit: str
    period: str | None
    limit: int | None
    used: int
    remaining: int | None
    resets_at: datetime | None


def usages(counts: Iterable[Count]) -> list[Usage]:
    """The core's counts: (unit, period, limit, used, reset in Unix seconds) each."""
    return [
        Usage(
            unit=unit,
            period=period,
            limit=limit,
            used=used,
            # More than the limit can be used: what an answer takes is known only at its end.
            remaining=None if limit is None else max(0, limit - used),
            resets_at=None if resets_at_s is None else datetime.fromtimestamp(resets_at_s, UTC),
        )
        for unit, period, limit, used, resets_at_s in counts
    ]
