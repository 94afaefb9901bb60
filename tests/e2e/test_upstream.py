"""What crosses the gateway in either direction, and what does not."""

from collections.abc import Iterator

import pytest

from tests.servers.answers import default_answer
from tests.servers.connection import Connection, Header, ask, chat, head, used
from tests.servers.gateway import ENTERPRISE, FREE, PRO, Gateway, settings
from tests.servers.scripted import Answer, Pause, Request, ScriptedUpstream
from tests.servers.shapes import Dialect, problem

MESSAGES, COUNT, COMPLETIONS = "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions"
APIS: list[tuple[Dialect, str]] = [("anthropic", MESSAGES), ("openai", COMPLETIONS)]
MODELS = {MESSAGES: "claude-3-haiku", COUNT: "claude-3-haiku", COMPLETIONS: "gpt-4"}
CANARY = "canary-value"

each_api = pytest.mark.parametrize(("dialect", "path"), APIS)


@pytest.fixture(scope="module")
def gateway(shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("upstream"), settings(shared_upstream.url)) as running:
        yield running


def sent(upstream: ScriptedUpstream) -> Request:
    """The one request that arrived."""
    (request,) = upstream.requests
    return request


PASSED: list[Header] = [
    ("accept", "application/json"),
    ("user-agent", "claude-cli/2.1.330 (external, cli)"),
    ("x-stainless-lang", "js"),
    ("x-stainless-retry-count", "0"),
]
PASSED_TO_ANTHROPIC: list[Header] = [
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "a-2025-01-01,b-2025-01-01"),
    ("x-app", "cli"),
]
KEPT: list[Header] = [
    ("cookie", f"session={CANARY}"),
    ("proxy-authorization", f"Basic {CANARY}"),
    ("x-forwarded-for", CANARY),
    ("x-forwarded-host", CANARY),
    ("forwarded", f"for={CANARY}"),
    ("x-real-ip", CANARY),
    ("x-user-id", CANARY),
    ("x-upstream-url", CANARY),
    ("x-request-id", CANARY),
    ("anthropic-dangerous-direct-browser-access", CANARY),
    ("openai-organization", CANARY),
    ("openai-project", CANARY),
    ("x_api_key", CANARY),
    ("origin", f"https://{CANARY}.example"),
    ("referer", f"https://{CANARY}.example"),
    ("te", "trailers"),
    ("keep-alive", CANARY),
    ("connection", "x-user-id, anthropic-version"),
    ("accept-encoding", "gzip, br"),
    ("expect", CANARY),
    ("if-none-match", CANARY),
]


@each_api
@pytest.mark.parametrize("credential", ["x-api-key", "authorization", "both"])
def test_only_listed_request_headers_reach_an_upstream(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str, credential: str
) -> None:
    body = chat(MODELS[path])
    both: list[Header] = [("authorization", f"Bearer {ENTERPRISE}"), ("x-api-key", ENTERPRISE)]
    credentials = [header for header in both if credential in (header[0], "both")]
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    headers += [*credentials, *PASSED, *PASSED_TO_ANTHROPIC, *(one for one in KEPT if one[0] != "expect")]
    with Connection(gateway.port) as connection:
        connection.send(head("POST", path, headers) + body)
        assert connection.reply().status == 200
    request = sent(upstream)
    expected = {
        "host": upstream.url.removeprefix("http://"),
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": str(len(request.body)),
        **dict(PASSED),
    }
    if dialect == "anthropic":
        expected |= {**dict(PASSED_TO_ANTHROPIC), "x-api-key": "upstream-anthropic-key"}
    else:
        expected |= {"authorization": "Bearer upstream-openai-key"}
    arrived = {name.lower(): value for name, value in request.headers}
    assert arrived == expected
    assert len(arrived) == len(request.headers)
    assert ENTERPRISE not in str(request.headers)
    assert CANARY not in str(request.headers)


def test_an_upstream_without_a_key_gets_no_credential(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    assert ask(gateway.port, MESSAGES, chat(), FREE).status == 200
    assert not {"authorization", "x-api-key"} & {name.lower() for name, _ in sent(upstream).headers}


@each_api
def test_only_listed_response_headers_reach_a_client(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str
) -> None:
    told = [
        ("content-type", "application/json"),
        ("retry-after", "3"),
        ("x-should-retry", "true"),
        ("request-id", "req_of_the_upstream"),
        ("set-cookie", f"a={CANARY}"),
        ("server", CANARY),
        ("via", CANARY),
        ("date", CANARY),
        ("anthropic-organization-id", CANARY),
        ("anthropic-ratelimit-requests-remaining", CANARY),
        ("openai-organization", CANARY),
        ("x-ratelimit-limit-requests", CANARY),
        ("cf-ray", CANARY),
        ("connection", "keep-alive, x-own"),
        ("x-own", CANARY),
        ("location", f"https://{CANARY}"),
        ("access-control-allow-origin", "*"),
    ]
    upstream.respond(path, Answer(200, told, [b'{"ok":1}'], framing="content_length"))
    reply = ask(gateway.port, path, chat(MODELS[path]), ENTERPRISE)
    assert reply.status == 200
    assert CANARY not in str(reply.headers)
    assert {name for name, _ in reply.headers} - {"date", "server"} == {
        "content-type",
        "content-length",
        "retry-after",
        "x-should-retry",
        "request-id",
        "x-request-id",
        "x-gateway-model",
        "x-gateway-tier",
        "x-gateway-upstream",
        "server-timing",
    }
    own = reply.header("request-id")
    assert own
    assert own == reply.header("x-request-id")
    assert own.startswith("req_")
    assert own != "req_of_the_upstream"
    assert reply.header("x-gateway-tier") == "enterprise"
    assert reply.header("x-gateway-upstream") == dialect


@each_api
@pytest.mark.parametrize("streamed", [True, False])
def test_server_timing_tells_both_parts(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str, streamed: bool
) -> None:
    def slow(request: Request) -> Answer:
        whole = default_answer(request)
        return Answer(whole.status, whole.headers, whole.chunks, whole.framing, before=[Pause(0.2)])

    upstream.respond(path, slow)
    timing = ask(gateway.port, path, chat(MODELS[path], streamed), ENTERPRISE).header("server-timing")
    parts = dict(part.strip().split(";dur=") for part in (timing or "").split(","))
    assert parts.keys() == {"gateway", "upstream"}
    assert 0 < float(parts["gateway"]) < 200
    assert 200 <= float(parts["upstream"]) < 1000


def test_a_stream_tells_intermediaries_not_to_hold_it(gateway: Gateway) -> None:
    reply = ask(gateway.port, MESSAGES, chat(stream=True), PRO)
    assert reply.header("content-type") == "text/event-stream"
    assert reply.header("cache-control") == "no-cache"
    assert reply.header("x-accel-buffering") == "no"
    assert reply.header("content-length") is None


ERROR: dict[Dialect, bytes] = {
    "anthropic": b'{"type":"error",  "error":{"type":"t","message":"prompt is too long: 9 > 8"}} ',
    "openai": b'{"error" : {"message":"\\u00fc \xc3\xbc","type":"t","param":null,"code":"context_length"}}\n',
}


@each_api
@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429, 500, 502, 503, 504, 529])
@pytest.mark.parametrize("streamed", [True, False])
def test_an_upstreams_own_error_passes_as_it_is(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str, status: int, streamed: bool
) -> None:
    before = used(gateway.port, PRO)
    headers = [("content-type", "application/json"), ("retry-after", "7"), ("x-should-retry", "false")]
    upstream.respond(path, Answer(status, headers, [ERROR[dialect]]))
    reply = ask(gateway.port, path, chat(MODELS[path], streamed), PRO)
    assert (reply.status, reply.body) == (status, ERROR[dialect])
    assert reply.header("content-type") == "application/json"
    assert reply.header("retry-after") == "7"
    assert reply.header("x-should-retry") == "false"
    assert reply.header("request-id")
    assert len(upstream.requests) == 1, "asked once"
    assert used(gateway.port, PRO) == before, "given back"


@each_api
@pytest.mark.parametrize(
    ("status", "becomes"),
    [(400, 400), (404, 400), (429, 529), (500, 502), (502, 502), (503, 529), (504, 504)],
)
def test_an_error_in_html_becomes_ours(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str, status: int, becomes: int
) -> None:
    headers = [("content-type", "text/html"), ("retry-after", "7")]
    upstream.respond(path, Answer(status, headers, [f"<html>{CANARY}</html>".encode()]))
    reply = ask(gateway.port, path, chat(MODELS[path]), PRO)
    overloaded = 503 if dialect == "openai" else 529
    assert reply.status == (overloaded if becomes == 529 else becomes)
    assert problem(reply, dialect)
    assert CANARY.encode() not in reply.body
    assert reply.header("retry-after") == "7"


@each_api
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("key", [FREE, ENTERPRISE])
def test_a_refusal_of_the_gateways_own_key_is_not_blamed_on_the_client(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: Dialect, path: str, status: int, key: str
) -> None:
    error = {
        "error": {"type": "authentication_error", "message": f"invalid key {CANARY}-upstream-openai-key"}
    }
    upstream.respond(path, Answer.json(status, error))
    reply = ask(gateway.port, path, chat(MODELS[path]), key)
    assert reply.status == 502
    assert problem(reply, dialect).message == "upstream credentials were refused"
    assert b"upstream-" not in reply.body
    assert CANARY.encode() not in reply.body


@pytest.mark.parametrize(
    ("asked", "arrives"),
    [
        ("/v1/messages?beta=true", "/v1/messages?beta=true"),
        ("/v1/v1/messages?beta=true&x=%20%2F", "/v1/messages?beta=true&x=%20%2F"),
        ("/v1/messages?", "/v1/messages"),
        ("/v1/messages?a=?&b=//x", "/v1/messages?a=?&b=//x"),
        ("/v1/v1/v1/chat/completions?x", "/v1/chat/completions?x"),
        ("/v1/messages/count_tokens?beta=true", "/v1/messages/count_tokens?beta=true"),
    ],
)
def test_the_query_is_kept_and_the_path_is_ours(
    gateway: Gateway, upstream: ScriptedUpstream, asked: str, arrives: str
) -> None:
    assert (
        ask(gateway.port, asked, chat("claude-3-opus" if "messages" in asked else "gpt-4"), PRO).status == 200
    )
    assert sent(upstream).target == arrives


def test_counting_tokens_passes_and_counts_nothing(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    before = used(gateway.port, PRO)
    reply = ask(gateway.port, COUNT, chat("claude-3-opus"), PRO)
    assert (reply.status, reply.json()) == (200, {"input_tokens": 11})
    assert sent(upstream).json()["model"] == "claude-haiku-5-5"
    assert used(gateway.port, PRO) == before
