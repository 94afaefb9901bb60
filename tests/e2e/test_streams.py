"""Every byte an upstream answers reaches the client, as fast as that reads and no longer than it stays."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.servers.answers import anthropic_stream, openai_stream
from tests.servers.connection import Connection, ask, chat
from tests.servers.gateway import ENTERPRISE, PRO, Gateway, resident_bytes, settings
from tests.servers.script import Part
from tests.servers.scripted import Answer, Endless, Gate, Request, ScriptedUpstream, WaitFor
from tests.servers.waiting import eventually

STREAMS = 200
MESSAGES, COMPLETIONS = "/v1/messages", "/v1/chat/completions"
DELTA = anthropic_stream("x" * 2000)[2]


@pytest.fixture(scope="module")
def gateway(shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("streams"), settings(shared_upstream.url)) as running:
        yield running


def cut(stream: bytes, random: Random) -> list[bytes]:
    """The same bytes, cut at odd places."""
    places = sorted(random.sample(range(1, len(stream)), 12))
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


def shapes() -> list[tuple[str, list[bytes]]]:
    """Path and body parts of streams as different servers write them."""
    random = Random(7)  # noqa: S311 - the same cuts every time
    claude = anthropic_stream("hello", " wörld 🦀", "\u2028", "x" * 5000)
    gpt = openai_stream("hello", " wörld 🦀", "x" * 5000)
    commented = [b": welcome\n\n", b"retry: 3000\nid: 7\n\n", *claude[:3], b": still here\n\n", *claude[3:]]
    multi_line = [b'event: ping\ndata: {"type":\ndata: "ping"}\n\n', *claude]
    crlf = [frame.replace(b"\n", b"\r\n") for frame in claude]
    return [
        (MESSAGES, claude),
        (MESSAGES, [b"".join(claude)]),
        (MESSAGES, crlf),
        (MESSAGES, cut(b"".join(crlf), random)),
        (MESSAGES, commented),
        (MESSAGES, multi_line),
        (MESSAGES, cut(b"".join(claude), random)),
        (MESSAGES, [bytes([byte]) for byte in b"".join(anthropic_stream("a", "ü"))]),
        (COMPLETIONS, gpt),
        (COMPLETIONS, [b"".join(gpt)]),
        (COMPLETIONS, cut(b"".join(gpt), random)),
        (COMPLETIONS, [bytes([byte]) for byte in b"".join(openai_stream("a"))]),
    ]


def collect(
    port: int, wanted: Sequence[tuple[str, bytes]], upstream: ScriptedUpstream, gate: Gate
) -> list[bytes]:
    """The answers to all requests, none of which ends before each of them has begun."""

    def body_of(one: tuple[str, bytes]) -> bytes:
        reply = ask(port, one[0], one[1], ENTERPRISE)
        assert reply.status == 200
        assert (reply.header("content-type") or "").startswith("text/event-stream")
        return reply.body

    upstream.forget()
    upstream.always(MESSAGES, lambda request: by_number(request, gate))
    upstream.always(COMPLETIONS, lambda request: by_number(request, gate))
    with ThreadPoolExecutor(len(wanted)) as pool:
        bodies = [pool.submit(body_of, one) for one in wanted]
        upstream.wait_for_requests(len(wanted), timeout_s=30)
        gate.open()
        return [body.result() for body in bodies]


def by_number(request: Request, gate: Gate) -> Answer:
    _, parts = shapes()[request.json()["user"]]
    return Answer(chunks=[parts[0], WaitFor(gate), *parts[1:]])


def test_two_hundred_streams_at_once_are_byte_identical_to_a_direct_run(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    kinds = shapes()
    wanted = [
        (
            kinds[number % len(kinds)][0],
            chat(model_for(kinds[number % len(kinds)][0]), True, user=number % len(kinds)),
        )
        for number in range(STREAMS)
    ]
    direct = collect(upstream.port, wanted, upstream, Gate())
    relayed = collect(gateway.port, wanted, upstream, Gate())
    assert [len(body) for body in relayed] == [len(body) for body in direct]
    assert relayed == direct
    assert direct[0] == b"".join(kinds[0][1])


def model_for(path: str) -> str:
    return "gpt-4" if path == COMPLETIONS else "claude-3-haiku"


STILL: dict[str, list[Part]] = {
    "before the head": [],
    "in silence": [*anthropic_stream("hello")[:3], WaitFor()],
    "mid-stream": [Endless(DELTA)],
}


@pytest.mark.parametrize("when", STILL)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_closes_the_upstream_within_a_second(
    gateway: Gateway, upstream: ScriptedUpstream, when: str, how: str
) -> None:
    upstream.respond(MESSAGES, Answer(chunks=STILL[when]) if STILL[when] else Answer.never())
    connection = Connection(gateway.port)
    connection.post(MESSAGES, chat(stream=True), PRO)
    upstream.wait_for_requests(1)
    if STILL[when]:
        assert connection.answer().read(20)
    connection.close() if how == "close" else connection.reset()
    assert upstream.wait_until_client_closed() < 1


def test_a_client_that_leaves_amid_a_slow_whole_answer_closes_the_upstream_within_a_second(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    head = [("content-type", "application/json"), ("content-length", "1000")]
    upstream.respond(
        MESSAGES, Answer(headers=head, framing="content_length", chunks=[b'{"type":', WaitFor()])
    )
    with Connection(gateway.port) as connection:
        connection.post(MESSAGES, chat(), PRO)
        upstream.wait_for_requests(1)
    assert upstream.wait_until_client_closed() < 1


def test_twenty_clients_that_leave_at_once_close_twenty_upstream_connections_within_a_second(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    still = list(STILL.values())
    answers = [Answer(chunks=chunks) if chunks else Answer.never() for chunks in (still * 7)[:20]]
    upstream.respond(MESSAGES, *answers)
    connections = [Connection(gateway.port) for _ in answers]
    for connection in connections:
        connection.post(MESSAGES, chat(stream=True), PRO)
    requests = upstream.wait_for_requests(20)
    for connection in connections:
        connection.close()
    assert (
        eventually(lambda: all(request.closed_at for request in requests), "all upstream connections closed")
        < 1
    )


def test_a_client_that_does_not_read_stops_the_upstream_and_costs_no_memory(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    (worker,) = gateway.worker_pids()
    assert ask(gateway.port, MESSAGES, chat(stream=True), PRO).status == 200
    before = resident_bytes(worker)
    upstream.forget()
    upstream.respond(MESSAGES, Answer(chunks=[Endless(DELTA * 8)]))
    with Connection(gateway.port, receive_buffer_bytes=4096) as slow:
        slow.post(MESSAGES, chat(stream=True), PRO)
        (request,) = upstream.wait_for_requests(1)
        blocked_at = upstream.wait_until_blocked()
        assert resident_bytes(worker) - before < 20 * 2**20
        for _ in range(20):
            reply = ask(gateway.port, MESSAGES, chat(stream=True), PRO)
            assert reply.body == b"".join(anthropic_stream("hello", " there", model="claude-haiku-5-5"))
        assert request.sent_bytes == blocked_at
        response = slow.answer()
        missing = blocked_at + 2**20
        while missing > 0:
            piece = response.read1(2**16)
            assert piece
            assert not piece.strip(DELTA), "other bytes than were sent"
            missing -= len(piece)
        assert request.sent_bytes > blocked_at
        assert resident_bytes(worker) - before < 20 * 2**20
    assert eventually(lambda: request.closed_at is not None, "the upstream connection closed") < 1


def test_connections_to_the_upstream_are_kept_and_used_again(tmp_path: Path) -> None:
    callers, requests = 6, 20

    def many(port: int) -> None:
        with Connection(port) as connection:
            for number in range(requests):
                connection.post(MESSAGES, chat(stream=number % 2 == 0), PRO)
                assert connection.reply().status == 200

    with ScriptedUpstream() as upstream, Gateway(tmp_path, settings(upstream.url)) as gateway:
        with ThreadPoolExecutor(callers) as pool:
            list(pool.map(many, [gateway.port] * callers))
        assert len(upstream.requests) == callers * requests
        assert upstream.connections <= callers


@pytest.mark.parametrize("path", [MESSAGES, COMPLETIONS])
@pytest.mark.parametrize("size", [1_000, 900_000, 5_000_000])
@pytest.mark.parametrize("framing", ["content_length", "chunked"])
def test_whole_answers_are_byte_identical(
    gateway: Gateway, upstream: ScriptedUpstream, path: str, size: int, framing: str
) -> None:
    body = json.dumps({"text": "ü🦀\u2028 " * (size // 20)}, ensure_ascii=False, indent=1).encode()
    pieces = [body[start : start + 60_000] for start in range(0, len(body), 60_000)]
    headers = [("content-type", "application/json; charset=utf-8")]
    if framing == "content_length":
        answer = Answer(headers=headers, chunks=pieces, framing="content_length")
    else:
        answer = Answer(headers=headers, chunks=pieces)
    upstream.respond(path, answer)
    reply = ask(gateway.port, path, chat(model_for(path)), ENTERPRISE)
    assert reply.status == 200
    assert reply.header("content-type") == "application/json; charset=utf-8"
    assert reply.body == body


@pytest.mark.parametrize("size", [100, 60_000, 1_000_000, 10_000_000])
def test_a_request_arrives_byte_identical_but_for_the_model(
    gateway: Gateway, upstream: ScriptedUpstream, size: int
) -> None:
    odd = (
        ' {"x" : 1.0e5,"x":-0.0, "s":"\\ud800 \\/ \\u0041 ü🦀", "messages":[\n], "y":[[{"model":"not me"}]],'
    )
    body = f'{odd}\t"filler":"{"é" * (size // 2)}",\r\n "m\\u006fdel":\t"claude-3-\\u006fpus" }} \n'.encode()
    reply = ask(gateway.port, MESSAGES, body, PRO)
    assert reply.status == 200, reply
    assert reply.header("x-gateway-model") == "claude-3-haiku"
    (request,) = upstream.requests
    assert request.body == body.replace(b'"claude-3-\\u006fpus"', b'"claude-haiku-5-5"')
    assert request.header("content-length") == str(len(request.body))
