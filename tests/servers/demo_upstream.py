"""The demo upstream as its own process, as `llm-gateway demo` starts it."""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.gateway import free_port

_START_S = 30.0


@contextmanager
def demo_upstream() -> Iterator[str]:
    """A running demo upstream; its URL without `/v1`."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "llm_gateway.demo", str(port)]) as process:
        try:
            _wait_until_healthy(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_until_healthy(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    raise RuntimeError(f"the demo upstream did not answer in {_START_S} s")
