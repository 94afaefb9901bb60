"""A translated stream lives, fails and ends as one that passes as it is; silence is filled with pings."""

import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from tests.servers.answers import anthropic_event, anthropic_stream, openai_stream
from tests.servers.connection import Connection, ask, chat
from tests.servers.gateway import ENTERPRISE, Gateway, settings
from tests.servers.script import Part
from tests.servers.scripted import Answer, CloseNow, Gate, Pause, Reset, ScriptedUpstream, WaitFor
from tests.servers.shapes import Dialect, ending, stream_problem

PING_S, IDLE_S = 0.3, 1.0
# A finish without an end mark is believed after this long.
FINISH_S = 5.0
PATHS: dict[Dialect, str] = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
STREAMS = {"anthropic": anthropic_stream("hello", " there"), "openai": openai_stream("hello", " there")}
PINGS = {"anthropic": b'event: ping\ndata: {"type":"ping"}\n\n', "openai": b": ping\n\n"}


class Way(NamedTuple):
    """Who asks in which API, and which one the upstream speaks."""

    client: Dialect
    upstream: Dialect

    @property
    def model(self) -> str:
        """A model of an upstream with much patience; the one with `hasty-` before it has little."""
        return f"{self.upstream}-model"

    @property
    def frames(self) -> list[bytes]:
        """What the upstream says."""
        return STREAMS[self.upstream]

    @property
    def begun(self) -> list[bytes]:
        """The beginning of it, up to the first word."""
        return self.frames[: 3 if self.upstream == "anthropic" else 2]

    @property
    def ping(self) -> bytes:
        """What the client hears in a silence."""
        return PINGS[self.client]

    def __str__(self) -> str:
        return f"{self.client} client, {self.upstream} upstream"


TRANSLATED = [Way("anthropic", "openai"), Way("openai", "anthropic")]
NATIVE = [Way("anthropic", "anthropic"), Way("openai", "openai")]

translated = pytest.mark.parametrize("way", TRANSLATED, ids=str)
each_way = pytest.mark.parametrize("way", TRANSLATED + NATIVE, ids=str)


@pytest.fixture(scope="module")
def gateway(shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = settings(shared_upstream.url)
    models = []
    for api in PATHS:
        for name, idle_s in ((f"{api}-model", 60), (f"hasty-{api}-model", IDLE_S)):
            deadlines = {"ping_s": PING_S, "idle_s": idle_s}
            kind = "vllm" if api == "openai" else "anthropic"
            config["upstreams"][name] = {"urls": [shared_upstream.url], "apis": [api], "kind": kind}
            config["upstreams"][name]["deadlines"] = deadlines
            models.append({"id": name, "class": "own", "upstream": name})
    with Gateway(tmp_path_factory.mktemp("translated-streams"), config | {"models": models}) as running:
        yield running


def stream(gateway: Gateway, way: Way, model: str | None = None) -> bytes:
    """The body of a streamed answer."""
    reply = ask(gateway.port, PATHS[way.client], chat(model or way.model, stream=True), ENTERPRISE)
    assert reply.status == 200, reply
    assert (reply.header("content-type") or "").startswith("text/event-stream")
    return reply.body


def open_stream(connection: Connection, way: Way) -> None:
    connection.post(PATHS[way.client], chat(way.model, stream=True), ENTERPRISE)


def read_until(response: object, wanted: bytes, times: int) -> bytes:
    """What has been read once `wanted` has come so often."""
    read = b""
    while read.count(wanted) < times:
        piece = response.read1()  # type: ignore[attr-defined]
        assert piece, read
        read += piece
    return read


@each_way
def test_a_silence_is_filled_with_pings(gateway: Gateway, upstream: ScriptedUpstream, way: Way) -> None:
    gate, rest = Gate(), way.frames[len(way.begun) :]
    upstream.respond(PATHS[way.upstream], Answer(chunks=[*way.begun, WaitFor(gate), *rest]))
    with Connection(gateway.port) as connection:
        open_stream(connection, way)
        response = connection.answer()
        body = read_until(response, way.ping, times=3)
        assert b"hello" in body.partition(way.ping)[0]
        gate.open()
        body += response.read()
    spoken = body.replace(way.ping, b"")
    assert ending(spoken, way.client) == "complete"
    assert b"hello" in spoken
    assert b" there" in spoken
    if way in NATIVE:
        assert spoken == b"".join(way.frames)


@translated
def test_a_silence_before_the_first_word_is_filled_too(
    gateway: Gateway, upstream: ScriptedUpstream, way: Way
) -> None:
    gate = Gate()
    upstream.respond(PATHS[way.upstream], Answer(chunks=[WaitFor(gate), *way.frames]))
    with Connection(gateway.port) as connection:
        open_stream(connection, way)
        response = connection.answer()
        body = read_until(response, way.ping, times=2)
        gate.open()
        body += response.read()
    assert ending(body.replace(way.ping, b""), way.client) == "complete"
    assert body.count(b"message_start") == (2 if way.client == "anthropic" else 0), "its name and its type"
    if way.client == "anthropic":
        assert body.startswith(b"event: message_start\n")


@each_way
def test_pings_do_not_keep_a_dead_stream_alive(
    gateway: Gateway, upstream: ScriptedUpstream, way: Way
) -> None:
    upstream.respond(PATHS[way.upstream], Answer(chunks=[*way.begun, WaitFor()]))
    started = time.monotonic()
    body = stream(gateway, way, f"hasty-{way.model}")
    assert IDLE_S <= time.monotonic() - started < IDLE_S + 3
    assert way.ping in body
    found = stream_problem(body.replace(way.ping, b""), way.client)
    assert found.kind == ("timeout_error" if way.client == "anthropic" else "server_error")
    assert "silent" in found.message
    assert upstream.wait_until_client_closed() < 1


@translated
@pytest.mark.parametrize("when", ["before the head", "before the first word", "mid-stream"])
def test_a_client_that_leaves_closes_the_upstream_within_a_second(
    gateway: Gateway, upstream: ScriptedUpstream, way: Way, when: str
) -> None:
    begun: Sequence[Part] = way.begun if when == "mid-stream" else []
    silent = Answer.never() if when == "before the head" else Answer(chunks=[*begun, WaitFor()])
    upstream.respond(PATHS[way.upstream], silent)
    with Connection(gateway.port) as connection:
        open_stream(connection, way)
        upstream.wait_for_requests(1)
        if begun:
            read_until(connection.answer(), b"hello", times=1)
    assert upstream.wait_until_client_closed() < 1


@translated
def test_a_client_that_leaves_a_whole_answer_closes_the_upstream_within_a_second(
    gateway: Gateway, upstream: ScriptedUpstream, way: Way
) -> None:
    head = [("content-type", "application/json"), ("content-length", "1000")]
    slow = Answer(headers=head, framing="content_length", chunks=[b'{"id":', WaitFor()])
    upstream.respond(PATHS[way.upstream], slow)
    with Connection(gateway.port) as connection:
        connection.post(PATHS[way.client], chat(way.model), ENTERPRISE)
        upstream.wait_for_requests(1)
    assert upstream.wait_until_client_closed() < 1


END_MARK = "an end mark alone"
BREAKS: dict[str, list[Part]] = {
    "a clean close": [],
    "a close amid the framing": [CloseNow()],
    "a reset": [Pause(0.05), Reset()],
    "half a frame and a close": [b'data: {"choices":[{"del'],
    "what is no JSON": [b"event: content_block_delta\ndata: {oops\n\n", WaitFor()],
    END_MARK: [b"data: [DONE]\n\n", WaitFor()],
}


@pytest.mark.parametrize(
    ("way", "how"),
    # The Anthropic API has no end mark of its own.
    [(way, how) for way in TRANSLATED for how in BREAKS if (way.upstream, how) != ("anthropic", END_MARK)],
    ids=str,
)
def test_a_stream_that_breaks_ends_with_one_error(
    gateway: Gateway, upstream: ScriptedUpstream, way: Way, how: str
) -> None:
    upstream.respond(PATHS[way.upstream], Answer(chunks=[*way.begun, *BREAKS[how]]))
    body = stream(gateway, way)
    found = stream_problem(body, way.client)
    assert found.kind == ("api_error" if way.client == "anthropic" else "server_error")
    assert b"hello" in body, "what was whole is delivered"
    for end in (b"message_delta", b"message_stop", b"[DONE]", b'"finish_reason":"'):
        assert end not in body


@translated
def test_an_error_told_mid_stream_is_told_in_the_clients_words(
    gateway: Gateway, upstream: ScriptedUpstream, way: Way
) -> None:
    if way.upstream == "anthropic":
        error = {"type": "overloaded_error", "message": "no slot is free"}
        told, end = anthropic_event("error", error=error), b""
    else:
        # vLLM goes on to say that it is done.
        error = {"type": "ServiceUnavailableError", "message": "no slot is free", "code": 503}  # type: ignore[dict-item]
        told, end = f"data: {json.dumps({'error': error})}\n\n".encode(), b"data: [DONE]\n\n"
    upstream.respond(PATHS[way.upstream], Answer(chunks=[*way.begun, told + end, WaitFor()]))
    found = stream_problem(stream(gateway, way), way.client)
    assert found.kind == ("overloaded_error" if way.client == "anthropic" else "server_error")
    assert found.message == "no slot is free"


def finished(way: Way) -> list[bytes]:
    """The frames up to the one that says why the model stopped."""
    return way.frames[: -1 if way.upstream == "anthropic" else -2]


@translated
def test_a_stream_that_finished_but_does_not_end_is_whole_after_a_while(
    gateway: Gateway, upstream: ScriptedUpstream, way: Way
) -> None:
    upstream.respond(PATHS[way.upstream], Answer(chunks=[*finished(way), WaitFor()]))
    started = time.monotonic()
    body = stream(gateway, way)
    assert FINISH_S <= time.monotonic() - started < FINISH_S + 3
    assert ending(body.replace(way.ping, b""), way.client) == "complete"


@translated
@pytest.mark.parametrize("how", [[], [CloseNow()], [Pause(0.05), Reset()]], ids=["close", "cut", "reset"])
def test_a_stream_that_breaks_after_it_has_finished_is_whole(
    gateway: Gateway, upstream: ScriptedUpstream, way: Way, how: list[Part]
) -> None:
    upstream.respond(PATHS[way.upstream], Answer(chunks=[*finished(way), *how]))
    assert ending(stream(gateway, way), way.client) == "complete"


def test_usage_after_the_finish_ends_a_stream_at_once(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    way = Way("anthropic", "openai")
    upstream.respond(PATHS["openai"], Answer(chunks=[*way.frames[:-1], WaitFor()]))
    started = time.monotonic()
    assert ending(stream(gateway, way), "anthropic") == "complete"
    assert time.monotonic() - started < FINISH_S - 1


@translated
def test_an_answer_as_large_as_a_book_arrives_whole(
    gateway: Gateway, upstream: ScriptedUpstream, way: Way
) -> None:
    words = [f"word-{number} " for number in range(5000)]
    said = anthropic_stream(*words) if way.upstream == "anthropic" else openai_stream(*words)
    upstream.respond(PATHS[way.upstream], Answer(chunks=[b"".join(said)]))
    body = stream(gateway, way)
    assert ending(body, way.client) == "complete"
    assert re.findall(r'"(word-\d+ )"', body.decode()) == words
