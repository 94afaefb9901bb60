"""The real Claude Code when something is wrong: what its user reads, how often it asks, how soon it ends."""

import http.client
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.answers import anthropic_stream
from tests.servers.claude_code import ClaudeResult, Event, TokenVariable, run_claude, start_claude
from tests.servers.gateway import ENTERPRISE, FREE, PRO, Gateway, settings
from tests.servers.scripted import Answer, CloseNow, Gate, Reset, ScriptedUpstream, WaitFor

pytestmark = pytest.mark.claude

LIMIT = 2
TIERS = {"free": {"quota": [{"unit": "requests", "period": "day", "limit": LIMIT}]}}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "too much to do"}}
# A client that repeats a request waits between attempts, for three minutes in all.
AT_ONCE_S = 20


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as running:
        yield running


@pytest.fixture
def gateway(upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, settings(upstream.url, tiers=TIERS)) as running:
        yield running


def _ask(gateway: Gateway, token: str, **options: Any) -> ClaudeResult:
    return run_claude("hello", base_url=gateway.url, token=token, **options)


def _statuses(gateway: Gateway) -> list[int]:
    """The statuses of all requests; ends the gateway, so that its log is complete."""
    gateway.stop()
    return [record["status"] for record in gateway.records()]


def test_a_used_up_quota_is_told_once_and_asked_for_once(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    for _ in range(LIMIT):
        assert _ask(gateway, FREE).text == "hello there"
    refused = _ask(gateway, FREE)
    assert refused.is_error
    assert refused.exit_code == 1
    assert f"the free tier's quota of {LIMIT} requests per day is used up; it resets at " in refused.text
    assert refused.duration_s < AT_ONCE_S
    assert _statuses(gateway) == [200] * LIMIT + [429]
    assert len(upstream.requests) == LIMIT


@pytest.mark.parametrize("token_variable", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_an_unknown_token_is_told_once_and_asked_for_once(
    gateway: Gateway, upstream: ScriptedUpstream, token_variable: TokenVariable
) -> None:
    refused = _ask(gateway, "nobodys-key", token_variable=token_variable)
    assert refused.is_error
    assert "401 the credential is not valid" in refused.text
    assert "nobodys-key" not in refused.text
    assert refused.duration_s < AT_ONCE_S
    assert _statuses(gateway) == [401]
    assert not upstream.requests
    assert "nobodys-key" not in gateway.log()


def test_a_model_that_the_tier_lacks_is_told_with_those_it_has(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    refused = _ask(gateway, PRO, model="mystery-9000")
    assert refused.is_error
    assert "400 model 'mystery-9000' is not available on the pro tier; available: " in refused.text
    assert "qwen3-32b" in refused.text
    assert refused.duration_s < AT_ONCE_S
    # The client takes any 400 for the fault of its betas and tries without some: quick, and never upstream.
    assert set(_statuses(gateway)) == {400}
    assert not upstream.requests


def test_an_overloaded_upstream_is_asked_again(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.respond("/v1/messages", *[Answer.json(529, OVERLOADED, [("retry-after", "0")])] * 2)
    result = _ask(gateway, FREE)
    assert not result.is_error, result
    assert result.text == "hello there"
    assert _statuses(gateway) == [529, 529, 200]
    # What served nobody was given back: the limit would have been reached by now.
    assert len(upstream.requests) == 3 > LIMIT


@pytest.mark.parametrize("end", [Reset(), CloseNow()], ids=["reset", "closed"])
def test_a_broken_stream_does_not_end_the_session(
    gateway: Gateway, upstream: ScriptedUpstream, end: Reset | CloseNow
) -> None:
    upstream.respond("/v1/messages", Answer(chunks=[*anthropic_stream("half an ans")[:3], end]))
    result = _ask(gateway, ENTERPRISE)
    assert not result.is_error, result
    assert result.text == "hello there"


@pytest.mark.parametrize("end", [Reset(), CloseNow()], ids=["reset", "closed"])
def test_a_broken_stream_ends_with_one_error_event(
    gateway: Gateway, upstream: ScriptedUpstream, end: Reset | CloseNow
) -> None:
    frames = anthropic_stream("half an ans")[:3]
    # The claim is about what has been delivered: the end comes once the client has read the rest.
    gate = Gate()
    upstream.respond("/v1/messages", Answer(chunks=[*frames, WaitFor(gate), end]))
    response = _open_stream(gateway, ENTERPRISE)
    delivered = response.read(len(b"".join(frames)))
    gate.open()
    rest = response.read()
    assert delivered == b"".join(frames)
    name, data = rest.decode().removesuffix("\n\n").split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["type"] == "api_error"


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_a_client_that_leaves_takes_the_upstreams_connection_with_it(
    gateway: Gateway, upstream: ScriptedUpstream, signal_number: signal.Signals
) -> None:
    upstream.respond("/v1/messages", Answer(chunks=[*anthropic_stream("half an ans")[:3], WaitFor()]))
    with start_claude("hello", base_url=gateway.url, token=ENTERPRISE, partial_messages=True) as running:
        running.wait_for_event(_is_text)
        running.kill(signal_number)
        assert upstream.wait_until_client_closed() < 1
    gateway.stop()
    assert [record["outcome"] for record in gateway.records()] == ["client_left"]


def _is_text(event: Event) -> bool:
    return bool(event["type"] == "stream_event" and event["event"]["type"] == "content_block_delta")


def _open_stream(gateway: Gateway, token: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    body = {"model": "claude-opus-5-5", "max_tokens": 100, "stream": True, "messages": []}
    headers = {"x-api-key": token, "content-type": "application/json", "connection": "close"}
    connection.request("POST", "/v1/messages", json.dumps(body), headers)
    return connection.getresponse()
