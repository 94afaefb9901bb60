"""The real Claude Code, a subscriber of the free tier, at work with a real vLLM."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.claude_code import ClaudeResult, run_claude, start_claude
from tests.servers.gateway import FREE, Gateway
from tests.servers.waiting import eventually
from tests.vllm.asking import call, say, thought
from tests.vllm.server import Vllm

pytestmark = [pytest.mark.claude, pytest.mark.timeout(400)]

FREE_AGAIN_S = 2.0


@pytest.fixture
def accepted(gateway: Gateway) -> Iterator[Gateway]:
    """The gateway; at the end, every request that the test made was answered with 200."""
    earlier = len(gateway.records())
    yield gateway
    records = gateway.wait_for_records(earlier + 1)[earlier:]
    assert {record["status"] for record in records} == {200}, records


def _ask(gateway: Gateway, prompt: str, **options: Any) -> ClaudeResult:
    return run_claude(prompt, base_url=gateway.url, token=FREE, timeout_s=120, **options)


def test_a_prompt_is_answered_after_thinking(accepted: Gateway) -> None:
    result = _ask(accepted, say(thought("let me see"), "hello there"))
    assert not result.is_error, result
    assert result.text.strip() == "hello there"
    (thinking,) = result.blocks("thinking")
    assert thinking["thinking"].strip() == "let me see"


def test_a_tool_makes_its_round_trip(accepted: Gateway, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    # In one line: the tool numbers them.
    note.write_text(f"remember the milk. {say('<think>there it is</think>', 'it says milk')}\n")
    prompt = say(thought("I have to look"), "I read it.\n", call("Read", file_path=str(note)))
    result = _ask(accepted, prompt, allowed_tools=["Read"])
    assert not result.is_error, result
    assert result.text.strip() == "it says milk"
    (use,) = result.blocks("tool_use")
    assert use["input"] == {"file_path": str(note)}
    (output,) = result.blocks("tool_result")
    assert "remember the milk" in output["content"]


def test_a_session_is_resumed(accepted: Gateway, tmp_path: Path) -> None:
    first = _ask(accepted, say(thought("once"), "first"), config_dir=tmp_path)
    again = _ask(accepted, say(thought("twice"), "second"), config_dir=tmp_path, resume=first.session_id)
    assert not again.is_error, again
    assert again.text.strip() == "second"


def test_the_usage_that_it_shows_is_vllms(accepted: Gateway, vllm: Vllm) -> None:
    before = vllm.counted()
    result = _ask(accepted, say(thought("let me see"), "hello there"))
    assert not result.is_error, result
    counted = tuple(after - earlier for after, earlier in zip(vllm.counted(), before, strict=True))
    models = result.events[-1]["modelUsage"].values()
    inputs = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    assert sum(model[name] for model in models for name in inputs) == counted[0]
    assert sum(model["outputTokens"] for model in models) == counted[1]


def test_a_full_window_is_compacted(gateway: Gateway, vllm: Vllm, tmp_path: Path) -> None:
    # Qwen3 takes every digit for a token.
    first = _ask(gateway, "7" * 9000 + say(thought("once"), "first"), config_dir=tmp_path)
    assert not first.is_error, first
    usage = first.events[-1]["usage"]
    used = usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
    too_much = "8" * (vllm.window() - used + 500) + say(thought("twice"), "second")
    again = _ask(gateway, too_much, config_dir=tmp_path, resume=first.session_id)
    assert [event for event in again.events if event.get("subtype") == "compact_boundary"], again.events
    assert again.text.strip() == "second"


def test_leaving_frees_the_slot(gateway: Gateway, vllm: Vllm) -> None:
    with start_claude("Go on for ever", base_url=gateway.url, token=FREE) as running:
        eventually(lambda: vllm.running() > 0, "a request", 60)
        running.kill(signal.SIGINT)
        eventually(lambda: vllm.running() == 0, "a free slot", FREE_AGAIN_S)
