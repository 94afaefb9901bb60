"""How many replicas, how much Valkey and how many connections a company needs, from measured costs.

docs/capacity.md explains the model. `--bench` takes the costs from a file that `make bench` wrote with
`ARGS="--json FILE"`, and so those of another machine.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Costs:
    """What was measured; the defaults are those of docs/performance.md."""

    event_us: float = 14.0
    """CPU of a worker per event of a paced stream."""
    busiest_thread: float = 0.55
    """The share of that which one thread has: the server's, which writes to the clients."""
    request_us: float = 90.0
    """CPU of a worker per request with three windows, a token bucket and a place among them."""
    worker_mb: float = 135.0
    stream_kb: float = 35.0
    """Memory of an open stream."""
    store_call_us: float = 45.0
    """CPU of the store per call with three windows (benches/README.md)."""
    store_calls: float = 2.0
    """Per request: one that reserves, one that settles."""
    subscriber_kb: float = 1.0
    """Memory of the store per subscriber: about five keys."""


@dataclass(frozen=True)
class Load:
    """What a company does at its busiest."""

    subscribers: float = 1e6
    streams: float = 1e5
    """Open at once."""
    events_per_s: float = 50.0
    """Of one stream."""
    stream_s: float = 20.0
    """How long one lasts."""
    used: float = 0.6
    """The share of a thread or of a store's core that is planned for; the rest is for peaks."""
    cores: float = 4.0
    """Of a replica."""


def plan(load: Load, costs: Costs) -> Iterator[tuple[str, str]]:
    """Yields what is needed: a name and an amount each."""
    requests_per_s = load.streams / load.stream_s
    events_per_s = load.streams * load.events_per_s
    cores = (events_per_s * costs.event_us + requests_per_s * costs.request_us) / 1e6
    # A worker is full when its busiest thread is; so many cores it keeps busy then.
    worker_cores = 1 / costs.busiest_thread
    workers = math.ceil(cores / (worker_cores * load.used))
    per_replica = max(1, int(load.cores / worker_cores))
    # One more than are needed, so that one may be lost.
    replicas = math.ceil(workers / per_replica) + 1
    streams = load.streams / workers
    memory_mb = per_replica * (costs.worker_mb + streams * costs.stream_kb / 1000)
    calls_per_s = requests_per_s * costs.store_calls
    store_cores = calls_per_s * costs.store_call_us / 1e6
    shards = max(3, math.ceil(store_cores / load.used))
    yield "events/s", f"{events_per_s:,.0f}"
    yield "requests/s", f"{requests_per_s:,.0f}"
    yield "cores of gateways, at work", f"{cores:,.0f}"
    yield "workers", f"{workers:,}"
    yield f"replicas of {load.cores:g} cores, workers: {per_replica}", f"{replicas:,}"
    yield "open streams per worker", f"{streams:,.0f}"
    yield "memory per replica, MB", f"{memory_mb:,.0f}"
    yield "connections to upstreams per replica", f"{streams * per_replica:,.0f}"
    yield "calls/s to the store", f"{calls_per_s:,.0f}"
    yield "cores of the store, at work", f"{store_cores:.2f}"
    yield "primaries of a Valkey cluster", f"{shards}"
    yield "memory of all primaries, MB", f"{load.subscribers * costs.subscriber_kb / 1000:,.0f}"
    yield "connections per primary", f"{workers:,}"


def measured(report: dict[str, Any]) -> Costs:
    """The costs that a report of the benchmark says; what it does not say is as in `Costs`."""
    found: dict[str, float] = {}
    cases = report["cases"]
    if samples := cases.get("paced", {}).get("samples", {}).get("gateway"):
        found["event_us"] = median(_micros(sample, "events") for sample in samples)
    if samples := cases.get("quota", {}).get("samples", {}).get("tokens"):
        found["request_us"] = median(_micros(sample, "requests") for sample in samples)
    if samples := cases.get("memory", {}).get("samples", {}).get("gateway"):
        (sample,) = samples
        found["stream_kb"] = sample["grown_rss_bytes"] / 1000 / sample["client"]["requests"]
        found["worker_mb"] = (sample["peak_rss_bytes"] - sample["grown_rss_bytes"]) / 1e6
    return replace(Costs(), **found)


def _micros(sample: dict[str, Any], count: str) -> float:
    micros: float = sample["cpu_s"] * 1e6 / sample["client"][count]
    return micros


def main() -> int:
    """Prints the plan; returns the exit status."""
    parser = argparse.ArgumentParser(prog="benches/capacity.py", description=__doc__)
    for field in fields(Load):
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=float, default=field.default, help=f"default: {field.default:g}")
    parser.add_argument("--bench", type=Path, metavar="FILE", help="costs measured by `make bench`")
    options = vars(parser.parse_args())
    bench = options.pop("bench")
    load = Load(**options)
    if min(options.values()) <= 0 or load.used > 1:
        parser.error("every number must be above 0, and --used at most 1")
    costs = measured(json.loads(bench.read_text())) if bench else Costs()
    for name, amount in plan(load, costs):
        sys.stdout.write(f"{name:<44}{amount:>12}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
