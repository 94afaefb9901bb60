"""The real gateway, as its own process, for tests: `llm-gateway serve` with a configuration of the test's."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.servers.waiting import eventually

_START_S = 30.0

FREE, PRO, ENTERPRISE = "key-of-fred-free", "key-of-paula-pro", "key-of-erin-enterprise"
SUBSCRIBERS = [
    {"user": "fred", "tier": "free", "key": FREE},
    {"user": "paula", "tier": "pro", "key": PRO},
    {"user": "erin", "tier": "enterprise", "key": ENTERPRISE},
]


def settings(upstream_url: str, **sections: Any) -> dict[str, Any]:
    """Settings with three subscribers and all built-in upstreams at `upstream_url`, under `sections`."""
    upstreams = {
        # Neither `auto` nor an unknown window: a test sees no request of the gateway's own.
        "internal": {
            "urls": [upstream_url],
            "apis": ["anthropic", "openai"],
            "profile": {"context_window": 1_000_000},
        },
        "anthropic": {"urls": [upstream_url], "api_key": "upstream-anthropic-key"},
        "openai": {"urls": [upstream_url], "api_key": "upstream-openai-key"},
    }
    # A machine that runs tests on every core may hold a store's answer back for longer than a gateway waits.
    quota = {"timeout_s": 5, **sections.pop("quota", {})}
    return {"upstreams": upstreams, "subscribers": SUBSCRIBERS, "quota": quota, **sections}


def sign_in_settings(upstream_url: str, auth: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    """The same for the people of an issuer, who take the place of the three subscribers."""
    found = settings(upstream_url, **sections)
    del found["subscribers"]
    return found | {"auth": auth}


class Gateway:
    """A running gateway. `.url` is without `/v1`; `.log()` is what it has written to standard error so far.

    With None for `config` there is no file: `environment` is all it is told.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any] | None,
        *,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log_path = folder / f"gateway-{self.port}.log"
        command = [sys.executable, "-m", "llm_gateway", "serve"]
        if config is not None:
            config_file = folder / f"gateway-{self.port}.yaml"
            config_file.write_text(yaml.safe_dump({"data_dir": str(folder / "data"), **config}))
            command += ["--config", str(config_file)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(workers), *arguments]
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command, stderr=log, stdout=log, env=clean_environment(environment or {}), cwd=folder
            )

    def __enter__(self) -> Self:
        self.wait_until_healthy()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_until_healthy(self) -> None:
        """Returns when `/health` answers; raises with the log if the process ends first."""
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"the gateway ended with {self.process.returncode}:\n{self.log()}")
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
            try:
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.02)
            finally:
                connection.close()
        self.stop()
        raise RuntimeError(f"the gateway did not answer in {_START_S} s:\n{self.log()}")

    def stop(self) -> int:
        """Ends it with SIGTERM, as Kubernetes does; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        return self.process.returncode

    def log(self) -> str:
        """Everything written to standard error so far."""
        return self._log_path.read_text(errors="replace")

    def records(self) -> list[dict[str, Any]]:
        """The access records written so far."""
        lines = (json.loads(line) for line in self.log().splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") == "request"]

    def wait_for_records(self, count: int, timeout_s: float = 10) -> list[dict[str, Any]]:
        """The access records, once there are that many: they are written a moment after the answer."""
        eventually(lambda: len(self.records()) >= count, f"{count} records", timeout_s)
        return self.records()

    def wait_for_record(self, request_id: str | None) -> dict[str, Any]:
        """The one access record of a request."""

        def found() -> list[dict[str, Any]]:
            return [record for record in self.records() if record["request_id"] == request_id]

        eventually(lambda: bool(found()), f"a record of {request_id}")
        (record,) = found()
        return record

    def worker_pids(self) -> list[int]:
        """The processes that serve."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in children.read_text().split()]


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without the gateway's variables, a developer's own, and `extra`."""
    ours = (
        "LLM_GATEWAY_",
        "OIDC_",
        "KEYCLOAK_",
        "CLAUDE_API_",
        "OPENAI_API_",
        "INTERNAL_LLM_",
        "QUOTA_",
        "AUTH_",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | dict(extra)


def resident_bytes(pid: int) -> int:
    """The memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def redis_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """A real Redis on loopback without persistence; its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (folder / f"redis-{port}.log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
