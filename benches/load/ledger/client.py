"""Clients: each sends one errand after the other, stays or leaves, and notes what it was told."""

import asyncio
import re
import time

from ledger import message
from ledger.plan import Errand, Plan
from ledger.trace import Seen, Trace, Traces

LONGEST_S = 30.0
"""No answer may take longer; the upstream's slowest script takes a third of it."""

_HEAD = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n(.*?)\r\n\r\n", re.DOTALL)
_REQUEST_ID = re.compile(rb"(?:^|\r\n)request-id: *(\S+)", re.IGNORECASE)
_LENGTH = re.compile(rb"(?:^|\r\n)content-length: *(\d+)", re.IGNORECASE)
_METERED = re.compile(rb"(?:^|\r\n)ratelimit: ", re.IGNORECASE)


class Clients:
    """Many people at once, on the gateways that listen on `ports`."""

    def __init__(self, ports: list[int], plan: Plan, traces: Traces) -> None:
        self._ports = ports
        self._plan = plan
        self._traces = traces

    async def run(self, count: int, ends: asyncio.Event) -> None:
        """`count` clients in a closed loop until `ends`; returns when all have their last answer."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._one_after_the_other(ends))

    async def _one_after_the_other(self, ends: asyncio.Event) -> None:
        while not ends.is_set():
            await self.send(self._plan.next())
            await asyncio.sleep(self._plan.rest_s())

    async def send(self, errand: Errand) -> Trace:
        """Sends one errand; returns its trace when it has ended for the client."""
        trace = self._traces.begin(errand)
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._exchange(trace)
        except TimeoutError:
            trace.seen = Seen.STUCK
        except OSError:
            trace.seen = Seen.NO_ANSWER if trace.status is None else Seen.CUT
        trace.ended_at_s = time.time()
        return trace

    async def _exchange(self, trace: Trace) -> None:
        port = self._ports[trace.errand.gateway]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(message.request(trace.errand, f"127.0.0.1:{port}"))
            await _Answer(trace).read(reader)
        finally:
            # A client that has its answer has nothing left to lose; one that leaves does so at once.
            writer.transport.abort()


class _Answer:
    """What one client receives."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._received = b""
        self._head_bytes = 0
        self._length: int | None = None

    async def read(self, reader: asyncio.StreamReader) -> None:
        leaving = self._trace.errand.leaving
        patience_s = leaving.after_s if leaving else None
        most_events = leaving.after_events if leaving else None
        try:
            async with asyncio.timeout(patience_s):
                while data := await reader.read(65536):
                    self._take(data)
                    if most_events is not None and self._trace.events_received >= most_events:
                        break
                else:
                    most_events = None
        except TimeoutError:
            self._trace.seen = self._end() if self._is_whole() else Seen.LEFT
            return
        left = most_events is not None and not self._is_whole()
        self._trace.seen = Seen.LEFT if left else self._end()

    def _take(self, data: bytes) -> None:
        self._received += data
        trace = self._trace
        if not self._head_bytes and (head := _HEAD.match(self._received)):
            self._head_bytes = head.end()
            trace.status = int(head[1])
            fields = head[2]
            trace.request_id = found[1].decode() if (found := _REQUEST_ID.search(fields)) else None
            trace.metered = _METERED.search(fields) is not None
            self._length = int(found[1]) if (found := _LENGTH.search(fields)) else None
        trace.events_received = message.words_in(self._body) if trace.errand.stream else 0

    @property
    def _body(self) -> bytes:
        return self._received[self._head_bytes :] if self._head_bytes else b""

    def _is_whole(self) -> bool:
        """Whether the last byte of the answer is there."""
        if not self._head_bytes:
            return False
        if self._length is not None:
            return len(self._body) >= self._length
        return self._body.endswith(b"0\r\n\r\n")

    def _end(self) -> Seen:
        if not self._head_bytes:
            return Seen.NO_ANSWER
        if not self._is_whole():
            return Seen.CUT
        if self._trace.status != 200:
            return Seen.REFUSED
        if not self._trace.errand.stream or message.ends_whole(self._body):
            return Seen.WHOLE
        return Seen.BROKEN if message.ends_with_error(self._body) else Seen.CUT
