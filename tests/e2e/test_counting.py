"""What counts against the quota and what is given back: the table of the policy, row by row."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.servers.caller import Caller, body
from tests.servers.gateway import ENTERPRISE, FREE, PRO, Gateway, free_port, redis_server, settings
from tests.servers.scripted import (
    Answer,
    CloseNow,
    Reset,
    ScriptedUpstream,
    WaitFor,
    anthropic_event,
    anthropic_stream,
)
from tests.servers.waiting import eventually

BOTH = ["anthropic", "openai"]
STREAM = anthropic_stream("hello", " there")
BEGUN = STREAM[:4]
ERROR = anthropic_event("error", error={"type": "overloaded_error", "message": "Overloaded"})
JSON = (("content-type", "application/json"), ("content-length", "1000"))

# `hello` in a message, by the counter that stands in where no upstream tells: see rust/tokens.
INPUT = 9
TOLD_INPUT, TOLD_OUTPUT, DELIVERED = 11, 7, 2

# The model asked for and what its upstream does; `slow` has half a second for each wait, `lost` is not there.
GIVEN_BACK = {
    "unreachable": ("lost", Answer()),
    "closed before the head": ("steady", Answer(framing="raw", chunks=[CloseNow()])),
    "reset before the head": ("steady", Answer(framing="raw", chunks=[Reset()])),
    "no head in time": ("slow", Answer.never()),
    "400": ("steady", Answer.json(400, {"type": "error", "error": {"type": "x", "message": "y"}})),
    "404": ("steady", Answer.json(404, {"type": "error", "error": {"type": "x", "message": "y"}})),
    "401 of the gateway's own key": ("steady", Answer.json(401, {"error": {}})),
    "429": ("steady", Answer.json(429, {"type": "error", "error": {"type": "x", "message": "y"}})),
    "500": ("steady", Answer.json(500, {"type": "error", "error": {"type": "x", "message": "y"}})),
    "502 in HTML": ("steady", Answer(502, (("content-type", "text/html"),), [b"<html>"])),
    "529": ("steady", Answer.json(529, {"type": "error", "error": {"type": "x", "message": "y"}})),
    "200 in HTML": ("steady", Answer(200, (("content-type", "text/html"),), [b"<html>"])),
    "a redirect": ("steady", Answer(302, (("location", "/v1/messages"),), [], "content_length")),
    "died mid-stream, nothing delivered": ("steady", Answer(chunks=[CloseNow()])),
    "ended mid-stream, nothing delivered": ("steady", Answer(chunks=[])),
    "silent mid-stream, nothing delivered": ("slow", Answer(chunks=[WaitFor()])),
    "a whole answer cut off": ("steady", Answer(200, JSON, [b'{"id":', CloseNow()])),
    "a whole answer that falls silent": ("slow", Answer(200, JSON, [b'{"id":', WaitFor()])),
}
UNTOLD = {"type": "message", "content": [{"type": "text", "text": "hello there"}]}
# The third is what it costs in tokens.
COUNTED = {
    "complete stream": ("steady", Answer(chunks=STREAM), TOLD_INPUT + TOLD_OUTPUT),
    "complete answer that tells no usage": ("steady", Answer.json(200, UNTOLD), INPUT + DELIVERED),
    "died mid-stream": ("steady", Answer(chunks=[*BEGUN, CloseNow()]), TOLD_INPUT + DELIVERED),
    "reset mid-stream": ("steady", Answer(chunks=[*BEGUN, Reset()]), TOLD_INPUT + DELIVERED),
    "ended mid-stream": ("steady", Answer(chunks=BEGUN), TOLD_INPUT + DELIVERED),
    "silent mid-stream": ("slow", Answer(chunks=[*BEGUN, WaitFor()]), TOLD_INPUT + DELIVERED),
    "told an error mid-stream": ("steady", Answer(chunks=[*BEGUN, ERROR]), TOLD_INPUT + DELIVERED),
}
UNITS = ("requests", "prompts", "tokens")


class Scene(NamedTuple):
    """A gateway, its upstream, and one subscriber of it."""

    gateway: Gateway
    upstream: ScriptedUpstream
    caller: Caller


@pytest.fixture(
    scope="module", params=[pytest.param("redis", marks=pytest.mark.requires("redis-server")), "sqlite"]
)
def gateway(
    request: pytest.FixtureRequest,
    shared_upstream: ScriptedUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("counting")
    with ExitStack() as stack:
        quota = {}
        if request.param == "redis":
            quota = {"redis_url": stack.enter_context(redis_server(folder / "redis"))}
        yield stack.enter_context(Gateway(folder, configuration(shared_upstream.url, quota)))


@pytest.fixture(params=[PRO, ENTERPRISE], ids=["limited", "unlimited"])
def scene(request: pytest.FixtureRequest, gateway: Gateway, shared_upstream: ScriptedUpstream) -> Scene:
    shared_upstream.forget()
    return Scene(gateway, shared_upstream, Caller(gateway.url, request.param))


def configuration(url: str, quota: dict[str, str]) -> dict[str, object]:
    found = settings(url, quota=quota)
    hasty = {"first_byte_s": 0.5, "idle_s": 0.5}
    found["upstreams"] |= {
        "steady": {"urls": [url], "apis": BOTH},
        "slow": {"urls": [url], "apis": BOTH, "deadlines": hasty},
        "lost": {"urls": [f"http://127.0.0.1:{free_port()}"], "apis": BOTH},
    }
    found["models"] = [
        {"id": name, "class": "internal", "upstream": name} for name in ("steady", "slow", "lost")
    ]
    found["tiers"] = {
        "free": {"quota": windows(1000)},
        "pro": {"quota": [*windows(1_000_000), {"unit": "concurrent", "limit": 8}]},
        "enterprise": {"quota": windows(None)},
    }
    return found


def windows(limit: int | None) -> list[dict[str, object]]:
    """One of each unit; tokens by two periods."""
    daily: list[dict[str, object]] = [{"unit": unit, "period": "day", "limit": limit} for unit in UNITS]
    return [*daily, {"unit": "tokens", "period": "month", "limit": limit and 10 * limit}]


def use(caller: Caller) -> dict[tuple[str, str | None], int]:
    """What is used of each window."""
    return {(window["unit"], window["period"]): window["used"] for window in caller.quota()["windows"]}


@contextmanager
def counts(caller: Caller, requests: int, tokens: int = 0) -> Iterator[None]:
    """What happens within counts as so many requests, prompts and tokens, and holds no place afterwards."""
    before = use(caller)
    yield
    expected = before | {
        ("requests", "day"): before["requests", "day"] + requests,
        ("prompts", "day"): before["prompts", "day"] + requests,
        ("tokens", "day"): before["tokens", "day"] + tokens,
        ("tokens", "month"): before["tokens", "month"] + tokens,
    }
    # Use of a tier without limits is noted beside the request, and nobody waits for it.
    eventually(lambda: use(caller) == expected, f"{expected}, now {use(caller)}", 5)


@pytest.mark.parametrize("what", GIVEN_BACK)
def test_gives_back_what_was_not_served(scene: Scene, what: str) -> None:
    model, answer = GIVEN_BACK[what]
    scene.upstream.respond("/v1/messages", answer)
    with counts(scene.caller, 0):
        assert scene.caller.ask(model=model, stream=True).status_code >= 400
    assert len(scene.upstream.requests) == (0 if model == "lost" else 1)


def test_gives_back_a_stream_whose_only_event_is_an_error(scene: Scene) -> None:
    scene.upstream.respond("/v1/messages", Answer(chunks=[ERROR]))
    with counts(scene.caller, 0):
        reply = scene.caller.ask(model="steady", stream=True)
    assert (reply.status_code, reply.content) == (200, ERROR)


@pytest.mark.parametrize("what", COUNTED)
def test_counts_one_for_what_was_served(scene: Scene, what: str) -> None:
    model, answer, tokens = COUNTED[what]
    scene.upstream.respond("/v1/messages", answer)
    with counts(scene.caller, 1, tokens):
        assert scene.caller.ask(model=model, stream=True).status_code == 200


def test_counts_one_when_the_client_leaves_before_the_first_byte(scene: Scene) -> None:
    scene.upstream.respond("/v1/messages", Answer.never())
    with counts(scene.caller, 1, INPUT), a_departure(scene), asked(scene.caller):
        scene.upstream.wait_for_requests(1)


def test_counts_one_when_the_client_leaves_mid_stream(scene: Scene) -> None:
    scene.upstream.respond("/v1/messages", Answer(chunks=[*BEGUN, WaitFor()]))
    with (
        counts(scene.caller, 1, TOLD_INPUT + DELIVERED),
        a_departure(scene),
        asked(scene.caller) as connection,
    ):
        received = b""
        while BEGUN[-1] not in received:
            received += connection.recv(65536)


@contextmanager
def a_departure(scene: Scene) -> Iterator[None]:
    """Ends once the gateway has noticed that the client left within it, and settled what was owed."""
    before = departures(scene.gateway)
    yield
    scene.upstream.wait_until_client_closed()
    eventually(lambda: departures(scene.gateway) > before, "a record")


def departures(gateway: Gateway) -> int:
    return [record["outcome"] for record in gateway.records()].count("client_left")


@contextmanager
def asked(caller: Caller) -> Iterator[socket.socket]:
    """A connection on which a stream was asked for, closed on the way out."""
    content = body("steady", stream=True)
    address = urlsplit(caller.url)
    head = [f"POST /v1/messages HTTP/1.1\r\nhost: {address.netloc}", "content-type: application/json"]
    head += [f"{name}: {value}" for name, value in caller.headers.items()]
    head += [f"content-length: {len(content)}", "", ""]
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        connection.sendall("\r\n".join(head).encode() + content)
        yield connection


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b'{"messages": []}', 400),
        (b'{"model": 7, "messages": []}', 400),
        (b'{"model": "steady", "model": "qwen3-32b", "messages": []}', 400),
        (body("a-model-nobody-knows"), 400),
    ],
)
def test_does_not_count_a_body_that_is_refused(scene: Scene, content: bytes, status: int) -> None:
    with counts(scene.caller, 0):
        assert scene.caller.post("messages", content).status_code == status
    assert scene.upstream.requests == []


def test_does_not_count_refused_credentials(scene: Scene) -> None:
    with counts(scene.caller, 0):
        assert Caller(scene.gateway.url, "nobodys-key").ask().status_code == 401
        assert Caller(scene.gateway.url, "").ask().status_code == 401
    assert scene.upstream.requests == []


def test_does_not_count_what_costs_nothing(scene: Scene) -> None:
    views = ("/v1/models", "/v1/models/steady", "/quota", "/health", "/health/ready", "/metrics", "/")
    with counts(scene.caller, 0):
        assert scene.caller.ask("messages/count_tokens", "steady").json() == {"input_tokens": 11}
        assert [scene.caller.get(path).status_code for path in views] == [200] * len(views)
        assert scene.caller.get("/v1/messages").status_code == 405
        assert scene.caller.get("/v1/nothing").status_code == 404
    assert [request.path for request in scene.upstream.requests] == ["/v1/messages/count_tokens"]


def test_counts_one_when_the_gateway_is_killed(shared_upstream: ScriptedUpstream, tmp_path: Path) -> None:
    shared_upstream.forget()
    shared_upstream.respond("/v1/messages", Answer.never())
    config = configuration(shared_upstream.url, {})
    with Gateway(tmp_path, config) as gateway, asked(Caller(gateway.url, FREE)):
        shared_upstream.wait_for_requests(1)
        # The server first, or it would raise the worker again.
        for pid in (gateway.process.pid, *gateway.worker_pids()):
            os.kill(pid, signal.SIGKILL)
        shared_upstream.wait_until_client_closed()
    with Gateway(tmp_path, config) as gateway:
        # What had been reserved stands.
        used = use(Caller(gateway.url, FREE))
    assert (used["requests", "day"], used["prompts", "day"]) == (1, 1)
    # `max_tokens` of the request, and a bound of its input.
    assert 100 + INPUT <= used["tokens", "day"] <= 200
