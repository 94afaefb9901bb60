"""Requests that must not be served: each is told why in its own dialect, counts nothing and goes nowhere."""

import json
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.servers.connection import Connection, head, used
from tests.servers.gateway import PRO, Gateway, resident_bytes, settings
from tests.servers.scripted import ScriptedUpstream
from tests.servers.shapes import dialect_of, problem, refused

MESSAGES, COUNT, COMPLETIONS = "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions"
PATHS = (MESSAGES, COUNT, COMPLETIONS)
JSON = ("content-type", "application/json")
KEY = ("x-api-key", PRO)
BODY_BASE_S = 1.0
each_path = pytest.mark.parametrize("path", PATHS)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = settings(upstream.url, limits={"body_base_s": BODY_BASE_S})
    with Gateway(tmp_path_factory.mktemp("bad-input"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_counted_nor_sent(gateway: Gateway, upstream: ScriptedUpstream) -> Iterator[None]:
    yield
    assert upstream.requests == []
    assert used(gateway.port, PRO) == 0


class Bad(NamedTuple):
    """A body, and a part of what its sender is told."""

    body: bytes
    says: str


def members(**changed: object) -> bytes:
    """A request that is right but for some members; None stands for a member that is missing."""
    whole = {"model": "claude-3-haiku", "messages": [], "max_tokens": 5} | changed
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


BODIES = {
    "empty": Bad(b"", "the body is empty"),
    "only space": Bad(b" \n", "not valid JSON"),
    "no JSON": Bad(b"model=claude-3-haiku", "not valid JSON"),
    "cut": Bad(members()[:-1], "not valid JSON"),
    "two values": Bad(members() + b"{}", "after the object"),
    "a list": Bad(b"[" + members() + b"]", "expected an object"),
    "a string": Bad(b'"claude-3-haiku"', "expected an object"),
    "NaN": Bad(members()[:-1] + b',"temperature":NaN}', "not valid JSON"),
    "a comment": Bad(members() + b"// please", "after the object"),
    "not UTF-8": Bad(members().replace(b"haiku", b"hai\xffku"), "not UTF-8"),
    "UTF-16": Bad(members().decode().encode("utf-16"), "not UTF-8"),
    "a byte order mark": Bad(b"\xef\xbb\xbf" + members(), "byte order mark"),
    "100,000 lists": Bad(b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "128"),
    "100,000 objects": Bad(b'{"x":' * 100_000 + b"1" + b"}" * 100_000, "128"),
    "the model twice": Bad(members()[:-1] + b',"model":"claude-3-opus"}', "`model` is given twice"),
    "the model twice, escaped": Bad(members()[:-1] + b',"mod\\u0065l":"gpt-4"}', "`model` is given twice"),
    "max_tokens twice": Bad(members()[:-1] + b',"max_tokens":1}', "`max_tokens` is given twice"),
    "no model": Bad(members(model=None), "`model` is missing"),
    "model null": Bad(members().replace(b'"claude-3-haiku"', b"null"), "`model` must be a string"),
    "model a list": Bad(members(model=["claude-3-haiku"]), "`model` must be a string"),
    "model a number": Bad(members(model=3), "`model` must be a string"),
    "model empty": Bad(members(model=""), "`model` must not be empty"),
    "model of 10 kB": Bad(members(model="m" * 10_000), "256 bytes"),
    "model with NUL": Bad(members(model="claude\0"), "control characters"),
    "model with CR LF": Bad(members(model="claude\r\nx: y"), "control characters"),
    "model with ANSI": Bad(members(model="\x1b[31mclaude"), "control characters"),
    "model that is a path": Bad(members(model="../../etc/passwd"), "not available on the pro tier"),
    "model that is a format": Bad(members(model="{0.__class__}"), "not available on the pro tier"),
    "model of nobody": Bad(members(model="llama"), "available: "),
    "no messages": Bad(members(messages=None), "`messages` is missing"),
    "messages an object": Bad(members(messages={}), "`messages` must be a list"),
    "stream a string": Bad(members(stream="true"), "`stream` must be true or false"),
    **{
        f"max_tokens {value}": Bad(
            members()[:-4] + f": {value}}}".encode(), "`max_tokens` must be a whole number"
        )
        for value in ("-1", "1.5", '"10"', "true", "1e999", "1e3", "9" * 30, "[]")
    },
}


@each_path
@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_cannot_be_served_is_refused(gateway: Gateway, path: str, what: str) -> None:
    body, says = BODIES[what]
    started = time.monotonic()
    sent = head("POST", path, [JSON, KEY, ("content-length", str(len(body)))]) + body
    message = refused(gateway.port, path, 400, sent)
    assert says in message
    assert time.monotonic() - started < 1
    assert len(message) < 500


@each_path
def test_a_connection_goes_on_after_a_refusal(gateway: Gateway, path: str) -> None:
    with Connection(gateway.port) as connection:
        for what in ("empty", "no JSON", "no model"):
            connection.post(path, BODIES[what].body, PRO)
            assert connection.reply().status == 400
        connection.post(path, members(), "nobody's key")
        assert connection.reply().status == 401
        connection.post(path, BODIES["no model"].body, PRO)
        assert connection.reply().status == 400


@each_path
def test_a_body_too_large_by_its_length_is_refused_without_being_read(gateway: Gateway, path: str) -> None:
    (worker,) = gateway.worker_pids()
    before = resident_bytes(worker)
    size = 33 * 2**20
    with Connection(gateway.port) as connection:
        connection.send(head("POST", path, [JSON, KEY, ("content-length", str(size))]))
        reply = connection.reply()
        assert reply.status == 413
        assert "32 MB" in problem(reply, dialect_of(path)).message
    assert resident_bytes(worker) - before < 2 * 2**20


@each_path
def test_a_chunked_body_is_refused_once_it_is_too_large(gateway: Gateway, path: str) -> None:
    with Connection(gateway.port) as connection:
        connection.send(head("POST", path, [JSON, KEY, ("transfer-encoding", "chunked")]))
        piece = b"x" * 2**20
        try:
            for _ in range(33):
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        except ConnectionError:
            pytest.fail("closed before it answered")
        reply = connection.reply()
        assert reply.status == 413
        assert "32 MB" in problem(reply, dialect_of(path)).message


@each_path
def test_a_body_that_does_not_arrive_is_given_up(gateway: Gateway, path: str) -> None:
    body = members()
    started = time.monotonic()
    sent = head("POST", path, [JSON, KEY, ("content-length", str(len(body)))]) + body[:-1]
    assert "in time" in refused(gateway.port, path, 408, sent)
    assert BODY_BASE_S <= time.monotonic() - started < BODY_BASE_S + 1


@each_path
@pytest.mark.parametrize("framing", ["content-length", "transfer-encoding"])
def test_a_body_that_is_cut_off_goes_nowhere(gateway: Gateway, path: str, framing: str) -> None:
    body = members()
    with Connection(gateway.port) as connection:
        if framing == "content-length":
            connection.send(head("POST", path, [JSON, KEY, (framing, str(len(body) + 1))]) + body)
        else:
            chunk = b"%x\r\n%b\r\n" % (len(body), body)
            connection.send(head("POST", path, [JSON, KEY, (framing, "chunked")]) + chunk)
        connection.end_sending()
        reply = connection.reply()
        assert reply.status == 499
        assert "cut off" in problem(reply, dialect_of(path)).message
        assert connection.is_closed_by_peer()
