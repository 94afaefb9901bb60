"""The machine that a benchmark runs on."""

import datetime
import importlib.metadata
import os
import platform
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent


def machine() -> Iterator[str]:
    """What a reader needs to know to run the same again."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    yield f"{now}  {shlex.join(['python', *sys.argv])}"
    kernel, python = platform.release(), platform.python_version()
    yield f"{_processor()}, {os.cpu_count()} cores, Linux {kernel}, Python {python}"
    nginx = _output("nginx", "-v").removeprefix("nginx version: ")
    redis = _output("redis-server", "--version").partition(" sha=")[0]
    packages = ", ".join(f"{name} {_version(name)}" for name in ("llm-gateway", "granian", "uvloop"))
    yield f"{nginx}, {redis}, {packages}, {_output('git', 'describe', '--always', '--dirty')}"


def _processor() -> str:
    found = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return next(found, ": unknown processor").partition(": ")[2]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE)  # noqa: S603
    except (FileNotFoundError, subprocess.CalledProcessError):
        return f"{command[0]} ?"
    return (done.stdout + done.stderr).strip().partition("\n")[0]


def raise_open_files() -> None:
    """A relay of 1,000 streams holds 2,000 sockets; common limits are lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
