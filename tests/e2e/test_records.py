"""One access record per exchange, however it ends, and nobody's secrets or words anywhere."""

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import product
from typing import Any, NamedTuple

import pytest

from tests.servers.answers import anthropic_stream
from tests.servers.connection import Connection, Reply, ask, chat, get
from tests.servers.gateway import ENTERPRISE, FREE, PRO, Gateway, settings
from tests.servers.scripted import Answer, ScriptedUpstream, WaitFor

MESSAGES, COUNT, COMPLETIONS = "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions"


@pytest.fixture(scope="module")
def gateway(shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("records"), settings(shared_upstream.url), workers=2) as running:
        yield running


class Case(NamedTuple):
    """One exchange, and what its record says."""

    path: str
    body: bytes
    key: str
    answer: Answer | None
    record: dict[str, Any]


def cases() -> dict[str, Case]:
    stream = anthropic_stream("hello")
    broken = Answer(chunks=stream[:3])
    tokens = {"input_tokens": 11, "output_tokens": 7}
    pro = {"user": "paula", "tier": "pro", "upstream": "anthropic"}
    haiku = {"route": "claude-3-opus -> claude-3-haiku"} | pro
    ok = {"level": "info", "status": 200, "outcome": "complete"}
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}
    told = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n'
    opus = chat("claude-3-opus", stream=True)
    return {
        "whole": Case(MESSAGES, chat("claude-3-opus"), PRO, None, haiku | ok | tokens | {"stream": False}),
        "streamed": Case(
            MESSAGES, opus, PRO, None, haiku | ok | tokens | {"stream": True, "api": "messages"}
        ),
        "counted": Case(COUNT, chat("claude-3-opus"), PRO, None, haiku | ok | {"api": "count_tokens"}),
        "completion": Case(
            COMPLETIONS,
            chat("gpt-4", stream=True),
            ENTERPRISE,
            None,
            ok
            | tokens
            | {"api": "chat_completions", "user": "erin", "route": "gpt-4 -> gpt-4", "upstream": "openai"},
        ),
        "bad body": Case(
            MESSAGES,
            b"{",
            PRO,
            None,
            {
                "status": 400,
                "outcome": "refused",
                "fault": "invalid_request",
                "user": "paula",
                "level": "info",
            },
        ),
        "bad model": Case(
            MESSAGES, chat("llama"), PRO, None, {"status": 400, "outcome": "refused", "user": "paula"}
        ),
        "bad credential": Case(
            COMPLETIONS,
            chat(),
            "nobody",
            None,
            {"status": 401, "outcome": "refused", "fault": "unauthenticated"},
        ),
        "an error of the upstream": Case(
            MESSAGES,
            opus,
            PRO,
            Answer.json(529, error, [("request-id", "req_theirs")]),
            haiku
            | {"status": 529, "outcome": "failed", "upstream_request_id": "req_theirs", "level": "error"},
        ),
        "no answer of the upstream": Case(
            MESSAGES,
            opus,
            PRO,
            Answer(headers=[("content-type", "text/html")], chunks=[b"x"]),
            haiku | {"status": 502, "outcome": "failed", "fault": "upstream_error", "level": "error"},
        ),
        "broken off": Case(
            MESSAGES,
            opus,
            PRO,
            broken,
            haiku | {"status": 200, "outcome": "broken", "fault": "upstream_error"},
        ),
        "broken off by its own words": Case(
            MESSAGES,
            opus,
            PRO,
            Answer(chunks=[*stream[:3], told]),
            haiku | {"status": 200, "outcome": "broken"},
        ),
    }


@pytest.mark.parametrize("what", cases())
def test_an_exchange_leaves_one_record(gateway: Gateway, upstream: ScriptedUpstream, what: str) -> None:
    case = cases()[what]
    if case.answer:
        upstream.respond(case.path, case.answer)
    reply = ask(gateway.port, case.path, case.body, case.key)
    record = gateway.wait_for_record(reply.header("request-id"))
    assert case.record.items() <= record.items(), record
    check_record(record)
    assert (record.get("upstream_called_ms") is None) == (not upstream.requests)


def test_a_client_that_leaves_leaves_one_record(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.respond(MESSAGES, Answer(chunks=[*anthropic_stream("hello")[:3], WaitFor()]))
    with Connection(gateway.port) as connection:
        connection.post(MESSAGES, chat(stream=True), PRO)
        answer = connection.answer()
        request_id = answer.getheader("request-id")
        assert answer.read(10)
    record = gateway.wait_for_record(request_id)
    assert (
        record.items()
        >= {"status": 200, "outcome": "client_left", "input_tokens": 11, "level": "info"}.items()
    )
    check_record(record)


KEYS = {"ts", "level", "event", "request_id", "api", "stream", "status", "outcome", "total_ms"}
KEYS |= {"input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens"}
MORE = {"user", "tier", "route", "upstream", "upstream_request_id", "fault", "detail"}
MORE |= {"upstream_called_ms", "upstream_head_ms", "ttfb_ms"}


def check_record(record: dict[str, Any]) -> None:
    assert KEYS <= record.keys() <= KEYS | MORE
    assert datetime.fromisoformat(record["ts"]).tzinfo
    times = [record[key] for key in ("upstream_called_ms", "upstream_head_ms", "ttfb_ms") if key in record]
    assert times == sorted(times)
    assert all(0 < each <= record["total_ms"] < 10_000 for each in times)


SECRET, PROMPT, ANSWERED = "canary-credential-1", "canary-prompt-1", "canary-answer-1"
ODD_AGENT = 'a\tb\xff {"event":"request"}'
INJECTION = '\\r\\n{\\"event\\":\\"request\\",\\"canary\\":1}\\u001b[31m\\u2028'


def test_no_secret_and_no_content_is_logged_counted_or_answered(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    replies: list[Reply] = []
    messages = [{"role": "user", "content": PROMPT}]
    headers = [
        ("cookie", SECRET),
        ("user-agent", ODD_AGENT),
        ("x-stainless-lang", "x"),
        ("x-request-id", "a b"),
    ]
    for path in (MESSAGES, COUNT, COMPLETIONS, f"{MESSAGES}?key={SECRET}%0d%0a", f"/v1/{SECRET}%0a"):
        for key, model, stream in product((SECRET, PRO), ("claude-3-opus", "gpt-4", PROMPT), (False, True)):
            upstream.forget()
            upstream.respond(
                path.partition("?")[0], Answer.json(500, {"error": {"type": "t", "message": "m"}})
            )
            body = chat(model, stream, messages=messages)
            replies += [ask(gateway.port, path, body, key, headers) for _ in range(2)]
    upstream.respond(MESSAGES, Answer(chunks=anthropic_stream(ANSWERED)[:3]))
    last = ask(gateway.port, MESSAGES, chat(stream=True), PRO)
    assert ANSWERED.encode() in last.body
    assert {reply.status for reply in replies} == {200, 400, 401, 404, 500}
    for reply in replies:
        shown = str(reply.headers) + reply.body.decode().replace(f"'{PROMPT}'", "")
        for secret in (SECRET, PROMPT, PRO, "upstream-anthropic-key", "upstream-openai-key"):
            assert secret not in shown
    gateway.wait_for_record(last.header("request-id"))
    seen = gateway.log() + get(gateway.port, "/metrics").body.decode()
    for secret in (SECRET, PROMPT, ANSWERED, PRO, FREE, "upstream-anthropic-key", "upstream-openai-key"):
        assert secret not in seen


def test_every_line_of_the_log_is_one_json_object(gateway: Gateway) -> None:
    before = len(gateway.records())
    body = f'{{"model":"gpt-4{INJECTION}","messages":[]}}'.encode()
    reply = ask(gateway.port, MESSAGES, body, PRO, [("user-agent", ODD_AGENT)])
    assert reply.status == 400
    reply = ask(gateway.port, MESSAGES, b'{"model":"gpt-4\xe2\x80\xa8x","messages":[]}', PRO)
    gateway.wait_for_record(reply.header("request-id"))
    lines = gateway.log().split("\n")
    assert lines.pop() == ""
    for line in lines:
        value = json.loads(line)
        assert {"ts", "level", "event"} <= value.keys()
        assert "canary" not in value
        assert line.isprintable(), line
    assert len(gateway.records()) == before + 2
