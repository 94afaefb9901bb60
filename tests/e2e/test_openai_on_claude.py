"""The official OpenAI SDK on a server that speaks the Anthropic API alone: agents that call tools."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ParsedChatCompletion
from pydantic import BaseModel

from tests.servers.chat_upstream import Call, Turn, words_of
from tests.servers.connection import used
from tests.servers.gateway import FREE, Gateway, settings
from tests.servers.messages_rules import Body
from tests.servers.messages_upstream import INPUT_TOKENS, OUTPUT_TOKENS, MessagesUpstream
from tests.servers.script import Answer, Reset

KEY = "upstream-claude-key"
LIMIT = 100_000
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "description": "tells it", "parameters": PLACE}},
    {"type": "function", "function": {"name": "time", "description": "tells it"}},
]
QUESTION: Any = {"role": "user", "content": "which is warmer, Paris or Rome?"}

streamed_or_not = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


@pytest.fixture(scope="module")
def shared_model() -> Iterator[MessagesUpstream]:
    with MessagesUpstream(KEY) as running:
        yield running


@pytest.fixture
def model(shared_model: MessagesUpstream) -> Iterator[MessagesUpstream]:
    """The scripted model. A request that a strict server would not take fails the test."""
    shared_model.serve(lambda asked: Turn(text="hello there"))
    yield shared_model
    assert not shared_model.problems


@pytest.fixture(scope="module")
def gateway(shared_model: MessagesUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = settings(shared_model.url, tiers={"free": {"models": ["*"], "quota": [{"limit": LIMIT}]}})
    for name, can in (("claude", {}), ("plain", {"structured_output": False})):
        config["upstreams"][name] = {
            "urls": [shared_model.url],
            "apis": ["anthropic"],
            "kind": "anthropic",
            "auth": "x-api-key",
            "api_key": KEY,
            "profile": can,
        }
    config["models"] = [{"id": name, "class": "own", "upstream": name} for name in ("claude", "plain")]
    with Gateway(tmp_path_factory.mktemp("openai-on-claude"), config) as running:
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=FREE) as running:
        yield running


def complete(
    client: openai.OpenAI, streamed: bool, messages: list[Any], **options: Any
) -> ParsedChatCompletion[Any]:
    """One completion, as the SDK makes it of a stream or of an answer."""
    asked: dict[str, Any] = {"model": "claude", "messages": messages, **options}
    if not streamed:
        return client.chat.completions.parse(**asked)
    with client.chat.completions.stream(stream_options={"include_usage": True}, **asked) as stream:
        return stream.get_final_completion()


def run(client: openai.OpenAI, streamed: bool, messages: list[Any]) -> list[ParsedChatCompletion[Any]]:
    """What an agent gets that runs its tools until no more are called; `messages` grows as it goes."""
    made = []
    while True:
        # Sent as the body itself: the SDK's helpers insist on strict tools.
        completion = complete(client, streamed, messages, extra_body={"tools": TOOLS})
        made.append(completion)
        (choice,) = completion.choices
        messages.append(choice.message.model_dump(exclude_none=True))
        if choice.finish_reason != "tool_calls":
            return made
        for call in choice.message.tool_calls or ():
            arguments = json.loads(call.function.arguments)
            said = f"{call.function.name} of {arguments.get('city', 'here')}"
            messages.append({"role": "tool", "tool_call_id": call.id, "content": said})


def results_in(asked: Body) -> list[list[tuple[str, str]]]:
    """Id and text of what tools answered, by turn."""
    turns = [turn["content"] for turn in asked["messages"] if turn["role"] == "user"]
    found = [
        [
            (block["tool_use_id"], text_of(block["content"]))
            for block in turn
            if block["type"] == "tool_result"
        ]
        for turn in turns
        if isinstance(turn, list)
    ]
    return [turn for turn in found if turn]


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@streamed_or_not
def test_an_agent_runs_its_tools_until_it_is_done(
    model: MessagesUpstream, client: openai.OpenAI, gateway: Gateway, streamed: bool
) -> None:
    both = [Call("weather", {"city": "Paris"}), Call("weather", {"city": "Rome"})]
    turns = [
        Turn("I need both.", "Let me look.", both),
        Turn(calls=[Call("time", {})]),
        Turn("Now I know.", "Rome is warmer."),
    ]
    model.serve(lambda asked: turns[len(results_in(asked))])
    counted = used(gateway.port, FREE)
    messages: list[Any] = [{"role": "system", "content": "be brief"}, QUESTION]
    made = run(client, streamed, messages)
    first, second, last = (one.choices[0] for one in made)
    assert (first.message.content, last.message.content) == ("Let me look.", "Rome is warmer.")
    assert second.message.content is None or second.message.content == ""
    assert [choice.finish_reason for choice in (first, second, last)] == ["tool_calls", "tool_calls", "stop"]
    assert getattr(first.message, "reasoning_content", None) == "I need both."
    for completion in made:
        assert completion.usage
        usage = completion.usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)
        assert usage.total_tokens == INPUT_TOKENS + OUTPUT_TOKENS
    whole = model.asked[-1]
    assert whole["system"] == [{"type": "text", "text": "be brief"}]
    paris, rome = (call.id for call in first.message.tool_calls or ())
    (now,) = (call.id for call in second.message.tool_calls or ())
    # Calls that were made together are answered together.
    assert results_in(whole) == [
        [(paris, "weather of Paris"), (rome, "weather of Rome")],
        [(now, "time of here")],
    ]
    calls = [block for block in whole["messages"][1]["content"] if block["type"] == "tool_use"]
    assert [(call["name"], call["input"]) for call in calls] == [(call.name, call.arguments) for call in both]
    assert used(gateway.port, FREE) == counted + 3


@streamed_or_not
def test_ids_that_claude_does_not_take_come_back_as_they_were(
    model: MessagesUpstream, client: openai.OpenAI, streamed: bool
) -> None:
    names = ("functions.weather:0", "functions.weather:1")
    calls = [
        {"id": name, "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
        for name in names
    ]
    results = [{"role": "tool", "tool_call_id": name, "content": name} for name in names]
    history = [QUESTION, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    assert complete(client, streamed, history).choices[0].message.content == "hello there"
    ((first, second),) = results_in(model.asked[0])
    assert (first[1], second[1]) == names
    assert first[0] != second[0]


def test_words_arrive_one_by_one(model: MessagesUpstream, client: openai.OpenAI) -> None:
    text = "one word after another"
    model.serve(lambda asked: Turn(text=text))
    chunks = client.chat.completions.create(model="claude", messages=[QUESTION], stream=True)
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert [word for word in words if word] == words_of(text)


class Warmest(BaseModel):
    """What is asked for."""

    city: str
    degrees: int


@streamed_or_not
@pytest.mark.parametrize("name", ["claude", "plain"])
def test_an_answer_of_a_wanted_form_is_parsed(
    model: MessagesUpstream, client: openai.OpenAI, streamed: bool, name: str
) -> None:
    answer = {"city": "Rome", "degrees": 31}

    def in_form(asked: Body) -> Turn:
        if "output_config" in asked:
            return Turn(text=json.dumps(answer))
        return Turn(calls=[Call(asked["tool_choice"]["name"], answer)])

    model.serve(in_form)
    completion = complete(client, streamed, [QUESTION], model=name, response_format=Warmest)
    (choice,) = completion.choices
    assert choice.message.parsed == Warmest(city="Rome", degrees=31)
    assert (choice.finish_reason, choice.message.tool_calls or []) == ("stop", [])
    (asked,) = model.asked
    assert ("output_config" in asked) == (name == "claude")
    assert ("tools" in asked) == (name == "plain")


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "time"}}, {"type": "tool", "name": "time"}),
    ],
)
def test_a_choice_of_tools_is_kept_to(
    model: MessagesUpstream, client: openai.OpenAI, choice: Any, told: Body
) -> None:
    body = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False}
    complete(client, False, [QUESTION], extra_body=body)
    (asked,) = model.asked
    only_one = {} if told["type"] == "none" else {"disable_parallel_tool_use": True}
    assert asked["tool_choice"] == told | only_one


@streamed_or_not
def test_an_overloaded_server_is_asked_again(
    model: MessagesUpstream, client: openai.OpenAI, gateway: Gateway, streamed: bool
) -> None:
    error = {"type": "overloaded_error", "message": "too much to do"}
    busy = Answer.json(529, {"type": "error", "error": error}, [("retry-after", "0")])
    answers: list[Turn | Answer] = [Turn(text="at last"), busy, busy]
    model.serve(lambda asked: answers.pop())
    counted = used(gateway.port, FREE)
    assert complete(client, streamed, [QUESTION]).choices[0].message.content == "at last"
    assert len(model.asked) == 3
    assert used(gateway.port, FREE) == counted + 1


def test_a_prompt_that_is_too_long_is_told_by_the_code_that_clients_know(
    model: MessagesUpstream, client: openai.OpenAI
) -> None:
    error = {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}
    model.serve(lambda asked: Answer.json(400, {"type": "error", "error": error}))
    with pytest.raises(openai.BadRequestError, match="prompt is too long") as refused:
        complete(client, False, [QUESTION])
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")


def test_a_stream_that_breaks_raises_and_never_looks_whole(
    model: MessagesUpstream, client: openai.OpenAI
) -> None:
    model.serve(lambda asked: Turn(text="Rome is", before_end=Reset()))
    with pytest.raises(openai.APIError, match="broke"):
        complete(client, True, [QUESTION])


@pytest.mark.parametrize("member", [{"n": 2}, {"logprobs": True}], ids=str)
def test_what_claude_cannot_do_is_refused_before_it_is_asked(
    model: MessagesUpstream, client: openai.OpenAI, member: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        complete(client, False, [QUESTION], **member)
    assert refused.value.param in member
    assert not model.asked
