"""What clients tell of themselves by OTLP: passed on to a collector, or dropped.

Source: OpenTelemetry Protocol specification 1.7, OTLP/HTTP.
"""

import asyncio
import logging
import time
from typing import NamedTuple

import httpx

from llm_gateway.config.schema import Telemetry
from llm_gateway.tls import trust

_log = logging.getLogger("llm_gateway.signin")

_QUEUE_BODIES = 256
_QUEUE_BYTES = 16 * 1024 * 1024
_TIMEOUT_S = 5.0
_TRIES = 2
_STOP_S = 2.0
_TOLD_EVERY_S = 60.0


class _Told(NamedTuple):
    """One body of a client, and how it came."""

    kind: str
    headers: dict[str, str]
    body: bytes


class Forwarding:
    """Passes OTLP on, beside the requests; what a slow collector cannot take is dropped, and the log says so.

    The clients' credentials are not passed on, and nobody looks into what they tell.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._queue: asyncio.Queue[_Told] = asyncio.Queue(_QUEUE_BODIES)
        self._bytes = 0
        self._sender: asyncio.Task[None] | None = None
        self._dropped = 0
        self._told_at = float("-inf")

    def take(self, kind: str, content_type: str, encoding: str | None, body: bytes) -> None:
        """Takes one body of `kind` (`metrics`, `logs`, `traces`) and returns at once."""
        if self._sender is None:
            return
        headers = {"content-type": content_type} | ({"content-encoding": encoding} if encoding else {})
        if self._queue.full() or self._bytes + len(body) > _QUEUE_BYTES:
            self._drop("more waits than is kept")
            return
        self._bytes += len(body)
        self._queue.put_nowait(_Told(kind, headers, body))

    async def start(self) -> None:
        """Begins to pass on what is taken. Raises: ConfigError for certificates that cannot be used."""
        if self._telemetry.url is not None:
            client = httpx.AsyncClient(
                headers=self._telemetry.headers,
                timeout=_TIMEOUT_S,
                trust_env=False,
                verify=trust(self._telemetry.ca_file, "telemetry.ca_file"),
            )
            self._sender = asyncio.create_task(self._send_all(client))

    async def stop(self) -> None:
        """Returns when what was taken is passed on, or after two seconds."""
        if self._sender is None:
            return
        try:
            await asyncio.wait_for(self._queue.join(), _STOP_S)
        except TimeoutError:
            self._dropped += self._queue.qsize()
            self._tell("the gateway stops")
        self._sender.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)
        self._sender = None

    async def _send_all(self, client: httpx.AsyncClient) -> None:
        async with client:
            while True:
                told = await self._queue.get()
                self._bytes -= len(told.body)
                try:
                    await self._send(client, told)
                finally:
                    self._queue.task_done()

    async def _send(self, client: httpx.AsyncClient, told: _Told) -> None:
        problem = ""
        for _ in range(_TRIES):
            try:
                url = f"{self._telemetry.url}/v1/{told.kind}"
                answer = await client.post(url, content=told.body, headers=told.headers)
            except (httpx.HTTPError, httpx.InvalidURL) as cause:
                problem = type(cause).__name__
                continue
            if answer.is_success:
                return
            problem = f"status {answer.status_code}"
            if not answer.is_server_error:
                break
        self._drop(problem)

    def _drop(self, problem: str) -> None:
        self._dropped += 1
        if time.monotonic() - self._told_at > _TOLD_EVERY_S:
            self._tell(problem)

    def _tell(self, problem: str) -> None:
        if self._dropped:
            _log.warning("telemetry of clients was dropped, %d bodies: %s", self._dropped, problem)
            self._dropped, self._told_at = 0, time.monotonic()
