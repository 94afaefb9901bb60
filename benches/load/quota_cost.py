"""Measures what one call of the quota's script costs Redis: by the number of users, of windows, and by lease.

Redis itself says so (`INFO commandstats`: microseconds in the script, without network, and the commands it
ran; `INFO cpu`: all of its time), while the gateway's own store asks it. Every number of users has a Redis of
its own, and all are measured in turns, so that a busy machine spoils a round of all rather than one row. The
exit status never depends on a figure.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import redis
import servers
from servers import Binaries, CannotRunError

USERS = (1_000, 10_000, 100_000, 1_000_000)
WINDOWS = (1, 2, 3, 4, 5, 6)
USUAL_WINDOWS = 3
LONGEST_S = 600
LEASES = (("settled at once, 1 window", 1, True), ("open, then settled, 2 windows", 2, False))
_ABOUT = ("config|resetstat", "info", "hello", "client|setinfo", "select")
"""Commands that no script runs."""


@dataclass(frozen=True)
class Cost:
    """What one call of the script takes of Redis."""

    script_micros: float
    cpu_micros: float
    """With what is read from the network and written to it."""
    commands: float
    """That the script runs."""


@dataclass(frozen=True)
class Filled:
    """A Redis in which so many users have keys."""

    users: int
    url: str

    def cost(self, binaries: Binaries, windows: int, calls: int, *, settled: bool = False) -> Cost:
        """The cost of a call: of reservations and settlements, or of reservations `settled` at once."""
        arguments: list[str | int] = ["--users", self.users, "--windows", windows, "--calls", calls]
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            client.config_resetstat()
            before = _cpu_seconds(client)
            _load(binaries, self.url, [*arguments, *(["--settled"] if settled else [])])
            cpu_s = _cpu_seconds(client) - before
            stats = {
                name.removeprefix("cmdstat_"): each for name, each in client.info("commandstats").items()
            }
        scripts = [stats.pop(name) for name in ("evalsha", "eval") if name in stats]
        count = sum(each["calls"] for each in scripts)
        commands = sum(each["calls"] for name, each in stats.items() if name not in _ABOUT)
        micros = sum(each["usec"] for each in scripts)
        return Cost(micros / count, cpu_s * 1e6 / count, commands / count)

    def plain_set_micros(self, calls: int) -> float:
        """Microseconds of a SET of any user's key: what the size of the memory alone makes of a command."""
        draw = random.Random(calls)  # noqa: S311 - which keys, not a secret
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            client.config_resetstat()
            with client.pipeline(transaction=False) as pipeline:
                for _ in range(calls):
                    pipeline.set(f"plain:{draw.randrange(self.users)}", "e", px=900_000)
                pipeline.execute()
            return float(client.info("commandstats")["cmdstat_set"]["usec_per_call"])

    def keys(self) -> int:
        """How many keys it holds."""
        with redis.Redis.from_url(self.url) as client:
            return int(client.dbsize())


def main() -> int:
    """Measures and prints; returns the exit status."""
    options = _options()
    try:
        binaries = servers.build()
        with tempfile.TemporaryDirectory(prefix="llm-gateway-quota-") as folder, ExitStack() as stack:
            filled = []
            for users in options.users:
                url = stack.enter_context(servers.redis(Path(folder), f"redis-{users}"))
                _say(f"filling a Redis with {users:,} users")
                _load(binaries, url, ["--users", users, "--windows", USUAL_WINDOWS])
                filled.append(Filled(users, url))
            _say(*_by_users(binaries, filled, options))
            _say(*_by_windows(binaries, filled[0], options))
            _say(*_by_lease(binaries, filled[0], options))
    except CannotRunError as error:
        _say(f"quota_cost: {error}")
        return 2
    return 0


def _by_users(binaries: Binaries, filled: list[Filled], options: argparse.Namespace) -> Iterator[str]:
    script: dict[int, list[float]] = {each.users: [] for each in filled}
    plain: dict[int, list[float]] = {each.users: [] for each in filled}
    for _ in range(options.rounds):
        for each in filled:
            script[each.users].append(each.cost(binaries, USUAL_WINDOWS, options.calls).script_micros)
            plain[each.users].append(each.plain_set_micros(options.calls))
    yield f"µs per call, {USUAL_WINDOWS} windows; beside it a plain SET, which more memory makes slower too"
    yield f"{'users':>10}{'keys':>12}{'script':>10}{'to the first':>14}{'SET':>10}{'to the first':>14}"
    for each in filled:
        row = f"{each.users:>10,}{each.keys():>12,}"
        for costs in (script, plain):
            cost = median(costs[each.users])
            row += f"{cost:>10.1f}{cost / median(costs[filled[0].users]):>14.2f}"
        yield row


def _by_windows(binaries: Binaries, filled: Filled, options: argparse.Namespace) -> Iterator[str]:
    costs: dict[int, list[float]] = {windows: [] for windows in WINDOWS}
    for _ in range(options.rounds):
        for windows in WINDOWS:
            costs[windows].append(filled.cost(binaries, windows, options.calls).script_micros)
    yield f"{'windows':>10}{'µs per call':>13}{'to the first':>14}   {filled.users:,} users"
    first = median(costs[WINDOWS[0]])
    for windows in WINDOWS:
        cost = median(costs[windows])
        yield f"{windows:>10}{cost:>13.1f}{cost / first:>14.2f}"


def _by_lease(binaries: Binaries, filled: Filled, options: argparse.Namespace) -> Iterator[str]:
    costs: dict[str, list[Cost]] = {name: [] for name, _, _ in LEASES}
    for _ in range(options.rounds):
        for name, windows, settled in LEASES:
            costs[name].append(filled.cost(binaries, windows, options.calls, settled=settled))
    yield f"{'lease':<32}{'commands per call':>18}{'script, µs':>12}{'CPU of Redis, µs':>18}"
    for name, measured in costs.items():
        commands, script, cpu = (
            median(getattr(cost, field) for cost in measured)
            for field in ("commands", "script_micros", "cpu_micros")
        )
        yield f"{name:<32}{commands:>18.1f}{script:>12.1f}{cpu:>18.1f}"


def _cpu_seconds(client: "redis.Redis") -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def _load(binaries: Binaries, url: str, arguments: list[str | int]) -> None:
    command = [str(binaries.quota), "--url", url, *map(str, arguments)]
    subprocess.run(command, check=True, timeout=LONGEST_S)  # noqa: S603 - our own program


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/load/quota_cost.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each row is measured (default: 5)")
    parser.add_argument(
        "--calls", type=int, default=10_000, help="requests in a measurement (default: 10000)"
    )
    words = ",".join(map(str, USERS))
    parser.add_argument(
        "--users",
        type=lambda text: [int(word) for word in text.split(",")],
        default=list(USERS),
        help=f"numbers of users (default: {words}; a million takes 1 GB)",
    )
    return parser.parse_args()


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
