"""Who asks for what, and what the upstream makes of it: decided by the seed alone."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from ledger.charge import Usage

Unit = Literal["requests", "prompts", "tokens", "concurrent"]
Dialect = Literal["anthropic", "openai"]

MOST_EVENTS = 12
WORKERS = 2
GATEWAYS = 2
SHARE = 1 / (WORKERS * GATEWAYS)
PLENTY = 1_000_000_000
HEAVY_WEIGHT = 2


@dataclass(frozen=True)
class Window:
    """At most `limit` of `unit` in each `period`."""

    unit: Unit
    period: str | None
    limit: int | None

    @property
    def name(self) -> str:
        """`requests/day`."""
        return f"{self.unit}/{self.period}" if self.period else self.unit


@dataclass(frozen=True)
class Tier:
    """A class of limits, and what holds while the store cannot be asked."""

    name: str
    windows: tuple[Window, ...]
    on_store_failure: Literal["local", "closed", "open"] = "local"

    def counts(self, unit: Unit) -> bool:
        """Whether a window of it counts `unit`."""
        return any(window.unit == unit for window in self.windows)

    @property
    def places(self) -> int | None:
        """The most requests in flight."""
        return next((window.limit for window in self.windows if window.unit == "concurrent"), None)

    @property
    def limited(self) -> bool:
        """Whether any window can refuse."""
        return any(window.limit is not None for window in self.windows)


def _requests(period: str, limit: int | None = PLENTY) -> Window:
    return Window("requests", period, limit)


def _tokens(period: str, limit: int | None = PLENTY) -> Window:
    return Window("tokens", period, limit)


TIERS = (
    Tier("daily", (_requests("day"),)),
    Tier("brief", (_requests("minute", 12),)),
    Tier("scarce", (_requests("day", 25), Window("prompts", "day", 20))),
    Tier("spender", (_requests("day"), _tokens("day"), _tokens("month"))),
    Tier("thrifty", (_tokens("minute", 8000), _requests("hour")), "closed"),
    Tier("seated", (Window("concurrent", None, 3), _requests("hour"))),
    Tier(
        "six",
        (
            _requests("minute"),
            _requests("hour"),
            _requests("day"),
            Window("prompts", "week", PLENTY),
            _tokens("month"),
            Window("concurrent", None, 8),
        ),
    ),
    Tier("strict", (_requests("day"), _tokens("day")), "closed"),
    Tier("lenient", (_requests("day"), _tokens("hour")), "open"),
    Tier("unmetered", (_requests("day", None), _tokens("day", None))),
)


@dataclass(frozen=True)
class User:
    """Somebody of one tier, who speaks one dialect and asks for one model."""

    name: str
    tier: Tier
    dialect: Dialect
    heavy: bool

    @property
    def key(self) -> str:
        """What they identify themselves by."""
        return f"campaign-key-{self.name}"

    @property
    def model(self) -> str:
        """The model they ask for."""
        return "heavy" if self.heavy else "plain"

    @property
    def weight(self) -> int:
        """What one of anything counts as for their model."""
        return HEAVY_WEIGHT if self.heavy else 1


DIALECTS: tuple[Dialect, ...] = ("anthropic", "openai")
USERS = tuple(
    User(f"{tier.name}-{dialect}-{'heavy' if heavy else 'plain'}", tier, dialect, heavy)
    for tier in TIERS
    for dialect in DIALECTS
    for heavy in (False, True)
)


class Ending(StrEnum):
    """What the upstream does in the end."""

    COMPLETE = "complete"
    """Answers whole, and tells its usage."""
    SILENT = "silent"
    """Answers whole, and tells no usage."""
    REFUSES = "refuses"
    """Answers with an error status."""
    DIES_EARLY = "dies early"
    """Closes the connection before a head."""
    DIES_EMPTY = "dies empty"
    """Closes it after the head, before anything of the answer."""
    DIES_MIDWAY = "dies midway"
    """Closes it, or resets it, in the middle of the answer."""
    FAILS_MIDWAY = "fails midway"
    """Says in the middle of a stream that it cannot go on."""


@dataclass(frozen=True)
class Script:
    """What the upstream makes of one request."""

    ending: Ending
    usage: Usage
    status: int = 200
    events: int = 1
    """Content events before the end, whole or not."""
    delay_s: float = 0.0
    """Before the head."""
    pause_s: float = 0.0
    """Before each event."""
    resets: bool = False


@dataclass(frozen=True)
class Leaving:
    """When a client goes away: after a time without a head, or after so many events of a stream."""

    after_s: float | None = None
    after_events: int | None = None


@dataclass(frozen=True)
class Errand:
    """One request: who sends it where, how, and what happens to it."""

    number: int
    user: User
    gateway: int
    stream: bool
    typed: bool
    """Whether a person typed it, rather than a tool having answered."""
    script: Script
    leaving: Leaving | None = None

    @property
    def shape(self) -> "Shape":
        """What decides how many tokens are reserved for it."""
        return Shape(self.user.dialect, self.user.heavy, self.stream, self.typed)


@dataclass(frozen=True)
class Shape:
    """Requests of one shape differ in the digits of their number only: they take the same of every window."""

    dialect: Dialect
    heavy: bool
    stream: bool
    typed: bool


_ENDINGS = {
    Ending.COMPLETE: 58,
    Ending.SILENT: 10,
    Ending.REFUSES: 10,
    Ending.DIES_EARLY: 4,
    Ending.DIES_EMPTY: 3,
    Ending.DIES_MIDWAY: 9,
    Ending.FAILS_MIDWAY: 6,
}
_STATUSES = (400, 429, 500, 503, 529)


class Plan:
    """The errands of a campaign, one after the other."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a load, not a secret
        self._last = 0

    def next(self) -> Errand:
        """An errand as chance has it."""
        draw = self._random
        stream = draw.random() < 0.6
        script = self._script(stream)
        return Errand(
            self.number(),
            draw.choice(USERS),
            draw.randrange(GATEWAYS),
            stream,
            typed=draw.random() < 0.6,
            script=script,
            leaving=self._leaving(stream, script),
        )

    def number(self) -> int:
        """The next free number."""
        self._last += 1
        return self._last

    def rest_s(self) -> float:
        """How long a client waits before its next errand."""
        return self._random.uniform(0.0, 0.3)

    def _script(self, stream: bool) -> Script:
        draw = self._random
        ending = draw.choices(list(_ENDINGS), list(_ENDINGS.values()))[0]
        if ending is Ending.FAILS_MIDWAY and not stream:
            ending = Ending.COMPLETE
        delay_s = draw.choices(
            (draw.uniform(0, 0.05), draw.uniform(0.1, 0.6), draw.uniform(1, 2.5)), (75, 20, 5)
        )
        pause_s = draw.choices(
            (draw.uniform(0, 0.02), draw.uniform(0.02, 0.1), draw.uniform(0.2, 0.4)), (70, 25, 5)
        )
        return Script(
            ending,
            Usage(*(draw.randint(1, 900) for _ in range(4))),
            status=draw.choice(_STATUSES) if ending is Ending.REFUSES else 200,
            events=draw.randint(1, MOST_EVENTS),
            delay_s=delay_s[0],
            pause_s=pause_s[0],
            resets=draw.random() < 0.5,
        )

    def _leaving(self, stream: bool, script: Script) -> Leaving | None:
        draw = self._random
        chance = draw.random()
        if chance < 0.1:
            return Leaving(after_s=draw.choice((draw.uniform(0.005, 0.1), draw.uniform(0.1, 1.5))))
        if stream and chance < 0.25:
            return Leaving(after_events=draw.randint(1, script.events))
        return None
