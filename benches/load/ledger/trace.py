"""What the client and the upstream saw of each request, independently of what the gateway says."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from ledger.plan import Errand


class Seen(StrEnum):
    """How a request ended for its client."""

    WHOLE = "whole"
    REFUSED = "refused"
    """With an error status, whoever it came from."""
    BROKEN = "broken"
    """A stream that ended with an error event."""
    CUT = "cut"
    """A head, and then the connection was gone."""
    NO_ANSWER = "no answer"
    LEFT = "left"
    """The client went away by itself."""
    STUCK = "stuck"
    """No end within the time that any answer may take."""


class Told(StrEnum):
    """How the upstream ended a call."""

    COMPLETE = "complete"
    REFUSED = "refused"
    DIED = "died"
    """By itself, as its script says."""
    LEFT = "left"
    """The gateway closed the connection before."""


@dataclass
class UpstreamCall:
    """One attempt, as the upstream saw it."""

    began_at_s: float
    ended_at_s: float | None = None
    head_sent: bool = False
    events_sent: int = 0
    told: Told = Told.LEFT


@dataclass
class Trace:
    """One request. Times are Unix seconds of this machine, which the store shares."""

    errand: Errand
    began_at_s: float = 0.0
    ended_at_s: float = 0.0
    seen: Seen = Seen.NO_ANSWER
    status: int | None = None
    request_id: str | None = None
    events_received: int = 0
    metered: bool = False
    """Whether the answer told how much of the windows is left: the store was asked, then."""
    calls: list[UpstreamCall] = field(default_factory=list)

    @property
    def complete_upstream(self) -> bool:
        """Whether the upstream served it whole."""
        return any(call.told is Told.COMPLETE for call in self.calls)

    @property
    def events_sent(self) -> int:
        """The most that any attempt had written."""
        return max((call.events_sent for call in self.calls), default=0)

    def served(self) -> tuple[float, float] | None:
        """When it surely was in flight: from the upstream's first call until one of its ends had gone."""
        ends = [call.ended_at_s for call in self.calls if call.ended_at_s is not None]
        if not self.calls or not ends:
            return None
        return self.calls[0].began_at_s, min(max(ends), self.ended_at_s)


class Traces:
    """All requests of a campaign by their number, which travels in their text."""

    def __init__(self) -> None:
        self._by_number: dict[int, Trace] = {}

    def begin(self, errand: Errand) -> Trace:
        """The trace of a request that is sent now."""
        trace = Trace(errand, began_at_s=time.time())
        self._by_number[errand.number] = trace
        return trace

    def of(self, number: int) -> Trace:
        """The trace of that number."""
        return self._by_number[number]

    def __iter__(self) -> Iterator[Trace]:
        return iter(self._by_number.values())

    def __len__(self) -> int:
        return len(self._by_number)
