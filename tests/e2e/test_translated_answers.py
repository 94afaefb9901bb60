"""What a translated answer says besides its words: refusals, ids, what was left out, and what is counted."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.servers.answers import anthropic_event, openai_stream
from tests.servers.connection import Reply, ask, chat, get, used
from tests.servers.gateway import FREE, Gateway, settings
from tests.servers.prometheus import Samples, parse
from tests.servers.scripted import Answer, ScriptedUpstream
from tests.servers.shapes import Dialect, problem

PATHS: dict[Dialect, str] = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
# A client of the one API, and a model that is served through the other.
MODELS: dict[Dialect, str] = {"anthropic": "openai-model", "openai": "anthropic-model"}

each_client = pytest.mark.parametrize("client", PATHS)
streamed_or_not = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


@pytest.fixture(scope="module")
def gateway(shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    tiers = {"free": {"models": ["*"], "quota": [{"limit": 100_000}]}}
    config = settings(shared_upstream.url, tiers=tiers)
    models = []
    for api, kind in (("openai", "vllm"), ("anthropic", "anthropic")):
        name = f"{api}-model"
        config["upstreams"][name] = {"urls": [shared_upstream.url], "apis": [api], "kind": kind}
        models.append({"id": name, "class": "own", "upstream": name})
    with Gateway(tmp_path_factory.mktemp("translated-answers"), config | {"models": models}) as running:
        yield running


def other(client: Dialect) -> Dialect:
    return "openai" if client == "anthropic" else "anthropic"


def answered(gateway: Gateway, client: Dialect, **members: Any) -> Reply:
    return ask(gateway.port, PATHS[client], chat(MODELS[client], **members), FREE)


def metrics(gateway: Gateway) -> Samples:
    return parse(get(gateway.port, "/metrics").body.decode())


@each_client
@streamed_or_not
@pytest.mark.parametrize(("code", "told"), [(503, {"anthropic": 529, "openai": 503}), (400, {})])
def test_an_error_that_comes_as_an_answer_is_a_refusal_and_costs_nothing(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    client: Dialect,
    streamed: bool,
    code: int,
    told: dict[str, int],
) -> None:
    kind = {503: "overloaded_error", 400: "invalid_request_error"}[code]
    error: dict[str, Any] = {"message": "no slot is free", "type": kind, "code": code}
    body = json.dumps({"type": "error", "error": error}).encode()
    head = [("content-type", "text/event-stream" if streamed else "application/json")]
    if streamed:
        body = b"event: error\ndata: " + body + b"\n\n"
    upstream.respond(PATHS[other(client)], Answer(headers=head, chunks=[body]))
    before = used(gateway.port, FREE)
    reply = answered(gateway, client, stream=streamed)
    assert reply.status == told.get(client, code)
    assert problem(reply, client).message == "no slot is free"
    assert used(gateway.port, FREE) == before


@each_client
@streamed_or_not
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_of_the_gateways_is_not_the_clients_fault(
    gateway: Gateway, upstream: ScriptedUpstream, client: Dialect, streamed: bool, status: int
) -> None:
    error = {"message": "Incorrect API key provided: sk-canary", "type": "x", "code": "invalid_api_key"}
    upstream.respond(PATHS[other(client)], Answer.json(status, {"error": error}))
    reply = answered(gateway, client, stream=streamed)
    assert reply.status == 502
    found = problem(reply, client)
    assert found.kind == ("api_error" if client == "anthropic" else "server_error")
    assert found.message == "upstream credentials were refused"


@each_client
def test_a_wait_until_a_date_is_told_in_seconds(
    gateway: Gateway, upstream: ScriptedUpstream, client: Dialect
) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    error = {"message": "slow down", "type": "rate_limit_error"}
    upstream.respond(PATHS[other(client)], Answer.json(429, {"error": error}, [("retry-after", at)]))
    before = used(gateway.port, FREE)
    reply = answered(gateway, client)
    assert reply.status == 429
    assert problem(reply, client).kind == "rate_limit_error"
    assert re.fullmatch(r"\d+", reply.header("retry-after") or "")
    assert 60 < int(reply.header("retry-after") or 0) <= 90
    assert reply.header("x-should-retry") is None
    assert used(gateway.port, FREE) == before


@pytest.mark.parametrize(
    ("headers", "code", "told"),
    [([("x-should-retry", "true")], None, "true"), ([], "insufficient_quota", "false")],
)
def test_whether_to_ask_again_is_told(
    gateway: Gateway, upstream: ScriptedUpstream, headers: list[tuple[str, str]], code: str | None, told: str
) -> None:
    error = {"message": "no more", "type": "x", "code": code}
    upstream.respond(PATHS["openai"], Answer.json(429, {"error": error}, headers))
    assert answered(gateway, "anthropic").header("x-should-retry") == told


def test_an_html_page_is_not_passed_on(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    page = Answer(500, [("content-type", "text/html")], [b"<html>canary</html>"], "content_length")
    upstream.respond(PATHS["openai"], page)
    reply = answered(gateway, "anthropic")
    assert (reply.status, problem(reply, "anthropic").message) == (500, "upstream returned an HTML page")


LEFT_OUT: dict[Dialect, tuple[dict[str, Any], str]] = {
    "anthropic": ({"service_tier": "standard_only", "frobnicate": 1}, "service_tier"),
    "openai": ({"seed": 7, "frobnicate": 1}, "seed"),
}


@each_client
@streamed_or_not
def test_what_was_left_out_is_named_and_counted(
    gateway: Gateway, upstream: ScriptedUpstream, client: Dialect, streamed: bool
) -> None:
    members, name = LEFT_OUT[client]
    before = metrics(gateway)
    reply = answered(gateway, client, stream=streamed, **members)
    assert reply.status == 200
    named = (reply.header("x-gateway-dropped") or "").split(", ")
    assert sorted(named) == sorted(["frobnicate", name])
    for dropped in named:
        counts = [
            page.sum("gateway_dropped_fields_total", member=dropped) for page in (before, metrics(gateway))
        ]
        assert counts[1] == counts[0] + 1
    (sent,) = upstream.requests
    assert not {"frobnicate", name} & sent.json().keys()


@each_client
@streamed_or_not
def test_a_request_that_lost_nothing_says_nothing(
    gateway: Gateway, upstream: ScriptedUpstream, client: Dialect, streamed: bool
) -> None:
    before = metrics(gateway).sum("gateway_dropped_fields_total")
    reply = answered(gateway, client, stream=streamed)
    assert reply.header("x-gateway-dropped") is None
    assert metrics(gateway).sum("gateway_dropped_fields_total") == before


@each_client
@streamed_or_not
def test_the_upstreams_own_id_is_told(
    gateway: Gateway, upstream: ScriptedUpstream, client: Dialect, streamed: bool
) -> None:
    reply = answered(gateway, client, stream=streamed)
    ids = {
        "anthropic": ("chatcmpl-scripted", b"msg_scripted"),
        "openai": ("msg_scripted", b"chatcmpl-scripted"),
    }
    theirs, ours = ids[client]
    assert reply.header("x-upstream-id") == theirs
    assert ours in reply.body
    assert theirs.encode() not in reply.body


@each_client
@streamed_or_not
def test_tokens_are_counted_as_the_upstream_told_them(
    gateway: Gateway, upstream: ScriptedUpstream, client: Dialect, streamed: bool
) -> None:
    before, counted = metrics(gateway), used(gateway.port, FREE)
    reply = answered(gateway, client, stream=streamed)
    record = gateway.wait_for_record(reply.header("request-id"))
    assert (record["input_tokens"], record["output_tokens"]) == (11, 7)
    assert (record["api"], record["stream"], record["outcome"], record["status"]) == (
        "messages" if client == "anthropic" else "chat_completions",
        streamed,
        "complete",
        200,
    )
    assert record["route"] == f"{MODELS[client]} -> {MODELS[client]}"
    after = metrics(gateway)
    for kind, tokens in (("input", 11), ("output", 7)):
        labels = {"kind": kind, "model": MODELS[client]}
        name = "gateway_tokens_total"
        assert after.sum(name, **labels) == before.sum(name, **labels) + tokens
    assert after.sum("gateway_usage_missing_total") == before.sum("gateway_usage_missing_total")
    assert used(gateway.port, FREE) == counted + 1


def test_cached_tokens_are_told_apart(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    usage: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105}
    usage["prompt_tokens_details"] = {"cached_tokens": 64, "cache_write_tokens": 16}
    frames = openai_stream("hello")
    last = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "choices": [], "usage": usage}
    frames[-2] = f"data: {json.dumps(last)}\n\n".encode()
    upstream.respond(PATHS["openai"], Answer(chunks=frames))
    reply = answered(gateway, "anthropic", stream=True)
    (told,) = re.findall(rb'"type":"message_delta".*"usage":(\{.*?\})\}', reply.body)
    kinds = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    assert [json.loads(told)[kind] for kind in kinds] == [20, 64, 16, 5]
    record = gateway.wait_for_record(reply.header("request-id"))
    kinds = ("input_tokens", "cache_read_tokens", "cache_creation_tokens", "output_tokens")
    assert [record[kind] for kind in kinds] == [20, 64, 16, 5]


@streamed_or_not
def test_an_answer_without_usage_is_counted_as_one_and_never_guessed(
    gateway: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    frames = openai_stream("hello")
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}
    whole = {"id": "chatcmpl-scripted", "object": "chat.completion", "choices": [choice]}
    silent = Answer(chunks=[*frames[:-2], frames[-1]]) if streamed else Answer.json(200, whole)
    upstream.respond(PATHS["openai"], silent)
    before = metrics(gateway)
    reply = answered(gateway, "anthropic", stream=streamed)
    assert reply.status == 200
    assert b'"output_tokens":0' in reply.body
    labels = {"model": MODELS["anthropic"]}
    name = "gateway_usage_missing_total"
    assert metrics(gateway).sum(name, **labels) == before.sum(name, **labels) + 1
    assert gateway.wait_for_record(reply.header("request-id"))["output_tokens"] == 0


@each_client
def test_a_large_request_arrives_whole(gateway: Gateway, upstream: ScriptedUpstream, client: Dialect) -> None:
    texts = [f"{at} " + 'ein Wörtlein 🦀 \\ " \u2028 ' * 500 * at for at in range(9)]
    turns = [({"role": "user", "content": text}, {"role": "assistant", "content": "yes"}) for text in texts]
    messages = [message for turn in turns for message in turn][:-1]
    reply = answered(gateway, client, messages=messages)
    assert reply.status == 200
    (sent,) = upstream.requests
    assert len(sent.body) > 300_000
    said = [message["content"] for message in sent.json()["messages"] if message["role"] == "user"]
    assert [text_of(content) for content in said] == texts


def text_of(content: Any) -> str:
    """A content as one text, whichever way it is written."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def test_an_error_event_without_a_word_is_an_error(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.respond(PATHS["anthropic"], Answer(chunks=[anthropic_event("error")]))
    reply = answered(gateway, "openai", stream=True)
    assert reply.status >= 500
    assert problem(reply, "openai").message == "upstream gave no reason"
