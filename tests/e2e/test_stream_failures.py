"""However a stream fails, its client sees one ending, in its own dialect, and within the deadline.

Three upstreams lead to the same scripted server: `internal` (for the free tier) with a short deadline,
`anthropic` and `openai` with those of production, so a slow machine fails only what is meant to fail.
"""

import json
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.servers.answers import anthropic_event, anthropic_stream, openai_stream
from tests.servers.connection import ask, chat
from tests.servers.gateway import ENTERPRISE, FREE, Gateway, resident_bytes, settings
from tests.servers.script import Part
from tests.servers.scripted import Answer, CloseNow, Pause, Reset, ScriptedUpstream, WaitFor
from tests.servers.shapes import Dialect, ending, events, stream_problem

MESSAGES, COMPLETIONS = "/v1/messages", "/v1/chat/completions"
APIS: list[tuple[Dialect, str]] = [("anthropic", MESSAGES), ("openai", COMPLETIONS)]
IDLE_S = 0.6
STREAMED = {"anthropic": anthropic_stream("hello", " there"), "openai": openai_stream("hello", " there")}
MODELS = {MESSAGES: "claude-3-haiku", COMPLETIONS: "gpt-4"}

each_api = pytest.mark.parametrize(("dialect", "path"), APIS)


@pytest.fixture(scope="module")
def gateway(shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = settings(shared_upstream.url, tiers={"free": {"quota": [{"limit": 100_000}]}})
    config["upstreams"]["internal"]["deadlines"] = {"idle_s": IDLE_S}
    with Gateway(tmp_path_factory.mktemp("stream-failures"), config) as running:
        yield running


def stream(gateway: Gateway, path: str, key: str = ENTERPRISE) -> bytes:
    """The body of a streamed answer."""
    reply = ask(gateway.port, path, chat(MODELS[path], stream=True), key)
    assert reply.status == 200, reply
    assert (reply.header("content-type") or "").startswith("text/event-stream")
    return reply.body


def cut_short(dialect: Dialect) -> list[bytes]:
    """The beginning of a stream, up to its first word."""
    return STREAMED[dialect][: 3 if dialect == "anthropic" else 2]


BREAKS: dict[str, list[Part]] = {
    "a clean close": [],
    "a close amid the framing": [CloseNow()],
    "a reset": [Pause(0.05), Reset()],
    "half a frame, then a clean close": [b'event: content_block_delta\ndata: {"type":"content_'],
    "half a frame, then a reset": [b'data: {"choices":[{"delta":', Pause(0.05), Reset()],
    "a frame without its empty line": [b'data: {"type": "ping"}\n'],
    "a bad chunk size": [],
}


@each_api
@pytest.mark.parametrize("how", BREAKS)
def test_a_stream_that_breaks_ends_with_one_error(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str, how: str
) -> None:
    begun = cut_short(dialect)
    if how == "a bad chunk size":
        upstream.respond(
            path, raw_stream([b"%x\r\n%b\r\n" % (len(frame), frame) for frame in begun], b"-3\r\n")
        )
    else:
        upstream.respond(path, Answer(chunks=[*begun, *BREAKS[how]]))
    body = stream(gateway, path)
    found = stream_problem(body, dialect)
    assert found.kind == ("api_error" if dialect == "anthropic" else "server_error")
    assert body.startswith(b"".join(begun)), "what was whole is delivered"
    assert len(events(body)) == len(begun) + 1


def raw_stream(chunks: Sequence[bytes], *after: bytes) -> Answer:
    """An answer whose chunked framing is the test's own."""
    lines = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return Answer(framing="raw", chunks=[lines, *chunks, *after, CloseNow()])


@each_api
@pytest.mark.parametrize("how", [[], [CloseNow()]], ids=["clean", "amid the framing"])
def test_frames_that_come_together_with_the_close_are_not_lost(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str, how: list[Part]
) -> None:
    begun = b"".join(cut_short(dialect))
    upstream.always(path, Answer(chunks=[begun, *how]))
    for _ in range(10):
        body = stream(gateway, path)
        assert ending(body, dialect) == "error"
        assert body.startswith(begun)


@each_api
def test_a_stream_that_breaks_after_its_last_event_is_whole(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str
) -> None:
    whole = b"".join(STREAMED[dialect])
    for how in ([CloseNow()], [Pause(0.05), Reset()]):
        upstream.respond(path, Answer(chunks=[whole, *how]))
        assert stream(gateway, path) == whole


def test_a_stream_that_lacks_its_last_empty_line_is_whole(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    whole = b"".join(openai_stream("hello"))[:-1]
    upstream.respond(COMPLETIONS, Answer(chunks=[whole], framing="close"))
    assert stream(gateway, COMPLETIONS) == whole


def test_a_server_that_does_not_close_after_its_last_event_is_not_waited_for(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    whole = b"".join(STREAMED["anthropic"])
    upstream.respond(MESSAGES, Answer(chunks=[whole, WaitFor()]))
    assert stream(gateway, MESSAGES) == whole
    assert upstream.wait_until_client_closed() < 1


def test_a_completion_with_several_answers_is_waited_for_after_the_first_has_finished(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    one = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    two = {"choices": [{"index": 1, "delta": {"content": "late"}, "finish_reason": None}]}
    first, second = (f"data: {json.dumps(chunk)}\n\n".encode() for chunk in (one, two))
    upstream.respond(COMPLETIONS, Answer(chunks=[first, Pause(2.3), second, b"data: [DONE]\n\n"]))
    assert stream(gateway, COMPLETIONS) == first + second + b"data: [DONE]\n\n"


@each_api
def test_a_stream_that_falls_silent_ends_with_one_timeout_error(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str
) -> None:
    upstream.respond(path, Answer(chunks=[*cut_short(dialect), b"data: half a fra", WaitFor()]))
    started = time.monotonic()
    found = stream_problem(stream(gateway, path, FREE), dialect)
    assert IDLE_S <= time.monotonic() - started < IDLE_S + 2
    assert found.kind == ("timeout_error" if dialect == "anthropic" else "server_error")
    assert "silent" in found.message
    assert upstream.wait_until_client_closed() < 1


def test_a_stream_that_is_slow_but_not_silent_goes_on(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    frame = anthropic_event("ping")
    slow: list[Part] = [part for byte in frame for part in (bytes([byte]), Pause(IDLE_S / 20))]
    chunks = STREAMED["anthropic"]
    upstream.respond(MESSAGES, Answer(chunks=[*chunks[:3], *slow, *chunks[3:]]))
    assert stream(gateway, MESSAGES, FREE) == b"".join(chunks[:3]) + frame + b"".join(chunks[3:])


@each_api
@pytest.mark.parametrize("then", [[], [WaitFor()], [Pause(0.05), Reset()]], ids=["close", "silence", "reset"])
def test_an_error_told_inside_a_stream_is_relayed_once(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str, then: list[Part]
) -> None:
    error = {"type": "overloaded_error", "message": "the words of the upstream"}
    name = b"event: error\n" if dialect == "anthropic" else b""
    told = name + f"data: {json.dumps({'type': 'error', 'error': error})}\n\n".encode()
    sent = [*cut_short(dialect), told]
    upstream.respond(path, Answer(chunks=[*sent, *then]))
    body = stream(gateway, path)
    assert body == b"".join(sent)
    assert ending(body, dialect) == "error"


def test_an_endless_line_ends_with_an_error_and_costs_little_memory(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    (worker,) = gateway.worker_pids()
    before = resident_bytes(worker)
    begun = cut_short("anthropic")
    upstream.respond(MESSAGES, Answer(chunks=[*begun, b"data: ", *[b"x" * 2**16] * 256, WaitFor()]))
    body = stream(gateway, MESSAGES)
    assert "too large" in stream_problem(body, "anthropic").message
    assert len(body) < 10_000
    assert resident_bytes(worker) - before < 32 * 2**20
    assert upstream.wait_until_client_closed() < 1
