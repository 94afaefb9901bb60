"""What vLLM refuses is told in the client's words, and what nobody waits for is no longer worked on."""

import re
from contextlib import closing
from typing import Any

import anthropic
import openai
import pytest

from tests.servers.gateway import FREE, Gateway
from tests.servers.waiting import eventually
from tests.vllm.asking import ask, say, user
from tests.vllm.server import Vllm

pytestmark = pytest.mark.timeout(400)

whole_and_streamed = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])

FREE_AGAIN_S = 2.0
# Random words go on for half a minute: longer than any wait below.
ENDLESS_TOKENS = 8000
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


@whole_and_streamed
def test_too_long_a_prompt_is_told_in_the_words_that_make_claude_code_compact(
    claude: anthropic.Anthropic, vllm: Vllm, streamed: bool
) -> None:
    # Qwen3 takes every digit for a token.
    prompt = "7" * (vllm.window() + 1000)
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long") as refused:
        ask(claude, prompt, streamed=streamed)
    assert refused.value.type == "invalid_request_error"
    found = re.search(r"prompt is too long: (\d+) tokens > (\d+) maximum", refused.value.message)
    assert found, refused.value.message
    tokens, maximum = map(int, found.groups())
    assert maximum == vllm.window()
    assert maximum < tokens <= vllm.count([user(prompt)], thinking=False)


@whole_and_streamed
def test_a_prompt_that_just_fits_is_answered(claude: anthropic.Anthropic, vllm: Vllm, streamed: bool) -> None:
    end = say("hi")
    filler = vllm.window() - vllm.count([user(end)], thinking=False) - 10
    message = ask(claude, "7" * filler + end, streamed=streamed)
    assert message.stop_reason == "end_turn"


@whole_and_streamed
def test_what_vllm_refuses_has_the_shape_of_the_api(claude: anthropic.Anthropic, streamed: bool) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        ask(claude, "hello", streamed=streamed, extra_body={"top_p": 7})
    body = refused.value.body
    assert isinstance(body, dict)
    assert body.keys() == {"type", "error", "request_id"}
    assert body["error"]["type"] == "invalid_request_error"
    assert "top_p" in body["error"]["message"]


def test_an_image_in_the_history_does_not_end_the_session(claude: anthropic.Anthropic) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content: list[dict[str, Any]] = [
        {"type": "image", "source": source},
        {"type": "text", "text": say("I see nothing")},
    ]
    message = ask(claude, "", streamed=True, messages=[user(content)])
    assert message.stop_reason == "end_turn"


def test_leaving_a_stream_of_messages_frees_the_slot(claude: anthropic.Anthropic, vllm: Vllm) -> None:
    events = claude.messages.create(
        model="claude-3-haiku",
        max_tokens=ENDLESS_TOKENS,
        thinking={"type": "disabled"},
        messages=[{"role": "user", "content": "Go on for ever"}],
        stream=True,
    )
    with closing(events):
        next(event for event in events if event.type == "content_block_delta")
        assert vllm.running() == 1
    eventually(lambda: vllm.running() == 0, "a free slot", FREE_AGAIN_S)


def test_leaving_before_a_whole_message_frees_the_slot(claude: anthropic.Anthropic, vllm: Vllm) -> None:
    with pytest.raises(anthropic.APITimeoutError):
        ask(claude, "Go on for ever", streamed=False, max_tokens=ENDLESS_TOKENS, timeout=2)
    eventually(lambda: vllm.running() == 0, "a free slot", FREE_AGAIN_S)


def test_leaving_a_stream_of_chat_completions_frees_the_slot(gateway: Gateway, vllm: Vllm) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=FREE, max_retries=0) as chat:
        chunks = chat.chat.completions.create(
            model="gpt-4",
            max_tokens=ENDLESS_TOKENS,
            messages=[{"role": "user", "content": "Go on for ever"}],
            stream=True,
        )
        with closing(chunks):
            next(chunks)
            assert vllm.running() == 1
        eventually(lambda: vllm.running() == 0, "a free slot", FREE_AGAIN_S)
