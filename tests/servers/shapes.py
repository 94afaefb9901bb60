"""What an error, an event and the end of a stream look like in either dialect; strict, for tests to judge."""

import json
import re
from typing import Any, Literal, NamedTuple

from tests.servers.connection import Connection, Reply

Dialect = Literal["anthropic", "openai"]
Ending = Literal["complete", "error"]

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
}
_CODES = {"invalid_api_key", "permission_denied", "not_found", "request_too_large", "timeout"}
_CODES |= {"rate_limit_exceeded", "overloaded", "not_supported", "upstream_error"}
_CODES |= {"insufficient_quota", "quota_unavailable"}


class Problem(NamedTuple):
    """What an error says."""

    kind: str
    message: str
    param: str | None = None


def dialect_of(target: str) -> Dialect:
    """The dialect of an API path."""
    return "openai" if "/chat/completions" in target else "anthropic"


def problem(reply: Reply, dialect: Dialect) -> Problem:
    """The error in a reply, after checking that it is whole and of the dialect's shape."""
    assert reply.status >= 400
    assert reply.header("content-type") == "application/json"
    assert reply.header("content-length") == str(len(reply.body))
    request_id = reply.header("request-id")
    assert request_id
    assert re.fullmatch(r"req_[0-9a-f]{32}", request_id)
    assert reply.header("x-request-id") == request_id
    return _problem(reply.json(), dialect, request_id)


def refused(port: int, path: str, status: int, sent: bytes, method: str = "POST") -> str:
    """What the answer to these bytes says is wrong, after checking that it says so as it should."""
    with Connection(port) as connection:
        connection.send(sent)
        reply = connection.reply(method)
    assert reply.status == status, reply
    found = problem(reply, dialect_of(path))
    assert dialect_of(path) == "openai" or found.kind == _KINDS[status]
    return found.message


def _problem(value: Any, dialect: Dialect, request_id: str | None) -> Problem:
    error = value["error"]
    if dialect == "anthropic":
        assert value.keys() == {"type", "error", "request_id"}
        assert value["type"] == "error"
        assert error.keys() == {"type", "message"}
        assert request_id in (None, value["request_id"])
    else:
        assert value.keys() == {"error"}
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["code"] is None or error["code"] in _CODES
    message = error["message"]
    assert message
    assert message == message.strip()
    assert not message.endswith("."), message
    return Problem(error["type"], message, error.get("param"))


class Event(NamedTuple):
    """One event; `name` is None where the stream has no such field."""

    name: str | None
    data: str


def events(stream: bytes) -> list[Event]:
    """The events of a stream with LF line ends; fails if it ends in the middle of a frame."""
    if not stream:
        return []
    assert stream.endswith(b"\n\n"), f"the stream ends in the middle of a frame: {stream[-80:]!r}"
    found = []
    for frame in stream.decode().removesuffix("\n\n").split("\n\n"):
        fields = [line.partition(": ")[::2] for line in frame.split("\n") if not line.startswith(":")]
        names = [value for field, value in fields if field == "event"]
        data = "\n".join(value for field, value in fields if field == "data")
        found.append(Event(names[-1] if names else None, data))
    return found


def ending(stream: bytes, dialect: Dialect) -> Ending:
    """How a stream ends, after checking that it does so once, with its last event, in the dialect's shape."""
    seen = events(stream)
    endings = [(at, how) for at, event in enumerate(seen) if (how := _ending(event, dialect))]
    assert [at for at, _ in endings] == [len(seen) - 1], f"not one ending at the end: {seen}"
    return endings[0][1]


def stream_problem(stream: bytes, dialect: Dialect) -> Problem:
    """The error that a stream ends with."""
    assert ending(stream, dialect) == "error"
    return _problem(json.loads(events(stream)[-1].data), dialect, None)


def _ending(event: Event, dialect: Dialect) -> Ending | None:
    if dialect == "anthropic":
        named: dict[str | None, Ending] = {"message_stop": "complete", "error": "error"}
        assert event.name in (None, json.loads(event.data)["type"])
        return named.get(event.name)
    if event.data == "[DONE]":
        return "complete"
    return "error" if "error" in json.loads(event.data) else None
