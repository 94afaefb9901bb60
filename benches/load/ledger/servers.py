"""Redis and the gateways of a campaign: processes that are killed, frozen and started again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from ledger.charge import CACHE_READ_WEIGHT
from ledger.plan import GATEWAYS, HEAVY_WEIGHT, TIERS, USERS, WORKERS, Tier

START_S = 30.0
STOP_S = 20.0
LEASE_S = 15
LOG_TAIL_CHARACTERS = 3000


class CannotRunError(Exception):
    """Something that the campaign needs is missing, or does not start."""


class Server:
    """A process that is ended when the context closes, however often it was started."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._name, self._command, self._folder = name, command, folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self.signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The process."""
        if self._process is None:
            raise CannotRunError(f"{self._name} was not started")
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """Where its output goes."""
        return self._folder / f"{self._name}.log"

    def start(self) -> None:
        """Starts the process, which may take its time to answer."""
        # Nothing is inherited: a variable of the caller's would be stronger than the file.
        environment = {"PATH": os.environ.get("PATH", os.defpath)}  # noqa: TID251 - its programs are ours
        if path := os.environ.get("PYTHONPATH"):  # noqa: TID251 - the same
            environment["PYTHONPATH"] = path
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the commands below
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=environment,
            )

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it as a failing machine would; returns when it is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def check(self) -> None:
        """Raises with the end of its log if the process has ended."""
        if self._process is None or self._process.poll() is not None:
            tail = self.log_path.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
            raise CannotRunError(f"{self._name} ended by itself\n{tail}")


class Redis(Server):
    """A Redis that has lost nothing of what it acknowledged, whenever it is killed.

    With `appendfsync everysec` it may answer before it has written: it puts a write off while one is synced.
    """

    def __init__(self, port: int, folder: Path) -> None:
        command = [
            "redis-server",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(folder),
            "--save",
            "",
        ]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]
        super().__init__("redis", command, folder)
        self.port = port

    async def wait_until_it_answers(self) -> None:
        """Returns when it serves commands."""
        until = time.monotonic() + START_S
        while await self._ping() != b"+PONG\r\n":
            self.check()
            if time.monotonic() > until:
                raise CannotRunError("redis does not answer")
            await asyncio.sleep(0.02)

    async def forget_scripts(self) -> None:
        """`SCRIPT FLUSH`."""
        await self._command_line(b"SCRIPT FLUSH\r\n")

    async def _ping(self) -> bytes:
        return await self._command_line(b"PING\r\n")

    async def _command_line(self, line: bytes) -> bytes:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return b""
        try:
            writer.write(line)
            async with asyncio.timeout(1):
                return await reader.readline()
        except (OSError, TimeoutError):
            return b""
        finally:
            writer.close()


class Gateway(Server):
    """One gateway with its workers."""

    def __init__(self, number: int, port: int, folder: Path, settings: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / f"gateway-{number}.yaml"
        config.write_text(json.dumps({**settings, "data_dir": str(folder / f"data-{number}")}, indent=2))
        command = [sys.executable, "-m", "llm_gateway", "serve", "--config", str(config)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(WORKERS)]
        super().__init__(f"gateway-{number}", command, folder)
        self.number, self.port = number, port

    def workers(self) -> list[int]:
        """The processes that serve."""
        return [int(word) for word in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def get(self, path: str, key: str | None = None) -> tuple[int, str]:
        """Status and body of an answer; status 0 if there is none."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - our own loopback address
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    async def wait_until_it_serves(self) -> None:
        """Returns when it is ready, and all workers are there."""
        until = time.monotonic() + START_S
        while (
            len(self.workers()) != WORKERS or (await asyncio.to_thread(self.get, "/health/ready"))[0] != 200
        ):
            self.check()
            if time.monotonic() > until:
                raise CannotRunError(f"{self._name} is not ready: {self.get('/health/ready')}")
            await asyncio.sleep(0.05)

    def records(self) -> list[dict[str, Any]]:
        """Its access records so far."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        events = (json.loads(line) for line in lines if line.startswith("{") and line.endswith("}"))
        return [event for event in events if event.get("event") == "request"]


def settings(upstream_port: int, redis_port: int) -> dict[str, Any]:
    """The configuration of both gateways."""
    upstream = {
        "urls": [f"http://127.0.0.1:{upstream_port}"],
        "apis": ["anthropic", "openai"],
        "profile": {"context_window": 1_000_000},
        "deadlines": {"connect_s": 2, "first_byte_s": 15, "idle_s": 15, "ping_s": 10},
    }
    weights = {"requests": HEAVY_WEIGHT, "prompts": HEAVY_WEIGHT, "tokens": HEAVY_WEIGHT}
    model = {"class": "internal", "upstream": "campaign", "wire": "wire"}
    return {
        "auth": {"provider": "keys"},
        "upstreams": {"campaign": upstream},
        "models": [{"id": "plain", **model}, {"id": "heavy", **model, "weights": weights}],
        "tiers": {tier.name: _tier(tier) for tier in TIERS},
        "subscribers": [{"user": user.name, "tier": user.tier.name, "key": user.key} for user in USERS],
        "quota": {
            "redis_url": f"redis://127.0.0.1:{redis_port}/0",
            "lease_s": LEASE_S,
            "replicas": GATEWAYS,
            "cache_read_weight": CACHE_READ_WEIGHT,
        },
    }


def _tier(tier: Tier) -> dict[str, Any]:
    windows = [
        {"unit": window.unit, "limit": window.limit} | ({"period": window.period} if window.period else {})
        for window in tier.windows
    ]
    return {
        "rank": 40,
        "models": ["*"],
        "quota": windows,
        "routes": [{"match": "*", "model": "itself"}],
        "on_store_failure": tier.on_store_failure,
    }
