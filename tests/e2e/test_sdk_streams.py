"""The official SDKs rebuild the message of every golden stream, and take no broken one for whole."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic.lib.streaming import MessageStreamManager
from openai.lib.streaming.chat import ChatCompletionStream, ChatCompletionStreamManager
from openai.types.chat import ChatCompletion

from tests.servers.gateway import ENTERPRISE, Gateway
from tests.servers.scripted import ScriptedUpstream
from tests.servers.shapes import Dialect, ending, events
from tests.servers.transcript_gateway import model_of, settings_for, upstream_says
from tests.servers.transcripts import Transcript, alike, transcripts

Value = dict[str, Any]

STREAMS = [case for case in transcripts() if case.expected and case.expected.stream]


def told(case: Transcript) -> bytes:
    """The stream, without what is no event: pings that are comments."""
    assert case.expected
    named = case.expected.body.replace(b"client-model", model_of(case).encode())
    return named.replace(b": ping\n\n", b"")


def of(client: Dialect, *, broken: bool) -> list[Transcript]:
    """The streams of one API that end with an error, or those that do not."""
    own = [case for case in STREAMS if case.about["client"] == client]
    return [case for case in own if (ending(told(case), client) == "error") == broken]


def each(cases: list[Transcript]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, shared_upstream: ScriptedUpstream) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("sdk-streams")
    with Gateway(folder, settings_for(STREAMS, shared_upstream.url)) as running:
        yield running


@pytest.fixture(scope="module")
def claude(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=ENTERPRISE, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def chat(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=ENTERPRISE, max_retries=0) as client:
        yield client


def asked(case: Transcript, upstream: ScriptedUpstream) -> Value:
    """The request of the case, once the upstream knows what to say."""
    if case.upstream_answer is not None:
        upstream.respond(case.upstream_path, upstream_says(case))
    return {**json.loads(case.request), "model": model_of(case)}


def messages_of(client: anthropic.Anthropic, request: Value) -> MessageStreamManager:
    # As the extra body, since a case may hold what the SDK's types do not.
    return client.messages.stream(model="", max_tokens=1, messages=[], extra_body=request)


def completion_of(client: openai.OpenAI, request: Value) -> ChatCompletionStreamManager:
    return client.chat.completions.stream(model="", messages=[], extra_body=request)


@each(of("anthropic", broken=False))
def test_the_anthropic_sdk_rebuilds_the_message(
    case: Transcript, claude: anthropic.Anthropic, upstream: ScriptedUpstream
) -> None:
    with messages_of(claude, asked(case, upstream)) as stream:
        message = stream.get_final_message().model_dump(mode="json", exclude_none=True)
    assert same(message) == same(message_from([json.loads(event.data) for event in events(told(case))]))


@each(of("openai", broken=False))
def test_the_openai_sdk_rebuilds_the_completion(
    case: Transcript, chat: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    with completion_of(chat, asked(case, upstream)) as stream:
        completion = final(stream).model_dump(mode="json", exclude_none=True)
    chunks = [json.loads(event.data) for event in events(told(case)) if event.data != "[DONE]"]
    (choice,) = completion["choices"]
    rebuilt = {
        "id": completion["id"],
        "model": completion["model"],
        "message": said(choice["message"]),
        "finish_reason": choice["finish_reason"],
        "usage": completion.get("usage"),
    }
    assert same(rebuilt) == same(completion_from(chunks))


def final(stream: ChatCompletionStream[None]) -> ChatCompletion:
    """The completion. The SDK raises those that a limit or a filter ended, whole as they are."""
    try:
        return stream.get_final_completion()
    except openai.LengthFinishReasonError as ended:
        return ended.completion
    except openai.ContentFilterFinishReasonError as ended:
        if ended.completion is None:
            raise
        return ended.completion


@each(of("anthropic", broken=True))
def test_the_anthropic_sdk_raises_for_a_broken_stream(
    case: Transcript, claude: anthropic.Anthropic, upstream: ScriptedUpstream
) -> None:
    error = json.loads(events(told(case))[-1].data)["error"]
    with (
        messages_of(claude, asked(case, upstream)) as stream,
        pytest.raises(anthropic.APIStatusError) as failed,
    ):
        stream.get_final_message()
    assert isinstance(failed.value.body, dict)
    assert failed.value.body["error"] == error


@each(of("openai", broken=True))
def test_the_openai_sdk_raises_for_a_broken_stream(
    case: Transcript, chat: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    error = json.loads(events(told(case))[-1].data)["error"]
    with completion_of(chat, asked(case, upstream)) as stream, pytest.raises(openai.APIError) as failed:
        stream.get_final_completion()
    assert failed.value.body == error


def same(value: Value) -> str:
    """As text that two values share if only what differs from run to run does."""
    return alike(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).decode()


def message_from(parts: list[Value]) -> Value:
    """The message that the events of a stream make."""
    message: Value = {}
    inputs: dict[int, str] = {}
    for part in parts:
        match part["type"]:
            case "message_start":
                message = {**part["message"], "content": []}
            case "content_block_start":
                assert part["index"] == len(message["content"])
                message["content"].append(part["content_block"])
            case "content_block_delta":
                name = part["delta"]["type"].removesuffix("_delta")
                if name == "input_json":
                    inputs[part["index"]] = inputs.get(part["index"], "") + part["delta"]["partial_json"]
                else:
                    message["content"][part["index"]][name] += part["delta"][name]
            case "message_delta":
                message |= part["delta"]
                message["usage"] |= part["usage"]
    for index, text in inputs.items():
        message["content"][index]["input"] = input_of(text, message["stop_reason"])
    return dict(without_none(message))


def input_of(text: str, stop_reason: str) -> Value:
    """The arguments of a call; none of what was cut off before its first member was whole."""
    try:
        return dict(json.loads(text))
    except ValueError:
        assert stop_reason == "max_tokens"
        return {}


def completion_from(chunks: list[Value]) -> Value:
    """What the chunks of a stream make."""
    first = chunks[0]
    made: Value = {"id": first["id"], "model": first["model"], "message": {}, "usage": None}
    calls: dict[int, Value] = {}
    for chunk in chunks:
        made["usage"] = chunk.get("usage") or made["usage"]
        for choice in chunk["choices"]:
            made["finish_reason"] = choice["finish_reason"]
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    for call in value:
                        add_call(calls, call)
                elif value is not None:
                    made["message"][name] = made["message"].get(name, "") + value
    if calls:
        made["message"]["tool_calls"] = [calls[index] for index in sorted(calls)]
    return made | {"message": said(made["message"])}


def add_call(calls: dict[int, Value], delta: Value) -> None:
    """Adds a piece of a call to what is known of it."""
    call = calls.setdefault(delta["index"], {"function": {"arguments": ""}})
    call |= {name: delta[name] for name in ("id", "type") if name in delta}
    function = delta.get("function", {})
    call["function"]["arguments"] += function.get("arguments", "")
    if "name" in function:
        call["function"]["name"] = function["name"]


def said(message: Value) -> Value:
    """What a message says, with no member for what it does not."""
    names = ("role", "content", "refusal", "reasoning", "reasoning_content")
    kept = {name: message[name] for name in names if message.get(name)}
    calls = message.get("tool_calls") or []
    kept["tool_calls"] = [
        {
            "id": call["id"],
            "type": call["type"],
            "function": {name: call["function"][name] for name in ("name", "arguments")},
        }
        for call in calls
    ]
    return kept


def without_none(value: Any) -> Any:
    """The same without members that are null, as the SDKs leave them out too."""
    match value:
        case dict():
            return {name: without_none(one) for name, one in value.items() if one is not None}
        case list():
            return [without_none(one) for one in value]
    return value


def test_there_are_streams_of_every_kind() -> None:
    assert len(STREAMS) > 50
    for client in ("anthropic", "openai"):
        assert len(of(client, broken=False)) > 10
        assert len(of(client, broken=True)) >= 3
