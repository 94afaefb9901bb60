"""Asks two gateways for thousands of answers while everything around them fails, and then counts every unit.

`make ledger` runs this. Exit status: 0 if the ledger is exact, 1 if it is not, 2 if something is missing.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from ledger.campaign import Campaign, Result
from ledger.report import lines
from ledger.servers import CannotRunError

LONGEST_S = 600
"""Records of leases are kept for a quarter of an hour, and they tell what a killed worker has left."""


def main() -> int:
    """Runs one campaign; returns the exit status."""
    options = _options()
    if shutil.which("redis-server") is None:
        _say("ledger: redis-server is missing: apt-get install redis-server")
        return 2
    try:
        with _folder(options.logs) as folder:
            result = uvloop.run(_run(folder, options.seconds, options.seed))
    except CannotRunError as error:
        _say(f"ledger: {error}")
        return 2
    _say(*lines(result))
    return 1 if any(result.failures().values()) else 0


async def _run(folder: Path, seconds: float, seed: int) -> Result:
    task = asyncio.current_task()
    if task is not None:
        # A stop from outside is to end the servers like any other end.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    _say(f"{seconds} s of faults, seed {seed}")
    return await Campaign(folder, seed, _say).run(seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/load/ledger_campaign.py", description=__doc__)
    parser.add_argument(
        "--seconds", type=_seconds, default=60, help=f"of faults, 5 to {LONGEST_S} (default: 60)"
    )
    parser.add_argument("--seed", type=int, default=1, help="decides requests and faults (default: 1)")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep logs and data here; not there yet")
    return parser.parse_args()


def _seconds(text: str) -> int:
    seconds = int(text)
    if not 5 <= seconds <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"must be 5 to {LONGEST_S}")
    return seconds


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="llm-gateway-ledger-") as folder:
        yield Path(folder)


def _say(*said: str) -> None:
    for line in said:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
