"""The demo's script in the Chat Completions API, thinking as `reasoning_content`.

Source: https://platform.openai.com/docs/api-reference/chat, read 2026-11.
"""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from llm_gateway.demo.script import Asked, Object, Reply, Tool, pieces, tokens


class _Message(msgspec.Struct):
    role: str
    content: str | list[Object] | None = None


class _Request(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool = False
    stream_options: Object | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[Object] | None = None
    tool_choice: str | Object | None = None
    response_format: Object | None = None
    reasoning_effort: str | None = None


def read(body: bytes) -> Asked:
    request = msgspec.json.decode(body, type=_Request)
    said, tool_result = _last_turn(request.messages)
    functions = [tool["function"] for tool in request.tools or [] if tool.get("type") == "function"]
    offered = tuple(Tool(function["name"], function.get("parameters") or {}) for function in functions)
    tools = () if request.tool_choice == "none" else offered
    return Asked(
        model=request.model,
        said=said,
        tool_result=tool_result,
        tools=tools,
        tool=_forced(request.tool_choice, tools),
        thinking=request.reasoning_effort not in (None, "none"),
        schema=_schema(request.response_format or {}),
        max_tokens=request.max_completion_tokens or request.max_tokens,
        stream=request.stream,
        include_usage=bool((request.stream_options or {}).get("include_usage")),
        input_tokens=tokens(body),
    )


def whole(asked: Asked, reply: Reply) -> Object:
    message: Object = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.thinking:
        message["reasoning_content"] = reply.thinking
    if reply.call:
        function = {"name": reply.call.name, "arguments": reply.call.arguments}
        message["tool_calls"] = [{"id": _id("call"), "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(reply)}
    return _envelope(asked, "chat.completion") | {"choices": [choice], "usage": _usage(asked, reply)}


def frames(asked: Asked, reply: Reply) -> Iterator[bytes]:
    envelope = _envelope(asked, "chat.completion.chunk")
    for delta in _deltas(reply):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        yield _event(envelope | {"choices": [choice]})
    end = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish_reason(reply)}
    yield _event(envelope | {"choices": [end]})
    if asked.include_usage:
        yield _event(envelope | {"choices": [], "usage": _usage(asked, reply)})
    yield b"data: [DONE]\n\n"


def error(kind: str, message: str) -> Object:
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _deltas(reply: Reply) -> Iterator[Object]:
    yield {"role": "assistant", "content": ""}
    for word in pieces(reply.thinking):
        yield {"reasoning_content": word}
    for word in pieces(reply.text):
        yield {"content": word}
    if reply.call:
        function = {"name": reply.call.name, "arguments": ""}
        yield {"tool_calls": [{"index": 0, "id": _id("call"), "type": "function", "function": function}]}
        for part in pieces(reply.call.arguments):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}


def _envelope(asked: Asked, kind: str) -> Object:
    return {"id": _id("chatcmpl"), "object": kind, "created": int(time.time()), "model": asked.model}


def _usage(asked: Asked, reply: Reply) -> Object:
    return {
        "prompt_tokens": asked.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": asked.input_tokens + reply.output_tokens,
    }


def _finish_reason(reply: Reply) -> str:
    if reply.cut:
        return "length"
    return "tool_calls" if reply.call else "stop"


def _last_turn(messages: list[_Message]) -> tuple[str, str | None]:
    """What was typed last, and the tool output after it."""
    results: list[str] = []
    for message in reversed(messages):
        if message.role == "tool":
            results.insert(0, _text(message.content))
        if message.role == "user":
            return _text(message.content), " ".join(results) if results else None
    return "", " ".join(results) if results else None


def _text(content: str | list[Object] | None) -> str:
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


def _schema(response_format: Object) -> Object | None:
    match response_format.get("type"):
        case "json_schema":
            schema: Object = (response_format.get("json_schema") or {}).get("schema") or {}
            return schema
        case "json_object":
            return {"type": "object"}
    return None


def _forced(choice: str | Object | None, tools: tuple[Tool, ...]) -> Tool | None:
    if choice == "required":
        return next(iter(tools), None)
    wanted = choice["function"]["name"] if isinstance(choice, dict) and "function" in choice else None
    return next((tool for tool in tools if tool.name == wanted), None)


def _event(chunk: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(chunk)


def _id(prefix: str) -> str:
    return f"{prefix}-demo{secrets.token_hex(10)}"
