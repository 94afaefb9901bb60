"""What a campaign prints in the end."""

from collections.abc import Iterator

from ledger.campaign import Result

MOST_LINES = 20


def lines(result: Result) -> Iterator[str]:
    """Requests by outcome, faults by kind, every figure that has to be zero, what is behind the others."""
    yield "requests, as clients and access records saw them end"
    yield from _rows(result.requests)
    yield "faults"
    yield from _rows(result.faults)
    yield "as the gateways say"
    yield from _rows({name: round(value) for name, value in result.gateway_counts.items()})
    yield "users whose requests may have cost one of several sums, because workers were killed"
    yield from _rows(result.reckoning.ambiguous)
    yield "to be zero"
    yield from _rows(result.failures())
    causes = result.reckoning.details + result.admissions + result.views + result.reckoning.contradictions
    yield from causes[:MOST_LINES]
    if len(causes) > MOST_LINES:
        yield f"and {len(causes) - MOST_LINES} more"
    yield "the ledger is exact" if not any(result.failures().values()) else "THE LEDGER IS NOT EXACT"


def _rows(counts: dict[str, int]) -> Iterator[str]:
    for name, count in sorted(counts.items()):
        yield f"  {count:>7} {name}"
