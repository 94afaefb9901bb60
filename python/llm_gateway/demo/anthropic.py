"""The demo's script in the Messages API.

Source: https://docs.claude.com/en/api/messages and …/messages-streaming, read 2026-11.
"""

import base64
import re
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec

from llm_gateway.demo.script import Asked, Object, Reply, Tool, pieces, tokens

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_SIGNATURE = base64.b64encode(b"the built-in demo upstream thinks nothing").decode()


class _Message(msgspec.Struct):
    role: str
    content: str | list[Object]


class _Request(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_tokens: int | None = None
    stream: bool = False
    tools: list[Object] = []
    tool_choice: Object = {}
    thinking: Object = {}
    output_config: Object = {}


def read(body: bytes) -> Asked:
    request = msgspec.json.decode(body, type=_Request)
    said, tool_result = _last_turn(request.messages)
    # Anthropic's own tools (web search and the like) carry no schema and are not the client's to run.
    offered = tuple(
        Tool(tool["name"], tool["input_schema"]) for tool in request.tools if "input_schema" in tool
    )
    tools = () if request.tool_choice.get("type") == "none" else offered
    output_format = request.output_config.get("format") or {}
    return Asked(
        model=request.model,
        said=said,
        tool_result=tool_result,
        tools=tools,
        tool=_forced(request.tool_choice, tools),
        thinking=request.thinking.get("type") in ("enabled", "adaptive"),
        schema=output_format.get("schema"),
        max_tokens=request.max_tokens,
        stream=request.stream,
        include_usage=True,
        input_tokens=tokens(body),
    )


def whole(asked: Asked, reply: Reply) -> Object:
    content: list[Object] = []
    if reply.thinking:
        content.append({"type": "thinking", "thinking": reply.thinking, "signature": _SIGNATURE})
    if reply.text:
        content.append({"type": "text", "text": reply.text})
    if reply.call:
        call_input = msgspec.json.decode(reply.call.arguments)
        content.append({"type": "tool_use", "id": _id("toolu"), "name": reply.call.name, "input": call_input})
    return _message(asked, content, _stop_reason(reply), reply.output_tokens)


def frames(asked: Asked, reply: Reply) -> Iterator[bytes]:
    yield _event("message_start", message=_message(asked, [], None, 1))
    yield _event("ping")
    for index, (block, deltas) in enumerate(_blocks(reply)):
        yield _event("content_block_start", index=index, content_block=block)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    end = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    yield _event("message_delta", delta=end, usage=_usage(asked, reply.output_tokens))
    yield _event("message_stop")


def error(kind: str, message: str) -> Object:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": _id("req")}


def _blocks(reply: Reply) -> Iterator[tuple[Object, list[Object]]]:
    if reply.thinking:
        deltas: list[Object] = [
            {"type": "thinking_delta", "thinking": word} for word in pieces(reply.thinking)
        ]
        signature = {"type": "signature_delta", "signature": _SIGNATURE}
        yield {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signature]
    if reply.text:
        yield (
            {"type": "text", "text": ""},
            [{"type": "text_delta", "text": word} for word in pieces(reply.text)],
        )
    if reply.call:
        block = {"type": "tool_use", "id": _id("toolu"), "name": reply.call.name, "input": {}}
        parts = ["", *pieces(reply.call.arguments)]
        yield block, [{"type": "input_json_delta", "partial_json": part} for part in parts]


def _message(asked: Asked, content: list[Object], stop_reason: str | None, output_tokens: int) -> Object:
    return {
        "id": _id("msg"),
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": _usage(asked, output_tokens),
    }


def _usage(asked: Asked, output_tokens: int) -> Object:
    return {
        "input_tokens": asked.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
    }


def _stop_reason(reply: Reply) -> str:
    if reply.cut:
        return "max_tokens"
    return "tool_use" if reply.call else "end_turn"


def _last_turn(messages: list[_Message]) -> tuple[str, str | None]:
    """What was typed last, and the tool output after it; Claude Code puts `system` messages in between."""
    tool_result: str | None = None
    for message in reversed(messages):
        if message.role != "user":
            continue
        blocks = _as_blocks(message.content)
        results = [block for block in blocks if block.get("type") == "tool_result"]
        if results and tool_result is None:
            tool_result = " ".join(_text(_as_blocks(result.get("content") or "")) for result in results)
        if said := _REMINDER.sub("", _text(blocks)).strip():
            return said, tool_result
    return "", tool_result


def _as_blocks(content: str | list[Object]) -> list[Object]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text(blocks: list[Object]) -> str:
    return " ".join(block["text"] for block in blocks if block.get("type") == "text")


def _forced(choice: Object, tools: tuple[Tool, ...]) -> Tool | None:
    if choice.get("type") == "any":
        return next(iter(tools), None)
    wanted = choice.get("name") if choice.get("type") == "tool" else None
    return next((tool for tool in tools if tool.name == wanted), None)


def _event(name: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode({"type": name, **members}))


def _id(prefix: str) -> str:
    return f"{prefix}_demo{secrets.token_hex(10)}"
