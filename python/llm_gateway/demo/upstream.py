"""The ASGI application of the demo upstream; it belongs to no room of the gateway and imports none."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from llm_gateway.demo import anthropic, openai
from llm_gateway.demo.script import MODELS, Dialect, Object, reply_to

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_BODY_LIMIT_BYTES = 32 * 1024 * 1024
# Whatever the shallow types of the dialects let through fails as one of these further in.
_UNREADABLE = (msgspec.MsgspecError, LookupError, TypeError, ValueError, AttributeError, RecursionError)
_DIALECTS: dict[str, Dialect] = {
    "/v1/messages": anthropic,
    "/v1/messages/count_tokens": anthropic,
    "/v1/chat/completions": openai,
}


class Refused(Exception):  # noqa: N818 - an answer, not a defect
    """A request that gets an error instead of an answer."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


class ClientLeft(Exception):  # noqa: N818 - nobody's error
    """The client went away before its body was complete."""


def make_app(delay_s: float = 0.015) -> Application:
    """The demo upstream; `delay_s` is the pause after each event of a stream, in seconds."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await _exchange(scope, receive, send, delay_s)

    return application


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _exchange(scope: Scope, receive: Receive, send: Send, delay_s: float) -> None:
    path = scope["path"]
    dialect = _DIALECTS.get(path, anthropic)
    try:
        if path in ("/v1/models", "/health"):
            _require(scope, "GET")
            await _send_json(send, 200, _models() if path == "/v1/models" else {"status": "ok"})
        elif path in _DIALECTS:
            _require(scope, "POST")
            body = await _read_body(receive)
            await _answer(path, body, receive, send, delay_s)
        else:
            raise Refused(404, "not_found_error", f"the demo upstream has no {path}")
    except Refused as refused:
        await _send_json(send, refused.status, dialect.error(refused.kind, refused.message))
    except ClientLeft:
        return


async def _answer(path: str, body: bytes, receive: Receive, send: Send, delay_s: float) -> None:
    dialect = _DIALECTS[path]
    try:
        asked = dialect.read(body)
        reply = reply_to(asked)
    except _UNREADABLE as error:
        raise Refused(400, "invalid_request_error", f"the body cannot be read: {error}") from error
    if path == "/v1/messages/count_tokens":
        await _send_json(send, 200, {"input_tokens": asked.input_tokens})
    elif asked.stream:
        await _send_stream(dialect.frames(asked, reply), receive, send, delay_s)
    else:
        await _send_json(send, 200, dialect.whole(asked, reply))


def _require(scope: Scope, method: str) -> None:
    if scope["method"] != method:
        raise Refused(405, "invalid_request_error", f"{scope['path']} takes {method}, not {scope['method']}")


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        body += message.get("body", b"")
        if len(body) > _BODY_LIMIT_BYTES:
            raise Refused(413, "request_too_large", f"the body is larger than {_BODY_LIMIT_BYTES} bytes")
        more = message.get("more_body", False)
    return bytes(body)


async def _send_stream(frames: Iterator[bytes], receive: Receive, send: Send, delay_s: float) -> None:
    await _send_head(send, 200, b"text/event-stream; charset=utf-8")
    # After the body the next message can only be the client's leaving.
    left = asyncio.ensure_future(receive())
    try:
        for frame in frames:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
            await asyncio.sleep(delay_s)
            if left.done():
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        left.cancel()


async def _send_json(send: Send, status: int, value: Object) -> None:
    await _send_head(send, status, b"application/json")
    await send({"type": "http.response.body", "body": msgspec.json.encode(value), "more_body": False})


async def _send_head(send: Send, status: int, content_type: bytes) -> None:
    headers = [
        (b"content-type", content_type),
        (b"cache-control", b"no-store"),
        (b"request-id", f"req_demo{secrets.token_hex(10)}".encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})


def _models() -> Object:
    """A list that clients of either API can read."""
    listed = [
        {
            "id": model,
            "type": "model",
            "object": "model",
            "display_name": f"{model} (demo)",
            "created_at": "2026-01-01T00:00:00Z",
            "created": 1767225600,
            "owned_by": "demo",
        }
        for model in MODELS
    ]
    ends = {"first_id": MODELS[0], "last_id": MODELS[-1], "has_more": False}
    return {"object": "list", "data": listed, **ends}


app = make_app()
