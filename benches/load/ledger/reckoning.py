"""The comparison: what the ledger says against what clients and upstream saw, per user and window."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ledger.accounts import Account, counters, stamp
from ledger.charge import NOTHING, Charge, Usage, sums
from ledger.matching import Matched, Record, lease_of
from ledger.orphans import Amounts, adopt, each
from ledger.plan import USERS, User, Window
from ledger.trace import Trace, Traces
from ledger.verdict import Rates, possible

CLOCK_S = 0.5
"""A gateway's idea of the store's time is as old as a call may take: near its turn a bucket may be either."""


@dataclass(frozen=True)
class Cost:
    """What one request cost: one charge, or several that are possible where its worker was killed."""

    trace: Trace
    charges: set[Charge]

    def least(self, unit: str) -> int:
        """At least so much of a unit."""
        return min(charge.of(unit) for charge in self.charges)

    def most(self, unit: str) -> int:
        """At most so much of a unit."""
        return max(charge.of(unit) for charge in self.charges)


@dataclass
class Reckoning:
    """All differences; the ledger is exact if there are none."""

    lost: Counter[str] = field(default_factory=Counter)
    """Units that were used and are not counted, by unit."""
    doubled: Counter[str] = field(default_factory=Counter)
    """Units that are counted and were not used."""
    misplaced: int = 0
    """Units in another bucket of the right window."""
    open_leases: int = 0
    """Leases in flight after their time, or of requests that have ended."""
    contradictions: list[str] = field(default_factory=list)
    """Requests that the gateway accounted for otherwise than the table says."""
    details: list[str] = field(default_factory=list)
    ambiguous: Counter[str] = field(default_factory=Counter)
    """Users with requests of killed workers that may have cost several sums; how many."""


def reckon(
    traces: Traces, matched: Matched, accounts: dict[str, Account], rates: Rates, now_s: float
) -> tuple[Reckoning, list[Cost]]:
    """Compares every user's account with the costs of their requests; those costs, too."""
    reckoning = Reckoning(contradictions=list(matched.untraceable))
    by_user: dict[User, list[Trace]] = defaultdict(list)
    for trace in traces:
        by_user[trace.errand.user].append(trace)
    costs: list[Cost] = []
    for user in USERS:
        account = accounts[user.name]
        recorded = list(_recorded_costs(by_user[user], matched, account, rates, reckoning))
        ids = {lease_of(matched.records[cost.trace.errand.number]["request_id"]) for cost in recorded}
        leases = {lease: amounts for lease, amounts in account.leases.items() if lease not in ids}
        lost = [trace for trace in by_user[user] if trace.errand.number in matched.lost]
        orphans = adopt(user, lost, leases, rates)
        reckoning.contradictions += orphans.contradictions
        of_lost = [Cost(trace, charges) for trace, charges in each(orphans, rates)]
        parts = [cost.charges for cost in recorded] + [charges for _, charges in orphans.known]
        possible_sums = sums([*parts, orphans.together])
        if len(possible_sums) > 1:
            reckoning.ambiguous[user.name] = len(possible_sums)
        _compare(user, account, possible_sums, reckoning)
        reckoning.misplaced += _misplaced(user, account, recorded + of_lost)
        reckoning.open_leases += sum(until_s > now_s for until_s in account.open_until_s.values())
        costs += recorded + of_lost
    return reckoning, costs


def _recorded_costs(
    traces: list[Trace], matched: Matched, account: Account, rates: Rates, reckoning: Reckoning
) -> Iterator[Cost]:
    for trace in traces:
        if record := matched.records.get(trace.errand.number):
            lease = lease_of(record["request_id"])
            _look_for_leak(trace, lease, account.leases.get(lease), reckoning)
            yield _recorded(trace, record, rates, reckoning)


def _look_for_leak(trace: Trace, lease: str, amounts: Amounts, reckoning: Reckoning) -> None:
    """A lease that has something to correct later is open until it is settled: it must have ended."""
    tier = trace.errand.user.tier
    if amounts is not None and tier.limited and (tier.counts("tokens") or tier.counts("concurrent")):
        reckoning.open_leases += 1
        reckoning.details.append(f"lease {lease} of {trace.errand.user.name} never ended, its request has")


def _recorded(trace: Trace, record: Record, rates: Rates, reckoning: Reckoning) -> Cost:
    """What the gateway says it was, if the table allows it for what was seen; else what was seen."""
    cost = told(trace, record)
    allowed = possible(trace, rates)
    if cost in allowed:
        return Cost(trace, {cost})
    upstream = [call.told.value for call in trace.calls]
    reckoning.contradictions.append(
        f"request {trace.errand.number} of {trace.errand.user.name} ({trace.errand.script.ending}): "
        f"{trace.seen}, {trace.events_received} of {trace.events_sent} events, upstream {upstream}, "
        f"was {record['outcome']} {record['status']} and cost {cost}, allowed: {sorted(allowed)[:4]}"
    )
    return Cost(trace, allowed)


def told(trace: Trace, record: Record) -> Charge:
    """The cost of a request by its access record."""
    delivered = "ttfb_ms" in record
    outcome = record["outcome"]
    if outcome not in ("complete", "client_left") and not (outcome == "broken" and delivered):
        return NOTHING
    input_only = outcome == "client_left" and not delivered
    usage = Usage(
        record["input_tokens"],
        0 if input_only else record["output_tokens"],
        record["cache_read_tokens"],
        record["cache_creation_tokens"],
    )
    user = trace.errand.user
    return Charge(
        user.weight if user.tier.counts("requests") else 0,
        user.weight if user.tier.counts("prompts") and trace.errand.typed else 0,
        usage.tokens(user.weight) if user.tier.counts("tokens") else 0,
    )


def _compare(user: User, account: Account, possible_sums: set[Charge], reckoning: Reckoning) -> None:
    """Every window must say what one and the same of the possible sums says."""
    found = {window: account.total(window) for window in counters(user.tier)}

    def distance(total: Charge) -> int:
        return sum(abs(count - total.of(window.unit)) for window, count in found.items())

    nearest = min(possible_sums, key=distance)
    for window, count in found.items():
        unit, used = window.unit, nearest.of(window.unit)
        reckoning.lost[unit] += max(0, used - count)
        reckoning.doubled[unit] += max(0, count - used)
        if count != used:
            others = f", or one of {len(possible_sums) - 1} other sums" if len(possible_sums) > 1 else ""
            reckoning.details.append(f"{user.name} {window.name}: {count} counted, {used} used{others}")


def _misplaced(user: User, account: Account, costs: list[Cost]) -> int:
    """Units that lie in a bucket which began after, or ended before, the request that took them.

    Where the sums are right, every unit that one bucket has too many is one that another lacks.
    """
    return sum(
        max(0, count - most)
        for window in counters(user.tier)
        for count, most in _by_bucket(account, window, costs)
    )


def _by_bucket(account: Account, window: Window, costs: list[Cost]) -> Iterator[tuple[int, int]]:
    """What each bucket says, and the most that it can hold."""
    most: Counter[str] = Counter()
    for cost in costs:
        for name in {stamp(window, at_s) for at_s in reserved_between(cost.trace)}:
            most[name] += cost.most(window.unit)
    for bucket, count in account.buckets.items():
        if bucket.window == window.name:
            yield count, most[bucket.stamp]


def reserved_between(trace: Trace) -> tuple[float, float]:
    """When its quota was taken, at the earliest and at the latest."""
    latest_s = trace.calls[0].began_at_s if trace.calls else trace.ended_at_s
    return trace.began_at_s - CLOCK_S, latest_s + CLOCK_S
