"""The demo upstream behind a real server, asked by the real clients."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anthropic
import httpx
import openai
import pytest

from tests.servers.claude_code import run_claude

ROOT = Path(__file__).resolve().parents[2]
WEATHER: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
}


@pytest.fixture(scope="module")
def demo_url() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "llm_gateway.demo.upstream:app"], env=os.environ | {"PYTHONPATH": str(ROOT / "python")}
    )
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=6)) as client:
            client.get(f"{url}/health").raise_for_status()
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def claude_sdk(demo_url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=demo_url, api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
def openai_sdk(demo_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{demo_url}/v1", api_key="x", max_retries=0) as client:
        yield client


def test_claude_code_gets_thinking_and_an_honest_answer(demo_url: str) -> None:
    result = run_claude("what are you", base_url=demo_url, token="x")
    assert not result.is_error, result
    assert "No model is running" in result.text
    assert "“what are you”" in result.text
    assert [block["thinking"] for block in result.blocks("thinking")]


@pytest.mark.parametrize("token_variable", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_claude_code_completes_a_tool_round_trip(demo_url: str, token_variable: str) -> None:
    result = run_claude(
        "please use a tool",
        base_url=demo_url,
        token="x",
        token_variable=token_variable,
        allowed_tools=["Bash"],
    )
    assert not result.is_error, result
    (call,) = result.blocks("tool_use")
    (output,) = result.blocks("tool_result")
    assert call["input"]["command"] == 'echo "hello from the demo"'
    assert output["content"] == "hello from the demo"
    assert "“hello from the demo”" in result.text


def test_claude_code_resumes_a_session(demo_url: str, tmp_path: Path) -> None:
    first = run_claude("remember me", base_url=demo_url, token="x", config_dir=tmp_path)
    again = run_claude(
        "and again", base_url=demo_url, token="x", config_dir=tmp_path, resume=first.session_id
    )
    assert not again.is_error, again
    assert "“and again”" in again.text


def test_messages_stream_is_what_the_anthropic_sdk_expects(claude_sdk: anthropic.Anthropic) -> None:
    with claude_sdk.messages.stream(
        model="claude-opus-5-5",
        max_tokens=4000,
        thinking={"type": "enabled", "budget_tokens": 2000},
        tools=[{"name": "weather", "input_schema": WEATHER}],
        messages=[{"role": "user", "content": "use the tool"}],
    ) as stream:
        message = stream.get_final_message()
    thinking, text, call = message.content
    assert (thinking.type, text.type, call.type) == ("thinking", "text", "tool_use")
    assert thinking.type == "thinking"
    assert thinking.signature
    assert call.type == "tool_use"
    assert call.input == {"city": "demo", "unit": "celsius"}
    assert message.stop_reason == "tool_use"
    assert message.usage.input_tokens > 20
    assert message.usage.output_tokens > 20


def test_messages_answers_whole_and_counts_tokens(claude_sdk: anthropic.Anthropic) -> None:
    ask: list[anthropic.types.MessageParam] = [{"role": "user", "content": "hello"}]
    message = claude_sdk.messages.create(model="m", max_tokens=4000, messages=ask)
    assert message.content[0].type == "text"
    assert "“hello”" in message.content[0].text
    assert message.stop_reason == "end_turn"
    assert claude_sdk.messages.count_tokens(model="m", messages=ask).input_tokens > 5
    assert "claude-opus-5-5" in [model.id for model in claude_sdk.models.list()]


def test_chat_stream_is_what_the_openai_sdk_expects(openai_sdk: openai.OpenAI) -> None:
    with openai_sdk.chat.completions.stream(
        model="qwen3-32b",
        messages=[{"role": "user", "content": "use the tool"}],
        tools=[{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}],
        stream_options={"include_usage": True},
    ) as stream:
        completion = stream.get_final_completion()
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    assert choice.message.tool_calls[0].function.arguments == '{"city":"demo","unit":"celsius"}'
    assert completion.usage
    assert completion.usage.completion_tokens > 20


def test_chat_answers_whole(openai_sdk: openai.OpenAI) -> None:
    completion = openai_sdk.chat.completions.create(
        model="qwen3-32b", messages=[{"role": "user", "content": "hello"}]
    )
    assert "“hello”" in (completion.choices[0].message.content or "")
    assert completion.choices[0].finish_reason == "stop"
    assert "qwen3-32b" in [model.id for model in openai_sdk.models.list()]


def test_bad_bodies_are_refused_in_each_dialect(demo_url: str) -> None:
    anthropic_error = httpx.post(f"{demo_url}/v1/messages", content=b"{")
    openai_error = httpx.post(f"{demo_url}/v1/chat/completions", content=b"{")
    assert anthropic_error.status_code == openai_error.status_code == 400
    assert anthropic_error.json()["error"]["type"] == "invalid_request_error"
    assert anthropic_error.json()["type"] == "error"
    assert set(openai_error.json()["error"]) == {"message", "type", "param", "code"}
