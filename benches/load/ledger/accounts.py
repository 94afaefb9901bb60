"""What Redis says of every user, read as it lies there."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import redis

from ledger.plan import USERS, Tier, User, Window

_ENDED = "e"
_STAMPS = {
    "minute": "%Y-%m-%dT%H:%MZ",
    "hour": "%Y-%m-%dT%H:00Z",
    "day": "%Y-%m-%d",
    "week": "%G-W%V",
    "month": "%Y-%m",
}


@dataclass(frozen=True)
class Bucket:
    """One counter."""

    window: str
    """`requests/day`."""
    stamp: str
    """When it began: `2026-11-23`, `2026-11-23T21:52Z`."""


@dataclass
class Account:
    """One user's keys."""

    buckets: dict[Bucket, int] = field(default_factory=dict)
    leases: dict[str, tuple[int, ...] | None] = field(default_factory=dict)
    """By id: what was taken of each counter, or None once it has ended."""
    open_until_s: dict[str, float] = field(default_factory=dict)
    """Leases in flight, and the end of their lives."""

    def total(self, window: Window) -> int:
        """What all buckets of a window say together."""
        return sum(count for bucket, count in self.buckets.items() if bucket.window == window.name)


class Accounts:
    """Looks into the Redis on `port`, past the proxy."""

    def __init__(self, port: int) -> None:
        self._client: Any = redis.Redis(port=port, decode_responses=True)

    def now_s(self) -> float:
        """Redis' clock."""
        seconds, micros = self._client.time()
        return float(seconds + micros / 1e6)

    def of_all(self) -> dict[str, Account]:
        """Every user's account, by name."""
        accounts = {user.name: Account() for user in USERS}
        keys = list(self._client.scan_iter("quota:*", count=1000))
        counters = [key for key in keys if not _is_book(key) and ":lease:" not in key]
        leases = [key for key in keys if ":lease:" in key]
        for key, value in zip(counters, self._values(counters), strict=True):
            name, rest = _split(key)
            accounts[name].buckets[_bucket(rest)] = int(value)
        for key, value in zip(leases, self._values(leases), strict=True):
            name, rest = _split(key)
            accounts[name].leases[rest.removeprefix("lease:")] = _amounts(value)
        for user in USERS:
            accounts[user.name].open_until_s = self._open(user)
        return accounts

    def reserved(self, user: User) -> dict[str, tuple[int, ...] | None]:
        """What each of a user's leases in flight has taken."""
        held = list(self._open(user))
        values = self._values([f"quota:{{{user.name}}}:lease:{lease}" for lease in held])
        return {lease: _amounts(value) for lease, value in zip(held, values, strict=True)}

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()

    def _open(self, user: User) -> dict[str, float]:
        pairs = self._client.zrange(f"quota:{{{user.name}}}:open", 0, -1, withscores=True)
        return {lease: score / 1000 for lease, score in pairs}

    def _values(self, keys: list[str]) -> list[str]:
        values: list[str] = self._client.mget(keys) if keys else []
        return values


def counters(tier: Tier) -> list[Window]:
    """The windows of a tier that have counters, in the order of a lease's amounts."""
    return [window for window in tier.windows if window.period]


def stamp(window: Window, at_s: float) -> str:
    """The bucket of a window at a time."""
    return datetime.fromtimestamp(at_s, UTC).strftime(_STAMPS[window.period or "day"])


def _is_book(key: str) -> bool:
    return key.endswith((":state", ":open", ":notes"))


def _split(key: str) -> tuple[str, str]:
    name, _, rest = key.removeprefix("quota:{").partition("}:")
    return name, rest


def _bucket(rest: str) -> Bucket:
    """The counter of `2026-11-23` (requests a day, as in the seed) or `tokens:month:2026-11`."""
    unit, colon, more = rest.partition(":")
    if not colon:
        return Bucket("requests/day", unit)
    period, _, stamp = more.partition(":")
    return Bucket(f"{unit}/{period}", stamp)


def _amounts(value: str) -> tuple[int, ...] | None:
    return None if value == _ENDED else tuple(map(int, value.split()[1:]))
