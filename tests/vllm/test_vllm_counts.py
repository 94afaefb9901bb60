"""Tokens are counted as vLLM counts them."""

from typing import Any

import anthropic
import pytest
from anthropic.types import Message

from tests.vllm.asking import OFF, ON, WEATHER, ask, say, thought, user
from tests.vllm.server import Vllm

pytestmark = pytest.mark.timeout(400)

whole_and_streamed = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
thinking_and_not = pytest.mark.parametrize("thinking", [False, True], ids=["off", "on"])

LAST = say("It is sunny.")
QUESTION: Any = user("What is the weather in Paris?")

# One conversation in both APIs' words. The thinking belongs to the turn that goes on, so the model reads it.
MEMBERS: dict[str, Any] = {
    "system": [{"type": "text", "text": "You are terse.", "cache_control": {"type": "ephemeral"}}],
    "tools": [WEATHER],
    "messages": [
        QUESTION,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I do not know the weather.", "signature": "gw1.any"},
                {"type": "text", "text": "I ask."},
                {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Paris"}},
            ],
        },
        user([{"type": "tool_result", "tool_use_id": "call_1", "content": f"sunny. {LAST}"}]),
    ],
}
ARGUMENTS = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
AS_CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "You are terse."},
    QUESTION,
    {
        "role": "assistant",
        "reasoning": "I do not know the weather.",
        "content": "I ask.",
        "tool_calls": [{"id": "call_1", "type": "function", "function": ARGUMENTS}],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": f"sunny. {LAST}"},
]
CHAT_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": WEATHER["name"],
            "description": WEATHER["description"],
            "parameters": WEATHER["input_schema"],
        },
    }
]


def _input_tokens(message: Message) -> int:
    usage = message.usage
    return (
        usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    )


@whole_and_streamed
@thinking_and_not
def test_usage_is_what_vllm_counted(
    claude: anthropic.Anthropic, vllm: Vllm, streamed: bool, thinking: bool
) -> None:
    before = vllm.counted()
    answer = say(thought("easy") if thinking else "", "hello there")
    message = ask(claude, answer, streamed=streamed, thinking=ON if thinking else OFF)
    prompt_tokens, output_tokens = (
        after - earlier for after, earlier in zip(vllm.counted(), before, strict=True)
    )
    assert (_input_tokens(message), message.usage.output_tokens) == (prompt_tokens, output_tokens)
    assert prompt_tokens == vllm.count([user(answer)], thinking=thinking)


@whole_and_streamed
def test_what_came_from_the_cache_is_told(claude: anthropic.Anthropic, vllm: Vllm, streamed: bool) -> None:
    prompt = "All work and no play. " * 100 + say("done")
    expected = vllm.count([user(prompt)], thinking=False)
    ask(claude, prompt, streamed=streamed)
    again = ask(claude, prompt, streamed=streamed)
    assert (again.usage.cache_read_input_tokens or 0) > expected // 2
    assert _input_tokens(again) == expected


@thinking_and_not
def test_count_tokens_is_what_the_request_then_uses(
    claude: anthropic.Anthropic, vllm: Vllm, thinking: bool
) -> None:
    members = MEMBERS | {"thinking": ON if thinking else OFF}
    counted = claude.messages.count_tokens(model="claude-3-haiku", **members).input_tokens
    assert counted == vllm.count(AS_CHAT, thinking=thinking, tools=CHAT_TOOLS)
    assert counted == _input_tokens(ask(claude, "", streamed=True, **members))


@pytest.mark.parametrize("gateway", ["translated"], indirect=True)
def test_count_tokens_without_a_word_about_thinking_counts_what_would_be_sent(
    claude: anthropic.Anthropic, vllm: Vllm
) -> None:
    counted = claude.messages.count_tokens(model="claude-3-haiku", messages=[QUESTION]).input_tokens
    assert counted == vllm.count([QUESTION], thinking=False)
