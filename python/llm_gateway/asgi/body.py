"""Reads a request's body under a limit in bytes and a deadline of our own: the server has neither."""

import asyncio
from typing import Any

import msgspec

from llm_gateway.asgi.deadlines import Deadlines
from llm_gateway.asgi.types import Headers, Receive
from llm_gateway.config.schema import Limits
from llm_gateway.errors import Fault

# What is still read, and thrown away, of a request that was refused before its body was read: an answer that
# comes first makes the server close the connection under the client's hands.
DISCARD_BYTES = 4 * 1024 * 1024
DISCARD_S = 2.0

_deadlines = Deadlines()


def declared_length(headers: Headers) -> int | None:
    """The `content-length`, or None for a chunked body."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


async def read(headers: Headers, receive: Receive, limits: Limits, most_bytes: int | None = None) -> bytes:
    """The whole body; `most_bytes` is its limit if not `limits.body_bytes`.

    Raises:
        Fault: `too_large` above the limit (told before reading where the length is declared),
            `request_timeout` past the deadline, `canceled` if the client left in the middle.
    """
    if most_bytes is not None:
        limits = msgspec.structs.replace(limits, body_bytes=most_bytes)
    length = declared_length(headers)
    if length is not None and length > limits.body_bytes:
        raise _too_large(limits)
    if length == 0:
        return b""
    try:
        return await _deadlines.within(_deadline_s(limits, length), _gathered(receive, length, limits))
    except TimeoutError:
        raise Fault("request_timeout", "the body did not arrive in time; send it again") from None


async def _gathered(receive: Receive, length: int | None, limits: Limits) -> bytes:
    parts: list[bytes] = []
    size = 0
    # Stopping at the declared length saves a round trip: the next message would be the empty last frame.
    while size != length:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Fault("canceled", "the body was cut off")
        part = message.get("body", b"")
        size += len(part)
        if size > limits.body_bytes:
            raise _too_large(limits)
        parts.append(part)
        if not message.get("more_body", False):
            break
    return b"".join(parts)


class Counted:
    """A `receive` that counts the bytes of the body as they come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size = 0

    async def __call__(self) -> Any:
        """The next message."""
        message = await self._receive()
        self.size += len(message.get("body", b""))
        return message


async def discard(headers: Headers, receive: Receive, size: int = 0) -> None:
    """Reads what is left of a refused request's body after `size` bytes, within bounds, and forgets it."""
    length = declared_length(headers)
    if length is None or length > DISCARD_BYTES:
        return
    try:
        async with asyncio.timeout(DISCARD_S):
            while size < length:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                size += len(message.get("body", b""))
    except TimeoutError:
        return


def _deadline_s(limits: Limits, length: int | None) -> float:
    expected = limits.body_bytes if length is None else length
    return limits.body_base_s + expected / limits.body_bytes_per_s


def _too_large(limits: Limits) -> Fault:
    most = limits.body_bytes
    size = f"{most // 2**20} MB" if most >= 2**20 else f"{most // 2**10} kB"
    return Fault("too_large", f"the body is larger than {size}, the limit here")
