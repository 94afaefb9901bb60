"""What requests cost whose worker was killed, and that have left no record: their leases tell."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ledger.accounts import counters
from ledger.charge import NOTHING, Charge, sums
from ledger.matching import lease_of
from ledger.plan import User
from ledger.trace import Seen, Trace
from ledger.verdict import Rates, possible, reserved

Amounts = tuple[int, ...] | None
"""What a lease has taken of each counter; None once it has ended."""
_HAS_AN_END = (Seen.WHOLE, Seen.REFUSED, Seen.BROKEN)


@dataclass
class Orphans:
    """The lost requests of one user."""

    known: list[tuple[Trace, set[Charge]]] = field(default_factory=list)
    """Those whose clients were told their id, each with what it may have cost."""
    unknown: list[Trace] = field(default_factory=list)
    together: set[Charge] = field(default_factory=lambda: {NOTHING})
    """What the unknown ones may have cost together."""
    contradictions: list[str] = field(default_factory=list)


def adopt(user: User, lost: list[Trace], leases: dict[str, Amounts], rates: Rates) -> Orphans:
    """What a user's lost requests may have cost, given the leases that no record explains."""
    orphans = Orphans()
    left = dict(leases)
    for trace in lost:
        lease = lease_of(trace.request_id) if trace.request_id else None
        if lease is None:
            orphans.unknown.append(trace)
        elif lease in left:
            orphans.known.append((trace, _with_lease(trace, left.pop(lease), rates)))
        else:
            orphans.known.append((trace, _without_lease(trace, rates) or possible(trace, rates)))
    orphans.together = _together(user, orphans.unknown, list(left.values()), rates)
    if not orphans.together:
        called = sum(bool(trace.calls) for trace in orphans.unknown)
        orphans.contradictions.append(
            f"{user.name}: {len(left)} unexplained leases for {len(orphans.unknown)} lost requests, "
            f"{called} of which called the upstream"
        )
        orphans.together = sums(possible(trace, rates) for trace in orphans.unknown)
    return orphans


def _with_lease(trace: Trace, amounts: Amounts, rates: Rates) -> set[Charge]:
    if trace.seen in _HAS_AN_END:
        # Settled before its last part was sent, or in the journal.
        return possible(trace, rates)
    return _ended(trace, rates) if amounts is None else {_standing(trace.errand.user, amounts)}


def _ended(trace: Trace, rates: Rates) -> set[Charge]:
    """By its own settlement, or by the journal's: then what was reserved without the store stands."""
    return possible(trace, rates) | (set() if trace.metered else {reserved(trace.errand, rates)})


def _without_lease(trace: Trace, rates: Rates) -> set[Charge]:
    """Nothing, if that may be: who calls the upstream has a lease, unless no window has a limit."""
    tier = trace.errand.user.tier
    allowed = NOTHING in possible(trace, rates) or not (tier.limited or trace.seen in _HAS_AN_END)
    return {NOTHING} if allowed else set()


def _standing(user: User, amounts: tuple[int, ...]) -> Charge:
    taken = dict.fromkeys(("requests", "prompts", "tokens"), 0)
    for window, amount in zip(counters(user.tier), amounts, strict=True):
        taken[window.unit] = amount
    return Charge(**taken)


def _together(user: User, unknown: list[Trace], leases: list[Amounts], rates: Rates) -> set[Charge]:
    """Every sum that some way of handing out all leases gives; none if there is no such way."""
    standing = [_standing(user, amounts) for amounts in leases if amounts is not None]
    ended = len(leases) - len(standing)
    reached = {(0, 0): {NOTHING}}
    for trace in unknown:
        following: dict[tuple[int, int], set[Charge]] = defaultdict(set)
        for (stood, over), totals in reached.items():
            # What stands is known as a whole, whoever has it.
            following[stood + 1, over] |= totals
            following[stood, over + 1] |= sums((totals, _ended(trace, rates)))
            following[stood, over] |= sums((totals, _without_lease(trace, rates)))
        reached = following
    all_standing = sums({each} for each in standing)
    return sums((all_standing, reached.get((len(standing), ended), set())))


def each(orphans: Orphans, rates: Rates) -> Iterator[tuple[Trace, set[Charge]]]:
    """Every lost request with all that it may have cost for itself."""
    yield from orphans.known
    for trace in orphans.unknown:
        yield trace, {NOTHING, reserved(trace.errand, rates)} | possible(trace, rates)
