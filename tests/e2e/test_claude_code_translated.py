"""The real Claude Code on a server that speaks the OpenAI API alone: a whole day, there and back."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.chat_rules import Body
from tests.servers.chat_upstream import TOKENIZE, Call, ChatUpstream, Turn, tokens_of, words_of
from tests.servers.claude_code import ClaudeResult, Event, run_claude, start_claude
from tests.servers.connection import used
from tests.servers.gateway import FREE, Gateway, settings
from tests.servers.script import Gate, WaitFor
from tests.servers.waiting import eventually

pytestmark = pytest.mark.claude

THINKING = "The user greets me, so I greet back."
TEXT = "Hello there, what shall we do?"
SMALL_ROUTE = "claude-haiku-5-5 -> qwen3-32b"


@pytest.fixture(scope="module")
def shared_model() -> Iterator[ChatUpstream]:
    with ChatUpstream() as running:
        yield running


@pytest.fixture
def model(shared_model: ChatUpstream) -> Iterator[ChatUpstream]:
    """The scripted model. A request that a strict server would not take fails the test."""
    shared_model.serve(lambda asked: Turn(THINKING, TEXT))
    yield shared_model
    assert not shared_model.problems


def translating(folder: Path, url: str, **capabilities: Any) -> Gateway:
    """A gateway whose free tier is served by that server, through the OpenAI API."""
    config = settings(url, tiers={"free": {"quota": [{"limit": 100_000}]}})
    config["upstreams"]["internal"] |= {"apis": ["openai"], "kind": "vllm", "profile": capabilities}
    return Gateway(folder, config)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, shared_model: ChatUpstream) -> Iterator[Gateway]:
    with translating(tmp_path_factory.mktemp("translated"), shared_model.url) as running:
        yield running


def ask(gateway: Gateway, prompt: str, **options: Any) -> ClaudeResult:
    """The answer to a prompt; nothing may go wrong."""
    result = run_claude(prompt, base_url=gateway.url, token=FREE, **options)
    assert not result.is_error, result
    return result


def results_in(asked: Body) -> list[str]:
    """What the tools answered so far."""
    return [message["content"] for message in asked["messages"] if message["role"] == "tool"]


def says(asked: Body, word: str) -> bool:
    """Whether the latest turn has that word in it."""
    return word in json.dumps(asked["messages"][-1]["content"])


def test_a_prompt_is_answered_word_by_word_with_thinking_before_text(
    model: ChatUpstream, gateway: Gateway
) -> None:
    gate = Gate()
    model.serve(lambda asked: Turn(THINKING, TEXT, before_end=WaitFor(gate)))
    counted = used(gateway.port, FREE)
    with start_claude("hello", base_url=gateway.url, token=FREE, partial_messages=True) as running:
        # The end is held back: what has arrived by now was not collected first.
        running.wait_for_event(lambda event: words_of(TEXT)[-1] in deltas([event], "text"))
        gate.open()
        result = running.wait()
    assert not result.is_error, result
    assert deltas(result.events, "thinking") == words_of(THINKING)
    first, *rest = words_of(TEXT)
    # vLLM's empty lines behind the thinking are no word of their own.
    assert deltas(result.events, "text") == ["\n\n" + first, *rest]
    (signature,) = deltas(result.events, "signature")
    assert signature.startswith("gw1.")
    assert [block["type"] for event in result.events for block in content(event)] == ["thinking", "text"]
    (asked,) = model.asked
    assert asked["max_tokens"] > 0
    assert asked["chat_template_kwargs"] == {"enable_thinking": True}
    usage = result.events[-1]["usage"]
    assert usage["input_tokens"] == tokens_of(asked)
    assert usage["output_tokens"] == len(words_of(THINKING) + words_of(TEXT)) + 1
    assert used(gateway.port, FREE) == counted + 1


def test_tools_called_together_are_run_and_answered_in_their_order(
    model: ChatUpstream, gateway: Gateway, tmp_path: Path
) -> None:
    file = tmp_path / "work" / "read.txt"
    file.parent.mkdir()
    file.write_text("of a file")
    calls = [
        Call("Bash", {"command": "echo out of a shell", "description": "says something"}),
        Call("Read", {"file_path": str(file)}),
        Call("Bash", {"command": "echo this fails; exit 3", "description": "fails"}),
    ]

    def use_tools(asked: Body) -> Turn:
        results = results_in(asked)
        return Turn(text="It is done.") if results else Turn("I need tools.", "Let me look.", calls)

    model.serve(use_tools)
    counted = used(gateway.port, FREE)
    result = ask(gateway, "use tools", allowed_tools=["Bash", "Read"], config_dir=tmp_path)
    assert result.text == "It is done."
    assert [(call["name"], call["input"]) for call in result.blocks("tool_use")] == [
        (call.name, call.arguments) for call in calls
    ]
    before, after = model.asked
    turn, *answers = after["messages"][len(before["messages"]) :]
    # The prompt so far is the beginning of the next one, or no prefix would be cached.
    assert after["messages"][: len(before["messages"])] == before["messages"]
    assert after["tools"] == before["tools"]
    assert turn["reasoning"] == turn["reasoning_content"] == "I need tools."
    assert turn["content"].strip() == "Let me look."
    assert [json.loads(call["function"]["arguments"]) for call in turn["tool_calls"]] == [
        call.arguments for call in calls
    ]
    assert [answer["tool_call_id"] for answer in answers] == [call["id"] for call in turn["tool_calls"]]
    shell, read, failed = (answer["content"] for answer in answers)
    assert shell == "out of a shell"
    assert "of a file" in read
    assert failed.startswith("Error")
    assert "this fails" in failed
    assert used(gateway.port, FREE) == counted + 2


def test_a_tool_that_is_loaded_late_can_be_called(model: ChatUpstream, gateway: Gateway) -> None:
    def load_then_call(asked: Body) -> Turn:
        done = len(results_in(asked))
        calls = [Call("ToolSearch", {"query": "select:CronList", "max_results": 1}), Call("CronList", {})]
        return Turn(calls=[calls[done]]) if done < len(calls) else Turn(text="There are no jobs.")

    model.serve(load_then_call)
    assert ask(gateway, "list the jobs").text == "There are no jobs."
    tools = [[tool["function"]["name"] for tool in asked["tools"]] for asked in model.asked]
    assert ["CronList" in names for names in tools] == [False, True, True]
    loaded, listed = results_in(model.asked[-1])
    assert loaded == "[tool loaded: CronList]"
    assert listed == "No scheduled jobs."


def test_a_subagent_is_answered_and_reports_back(model: ChatUpstream, gateway: Gateway) -> None:
    order: Body = {"description": "counts", "prompt": "count the stars", "subagent_type": "general-purpose"}
    order |= {"run_in_background": False}

    def delegate(asked: Body) -> Turn:
        if says(asked, "count the stars"):
            return Turn("I am the subagent.", "There are forty-two of them.")
        return Turn(text="It says so.") if results_in(asked) else Turn(calls=[Call("Agent", order)])

    model.serve(delegate)
    result = ask(gateway, "ask somebody", allowed_tools=["Agent"])
    assert result.text == "It says so."
    main, subagent, again = model.asked
    assert "Agent" in [tool["function"]["name"] for tool in main["tools"]]
    assert not results_in(subagent)
    (report,) = results_in(again)
    assert "There are forty-two of them." in report


def test_a_session_is_resumed_with_all_that_was_said(
    model: ChatUpstream, gateway: Gateway, tmp_path: Path
) -> None:
    def remember(asked: Body) -> Turn:
        if says(asked, "what was it"):
            return Turn(text="It was blue.")
        if results_in(asked):
            return Turn("Now I know.", "It is blue.")
        look = Call("Bash", {"command": "echo blue", "description": "looks"})
        return Turn("I do not know yet.", calls=[look, look])

    model.serve(remember)
    first = ask(gateway, "which colour", allowed_tools=["Bash"], config_dir=tmp_path)
    again = ask(gateway, "what was it", config_dir=tmp_path, resume=first.session_id)
    assert (again.text, again.session_id) == ("It was blue.", first.session_id)
    before, resumed = model.asked[-2:]
    assert resumed["messages"][: len(before["messages"])] == before["messages"]
    calling, _, _, answer, question = resumed["messages"][-5:]
    assert calling["reasoning"] == "I do not know yet."
    assert results_in(resumed) == ["blue", "blue"]
    assert (answer["reasoning"], answer["content"].strip()) == ("Now I know.", "It is blue.")
    assert "what was it" in json.dumps(question)


def test_a_side_call_gets_json_without_thinking(
    model: ChatUpstream, gateway: Gateway, tmp_path: Path
) -> None:
    hook = {"type": "prompt", "prompt": "may it stop? $ARGUMENTS"}
    (tmp_path / "config").mkdir()
    hooks = {"hooks": {"Stop": [{"hooks": [hook]}]}}
    (tmp_path / "config" / "settings.json").write_text(json.dumps(hooks))

    def judge(asked: Body) -> Turn:
        if "response_format" in asked:
            polite = says(asked, "Please and thanks.")
            return Turn(text=json.dumps({"ok": polite, "reason": "it was not polite"}))
        return Turn(text="Please and thanks." if says(asked, "not polite") else "There.")

    model.serve(judge)
    small = {"ANTHROPIC_DEFAULT_HAIKU_MODEL": "claude-haiku-5-5"}
    assert ask(gateway, "hello", config_dir=tmp_path, extra_env=small).text == "Please and thanks."
    turns = [asked for asked in model.asked if "response_format" not in asked]
    judgements = [asked for asked in model.asked if "response_format" in asked]
    assert (len(turns), len(judgements)) == (2, 2)
    for asked in judgements:
        assert asked["response_format"]["json_schema"]["schema"]["required"] == ["ok", "reason"]
        assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    eventually(lambda: (SMALL_ROUTE, True) in routes(gateway), "a record of the small model")


def test_a_call_that_is_not_streamed_is_answered(model: ChatUpstream, gateway: Gateway) -> None:
    assert "Haiku" in ask(gateway, "/model claude-haiku-5-5").text
    (asked,) = model.asked
    assert "stream" not in asked
    assert asked["max_tokens"] == 1
    eventually(lambda: (SMALL_ROUTE, False) in routes(gateway), "a record of the small model")


def routes(gateway: Gateway) -> set[tuple[str, bool]]:
    """The ways that requests took, and whether they were streamed."""
    return {(record["route"], record["stream"]) for record in gateway.records()}


def test_the_tokens_that_the_server_counts_are_shown_and_cost_nothing(
    model: ChatUpstream, gateway: Gateway
) -> None:
    counted = used(gateway.port, FREE)
    assert "Context Usage" in ask(gateway, "/context").text
    assert {request.path for request in model.requests} == {TOKENIZE}
    assert used(gateway.port, FREE) == counted


def test_a_picture_that_a_tool_read_is_seen(
    model: ChatUpstream, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with translating(tmp_path_factory.mktemp("sighted"), model.url, vision=True) as sighted:
        show_a_picture(model, sighted, tmp_path)
    *_, answer, picture = model.asked[-1]["messages"]
    assert answer["role"] == "tool"
    assert answer["content"] == "[1 image(s) follow]"
    title, seen = picture["content"]
    assert title == {"type": "text", "text": f"[image from tool result {answer['tool_call_id']}]"}
    assert seen["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_picture_becomes_a_word_for_a_model_that_cannot_see(
    model: ChatUpstream, gateway: Gateway, tmp_path: Path
) -> None:
    show_a_picture(model, gateway, tmp_path)
    assert results_in(model.asked[-1]) == ["[image omitted: this model cannot read images]"]


def show_a_picture(model: ChatUpstream, gateway: Gateway, folder: Path) -> None:
    """Has the client read a picture for the model."""
    file = folder / "work" / "red.png"
    file.parent.mkdir()
    file.write_bytes(red_square())
    look = Call("Read", {"file_path": str(file)})
    model.serve(lambda asked: Turn(text="I see.") if results_in(asked) else Turn(calls=[look]))
    assert ask(gateway, "look", allowed_tools=["Read"], config_dir=folder).text == "I see."


def red_square(side: int = 16) -> bytes:
    """A PNG file."""
    rows = (b"\0" + b"\xff\0\0" * side) * side
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def content(event: Event) -> list[dict[str, Any]]:
    """The blocks of a whole message of the model's."""
    return list(event["message"]["content"]) if event["type"] == "assistant" else []


def deltas(events: list[Event], kind: str) -> list[str]:
    """The pieces of that kind, as they came."""
    streamed = [event["event"] for event in events if event["type"] == "stream_event"]
    pieces = [event["delta"] for event in streamed if event["type"] == "content_block_delta"]
    return [piece[kind] for piece in pieces if piece["type"] == f"{kind}_delta"]
