"""The way from the gateways to Redis, which can be cut at the exact points that matter.

A proxy of our own rather than toxiproxy, which cuts a connection after so many bytes or milliseconds: whether
the command had run is left to chance there, and nobody counts it. Here it is known of every cut: a reply is
swallowed when Redis has given it, so its command has run, and a command before Redis has seen any of it.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

_BACKGROUND = 0.01
"""Even on a good day, one reply of so many is lost with its connection."""


@dataclass
class Weather:
    """How the way is at the moment. Chances are per piece of data, which is one call or a few."""

    open: bool = True
    reply_lost: float = _BACKGROUND
    reply_torn: float = 0.0
    command_lost: float = 0.0
    delay_s: float = 0.0
    silent: bool = False
    """Takes everything, hands nothing on, and closes nothing."""


class Proxy:
    """Listens on `port` and hands on to Redis on `redis_port`."""

    def __init__(self, port: int, redis_port: int, seed: int) -> None:
        self.weather = Weather()
        self.cuts: Counter[str] = Counter()
        self._port, self._redis_port = port, redis_port
        self._random = random.Random(seed)  # noqa: S311 - a fault, not a secret
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Begins to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    def close(self) -> None:
        """Stops listening, and cuts every connection."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """Cuts every connection."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.weather.open:
            writer.transport.abort()
            return
        try:
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._redis_port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, redis_writer}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._commands(reader, redis_writer))
                group.create_task(self._replies(redis_reader, writer))
        except* (_Cut, OSError):
            pass
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    async def _commands(self, reader: asyncio.StreamReader, redis: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._wait()
            if self._random.random() < self.weather.command_lost:
                self._count("commands lost before they ran")
            await _hand_on(data, redis)
        raise _Cut

    async def _replies(self, redis: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await redis.read(65536):
            await self._wait()
            if self._random.random() < self.weather.reply_lost:
                self._count("replies lost after their command ran")
            if self._random.random() < self.weather.reply_torn:
                await _hand_on(data[: len(data) // 2], writer)
                self._count("replies torn after their command ran")
            await _hand_on(data, writer)
        raise _Cut

    async def _wait(self) -> None:
        await asyncio.sleep(self.weather.delay_s)
        while True:
            if not self.weather.silent:
                return
            await asyncio.sleep(0.02)

    def _count(self, what: str) -> None:
        self.cuts[what] += 1
        raise _Cut


async def _hand_on(data: bytes, writer: asyncio.StreamWriter) -> None:
    if writer.transport.is_closing():
        raise _Cut
    writer.write(data)
    await writer.drain()


class _Cut(Exception):  # noqa: N818 - an end like any other
    pass
