"""The real Claude Code when a server of the OpenAI API fails: it goes on, and no half passes for whole."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.chat_rules import Body
from tests.servers.chat_upstream import Call, ChatUpstream, Model, Turn, tokens_of
from tests.servers.claude_code import ClaudeResult, run_claude
from tests.servers.connection import used
from tests.servers.gateway import FREE, Gateway, settings
from tests.servers.script import Answer, CloseNow, Part, Reset

pytestmark = pytest.mark.claude

# That of Qwen3-32B as it comes.
WINDOW_TOKENS = 40_960
PART_CHARACTERS = 60_000
# vLLM's words when its engine stops mid-stream, and its mark of an end that is none.
ENGINE_STOPPED = (
    b'data: {"error": {"message": "Internal server error", "type": "InternalServerError", "param": null, '
    b'"code": 500}}\n\ndata: [DONE]\n\n'
)


@pytest.fixture
def model() -> Iterator[ChatUpstream]:
    """The scripted model. A request that a strict server would not take fails the test."""
    with ChatUpstream() as running:
        yield running
    assert not running.problems


@pytest.fixture
def gateway(model: ChatUpstream, tmp_path: Path) -> Iterator[Gateway]:
    config = settings(model.url, tiers={"free": {"quota": [{"limit": 100_000}]}})
    profile = {"context_window": WINDOW_TOKENS}
    config["upstreams"]["internal"] |= {"apis": ["openai"], "kind": "vllm", "profile": profile}
    with Gateway(tmp_path / "gateway", config) as running:
        yield running


def ask(gateway: Gateway, prompt: str, **options: Any) -> ClaudeResult:
    return run_claude(prompt, base_url=gateway.url, token=FREE, **options)


def outcomes(gateway: Gateway) -> list[tuple[int, str]]:
    """How all requests ended; ends the gateway, so that its log is complete."""
    gateway.stop()
    return [(record["status"], record["outcome"]) for record in gateway.records()]


def test_a_small_window_is_no_bar_to_a_client_that_asks_for_more_output_than_it_holds(
    model: ChatUpstream, gateway: Gateway
) -> None:
    model.serve(lambda asked: Turn(text="It fits."), WINDOW_TOKENS)
    assert ask(gateway, "hello").text == "It fits."
    (asked,) = model.asked
    # vLLM then uses what the prompt leaves.
    assert "max_tokens" not in asked


def test_a_conversation_that_does_not_fit_is_compacted_and_goes_on(
    model: ChatUpstream, gateway: Gateway, tmp_path: Path
) -> None:
    def summarise(asked: Body) -> Turn:
        wanted = "<summary>" in json.dumps(asked["messages"][-1]["content"])
        return Turn(text="<summary>They talked of parts.</summary>" if wanted else "Noted.")

    model.serve(summarise, WINDOW_TOKENS)
    part = "one word after another " * (PART_CHARACTERS // len("one word after another "))
    first = ask(gateway, f"first part: {part}", config_dir=tmp_path)
    second = ask(gateway, f"second part: {part}", config_dir=tmp_path, resume=first.session_id)
    assert not second.is_error, second
    assert second.text == "Noted."
    assert "compact_boundary" in [event.get("subtype") for event in second.events]
    _, refused, summing, compacted = model.asked
    assert tokens_of(refused) > WINDOW_TOKENS
    assert "first part" in json.dumps(summing)
    assert "They talked of parts." in json.dumps(compacted)
    assert "first part" not in json.dumps(compacted)
    assert "second part" in json.dumps(compacted)
    assert used(gateway.port, FREE) == 3, "the refused one was given back"
    assert outcomes(gateway) == [(200, "complete"), (400, "failed"), (200, "complete"), (200, "complete")]


def first_then(broken: Turn | Answer, whole: Turn) -> Model:
    """A model that fails once."""
    turns: list[Turn | Answer] = [broken]
    return lambda asked: turns.pop() if turns else whole


@pytest.mark.parametrize("end", [Reset(), CloseNow(), ENGINE_STOPPED], ids=["reset", "closed", "told"])
def test_an_upstream_that_dies_in_its_text_is_asked_to_go_on(
    model: ChatUpstream, gateway: Gateway, end: Part
) -> None:
    model.serve(first_then(Turn("Hm.", "Half an ans", before_end=end), Turn(text="wer, and the rest.")))
    result = ask(gateway, "hello")
    assert not result.is_error, result
    assert result.text == "wer, and the rest."
    assert outcomes(gateway) == [(200, "broken"), (200, "complete")]


@pytest.mark.parametrize("end", [Reset(), CloseNow()], ids=["reset", "closed"])
def test_a_call_that_was_not_finished_is_not_run(
    model: ChatUpstream, gateway: Gateway, tmp_path: Path, end: Part
) -> None:
    touch = Call("Bash", {"command": "touch ran", "description": "leaves a trace"})
    model.serve(first_then(Turn("Hm.", calls=[touch], before_end=end), Turn(text="I did nothing.")))
    result = ask(gateway, "hello", allowed_tools=["Bash"], config_dir=tmp_path)
    assert result.text == "I did nothing."
    assert not (tmp_path / "work" / "ran").exists()
    assert not result.blocks("tool_result")
    assert outcomes(gateway) == [(200, "broken"), (200, "complete")]


REFUSALS: dict[str, tuple[Callable[[], Answer], int]] = {
    "overloaded": (lambda: Answer.json(503, {"error": {"message": "no slot"}}, [("retry-after", "0")]), 529),
    "failed": (lambda: Answer.json(500, {"error": {"message": "a kernel failed"}}), 500),
    "closed at once": (lambda: Answer(chunks=[CloseNow()]), 502),
    "told at once": (lambda: Answer(chunks=[ENGINE_STOPPED]), 500),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_a_failure_before_the_first_word_is_repeated_and_costs_nothing(
    model: ChatUpstream, gateway: Gateway, how: str
) -> None:
    answer, status = REFUSALS[how]
    model.serve(first_then(answer(), Turn(text="Here I am.")))
    result = ask(gateway, "hello")
    assert not result.is_error, result
    assert result.text == "Here I am."
    assert used(gateway.port, FREE) == 1
    assert outcomes(gateway) == [(status, "failed"), (200, "complete")]
