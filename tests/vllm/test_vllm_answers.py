"""What a real vLLM answers to a client of the Messages API, and to one of chat completions."""

import anthropic
import openai
import pytest

from tests.servers.gateway import FREE, Gateway
from tests.vllm.asking import ON, WEATHER, ask, call, say, thought

pytestmark = pytest.mark.timeout(400)

whole_and_streamed = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
TOOL = {"type": "tool", "name": "get_weather"}


@whole_and_streamed
def test_text_ends_the_turn(claude: anthropic.Anthropic, streamed: bool) -> None:
    message = ask(claude, say("hello there"), streamed=streamed)
    (block,) = message.content
    assert block.type == "text"
    assert block.text == "hello there"
    assert message.stop_reason == "end_turn"


@whole_and_streamed
def test_thinking_is_signed_and_comes_before_the_text(claude: anthropic.Anthropic, streamed: bool) -> None:
    message = ask(claude, say(thought("let me see"), "hello there"), streamed=streamed, thinking=ON)
    thinking, text = message.content
    assert thinking.type == "thinking"
    assert thinking.thinking.strip() == "let me see"
    assert thinking.signature
    assert text.type == "text"
    assert text.text.strip() == "hello there"


# What passes natively is not touched: there the server decides, and Qwen3 thinks.
@pytest.mark.parametrize("gateway", ["translated"], indirect=True)
@whole_and_streamed
def test_without_a_word_about_thinking_there_is_none(claude: anthropic.Anthropic, streamed: bool) -> None:
    message = ask(claude, say("hello there"), streamed=streamed, thinking=anthropic.omit)
    assert [block.type for block in message.content] == ["text"]


@whole_and_streamed
@pytest.mark.parametrize("choice", [TOOL, {"type": "any"}], ids=["named", "any"])
def test_a_forced_tool_is_called(claude: anthropic.Anthropic, streamed: bool, choice: dict[str, str]) -> None:
    prompt = say(call("get_weather", city="Paris"))
    message = ask(claude, prompt, streamed=streamed, tools=[WEATHER], tool_choice=choice)
    (block,) = message.content
    assert block.type == "tool_use"
    assert (block.name, block.input) == ("get_weather", {"city": "Paris"})
    assert message.stop_reason == "tool_use"


@whole_and_streamed
def test_several_calls_come_after_thinking_and_text(claude: anthropic.Anthropic, streamed: bool) -> None:
    calls = "\n".join(call("get_weather", city=city) for city in ("Paris", "Rome"))
    prompt = say(thought("two cities"), "I ask twice.\n", calls)
    message = ask(claude, prompt, streamed=streamed, tools=[WEATHER], thinking=ON)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    uses = [block for block in message.content if block.type == "tool_use"]
    assert [use.input for use in uses] == [{"city": "Paris"}, {"city": "Rome"}]
    assert len({use.id for use in uses}) == 2
    assert message.stop_reason == "tool_use"


@whole_and_streamed
def test_the_stop_sequence_is_named(claude: anthropic.Anthropic, streamed: bool) -> None:
    message = ask(claude, say("one two three"), streamed=streamed, stop_sequences=["four", "two"])
    assert message.stop_reason == "stop_sequence"
    assert message.stop_sequence == "two"


@whole_and_streamed
def test_the_limit_is_kept(claude: anthropic.Anthropic, streamed: bool) -> None:
    message = ask(claude, "Say anything", streamed=streamed, max_tokens=7)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 7


def test_a_client_of_chat_completions_is_answered(gateway: Gateway) -> None:
    prompt = say(thought("let me see"), "hello there")
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=FREE, max_retries=0) as chat:
        completion = chat.chat.completions.create(
            model="gpt-4", max_tokens=100, messages=[{"role": "user", "content": prompt}]
        )
    assert (completion.choices[0].message.content or "").strip() == "hello there"
    assert completion.choices[0].finish_reason == "stop"
