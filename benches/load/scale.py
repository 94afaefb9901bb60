"""Measures what grows: memory and CPU with open streams, latency with the size of a body, delays beside a
loud neighbour, and what a second worker brings.

`make bench-scale` runs this. Everything is counted and ends by itself, in about five minutes. The exit
status is 1 if any answer was wrong, 2 if a server is missing, and never depends on a figure.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import servers
from machine import machine, raise_open_files
from processes import use_of_tree
from servers import Binaries, CannotRunError, Target

STREAMS = (100, 1000, 5000)
PING_S = 15.0
EVENTS = 4
BODY_BYTES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
PACED = ("--connections", "50", "--events", "100", "--pause-us", "20000")
LOUD = ("--mode", "request", "--connections", "4", "--body-bytes", "500000")
ROUNDS = 3
LONGEST_CLIENT_S = 130.0

Row = dict[str, float | str]


@dataclass(frozen=True)
class Scene:
    """Where a part is measured: the programs, the upstream, a folder, and how long one load lasts."""

    binaries: Binaries
    folder: Path
    port: int
    seconds: float
    is_quick: bool

    def load(self, target: Target, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts load-client against `target`."""
        command = [str(self.binaries.client), "--url", target.url, "--token", target.token, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - our own program

    def measured(self, target: Target, *arguments: str) -> dict[str, Any]:
        """load-client's report of one run against `target`."""
        return reported(self.load(target, *arguments))

    @contextmanager
    def gateway(self, workers: int = 1) -> Iterator[Target]:
        """A gateway that has served nobody yet but has begun."""
        with servers.redis(self.folder) as redis, ExitStack() as stack:
            target = stack.enter_context(servers.gateway(self.folder, self.port, redis, workers))
            self.measured(target, "--connections", "4", "--duration-s", "0.5", "--events", "5")
            yield target


def reported(client: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What a load-client says at its end; answers that were wrong end everything."""
    output, _ = client.communicate(timeout=LONGEST_CLIENT_S)
    report: dict[str, Any] = json.loads(output)
    if report["errors"]:
        sys.exit(f"WRONG ANSWERS: {report['errors']}, the first: {report['first_error']}")
    return report


def streams(scene: Scene) -> Iterator[Row]:
    """Open streams that hear an event now and then: what each holds, what all cost, how late they come."""
    pause_s = 2.0 if scene.is_quick else PING_S
    for count in STREAMS:
        with scene.gateway() as target:
            pid = target.pid or 0
            idle = use_of_tree(pid)
            arguments = ("--connections", str(count), "--count", str(count), "--events", str(EVENTS))
            client = scene.load(target, *arguments, "--pause-us", str(int(pause_s * 1e6)))
            # All are open, and each has heard its first event.
            time.sleep(pause_s * 0.8)
            begun = use_of_tree(pid)
            time.sleep(pause_s * 2)
            now = use_of_tree(pid)
            report = reported(client)
            yield {
                "streams": count,
                "kB each": (now.rss_bytes - idle.rss_bytes) / count / 1000,
                "% of a core": 100 * (now.cpu_s - begun.cpu_s) / (pause_s * 2),
                "first event p99, ms": report["first_event_p99_ms"],
                "delay p99, ms": report["delay_p99_ms"],
            }


def bodies(scene: Scene) -> Iterator[Row]:
    """Requests of growing size from four clients, beside nginx."""
    with scene.gateway() as gateway, servers.nginx(scene.folder, scene.port) as nginx:
        for size in BODY_BYTES:
            arguments = ("--mode", "request", "--connections", "4", "--body-bytes", str(size))
            row: Row = {"body, bytes": size}
            for target in (nginx, gateway):
                report = scene.measured(target, *arguments, "--duration-s", str(scene.seconds))
                row[f"{target.name} p50, ms"] = report["latency_p50_ms"]
                row[f"{target.name} p99, ms"] = report["latency_p99_ms"]
            yield row


def neighbour(scene: Scene) -> Iterator[Row]:
    """50 paced streams, alone and beside four clients that send 500 kB as often as they can."""
    with scene.gateway() as gateway, servers.nginx(scene.folder, scene.port) as nginx:
        for _ in range(ROUNDS):
            for target in (nginx, gateway):
                paced = (*PACED, "--duration-s", str(scene.seconds))
                calm = scene.measured(target, *paced)
                loud = scene.load(target, *LOUD, "--duration-s", str(scene.seconds + 3))
                time.sleep(0.5)
                beside = scene.measured(target, *paced)
                noise = reported(loud)
                yield {
                    "relay": target.name,
                    "delay p99, ms": calm["delay_p99_ms"],
                    "beside it": beside["delay_p99_ms"],
                    "times": beside["delay_p99_ms"] / calm["delay_p99_ms"],
                    "its requests/s": noise["requests_per_s"],
                }


def workers(scene: Scene) -> Iterator[Row]:
    """One and two workers in front of the same store: what they serve, and what they cost.

    Clients, upstream and store share the machine: two are twice as fast only where all have cores.
    """
    for count in (1, 2):
        with scene.gateway(count) as target:
            pid = target.pid or 0
            for name, arguments in (
                ("1 kB requests", ("--mode", "request", "--connections", "32")),
                ("flood", ("--connections", "64", "--events", "200")),
            ):
                before = use_of_tree(pid)
                report = scene.measured(target, *arguments, "--duration-s", str(scene.seconds))
                work = report["events"] or report["requests"]
                yield {
                    "workers": count,
                    "load": name,
                    "per second": work / report["elapsed_s"],
                    "CPU us each": 1e6 * (use_of_tree(pid).cpu_s - before.cpu_s) / work,
                }


PARTS: Mapping[str, Callable[[Scene], Iterator[Row]]] = {
    "streams": streams,
    "bodies": bodies,
    "neighbour": neighbour,
    "workers": workers,
}


def main() -> int:
    """Runs the parts; returns the exit status."""
    options = _options()
    raise_open_files()
    found: dict[str, list[Row]] = {}
    _say(*machine())
    try:
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
            folder, binaries = Path(name), servers.build()
            with servers.upstream(binaries, folder, 0) as port:
                scene = Scene(binaries, folder, port, 1.0 if options.quick else 4.0, options.quick)
                for part in options.only:
                    _say("", f"{part}: {(PARTS[part].__doc__ or '').partition(':')[0].partition('.')[0]}")
                    found[part] = list(_told(PARTS[part](scene)))
    except CannotRunError as error:
        _say(f"bench: {error}")
        return 2
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _told(rows: Iterator[Row]) -> Iterator[Row]:
    """The same rows, each printed as it comes, the first below its names."""
    for number, row in enumerate(rows):
        if number == 0:
            _say("".join(name.rjust(max(len(name), 14) + 2) for name in row))
        _say("".join(_cell(value).rjust(max(len(name), 14) + 2) for name, value in row.items()))
        yield row


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS)
    )
    parser.add_argument("--quick", action="store_true", help="short loads, events every 2 s instead of 15")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the rows for programs")
    options = parser.parse_args()
    if unknown := [part for part in options.only if part not in PARTS]:
        parser.error(f"no part {', '.join(unknown)}: there are {', '.join(PARTS)}")
    return options


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
