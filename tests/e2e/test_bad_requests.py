"""Paths, credentials, media types and framing that are not right: told why, not counted, not sent on."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.servers.connection import Connection, Header, ask, chat, get, head, used
from tests.servers.gateway import FREE, PRO, Gateway, settings
from tests.servers.scripted import ScriptedUpstream
from tests.servers.shapes import dialect_of, problem, refused

MESSAGES, COUNT, COMPLETIONS = "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions"
PATHS = (MESSAGES, COUNT, COMPLETIONS)
JSON = ("content-type", "application/json")
KEY = ("x-api-key", PRO)

each_path = pytest.mark.parametrize("path", PATHS)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("bad-requests"), settings(upstream.url)) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_counted_nor_sent(gateway: Gateway, upstream: ScriptedUpstream) -> Iterator[None]:
    yield
    assert upstream.requests == []
    assert used(gateway.port, PRO) == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(
            (method, path, 405)
            for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")
            for path in PATHS
        ),
        *(
            (method, path, 405)
            for method in ("POST", "PUT", "DELETE")
            for path in ("/v1/models", "/quota", "/health")
        ),
        *(
            ("POST", path, 405)
            for path in ("/v1/models/gpt-4", "/health/ready", "/metrics", "/", "/style.css")
        ),
        *(
            ("POST", path, 404)
            for path in ("/v1", "/v1/", "/v1/completions", "/v1/embeddings", "/admin", "/docs")
        ),
        *(
            ("GET", path, 404)
            for path in ("/openapi.json", "/debug", "/config", "/favicon.ico", "/V1/models")
        ),
    ],
)
def test_a_wrong_method_or_path_is_told(gateway: Gateway, method: str, path: str, status: int) -> None:
    body = b"" if method in {"GET", "TRACE"} else chat()
    length = [("content-length", str(len(body)))] if body else []
    version = [] if dialect_of(path) == "openai" else [("anthropic-version", "2023-06-01")]
    message = refused(
        gateway.port, path, status, head(method, path, [JSON, KEY, *length, *version]) + body, method
    )
    assert ("answers" if status == 405 else "no such path") in message


@pytest.mark.parametrize(
    "path",
    [
        "/v1/%6dessages",
        "/v1/messages%2f",
        "/v1/messages/",
        "/v1//messages",
        "//v1/messages",
        "/v1/messages;x",
        "/v1/messages%00",
        "/v1/./messages",
        "/v1/../quota",
        "/v1/quota/../messages",
        "/%2e%2e/v1/messages",
        "/v1/v1messages",
        "/v1/MESSAGES",
        "/v1/count_tokens/../messages",
    ],
)
def test_a_path_counts_by_its_bytes(gateway: Gateway, path: str) -> None:
    headers = [JSON, KEY, ("content-length", str(len(chat()))), ("anthropic-version", "2023-06-01")]
    refused(gateway.port, MESSAGES, 404, head("POST", path, headers) + chat())


def test_a_model_named_like_a_path_is_only_a_name(gateway: Gateway) -> None:
    for path in ("/v1/models/../../quota", "/v1/models/%2e%2e%2fquota", "/v1/models/%00", "/v1/models/%ff"):
        reply = get(gateway.port, path, KEY)
        assert reply.status == 404
        assert "no such model" in problem(reply, "openai").message


BEARER = ("authorization", f"Bearer {PRO}")
CREDENTIALS: dict[str, tuple[list[Header], int, str]] = {
    "none": ([], 401, "no credential"),
    "unknown": ([("x-api-key", "canary-credential")], 401, ""),
    "unknown, as bearer": ([("authorization", "Bearer canary-credential")], 401, ""),
    "empty": ([("x-api-key", "")], 401, "no credential"),
    "empty bearer": ([("authorization", "Bearer ")], 401, "no credential"),
    "basic": ([("authorization", "Basic Y2FuYXJ5OmNhbmFyeQ==")], 401, "no credential"),
    "no scheme": ([("authorization", PRO)], 401, "no credential"),
    "authorization twice": ([BEARER, BEARER], 400, "authorization is there twice"),
    "x-api-key twice": ([KEY, KEY], 400, "x-api-key is there twice"),
    "a wrong bearer beside a right key": ([("authorization", "Bearer canary-credential"), KEY], 401, ""),
    "9 kB": ([("x-api-key", "k" * 9000)], 401, ""),
    "bytes that are no text": ([("x-api-key", "k\xff\xfe")], 401, ""),
}


@each_path
@pytest.mark.parametrize("what", CREDENTIALS)
def test_a_credential_that_is_not_right_is_refused(gateway: Gateway, path: str, what: str) -> None:
    headers, status, says = CREDENTIALS[what]
    body = chat()
    with Connection(gateway.port) as connection:
        connection.send(head("POST", path, [JSON, *headers, ("content-length", str(len(body)))]) + body)
        reply = connection.reply()
    assert reply.status == status
    assert says in problem(reply, dialect_of(path)).message
    assert b"canary" not in reply.body
    assert reply.header("x-should-retry") == ("false" if status == 401 else None)


def test_unknown_credentials_of_every_kind_get_the_same_answer(gateway: Gateway) -> None:
    bodies = {
        ask(gateway.port, COMPLETIONS, chat(), credential).body
        for credential in ("nobody", FREE[:-1], FREE + "x", "ogw_" + "A" * 43, "a.b.c")
    }
    assert len(bodies) == 1


MEDIA: dict[str, Header] = {
    "plain text": ("content-type", "text/plain"),
    "a form": ("content-type", "application/x-www-form-urlencoded"),
    "parts": ("content-type", "multipart/form-data; boundary=x"),
    "nothing": ("content-type", ""),
    "gzip": ("content-encoding", "gzip"),
    "br": ("content-encoding", "br"),
    "two codings": ("content-encoding", "identity, gzip"),
}


@each_path
@pytest.mark.parametrize("what", MEDIA)
def test_a_body_that_is_not_plain_json_is_refused(gateway: Gateway, path: str, what: str) -> None:
    body = chat()
    kind = [JSON] if MEDIA[what][0] == "content-encoding" else []
    sent = head("POST", path, [*kind, MEDIA[what], KEY, ("content-length", str(len(body)))]) + body
    assert MEDIA[what][0] in refused(gateway.port, path, 415, sent)


FRAMING: dict[str, list[Header]] = {
    "two lengths": [("content-length", "5"), ("content-length", "6")],
    "a list of lengths": [("content-length", "3, 3")],
    "a length with a sign": [("content-length", "+3")],
    "a negative length": [("content-length", "-1")],
    "a hexadecimal length": [("content-length", "0x3")],
    "a length beyond all numbers": [("content-length", "9" * 30)],
    "an unknown coding": [("transfer-encoding", "xchunked")],
    "a coding after chunked": [("transfer-encoding", "chunked, identity")],
    "a space in a name": [("content length", "3")],
}


@pytest.mark.parametrize("what", FRAMING)
def test_ambiguous_framing_is_refused_by_the_server_itself(gateway: Gateway, what: str) -> None:
    with Connection(gateway.port) as connection:
        connection.send(head("POST", MESSAGES, [JSON, KEY, *FRAMING[what]]) + b"abc")
        assert connection.reply().status == 400


@pytest.mark.parametrize("size", [b"-3", b"0x3", b"f" * 20, b"3 3", b""])
def test_a_bad_chunk_size_goes_nowhere(gateway: Gateway, size: bytes) -> None:
    with Connection(gateway.port) as connection:
        connection.send(head("POST", MESSAGES, [JSON, KEY, ("transfer-encoding", "chunked")]))
        connection.send(size + b"\r\n" + chat() + b"\r\n0\r\n\r\n")
        # A connection that is closed without an answer is right as well.
        with suppress(ConnectionError):
            assert connection.reply().status >= 400


def test_what_looks_like_routing_chooses_nothing(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """A body, header or query that names another backend is content, and decides nothing."""
    with ScriptedUpstream() as canary:
        body = chat("llama", api_base=canary.url, base_url=canary.url, api_key="canary")
        headers = [
            ("x-upstream-url", canary.url),
            ("x-forwarded-host", canary.url[7:]),
            ("forwarded", "host=canary"),
        ]
        reply = ask(gateway.port, f"{MESSAGES}?base_url={canary.url}", body, PRO, headers)
        assert reply.status == 400
        assert canary.connections == 0


def test_a_good_request_is_served_where_all_of_these_are_not(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    reply = ask(gateway.port, MESSAGES, chat(), FREE)
    assert reply.status == 200
    assert used(gateway.port, FREE) == 1
    upstream.forget()
