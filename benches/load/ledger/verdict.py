"""What a request may have cost by the table of the quota policy, as its client and the upstream saw it.

Nothing here listens to the gateway. A request has one possible cost, or a few where two ends meet: where a
client leaves while the last byte is on its way, the answer may be whole or cut short.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ledger.charge import NOTHING, Charge, Usage
from ledger.plan import Dialect, Ending, Errand, Shape
from ledger.trace import Seen, Told, Trace


@dataclass
class Rates:
    """What was measured before anything went wrong: how the gateway counts where the upstream does not."""

    input: dict[tuple[Dialect, bool], int] = field(default_factory=dict)
    """Tokens of a prompt, by dialect and whether a person typed it."""
    output: dict[tuple[Dialect, int], int] = field(default_factory=dict)
    """Tokens of an answer, by dialect and content events."""
    reserved: dict[Shape, int] = field(default_factory=dict)
    """Tokens that a request takes before it is sent."""


def possible(trace: Trace, rates: Rates) -> set[Charge]:
    """Every cost that the table allows for what was seen."""
    return {_charge(trace.errand, usage) for usage in _usages(trace, rates)}


def reserved(errand: Errand, rates: Rates) -> Charge:
    """What stands of a request whose gateway was killed."""
    tokens = rates.reserved[errand.shape] if errand.user.tier.counts("tokens") else 0
    return _units(errand, tokens)


def _charge(errand: Errand, usage: Usage | None) -> Charge:
    if usage is None:
        return NOTHING
    tokens = usage.tokens(errand.user.weight) if errand.user.tier.counts("tokens") else 0
    return _units(errand, tokens)


def _units(errand: Errand, tokens: int) -> Charge:
    tier, weight = errand.user.tier, errand.user.weight
    return Charge(
        weight if tier.counts("requests") else 0,
        weight if tier.counts("prompts") and errand.typed else 0,
        tokens,
    )


def _usages(trace: Trace, rates: Rates) -> Iterator[Usage | None]:
    """The tokens that may count; None: nothing counts at all."""
    match trace.seen:
        case Seen.WHOLE:
            yield _whole(trace.errand, rates)
        case Seen.REFUSED:
            yield None
        case Seen.BROKEN:
            # The client stayed: what it has is what was delivered.
            yield from _so_far(trace, rates, trace.events_received, trace.events_received)
            if not trace.events_received:
                yield None
        case _:
            yield from _of_upstream(trace, rates)


def _of_upstream(trace: Trace, rates: Rates) -> Iterator[Usage | None]:
    """The client has no end to tell of: it left, or its gateway was killed."""
    if trace.complete_upstream:
        yield _whole(trace.errand, rates)
    elif not trace.events_received and all(call.told in (Told.REFUSED, Told.DIED) for call in trace.calls):
        yield None
    if not trace.events_received:
        yield from _inputs(trace.errand, rates, output=0, told=any(call.head_sent for call in trace.calls))
    yield from _so_far(trace, rates, max(trace.events_received, 1), trace.events_sent)


def _so_far(trace: Trace, rates: Rates, least: int, most: int) -> Iterator[Usage]:
    for events in range(max(least, 1), most + 1):
        output = rates.output[trace.errand.user.dialect, events]
        yield from _inputs(trace.errand, rates, output, told=True)


def _inputs(errand: Errand, rates: Rates, output: int, told: bool) -> Iterator[Usage]:
    """A stream of the Messages API tells its input at once; all others in the end."""
    tells = errand.stream and errand.user.dialect == "anthropic" and errand.script.ending is not Ending.SILENT
    counted = Usage(rates.input[errand.user.dialect, errand.typed], output)
    if not (tells and told):
        yield counted
        return
    usage = errand.script.usage
    yield Usage(usage.input, output, usage.cache_read, usage.cache_creation)
    if not output:
        # Its head may have been on the way.
        yield counted


def _whole(errand: Errand, rates: Rates) -> Usage:
    if errand.script.ending is not Ending.SILENT:
        return errand.script.usage
    dialect = errand.user.dialect
    return Usage(rates.input[dialect, errand.typed], rates.output[dialect, errand.script.events])
