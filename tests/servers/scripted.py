"""An upstream that does exactly what a test says, byte by byte, and remembers what it was sent.

    with ScriptedUpstream() as upstream:
        upstream.respond("/v1/messages", Answer.json(529, {...}), Answer(chunks=[b"...", Reset()]))
        ...                                # point the gateway at upstream.url
        request, *_ = upstream.wait_for_requests(1)

Paths without a scripted answer get a small correct one in the dialect of the path. The server runs on a
thread with a loop of its own, so that a blocked test does not block it.
"""

import asyncio
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from tests.servers.answers import anthropic_event, anthropic_stream, default_answer, openai_stream
from tests.servers.script import (
    Answer,
    CloseNow,
    Endless,
    Gate,
    Part,
    Pause,
    Request,
    Reset,
    Script,
    WaitFor,
)

__all__ = [
    "Answer",
    "CloseNow",
    "Endless",
    "Gate",
    "Pause",
    "Request",
    "Reset",
    "ScriptedUpstream",
    "WaitFor",
    "anthropic_event",
    "anthropic_stream",
    "openai_stream",
]


class _Over(Exception):  # noqa: N818 - not an error: the peer closed, or the script said to
    pass


class _Connection(asyncio.StreamReaderProtocol):
    def __init__(self, upstream: "ScriptedUpstream", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(asyncio.StreamReader(2**16, loop), self._serve, loop)
        self._upstream = upstream
        self._left = asyncio.Event()
        self._request: Request | None = None

    def eof_received(self) -> bool | None:
        self._mark_left()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._mark_left()
        super().connection_lost(exc)

    def _mark_left(self) -> None:
        request = self._request
        self._left.set()
        with self._upstream.changed:
            if request and request.answered_at is None and request.closed_at is None:
                request.closed_at = time.monotonic()
            self._upstream.changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # `drain` then returns when the kernel has everything, which makes `sent_bytes` and `Reset` exact.
        writer.transport.set_write_buffer_limits(high=0)
        self._writer = writer
        number = self._upstream.count_connection()
        try:
            if self._upstream.take_refusal():
                await self._play(Reset())
            while request := await _read_request(reader, number):
                self._request = request
                await self._answer(request, self._upstream.take(request))
        except (_Over, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # Cancelled is how the server stops; Python 3.11's stream protocol would log it as an error.
            pass
        finally:
            # From here on it is this side that closes.
            self._request = None
            writer.transport.abort() if self._left.is_set() else writer.close()

    async def _answer(self, request: Request, answer: Answer) -> None:
        for part in answer.before:
            await self._play(part)
        chunked = answer.framing == "chunked"
        if answer.framing != "raw":
            await self._write(answer.head())
        for part in answer.chunks:
            await self._play(part, chunked)
        if chunked:
            await self._write(b"0\r\n\r\n")
        with self._upstream.changed:
            request.answered_at = time.monotonic()
            self._upstream.changed.notify_all()
        for part in answer.after:
            await self._play(part)
        if answer.framing == "close":
            raise _Over

    async def _play(self, part: Part, chunked: bool = False) -> None:
        match part:
            case bytes():
                await self._write_body(part, chunked)
            case Endless(chunk):
                while True:
                    await self._write_body(chunk, chunked)
                    await asyncio.sleep(0)
            case Pause(seconds):
                await self._unless_left(asyncio.sleep(seconds))
            case WaitFor(gate):
                await self._unless_left(gate.passed())
            case Reset():
                raw: socket.socket = self._writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._writer.transport.abort()
                raise _Over
            case CloseNow():
                raise _Over

    async def _write_body(self, data: bytes, chunked: bool) -> None:
        await self._write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        with self._upstream.changed:
            if self._request:
                self._request.sent_bytes += len(data)
            self._upstream.changed.notify_all()

    async def _write(self, data: bytes) -> None:
        if self._left.is_set():
            raise _Over
        self._writer.write(data)
        if self._writer.transport.get_write_buffer_size():
            await self._unless_left(self._writer.drain())

    async def _unless_left(self, waiting: Coroutine[Any, Any, None]) -> None:
        tasks = {asyncio.ensure_future(waiting), asyncio.ensure_future(self._left.wait())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        if self._left.is_set():
            raise _Over
        for task in done:
            task.result()


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *fields = head[:-4].split("\r\n")
    method, target, _ = line.split(" ", 2)
    headers = [(name, value.strip()) for name, _, value in (entry.partition(":") for entry in fields)]
    request = Request(method, target, headers, b"", connection, time.monotonic())
    if (request.header("transfer-encoding") or "").lower() == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            request.body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        request.body = await reader.readexactly(int(request.header("content-length") or 0))
    return request


class ScriptedUpstream:
    """A context manager: an HTTP/1.1 server with keep-alive on a free port of the loopback.

    `url` is its base without `/v1`. Everything public may be called from any thread; the waits take a
    time-out in seconds and raise TimeoutError with what was seen instead.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self.changed = threading.Condition()
        self.requests: list[Request] = []
        self.connections = 0
        self._refusals = 0
        self._queues: dict[str, deque[Script]] = defaultdict(deque)
        self._standing: dict[str, Script] = {}
        self._ssl_context = ssl_context
        self._address: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._address.result()
        self.url = f"{'https' if self._ssl_context else 'http'}://127.0.0.1:{self.port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(
            lambda: _Connection(self, self._loop), "127.0.0.1", 0, ssl=self._ssl_context, backlog=4096
        )
        self._address.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()

    def respond(self, path: str, *answers: Script) -> None:
        """Queues answers for a path (without query), each used once."""
        with self.changed:
            self._queues[path].extend(answers)

    def always(self, path: str, answer: Script) -> None:
        """Sets what a path answers whenever nothing is queued."""
        with self.changed:
            self._standing[path] = answer

    def forget(self) -> None:
        """Drops the requests so far and every answer that was set."""
        with self.changed:
            self.requests.clear()
            self._queues.clear()
            self._standing.clear()

    def reset_connections(self, count: int) -> None:
        """Makes the next connections be accepted and reset before anything is read."""
        with self.changed:
            self._refusals += count

    def wait_for_requests(self, count: int, timeout_s: float = 10) -> list[Request]:
        """All requests so far, once there are at least `count`."""
        self._wait(lambda: len(self.requests) >= count, timeout_s, f"{count} requests")
        return list(self.requests)

    def wait_until_client_closed(self, timeout_s: float = 10) -> float:
        """Seconds from this call until the peer had closed on the latest request, 0 if it had already."""
        called_at = time.monotonic()
        self._wait(lambda: bool(self.requests and self.requests[-1].closed_at), timeout_s, "a close")
        return max(0.0, (self.requests[-1].closed_at or 0.0) - called_at)

    def wait_until_blocked(self, quiet_s: float = 0.5) -> int:
        """Body bytes the latest request got, once none could be written for `quiet_s`."""
        with self.changed:
            while self.changed.wait(quiet_s):
                pass
            return self.requests[-1].sent_bytes

    def _wait(self, condition: Callable[[], bool], timeout_s: float, wanted: str) -> None:
        with self.changed:
            if not self.changed.wait_for(condition, timeout_s):
                seen = [(request.method, request.target, request.closed_at) for request in self.requests]
                raise TimeoutError(f"no {wanted} within {timeout_s} s; seen: {seen}")

    def count_connection(self) -> int:
        """The number of the connection that has just been made, from 1."""
        with self.changed:
            self.connections += 1
            return self.connections

    def take_refusal(self) -> bool:
        """True if this connection is one of those to reset."""
        with self.changed:
            self._refusals -= (refused := self._refusals > 0)
            return refused

    def take(self, request: Request) -> Answer:
        """Records the request and gives the answer that is its turn."""
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
            queue = self._queues[request.path]
            script = queue.popleft() if queue else self._standing.get(request.path, default_answer)
        return script(request) if callable(script) else script
