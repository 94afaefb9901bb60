"""The servers of a benchmark: started on free ports, watched, and stopped by their process ids."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GATEWAY = ROOT / ".venv" / "bin" / "llm-gateway"
KEY = "bench-key-4f1d7c02a95e"
UNMETERED_KEY = "bench-key-90c3ee61b7d2"
TOKENS_KEY = "bench-key-27ab5d80f41c"
OTHER_API_MODEL = "bench-translated"
START_S = 30.0
STOP_S = 10.0
LOG_TAIL_CHARACTERS = 2000


class CannotRunError(Exception):
    """Something that the benchmark needs is missing or does not start; the text says what to do."""


@dataclass(frozen=True)
class Target:
    """What is measured: where it listens, and its first process where it is ours to watch."""

    name: str
    url: str
    token: str = "none"  # noqa: S105 - a relay that asks for none gets this word
    pid: int | None = None
    arguments: tuple[str, ...] = ()
    """What load-client is told besides."""


@dataclass(frozen=True)
class Binaries:
    """The programs of the Rust crate beside this file."""

    client: Path
    upstream: Path
    quota: Path


def build() -> Binaries:
    """The release binaries, built if need be, wherever Cargo puts them."""
    command = ["cargo", "build", "--release", "--locked", "-p", "llm-gateway-load"]
    built = subprocess.run(  # noqa: S603 - a fixed command
        [*command, "--message-format=json-render-diagnostics"], cwd=ROOT, stdout=subprocess.PIPE, check=False
    )
    if built.returncode:
        raise CannotRunError(f"{' '.join(command)} failed")
    found = {}
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if executable := message.get("executable"):
            found[message["target"]["name"]] = Path(executable)
    return Binaries(client=found["load-client"], upstream=found["load-upstream"], quota=found["load-quota"])


def free_port() -> int:
    """A TCP port of the loopback interface that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def upstream(binaries: Binaries, folder: Path, port: int) -> Iterator[int]:
    """Runs the scripted upstream on `port` (0: any) and gives its port."""
    port = port or free_port()
    with running([str(binaries.upstream), "--port", str(port)], folder, "upstream", listens(port)):
        yield port


@contextmanager
def nginx(folder: Path, upstream_port: int) -> Iterator[Target]:
    """Runs nginx with one worker as a relay to `upstream_port`."""
    program = _program("nginx", "nginx")
    port = free_port()
    # Started by root, the worker would become a user who cannot enter the folder.
    values = {"user_line": "user root;" if os.geteuid() == 0 else ""}
    text = (HERE / "nginx.conf.template").read_text()
    config = folder / "nginx.conf"
    config.write_text(
        Template(text).substitute(values, folder=folder, port=port, upstream_port=upstream_port)
    )
    command = [program, "-p", str(folder), "-c", str(config), "-e", str(folder / "nginx.error.log")]
    with running(command, folder, "nginx", listens(port)) as process:
        yield Target("nginx", f"http://127.0.0.1:{port}", pid=process.pid)


@contextmanager
def redis(folder: Path, name: str = "redis") -> Iterator[str]:
    """Runs a Redis that keeps nothing, and gives its URL."""
    program = _program("redis-server", "redis-server")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with running([*command, "--save", "", "--appendonly", "no"], folder, name, listens(port)):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def gateway(folder: Path, upstream_port: int, redis_url: str | None, workers: int = 1) -> Iterator[Target]:
    """Runs the gateway: authentication, quota (no URL: in SQLite), metrics, access log."""
    if not GATEWAY.exists():
        raise CannotRunError(
            f"{GATEWAY} is missing: run `make build`, or leave it out with --only direct,nginx"
        )
    name = "gateway" if redis_url else "sqlite"
    config = folder / f"{name}.yaml"
    config.write_text(json.dumps(_settings(upstream_port, folder / f"{name}-data"), indent=2))
    port = free_port()
    command = [str(GATEWAY), "serve", "--config", str(config), "--host", "127.0.0.1"]
    # Nothing is inherited: a variable of the caller's would be stronger than the file.
    environment = {"PATH": os.defpath, "AUTH_PROVIDER": "keys"}
    if redis_url:
        environment["QUOTA_REDIS_URL"] = redis_url
    ready = answers(f"http://127.0.0.1:{port}/health")
    command += ["--port", str(port), "--workers", str(workers)]
    with running(command, folder, name, ready, environment) as process:
        yield Target("gateway", f"http://127.0.0.1:{port}", KEY, process.pid)


def _settings(upstream_port: int, data: Path) -> dict[str, object]:
    """Tiers that may do everything, with limits never reached: the store is asked for each request."""
    requests = {"unit": "requests", "period": "day", "limit": 1_000_000_000}
    tokens = {"unit": "tokens", "period": "day", "limit": 1_000_000_000_000}
    places = {"unit": "concurrent", "limit": 100_000}
    tier = {"rank": 40, "models": ["*"], "routes": [{"match": "*", "model": "itself"}]}
    address = f"http://127.0.0.1:{upstream_port}"
    return {
        "tiers": {
            "bench": {**tier, "quota": [requests]},
            "unmetered": {**tier, "quota": []},
            "tokens": {**tier, "quota": [requests, tokens, places]},
        },
        # Another name at the upstream, so that the name is replaced in every request.
        "models": [
            {"id": "bench", "class": "internal", "upstream": "internal", "wire": "bench-wire"},
            {"id": OTHER_API_MODEL, "class": "other", "upstream": "other", "wire": "bench-wire"},
        ],
        "upstreams": {
            "internal": {"urls": [address], "apis": ["anthropic", "openai"]},
            "other": {"urls": [address], "apis": ["openai"], "kind": "vllm"},
        },
        "subscribers": [
            {"user": "bench", "tier": "bench", "key": KEY},
            {"user": "unmetered", "tier": "unmetered", "key": UNMETERED_KEY},
            {"user": "tokens", "tier": "tokens", "key": TOKENS_KEY},
        ],
        "data_dir": str(data),
    }


def _program(name: str, package: str) -> str:
    # Debian keeps servers where only root's search path looks.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise CannotRunError(f"{name} is missing: apt-get install {package}")
    return found


@contextmanager
def running(
    command: list[str],
    folder: Path,
    name: str,
    ready: Callable[[], bool],
    environment: dict[str, str] | None = None,
    start_s: float = START_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server until the context closes; its output goes to a file, shown if it does not start."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the commands above
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=folder
        )
    try:
        ends = time.monotonic() + start_s
        while not ready():
            if process.poll() is not None or time.monotonic() > ends:
                tail = log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
                raise CannotRunError(f"{name} did not start\n{tail}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port: int) -> Callable[[], bool]:
    """Whether something listens on `port`."""

    def ready() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return ready


def answers(url: str) -> Callable[[], bool]:
    """Whether a GET of `url` succeeds."""

    def ready() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own loopback address
                return True
        except (urllib.error.URLError, OSError):
            return False

    return ready
