"""Measures the gateway beside nginx and no relay at all, in interleaved rounds, and prints ratios.

`make bench` runs this. The exit status is 1 if any answer was wrong, 2 if a server is missing, and never
depends on a figure.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import plot
import report
import servers
import table
from cases import CASES, MEMORY, SQLITE, TOKENS, TRANSLATED, UNMETERED, Case, Sample
from machine import machine, raise_open_files
from peers import PEERS
from processes import PeakMemory, use_of_tree
from servers import Binaries, CannotRunError, Target

OWN_TARGETS = ("direct", "nginx", "gateway")
WARM_UP = ("--duration-s", "0.3", "--events", "5")
LONGEST_CLIENT_S = 130.0


@dataclass
class Bench:
    """The programs and targets of this run, and every sample taken so far."""

    binaries: Binaries
    targets: list[Target]
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    """By case, then by target, in the order of the rounds."""
    faults: list[str] = field(default_factory=list)

    def client(self, target: Target, arguments: tuple[str, ...]) -> dict[str, object]:
        """load-client's report of one run against `target`."""
        command = [str(self.binaries.client), "--url", target.url, "--token", target.token, *target.arguments]
        command += arguments
        done = subprocess.run(  # noqa: S603 - our own program
            command, stdout=subprocess.PIPE, check=True, timeout=LONGEST_CLIENT_S
        )
        report: dict[str, object] = json.loads(done.stdout)
        return report

    def measure(self, case: Case, target: Target, arguments: tuple[str, ...]) -> None:
        """Takes one sample."""
        before_s = _children_cpu_s()
        if target.pid is None:
            sample = Sample(self.client(target, arguments), _children_cpu_s() - before_s)
        else:
            before = use_of_tree(target.pid)
            with PeakMemory(target.pid) as peak:
                report = self.client(target, arguments)
            sample = Sample(
                report,
                _children_cpu_s() - before_s,
                cpu_s=use_of_tree(target.pid).cpu_s - before.cpu_s,
                peak_rss_bytes=peak.rss_bytes,
                grown_rss_bytes=peak.rss_bytes - before.rss_bytes,
            )
        if sample.fault:
            self.faults.append(f"{case.name}, {target.name}: {sample.fault}")
        self.samples.setdefault(case.name, {}).setdefault(target.name, []).append(sample)


def main() -> int:
    """Runs everything; returns the exit status."""
    options = _options()
    if options.list_peers:
        _say(*(package for peer in PEERS.values() for package in peer.packages))
        return 0
    # A stop from outside is to end the servers like any other end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    raise_open_files()
    try:
        with _folder(options.logs) as folder, ExitStack() as stack:
            bench = _start(options, folder, stack)
            lines = tuple(machine())
            _say(*lines, "")
            _run(bench, options)
            found = report.report(lines, (*CASES, MEMORY), bench.samples)
            if options.json is not None:
                options.json.write_text(json.dumps(found, indent=1) + "\n")
            if options.svg is not None:
                options.svg.write_text(plot.svg(found))
    except CannotRunError as error:
        _say(f"bench: {error}")
        return 2
    _say(*(f"WRONG ANSWERS: {fault}" for fault in bench.faults))
    return 1 if bench.faults else 0


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """Where servers keep their configuration and logs: gone afterwards, unless a place was named."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="llm-gateway-bench-") as folder:
        yield Path(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/load/run.py", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often each case is run (default: 5)")
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument(
        "--only", type=_words, default=[], help=f"some of {','.join(OWN_TARGETS)} and other names"
    )
    names = ",".join(case.name for case in (MEMORY, *CASES))
    parser.add_argument("--cases", type=_words, default=names.split(","), help=f"some of {names}")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="another relay, already running and set up to relay to --upstream-port",
    )
    parser.add_argument(
        "--peers", type=Path, metavar="FOLDER", help=f"where programs of {', '.join(PEERS)} are installed"
    )
    parser.add_argument(
        "--upstream-port", type=int, default=0, help="port of the scripted upstream (default: any)"
    )
    parser.add_argument(
        "--logs", type=Path, metavar="FOLDER", help="keep the servers' configuration and logs here"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and all samples here")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the ratios here")
    parser.add_argument("--list-peers", action="store_true", help="print what pip installs for them, and end")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    return options


def _words(text: str) -> list[str]:
    return text.split(",")


def _start(options: argparse.Namespace, folder: Path, stack: ExitStack) -> Bench:
    """Starts what is to be measured, and the upstream behind it; the stack ends it."""
    binaries = servers.build()
    port = stack.enter_context(servers.upstream(binaries, folder, options.upstream_port))
    targets = []
    if _wanted(options, "direct"):
        targets.append(Target("direct", f"http://127.0.0.1:{port}"))
    if _wanted(options, "nginx"):
        targets.append(stack.enter_context(servers.nginx(folder, port)))
    if _wanted(options, "gateway"):
        redis_url = stack.enter_context(servers.redis(folder))
        gateway = stack.enter_context(servers.gateway(folder, port, redis_url))
        targets += [
            gateway,
            replace(gateway, name=TRANSLATED, arguments=("--model", servers.OTHER_API_MODEL)),
            replace(gateway, name=UNMETERED, token=servers.UNMETERED_KEY),
            replace(gateway, name=TOKENS, token=servers.TOKENS_KEY),
        ]
        if "quota" in options.cases:
            on_sqlite = stack.enter_context(servers.gateway(folder, port, None))
            targets.append(replace(on_sqlite, name=SQLITE))
    if options.peers is not None:
        targets += _peers(options, folder, port, stack)
    for against in options.against:
        name, _, url = against.partition("=")
        if _wanted(options, name):
            targets.append(Target(name, url))
    return Bench(binaries, targets)


def _peers(options: argparse.Namespace, folder: Path, port: int, stack: ExitStack) -> Iterator[Target]:
    for name, peer in PEERS.items():
        if not _wanted(options, name):
            continue
        program = options.peers / peer.program
        if not program.exists():
            raise CannotRunError(f"{options.peers} holds no {peer.program}: leave {name} out with --only")
        yield stack.enter_context(peer.start(program, folder, port))


def _wanted(options: argparse.Namespace, name: str) -> bool:
    return not options.only or name in options.only


def _run(bench: Bench, options: argparse.Namespace) -> None:
    if MEMORY.name in options.cases:
        watched = [
            target for target in bench.targets if target.pid is not None and MEMORY.is_for(target.name)
        ]
        for target in watched:
            bench.client(target, ("--connections", "1", *WARM_UP))
            bench.measure(MEMORY, target, MEMORY.arguments)
    cases = [case for case in CASES if case.name in options.cases]
    for number in range(options.rounds):
        turn = number % len(bench.targets)
        for case in cases:
            duration_s = case.quick_s if options.quick else case.duration_s
            turned = bench.targets[turn:] + bench.targets[:turn]
            for target in (target for target in turned if case.is_for(target.name)):
                _show_progress(f"round {number + 1} of {options.rounds}: {case.name}, {target.name}")
                bench.client(target, (*case.arguments, *WARM_UP))
                bench.measure(case, target, (*case.arguments, "--duration-s", str(duration_s)))
        _show_progress("")
        _say(f"round {number + 1} of {options.rounds} done, load average {os.getloadavg()[0]:.1f}")
    _say(
        "",
        "first column: own figures; others: ratio to it, or with a sign what is added to direct;",
        "median of rounds (lowest-highest)",
    )
    for case in (*cases, MEMORY):
        if case.name in bench.samples:
            _say("", *table.lines(case, bench.samples[case.name]))


def _children_cpu_s() -> float:
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


def _show_progress(text: str) -> None:
    """What is running now, on one line that the next one takes the place of; nothing but on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
