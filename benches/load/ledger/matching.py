"""Which access record, and which lease, belongs to which request."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ledger.faults import Kill
from ledger.message import PATHS
from ledger.trace import Seen, Trace, Traces

DYING_S = 0.5
"""A killed process still takes connections until its memory has been torn down."""
CLOCKS_S = 0.05
LOG_DELAY_S = 2.0
"""A record is written a moment after the answer: that much later a kill may still swallow it."""

Record = dict[str, Any]


def lease_of(request_id: str) -> str:
    """The lease of a request."""
    return request_id.removeprefix("req_")


@dataclass
class Matched:
    """Every request with what the gateway wrote of it."""

    records: dict[int, Record] = field(default_factory=dict)
    """By the request's number."""
    lost: set[int] = field(default_factory=set)
    """Requests without a record whose gateway lost a worker meanwhile."""
    unheard: set[int] = field(default_factory=set)
    """Requests without a record that never got past their own client."""
    untraceable: list[str] = field(default_factory=list)
    """What should not be: a request without a record and without a reason, or a record without a request."""


class Matching:
    """Finds the record of each request among those of both gateways.

    `allows` says whether a record tells of a request what that may have cost. It only decides which of
    several requests a record belongs to, where nothing else does.
    """

    def __init__(self, traces: Traces, kills: list[Kill], allows: Callable[[Trace, Record], bool]) -> None:
        self._traces, self._kills, self._allows = traces, kills, allows
        self._matched = Matched()

    def of(self, records: Iterable[tuple[int, Record]]) -> Matched:
        """Every request with its record, given all records with the numbers of their gateways."""
        by_id = {trace.request_id: trace for trace in self._traces if trace.request_id}
        rest: list[tuple[int, Record]] = []
        for gateway, record in records:
            trace = by_id.get(record["request_id"]) or self._by_upstream(record)
            if trace is None:
                rest.append((gateway, record))
            elif trace.errand.number in self._matched.records:
                self._matched.untraceable.append(f"two records of request {trace.errand.number}")
            else:
                self._matched.records[trace.errand.number] = record
        self._match_by_time(rest)
        for trace in self._traces:
            if trace.errand.number not in self._matched.records:
                self._explain(trace)
        return self._matched

    def _by_upstream(self, record: Record) -> Trace | None:
        """The upstream's own request id holds the number."""
        told = str(record.get("upstream_request_id", ""))
        return self._traces.of(int(told.removeprefix("up-"))) if told.startswith("up-") else None

    def _match_by_time(self, rest: list[tuple[int, Record]]) -> None:
        """Requests whose clients left before they heard anything."""
        waiting: dict[tuple[int, str | None], list[Trace]] = defaultdict(list)
        for trace in self._traces:
            if trace.request_id is None and trace.errand.number not in self._matched.records:
                waiting[trace.errand.gateway, trace.errand.user.name].append(trace)
        for gateway, record in sorted(rest, key=lambda pair: _began_at_s(pair[1])):
            candidates = waiting[gateway, record.get("user")]
            fitting = [trace for trace in candidates if _fits(trace, record)]
            if fitting:
                best = min(fitting, key=lambda trace: self._distance(trace, record))
                candidates.remove(best)
                self._matched.records[best.errand.number] = record
            else:
                what = f"{record['request_id']}, {record['outcome']}"
                self._matched.untraceable.append(f"a record of no request: {what}")

    def _distance(self, trace: Trace, record: Record) -> tuple[bool, bool, float]:
        """Smaller for a request that is more likely the record's: one that must have a record goes first."""
        late_s = abs(trace.began_at_s - _began_at_s(record))
        return not self._allows(trace, record), self._killed(trace) or not trace.calls, late_s

    def _killed(self, trace: Trace) -> bool:
        """Whether its worker may have been killed before it wrote the record."""
        return any(
            kill.gateway == trace.errand.gateway
            and trace.began_at_s - DYING_S <= kill.at_s <= trace.ended_at_s + LOG_DELAY_S
            for kill in self._kills
        )

    def _explain(self, trace: Trace) -> None:
        number = trace.errand.number
        if self._killed(trace):
            self._matched.lost.add(number)
        elif trace.seen is Seen.LEFT and trace.request_id is None and not trace.calls:
            self._matched.unheard.add(number)
        else:
            self._matched.untraceable.append(
                f"no record of request {number}, {trace.seen}, called {len(trace.calls)} times, "
                f"gateway {trace.errand.gateway}, {trace.began_at_s:.3f} to {trace.ended_at_s:.3f}"
            )


def _began_at_s(record: Record) -> float:
    return _ended_at_s(record) - float(record["total_ms"]) / 1000


def _ended_at_s(record: Record) -> float:
    return datetime.fromisoformat(record["ts"]).timestamp()


def _fits(trace: Trace, record: Record) -> bool:
    """Whether a record can be that of a request whose client heard nothing."""
    api = PATHS[trace.errand.user.dialect].removeprefix("/v1/").replace("/", "_")
    same = (record["api"], record["stream"]) == (api, trace.errand.stream)
    # Nobody is known to have left before. One clock dates a record, another counts its duration.
    after = trace.began_at_s - CLOCKS_S <= _began_at_s(record) and (
        record["outcome"] != "client_left" or trace.ended_at_s - CLOCKS_S <= _ended_at_s(record)
    )
    return same and after and trace.seen in (Seen.LEFT, Seen.NO_ANSWER, Seen.STUCK)
