"""Whether more was let in than the limits and the declared share allow."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

from ledger.accounts import stamp
from ledger.faults import Kill, Span
from ledger.plan import GATEWAYS, SHARE, USERS, WORKERS, User, Window
from ledger.reckoning import Cost, reserved_between
from ledger.trace import Seen, Trace


def over_admissions(costs: list[Cost], outages: list[Span], kills: list[Kill]) -> tuple[int, list[str]]:
    """How many units or places too many were granted, and to whom.

    A request whose answer tells how much is left was granted by the store, which never goes beyond a limit.
    One of a tier with limits whose answer does not tell was granted without it: never by a closed tier, and
    by a local one at most each worker's share. So in an outage, in which no worker can close its book, the
    share once for each that lived in it.
    """
    by_user: dict[User, list[Cost]] = defaultdict(list)
    for cost in costs:
        by_user[cost.trace.errand.user].append(cost)
    total, details = 0, []
    for user in USERS:
        for what, excess in _of_user(user, by_user[user], outages, kills):
            if excess > 0:
                total += excess
                details.append(f"{user.name}: {excess} too many {what}")
    return total, details


def _of_user(
    user: User, costs: list[Cost], outages: list[Span], kills: list[Kill]
) -> Iterable[tuple[str, int]]:
    tier = user.tier
    by_store = [cost for cost in costs if cost.trace.metered and cost.trace.status == 200]
    alone = [cost for cost in costs if not cost.trace.metered and cost.trace.status == 200]
    for window in tier.windows:
        if window.limit is not None and window.unit in ("requests", "prompts"):
            yield f"{window.name} by the store", _most_in_a_bucket(window, by_store) - window.limit
    if tier.places is not None:
        yield "at once by the store", _most_at_once(by_store) - tier.places
    if tier.limited and tier.on_store_failure == "closed":
        yield "by a closed tier without its store", len(alone)
    if tier.on_store_failure == "local":
        for outage in outages:
            workers = WORKERS * GATEWAYS + sum(
                outage.began_at_s <= kill.at_s <= outage.ended_at_s for kill in kills
            )
            yield from _beyond_share(user, [cost for cost in alone if _within(cost.trace, outage)], workers)


def _most_in_a_bucket(window: Window, costs: list[Cost]) -> int:
    """The most units in one bucket of a window, of requests that certainly lie in it."""
    counts: Counter[str] = Counter()
    for cost in costs:
        first, last = (stamp(window, at_s) for at_s in reserved_between(cost.trace))
        if first == last:
            counts[first] += cost.least(window.unit)
    return max(counts.values(), default=0)


def _beyond_share(user: User, alone: list[Cost], workers: int) -> Iterable[tuple[str, int]]:
    for window in user.tier.windows:
        if window.limit is None:
            continue
        allowed = workers * math.ceil(window.limit * SHARE)
        if window.unit == "concurrent":
            yield "at once by shares", _most_at_once(alone) - allowed
        elif window.unit != "tokens":
            yield f"{window.name} by shares", _most_in_a_bucket(window, alone) - allowed


def _most_at_once(costs: list[Cost]) -> int:
    """The most requests that were in flight together, as the upstream saw them."""
    moments: list[tuple[float, int]] = []
    for cost in costs:
        if (served := cost.trace.served()) is not None and cost.trace.seen is not Seen.REFUSED:
            began_at_s, ended_at_s = served
            moments += [(began_at_s, 1), (max(began_at_s, ended_at_s), -1)]
    at_once = most = 0
    for _, change in sorted(moments):
        at_once += change
        most = max(most, at_once)
    return most


def _within(trace: Trace, outage: Span) -> bool:
    """Whether it was certainly granted during an outage."""
    return (
        bool(trace.calls)
        and outage.began_at_s <= trace.began_at_s
        and (trace.calls[0].began_at_s <= outage.ended_at_s)
    )
