"""The real Claude Code through the gateway: what a subscriber does all day."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers.claude_code import ClaudeResult, TokenVariable, run_claude
from tests.servers.demo_upstream import demo_upstream
from tests.servers.gateway import ENTERPRISE, FREE, PRO, Gateway, settings
from tests.servers.scripted import Answer, Request, ScriptedUpstream

pytestmark = pytest.mark.claude

TIERS = {"free": {"quota": [{"unit": "requests", "period": "day", "limit": 1000}]}}
ANTHROPIC_KEY = "upstream-anthropic-key"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in front of the demo upstream."""
    folder = tmp_path_factory.mktemp("demo")
    with demo_upstream() as url, Gateway(folder, settings(url, tiers=TIERS)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, ScriptedUpstream]]:
    """A gateway in front of a scripted upstream that answers correctly and remembers."""
    folder = tmp_path_factory.mktemp("scripted")
    with ScriptedUpstream() as upstream, Gateway(folder, settings(upstream.url, tiers=TIERS)) as gateway:
        yield gateway, upstream


def _ask(gateway: Gateway, prompt: str, token: str = FREE, **options: Any) -> ClaudeResult:
    return run_claude(prompt, base_url=gateway.url, token=token, **options)


@pytest.mark.parametrize(
    ("suffix", "token_variable"),
    [("", "ANTHROPIC_API_KEY"), ("/v1", "ANTHROPIC_AUTH_TOKEN"), ("/v1", "ANTHROPIC_API_KEY")],
)
def test_a_prompt_is_answered_word_by_word(demo: Gateway, suffix: str, token_variable: TokenVariable) -> None:
    result = run_claude(
        "what are you",
        base_url=demo.url + suffix,
        token=FREE,
        token_variable=token_variable,
        partial_messages=True,
    )
    assert not result.is_error, result
    assert "No model is running" in result.text
    assert "“what are you”" in result.text
    events = [event["event"] for event in result.events if event["type"] == "stream_event"]
    deltas = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]
    assert deltas.count("text_delta") > 10
    assert deltas.count("thinking_delta") > 3


def test_a_tool_makes_its_round_trip(demo: Gateway) -> None:
    result = _ask(demo, "please use a tool", allowed_tools=["Bash"])
    assert not result.is_error, result
    (call,) = result.blocks("tool_use")
    (output,) = result.blocks("tool_result")
    assert call["name"] == "Bash"
    assert output["content"] == "hello from the demo"
    assert "“hello from the demo”" in result.text


def test_thinking_comes_before_the_text(demo: Gateway) -> None:
    result = _ask(demo, "think hard")
    kinds = [block["type"] for event in result.events for block in _content(event)]
    assert kinds == ["thinking", "text"]
    assert result.blocks("thinking")[0]["signature"]


def test_a_session_is_resumed(demo: Gateway, tmp_path: Path) -> None:
    first = _ask(demo, "remember me", config_dir=tmp_path)
    again = _ask(demo, "and again", config_dir=tmp_path, resume=first.session_id)
    assert not again.is_error, again
    assert again.session_id == first.session_id
    assert "“and again”" in again.text


def test_sessions_at_the_same_time_do_not_mix(demo: Gateway) -> None:
    prompts = [f"this is number {number}" for number in range(5)]
    with ThreadPoolExecutor(len(prompts)) as pool:
        results = list(pool.map(lambda prompt: _ask(demo, prompt, timeout_s=120), prompts))
    for prompt, result in zip(prompts, results, strict=True):
        assert not result.is_error, result
        assert f"“{prompt}”" in result.text


@pytest.mark.parametrize(
    ("token", "asked", "served"),
    [
        (FREE, "claude-3-opus", "qwen3-32b"),
        (FREE, "claude-haiku-5-5", "qwen3-32b"),
        (PRO, "claude-3-opus", "claude-haiku-5-5"),
        (PRO, "claude-sonnet-5-5", "claude-haiku-5-5"),
        (ENTERPRISE, "claude-3-opus", "claude-opus-5-5"),
        (ENTERPRISE, "claude-sonnet-5-5", "claude-sonnet-5-5"),
    ],
)
def test_each_tier_is_served_by_its_model_and_no_subscribers_key_goes_upstream(
    scripted: tuple[Gateway, ScriptedUpstream], token: str, asked: str, served: str
) -> None:
    gateway, upstream = scripted
    upstream.forget()
    result = _ask(gateway, "hello", token, model=asked)
    assert not result.is_error, result
    assert result.text == "hello there"
    assert {request.json()["model"] for request in upstream.requests} == {served}
    key = None if served == "qwen3-32b" else ANTHROPIC_KEY
    for request in upstream.requests:
        assert request.header("x-api-key") == key
        assert request.header("authorization") is None
        assert token not in _everything(request)


def test_only_the_model_is_changed_on_the_way(scripted: tuple[Gateway, ScriptedUpstream]) -> None:
    gateway, upstream = scripted
    upstream.forget()
    with ScriptedUpstream() as recorder:
        recorder.always("/v1/messages", lambda request: _forward(request, gateway))
        result = run_claude("hello", base_url=recorder.url, token=ENTERPRISE, model="claude-3-opus")
        assert not result.is_error, result
        sent, arrived = recorder.requests, upstream.requests
    assert len(sent) == len(arrived) > 0
    for before, after in zip(sent, arrived, strict=True):
        head, model, tail = before.body.partition(b'"model":"claude-3-opus"')
        assert model
        assert after.body == head + b'"model":"claude-opus-5-5"' + tail
        assert after.target == before.target == "/v1/messages?beta=true"
        for name in ("anthropic-version", "anthropic-beta", "user-agent", "x-app", "content-type"):
            assert after.header(name) == before.header(name) is not None, name


def _forward(request: Request, gateway: Gateway) -> Answer:
    answer = httpx.post(gateway.url + request.target, content=request.body, headers=request.headers)
    return Answer(answer.status_code, [("content-type", answer.headers["content-type"])], [answer.content])


def _content(event: dict[str, Any]) -> list[dict[str, Any]]:
    content = event["message"]["content"] if event["type"] == "assistant" else []
    return content if isinstance(content, list) else []


def _everything(request: Request) -> str:
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers)
    return f"{request.target}\n{headers}\n{request.body.decode()}"
