"""What is measured, and which figures of it are shown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

DIRECT = "direct"
"""No relay at all."""
Shown = Literal["ratio", "added", "own"]
"""A ratio to the baseline's value of the same round, the difference to `DIRECT`'s, or the value itself."""


@dataclass(frozen=True)
class Sample:
    """One run against one target: load-client's report, and what the processes used meanwhile."""

    report: dict[str, Any]
    generator_cpu_s: float
    cpu_s: float | None = None
    """CPU of the measured tree of processes; None where it is not ours to watch."""
    peak_rss_bytes: int | None = None
    grown_rss_bytes: int | None = None

    @property
    def fault(self) -> str | None:
        """What was wrong with the answers, if anything was."""
        if self.report["errors"]:
            return f"{self.report['errors']} wrong answers, the first: {self.report['first_error']}"
        return None if self.report["requests"] else "no answer at all"


@dataclass(frozen=True)
class Aim:
    """What is to be reached, in what the row shows."""

    limit: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Whether `value` is on the right side of the limit."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


@dataclass(frozen=True)
class Figure:
    """A row of the table: each target's ratio to the baseline, what it adds to `direct`, or its own value."""

    label: str
    value: Callable[[Sample], float | None]
    aim: Aim | None = None
    shown: Shown = "ratio"


@dataclass(frozen=True)
class Case:
    """One kind of load, as arguments of load-client; a run starts requests for `duration_s`.

    Ratios are those to `baseline`, and the aims are `subject`'s. A case is run against `targets`, or against
    all but the variants of the gateway.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    figures: tuple[Figure, ...]
    duration_s: float = 5.0
    quick_s: float = 1.5
    baseline: str = "nginx"
    subject: str = "gateway"
    targets: tuple[str, ...] = ()

    def is_for(self, target: str) -> bool:
        """Whether `target` is measured."""
        return target in self.targets if self.targets else target not in VARIANTS


TRANSLATED = "translated"
"""The gateway once more, asked for a model behind an upstream that speaks the other API."""
UNMETERED = "unmetered"
"""The gateway once more, asked by somebody whose tier counts nothing."""
TOKENS = "tokens"
"""The gateway once more, asked by somebody whose tier counts tokens and places too: leases are settled."""
SQLITE = "sqlite"
"""Another gateway, which counts in SQLite."""
VARIANTS = (TRANSLATED, UNMETERED, TOKENS, SQLITE)


def _reported(name: str) -> Callable[[Sample], float | None]:
    return lambda sample: sample.report[name]


def _cpu_micros_per(name: str) -> Callable[[Sample], float | None]:
    """CPU microseconds per event or request: as a number the same as seconds per million of them."""

    def value(sample: Sample) -> float | None:
        count = sample.report[name]
        return sample.cpu_s * 1e6 / count if sample.cpu_s is not None and count else None

    return value


def _generator_cores(sample: Sample) -> float:
    return sample.generator_cpu_s / float(sample.report["elapsed_s"])


def _peak_mb(sample: Sample) -> float | None:
    return None if sample.peak_rss_bytes is None else sample.peak_rss_bytes / 1e6


def _kb_per_stream(sample: Sample) -> float | None:
    return None if sample.grown_rss_bytes is None else sample.grown_rss_bytes / 1e3 / OPEN_STREAMS


OPEN_STREAMS = 1000
GENERATOR = Figure("load generator, cores", _generator_cores, shown="own")
PEAK = Figure("peak memory, MB", _peak_mb, shown="own")
FIRST_EVENT = Figure("first event p50, ms", _reported("first_event_p50_ms"))
CPU_PER_EVENT = "CPU s per million events"


def _request_arguments(body_bytes: int) -> tuple[str, ...]:
    return ("--mode", "request", "--connections", "32", "--body-bytes", str(body_bytes))


def _requests(name: str, title: str, body_bytes: int, aim: float) -> Case:
    arguments = _request_arguments(body_bytes)
    figures = (
        Figure("requests/s", _reported("requests_per_s"), Aim(aim, at_least=True)),
        Figure("CPU µs per request", _cpu_micros_per("requests")),
        Figure("latency p50, ms", _reported("latency_p50_ms")),
        Figure("latency p99, ms", _reported("latency_p99_ms")),
        PEAK,
        GENERATOR,
    )
    return Case(name, title, arguments, figures)


FLOOD = ("--connections", "64", "--events", "200")
PAUSE = ("--pause-us", "20000")
PACED = ("--connections", "200", "--events", "100", *PAUSE)


def _paced(name: str, connections: int, cpu: Aim | None = None, delay: Aim | None = None) -> Case:
    figures = (
        Figure(CPU_PER_EVENT, _cpu_micros_per("events"), cpu),
        Figure("delay p50, ms", _reported("delay_p50_ms")),
        Figure("delay p99, ms", _reported("delay_p99_ms"), delay),
        Figure("delay p99.9, ms", _reported("delay_p999_ms")),
        FIRST_EVENT,
        PEAK,
        GENERATOR,
    )
    arguments = ("--connections", str(connections), "--events", "100", *PAUSE)
    return Case(name, f"{connections} streams, an event every 20 ms", arguments, figures)


def _first_event(name: str, connections: int, p50: Aim | None = None, p99: Aim | None = None) -> Case:
    figures = (
        Figure("first event p50, ms", _reported("first_event_p50_ms"), p50, shown="added"),
        Figure("first event p99, ms", _reported("first_event_p99_ms"), p99, shown="added"),
        GENERATOR,
    )
    arguments = ("--connections", str(connections), "--events", "20", *PAUSE)
    return Case(name, f"{connections} connections, a short stream every 0.4 s each", arguments, figures)


def _translated(name: str, title: str, arguments: tuple[str, ...]) -> Case:
    figures = (
        Figure("events/s", _reported("events_per_s")),
        Figure(CPU_PER_EVENT, _cpu_micros_per("events"), Aim(2.0)),
        FIRST_EVENT,
        PEAK,
        GENERATOR,
    )
    return Case(
        name,
        title,
        arguments,
        figures,
        baseline="gateway",
        subject=TRANSLATED,
        targets=("gateway", TRANSLATED),
    )


CASES = (
    Case(
        "flood",
        "64 streams of 200 events, as fast as possible",
        FLOOD,
        (
            Figure("events/s", _reported("events_per_s"), Aim(0.9, at_least=True)),
            Figure(CPU_PER_EVENT, _cpu_micros_per("events")),
            FIRST_EVENT,
            PEAK,
            GENERATOR,
        ),
    ),
    _paced("paced", 200, Aim(1.4), Aim(1.25)),
    _paced("paced-50", 50),
    _paced("paced-1000", 1000),
    _first_event("first-event", 50, Aim(0.5), Aim(2.0)),
    _first_event("first-event-10", 10),
    _requests("1kB", "1 kB request and answer, 32 connections", 1024, 0.3),
    _requests("60kB", "60 kB request, 1 kB answer, 32 connections", 60 * 1024, 0.5),
    _requests("500kB", "500 kB request, 1 kB answer, 32 connections", 500 * 1024, 0.6),
    _translated("translated-flood", "flood, an Anthropic client on an OpenAI upstream", FLOOD),
    _translated("translated-paced", "paced, an Anthropic client on an OpenAI upstream", PACED),
    Case(
        "translated-300kB",
        "300 kB request, 1 kB answer, an Anthropic client on an OpenAI upstream",
        _request_arguments(300 * 1024),
        (
            Figure("CPU µs per request", _cpu_micros_per("requests"), shown="own"),
            Figure("requests/s", _reported("requests_per_s")),
            PEAK,
            GENERATOR,
        ),
        baseline="gateway",
        subject=TRANSLATED,
        targets=("gateway", TRANSLATED),
    ),
    Case(
        "quota",
        "quota's share of 1kB: the gateway beside itself, asked by a tier that counts nothing",
        _request_arguments(1024),
        (
            Figure("requests/s", _reported("requests_per_s")),
            Figure("CPU µs per request", _cpu_micros_per("requests")),
            Figure("latency p50, ms", _reported("latency_p50_ms")),
            Figure("latency p99, ms", _reported("latency_p99_ms")),
            GENERATOR,
        ),
        baseline=UNMETERED,
        targets=(UNMETERED, "gateway", TOKENS, SQLITE),
    ),
)

MEMORY = Case(
    "memory",
    f"{OPEN_STREAMS} open streams, once, on fresh processes",
    (
        "--connections",
        str(OPEN_STREAMS),
        "--count",
        str(OPEN_STREAMS),
        "--events",
        "6",
        "--pause-us",
        "500000",
    ),
    (Figure("kB per open stream", _kb_per_stream, Aim(40.0), shown="own"), PEAK),
)
