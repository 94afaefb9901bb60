"""The upstream: plays each request's script, and keeps its own count of what it has served."""

import asyncio
import re
import socket
import struct
import time

from ledger import message
from ledger.plan import Dialect, Ending, Errand, Script
from ledger.trace import Told, Traces, UpstreamCall

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STEP_S = 0.02


class _GatewayLeft(Exception):  # noqa: N818 - an end like any other
    pass


class _Over(Exception):  # noqa: N818 - the script says to close the connection
    pass


class Upstream:
    """Listens on `port`, but for the time of an outage."""

    def __init__(self, port: int, traces: Traces) -> None:
        self._port = port
        self._traces = traces
        self._server: asyncio.Server | None = None
        self.gates: dict[int, asyncio.Event] = {}
        """Requests, by number, that are answered only when their gate is open."""

    async def open(self) -> None:
        """Begins to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=512)

    def close(self) -> None:
        """Stops listening: new connections are refused, those that are open go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _read(reader)) is not None:
                path, body = asked
                number = message.number_in(body)
                if number is None:
                    writer.write(_json(200, b'{"object":"list","data":[]}', 0))
                    continue
                dialect: Dialect = "anthropic" if path.startswith("/v1/messages") else "openai"
                await self._answer(number, dialect, reader, writer)
        except (_Over, _GatewayLeft, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, number: int, dialect: Dialect, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        trace = self._traces.of(number)
        call = UpstreamCall(time.time())
        trace.calls.append(call)
        player = _Player(trace.errand, dialect, call, (reader, writer))
        try:
            if gate := self.gates.get(number):
                await gate.wait()
            await player.play()
        finally:
            call.ended_at_s = time.time()


class _Player:
    """Plays one script into one connection."""

    def __init__(
        self,
        errand: Errand,
        dialect: Dialect,
        call: UpstreamCall,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._errand, self._dialect, self._call = errand, dialect, call
        self._reader, self._writer = connection

    async def play(self) -> None:
        script = self._errand.script
        await self._pause(script.delay_s)
        if script.ending is Ending.DIES_EARLY:
            self._die(script)
        if script.ending is Ending.REFUSES:
            body = message.refusal(self._dialect)
            await self._write(_json(script.status, body, self._errand.number))
            self._call.told = Told.REFUSED
            return
        usage = None if script.ending is Ending.SILENT else script.usage
        if not self._errand.stream:
            await self._document(message.document(self._dialect, script.events, usage), script)
            return
        await self._stream(script)

    async def _document(self, body: bytes, script: Script) -> None:
        await self._pause(script.pause_s * script.events)
        answer = _json(200, body, self._errand.number)
        if script.ending in (Ending.DIES_EMPTY, Ending.DIES_MIDWAY):
            cut = len(body) if script.ending is Ending.DIES_EMPTY else len(body) // 2
            await self._write(answer[:-cut])
            self._die(script)
        await self._write(answer)
        self._call.told = Told.COMPLETE

    async def _stream(self, script: Script) -> None:
        usage = None if script.ending is Ending.SILENT else script.usage
        kind = ["content-type: text/event-stream", "transfer-encoding: chunked"]
        await self._write(message.head(200, [*kind, f"request-id: up-{self._errand.number}"]))
        self._call.head_sent = True
        for frame in message.opening(self._dialect, usage):
            await self._write(_chunked(frame))
        if script.ending is Ending.DIES_EMPTY:
            self._die(script)
        for index in range(script.events):
            await self._pause(script.pause_s)
            # Noted first: what may have reached the gateway counts as sent.
            self._call.events_sent = index + 1
            await self._write(_chunked(message.content(self._dialect, index)))
        if script.ending is Ending.DIES_MIDWAY:
            self._die(script)
        if script.ending is Ending.FAILS_MIDWAY:
            await self._write(_chunked(message.failure(self._dialect)) + b"0\r\n\r\n")
            self._call.told = Told.DIED
            return
        # Noted before the last frames, not after: a gateway may have settled by the time that they are gone.
        last = b"".join(map(_chunked, message.closing(self._dialect, usage)))
        await self._write(last + b"0\r\n\r\n", Told.COMPLETE)

    async def _write(self, data: bytes, told: Told | None = None) -> None:
        if self._left():
            raise _GatewayLeft
        if told is not None:
            self._call.told = told
        self._writer.write(data)
        await self._writer.drain()

    async def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0:
            await asyncio.sleep(min(rest, _STEP_S))
            if self._left():
                raise _GatewayLeft

    def _left(self) -> bool:
        return self._reader.at_eof() or self._writer.transport.is_closing()

    def _die(self, script: Script) -> None:
        self._call.told = Told.DIED
        if script.resets:
            connection: socket.socket = self._writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _Over


async def _read(reader: asyncio.StreamReader) -> tuple[str, bytes] | None:
    """The next request's path and body; None when the gateway closed between requests."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    path = head.split(b" ", 2)[1].decode()
    length = _LENGTH.search(head)
    return path, await reader.readexactly(int(length[1])) if length else b""


def _json(status: int, body: bytes, number: int) -> bytes:
    kind = ["content-type: application/json", f"content-length: {len(body)}", f"request-id: up-{number}"]
    return message.head(status, kind) + body


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
