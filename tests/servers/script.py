"""What a scripted upstream is told to do, and what it remembers: plain values, no sockets."""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.client import responses
from typing import Any, Literal, Self

Header = tuple[str, str]


class Gate:
    """Something the test opens and the script waits for."""

    def __init__(self) -> None:
        self._opened: Future[None] = Future()

    def open(self) -> None:
        """Lets every `WaitFor` on this gate go on, now and later."""
        if not self._opened.done():
            self._opened.set_result(None)

    async def passed(self) -> None:
        await asyncio.shield(asyncio.wrap_future(self._opened))


@dataclass(frozen=True)
class Pause:
    """Silence for some seconds."""

    seconds: float


@dataclass(frozen=True)
class WaitFor:
    """Silence until the gate opens; a gate nobody opens means for ever."""

    gate: Gate = field(default_factory=Gate)


@dataclass(frozen=True)
class Endless:
    """The same chunk over and over, as fast as the peer reads, until it leaves; see `Request.sent_bytes`."""

    chunk: bytes


@dataclass(frozen=True)
class CloseNow:
    """FIN, whatever was promised by the framing."""


@dataclass(frozen=True)
class Reset:
    """RST, after what was written before has left."""


Part = bytes | Pause | WaitFor | Endless | CloseNow | Reset


@dataclass(frozen=True)
class Answer:
    """One answer: `before` the head, `chunks` as the body, `after` the last byte of the body.

    A header given here replaces the one the framing would have added, so that an answer can lie. With the
    framing `close` the end of the connection is the end of the body; with `raw` there is no head, and the
    chunks are all that is written.
    """

    status: int = 200
    headers: Sequence[Header] = (("content-type", "text/event-stream"),)
    chunks: Sequence[Part] = ()
    framing: Literal["chunked", "content_length", "close", "raw"] = "chunked"
    before: Sequence[Part] = ()
    after: Sequence[Part] = ()

    @classmethod
    def json(cls, status: int, value: object, headers: Sequence[Header] = ()) -> Self:
        """A whole JSON answer with its length."""
        head = (("content-type", "application/json"), *headers)
        return cls(status, head, [json.dumps(value).encode()], framing="content_length")

    @classmethod
    def never(cls) -> Self:
        """Takes the request and says nothing."""
        return cls(before=[WaitFor()])

    def head(self) -> bytes:
        """The status line and headers as they go out."""
        given = {name.lower() for name, _ in self.headers}
        lines = [f"{name}: {value}" for name, value in self.headers]
        if self.framing == "chunked" and not given & {"transfer-encoding", "content-length"}:
            lines.append("transfer-encoding: chunked")
        if self.framing == "content_length" and "content-length" not in given:
            length = sum(len(part) for part in self.chunks if isinstance(part, bytes))
            lines.append(f"content-length: {length}")
        reason = responses.get(self.status, "Scripted")
        return "\r\n".join([f"HTTP/1.1 {self.status} {reason}", *lines, "", ""]).encode("latin-1")


@dataclass(eq=False)
class Request:
    """What arrived: `target` is path and query as sent, header names keep their case and order.

    Times are `time.monotonic()`. `closed_at` is set when the peer closed before the answer was over,
    `answered_at` when the answer's last byte was handed to the kernel. `sent_bytes` counts the body alone.
    """

    method: str
    target: str
    headers: list[Header]
    body: bytes
    connection: int
    arrived_at: float
    answered_at: float | None = None
    closed_at: float | None = None
    sent_bytes: int = 0

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)


Script = Answer | Callable[[Request], Answer]
