"""An upstream that fails before a stream begins: one clean error, in time, and nothing counted.

`internal` (for the free tier) has short deadlines, `dead` refuses connections, and one replica of
`halved` does.
"""

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.servers.connection import ask, chat, used
from tests.servers.gateway import ENTERPRISE, FREE, Gateway, free_port, settings
from tests.servers.script import Header
from tests.servers.scripted import Answer, CloseNow, Pause, Reset, ScriptedUpstream, WaitFor
from tests.servers.shapes import Dialect, problem

MESSAGES, COMPLETIONS = "/v1/messages", "/v1/chat/completions"
APIS: list[tuple[Dialect, str]] = [("anthropic", MESSAGES), ("openai", COMPLETIONS)]
MODELS = {MESSAGES: "claude-3-haiku", COMPLETIONS: "gpt-4"}
LIMIT_S = 0.6

each_api = pytest.mark.parametrize(("dialect", "path"), APIS)


@pytest.fixture(scope="module")
def gateway(shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = settings(shared_upstream.url, tiers={"free": {"quota": [{"limit": 100_000}]}})
    dead, apis = f"http://127.0.0.1:{free_port()}", ["anthropic", "openai"]
    config["upstreams"]["internal"]["deadlines"] = {"first_byte_s": LIMIT_S, "idle_s": LIMIT_S}
    config["upstreams"]["dead"] = {"urls": [dead], "apis": apis}
    config["upstreams"]["halved"] = {"urls": [dead, shared_upstream.url], "apis": apis}
    config["models"] = [{"id": name, "class": "replicated", "upstream": name} for name in ("dead", "halved")]
    with Gateway(tmp_path_factory.mktemp("upstream-failures"), config) as running:
        yield running


EVENT_STREAM = [("content-type", "text/event-stream")]
JSON = [("content-type", "application/json")]
GARBAGE: dict[str, Answer] = {
    "html": Answer(headers=[("content-type", "text/html")], chunks=[b"<h1>canary words</h1>"]),
    "no type": Answer(headers=[], chunks=[b"canary words"]),
    "not http": Answer(framing="raw", chunks=[b"canary words\r\n\r\n", CloseNow()]),
    "a compressed stream": Answer(
        headers=[*EVENT_STREAM, ("content-encoding", "gzip")], chunks=[b"\x1f\x8bcanary"]
    ),
    "a compressed whole": Answer(headers=[*JSON, ("content-encoding", "br")], chunks=[b"canary words"]),
    "a compressed error": Answer(400, [*JSON, ("content-encoding", "gzip")], chunks=[b"\x1f\x8bcanary"]),
    "an error cut short": Answer(
        400, [*JSON, ("content-length", "99")], [b'{"error": "canary', CloseNow()], "content_length"
    ),
    "an empty stream": Answer(chunks=[]),
    "a stream that begins with half a frame": Answer(chunks=[b"data: canary words"]),
    "a close before the head": Answer(before=[CloseNow()]),
    "a reset before the head": Answer(before=[Reset()]),
    "half a head": Answer(framing="raw", chunks=[b"HTTP/1.1 200 OK\r\ncontent-", CloseNow()]),
    "a whole answer cut short": Answer(
        headers=[*JSON, ("content-length", "1000")],
        chunks=[b'{"canary": "wo', CloseNow()],
        framing="content_length",
    ),
    "no content": Answer(204, []),
    "a forbidden key": Answer.json(403, {"type": "error", "error": {"type": "x", "message": "canary words"}}),
}


@each_api
@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_becomes_one_clean_error_and_costs_no_quota(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str, what: str
) -> None:
    before = used(gateway.port, FREE)
    upstream.always(path, GARBAGE[what])
    reply = ask(gateway.port, path, chat(MODELS[path], stream=True), FREE)
    found = problem(reply, dialect)
    assert reply.status == (400 if GARBAGE[what].status == 400 else 502)
    assert found.kind in {"api_error", "server_error", "invalid_request_error"}
    assert b"canary" not in reply.body
    assert used(gateway.port, FREE) == before


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(gateway: Gateway, upstream: ScriptedUpstream, status: int) -> None:
    with ScriptedUpstream() as canary:
        headers: list[Header] = [
            ("location", f"{canary.url}/v1/messages"),
            ("content-type", "application/json"),
        ]
        upstream.respond(MESSAGES, Answer(status, headers, [b"{}"]))
        reply = ask(gateway.port, MESSAGES, chat(), FREE)
        assert reply.status == 502
        assert problem(reply, "anthropic").kind == "api_error"
        assert reply.header("location") is None
        assert canary.connections == 0


@each_api
@pytest.mark.parametrize("streamed", [True, False])
def test_an_upstream_that_never_answers_is_a_timeout(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str, streamed: bool
) -> None:
    before = used(gateway.port, FREE)
    upstream.respond(path, Answer.never())
    started = time.monotonic()
    reply = ask(gateway.port, path, chat(MODELS[path], streamed), FREE)
    assert LIMIT_S <= time.monotonic() - started < LIMIT_S + 1
    assert reply.status == 504
    assert problem(reply, dialect).kind == ("timeout_error" if dialect == "anthropic" else "server_error")
    assert upstream.wait_until_client_closed() < 1
    assert used(gateway.port, FREE) == before


@each_api
def test_a_whole_answer_that_stops_in_the_middle_is_a_timeout(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str
) -> None:
    headers = [*JSON, ("content-length", "1000")]
    upstream.respond(path, Answer(headers=headers, chunks=[b'{"type":', WaitFor()], framing="content_length"))
    reply = ask(gateway.port, path, chat(MODELS[path]), FREE)
    assert reply.status == 504
    assert problem(reply, dialect)


@each_api
def test_an_upstream_that_refuses_connections_is_told_at_once(
    gateway: Gateway, dialect: Dialect, path: str
) -> None:
    started = time.monotonic()
    reply = ask(gateway.port, path, chat("dead"), ENTERPRISE)
    assert time.monotonic() - started < 1
    assert reply.status == 502
    assert "cannot be reached" in problem(reply, dialect).message
    assert "refused" in gateway.wait_for_record(reply.header("request-id"))["detail"]


def test_a_dead_replica_is_passed_over(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    for number in range(6):
        assert ask(gateway.port, MESSAGES, chat("halved", number % 2 == 0), ENTERPRISE).status == 200
    assert len(upstream.requests) == 6


def test_a_peer_that_is_silent_in_the_tls_handshake_is_given_up(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = settings(f"https://127.0.0.1:{silent.getsockname()[1]}")
        config["upstreams"]["internal"]["deadlines"] = {"connect_s": 0.3}
        with Gateway(tmp_path_factory.mktemp("silent"), config) as gateway:
            reply = ask(gateway.port, MESSAGES, chat(), FREE)
            assert reply.status == 502
            assert "not within 0.3 s" in gateway.wait_for_record(reply.header("request-id"))["detail"]


def test_a_large_answer_that_is_cut_short_does_not_look_whole(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    body = json.dumps({"text": "x" * 3_000_000}).encode()
    headers = [*JSON, ("content-length", str(len(body)))]
    upstream.respond(
        MESSAGES, Answer(headers=headers, chunks=[body[:2_000_000], Pause(0.1), Reset()], framing="close")
    )
    with pytest.raises(Exception, match=r"IncompleteRead|reset"):
        ask(gateway.port, MESSAGES, chat(), ENTERPRISE)
