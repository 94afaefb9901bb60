"""The demo upstream without a server: requests in, answers out."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.demo import anthropic, openai
from llm_gateway.demo.example import example
from llm_gateway.demo.script import Dialect, Reply, reply_to
from llm_gateway.demo.upstream import Receive, Send, make_app

Object = dict[str, Any]

BASH: Object = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {}}}}
PROBE: Object = {"name": "probe", "input_schema": {"type": "object"}}
FUNCTION: Object = {"type": "function", "function": {"name": "probe", "parameters": {"type": "object"}}}
REMINDER = "<system-reminder>\nyou have a tool\n</system-reminder>"


def _claude(*messages: Object, **members: Any) -> Reply:
    body = {"model": "claude-opus-5-5", "max_tokens": 4000, "messages": messages} | members
    return reply_to(anthropic.read(json.dumps(body).encode()))


def _chat(*messages: Object, **members: Any) -> Reply:
    return reply_to(openai.read(json.dumps({"model": "qwen3-32b", "messages": messages} | members).encode()))


def _user(content: Any) -> Object:
    return {"role": "user", "content": content}


def _ask(path: str, body: bytes, method: str = "POST") -> tuple[int, bytes]:
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Object] = []

    async def receive() -> Object:
        return messages.pop() if messages else await asyncio.get_running_loop().create_future()

    async def send(message: Object) -> None:
        sent.append(message)

    _run({"type": "http", "path": path, "method": method}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def _run(scope: Object, receive: Receive, send: Send) -> None:
    async def once() -> None:
        await make_app(0)(scope, receive, send)

    asyncio.run(once())


def test_says_that_no_model_is_running_and_what_was_asked() -> None:
    text = _claude(_user("good morning")).text
    assert "No model is running" in text
    assert "claude-opus-5-5" in text
    assert "“good morning”" in text


def test_hears_what_was_typed_and_not_the_reminders_around_it() -> None:
    blocks = [{"type": "text", "text": REMINDER}, {"type": "text", "text": "hello"}]
    reply = _claude(_user(blocks), {"role": "system", "content": "a tool"}, tools=[BASH])
    assert reply.call is None
    assert "“hello”" in reply.text


def test_calls_bash_where_the_client_has_it_and_the_first_tool_elsewhere() -> None:
    asked = _user("please use a tool")
    bash = _claude(asked, tools=[PROBE, BASH]).call
    assert bash
    assert bash.name == "Bash"
    assert json.loads(bash.arguments)["command"].startswith("echo ")
    for call in (_claude(asked, tools=[PROBE]).call, _chat(asked, tools=[FUNCTION]).call):
        assert call
        assert call.name == "probe"


def test_calls_no_tool_that_was_not_asked_for_or_is_not_allowed() -> None:
    assert _claude(_user("hello"), tools=[BASH]).call is None
    assert _claude(_user("use a tool"), tools=[BASH], tool_choice={"type": "none"}).call is None
    assert _chat(_user("use a tool"), tools=[FUNCTION], tool_choice="none").call is None
    assert _claude(_user("use a tool")).call is None


def test_a_forced_tool_is_called_whatever_was_typed() -> None:
    assert _claude(_user("hi"), tools=[BASH, PROBE], tool_choice={"type": "tool", "name": "probe"}).call
    assert _chat(_user("hi"), tools=[FUNCTION], tool_choice="required").call
    named = {"type": "function", "function": {"name": "probe"}}
    assert _chat(_user("hi"), tools=[FUNCTION], tool_choice=named).call


def test_quotes_the_output_of_a_tool_and_ends() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "42\nfiles"}]}
    use = {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}
    claude = _claude(
        _user("use a tool"),
        {"role": "assistant", "content": [use]},
        _user([result, {"type": "text", "text": REMINDER}]),
        tools=[BASH],
    )
    call = {"id": "t", "type": "function", "function": {"name": "probe", "arguments": "{}"}}
    chat = _chat(
        _user("use a tool"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t", "content": "42 files"},
        tools=[FUNCTION],
    )
    for reply in (claude, chat):
        assert "“42 files”" in reply.text
        assert reply.call is None


def test_a_question_after_a_tool_is_a_new_turn() -> None:
    reply = _claude(_user("use a tool"), _user([{"type": "tool_result", "content": "42"}]), _user("thanks"))
    assert "“thanks”" in reply.text


def test_thinks_only_when_asked_to() -> None:
    assert _claude(_user("hi"), thinking={"type": "adaptive"}).thinking
    assert _chat(_user("hi"), reasoning_effort="low").thinking
    assert not _claude(_user("hi"), thinking={"type": "disabled"}).thinking
    assert not _chat(_user("hi")).thinking


def test_structured_output_follows_its_schema() -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    claude = _claude(_user("hi"), output_config={"format": {"type": "json_schema", "schema": schema}})
    chat = _chat(_user("hi"), response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    assert json.loads(claude.text) == json.loads(chat.text) == {"title": "demo"}


def test_stops_at_the_token_limit() -> None:
    for reply in (_claude(_user("quota"), max_tokens=1), _chat(_user("quota"), max_completion_tokens=1)):
        assert reply.cut
        assert reply.output_tokens == 1


def test_what_is_quoted_is_short_and_cannot_steer_a_terminal() -> None:
    text = _claude(_user("\x1b[2Jred\u202e " + "word " * 500)).text
    assert text.isprintable()
    assert len(text) < 600


@pytest.mark.parametrize("dialect", [anthropic, openai])
def test_a_stream_says_what_the_whole_answer_says(dialect: Dialect) -> None:
    tool = {**FUNCTION, **BASH}
    body = {"model": "m", "max_tokens": 4000, "messages": [_user("use a tool")], "tools": [tool]}
    body |= {"thinking": {"type": "enabled"}, "reasoning_effort": "low", "stream": True}
    asked = dialect.read(json.dumps(body).encode())
    reply = reply_to(asked)
    frames = list(dialect.frames(asked, reply))
    data = [line for frame in frames for line in frame.decode().splitlines() if line.startswith("data: ")]
    events = [json.loads(line[6:]) for line in data if line != "data: [DONE]"]
    members = ("thinking", "text", "partial_json", "reasoning_content", "content", "arguments")
    streamed = "".join(_strings(events, members))
    assert reply.call
    assert streamed == reply.thinking + reply.text + reply.call.arguments


def _strings(value: Any, members: tuple[str, ...]) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in _strings(item, members)]
    if not isinstance(value, dict):
        return []
    found = [text for name, text in value.items() if name in members and isinstance(text, str)]
    return found + [text for item in value.values() for text in _strings(item, members)]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"model": "m"}',
        b'{"model": "m", "messages": "hi"}',
        b'{"model": "m", "messages": [{"role": "user", "content": [1]}]}',
        b'{"model": "m", "messages": [], "tools": [{"type": "function", "input_schema": {}}]}',
        b'{"model": "m", "messages": ' + b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_body_that_makes_no_sense_is_a_400(path: str, body: bytes) -> None:
    status, answer = _ask(path, body)
    assert status == 400
    assert json.loads(answer)["error"]["type"] == "invalid_request_error"


def test_other_paths_and_methods_are_refused() -> None:
    assert _ask("/v1/nothing", b"")[0] == 404
    assert _ask("/v1/messages", b"", "GET")[0] == 405
    assert _ask("/health", b"", "GET") == (200, b'{"status":"ok"}')


def test_stops_when_the_client_has_left() -> None:
    messages: list[Object] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b'{"model":"m","messages":[],"stream":true}', "more_body": False},
    ]
    sent: list[Object] = []

    async def receive() -> Object:
        return messages.pop()

    async def send(message: Object) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/chat/completions", "method": "POST"}
    _run(scope, receive, send)
    assert len(sent) == 2


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "array", "minItems": 2, "items": {"type": "integer"}}, [1, 1]),
        ({"anyOf": [{"const": "a"}, {"type": "null"}]}, "a"),
        ({"type": ["null", "string"]}, None),
        ({"$ref": "#/$defs/name", "$defs": {"name": {"enum": ["x"]}}}, "x"),
        ({"properties": {"a": {"type": "boolean"}}}, {"a": False}),
    ],
)
def test_an_example_fits_its_schema(schema: Object, expected: object) -> None:
    assert example(schema) == expected


def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    itself = {"properties": {"again": {"$ref": "#"}}}
    assert msgspec.json.encode(example(itself))


@given(st.text())
def test_any_text_gets_an_answer_that_is_json(said: str) -> None:
    status, answer = _ask(
        "/v1/chat/completions", msgspec.json.encode({"model": "m", "messages": [_user(said)]})
    )
    assert status == 200
    assert json.loads(answer)["object"] == "chat.completion"
