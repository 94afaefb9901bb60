"""The bytes of requests and answers in both dialects."""

import json
import re
from collections.abc import Iterable
from typing import Any

from ledger.charge import Usage
from ledger.plan import Dialect, Errand, User

# Nine digits: tokenizers take three at a time, so every number is as long as every other, in tokens too.
_MARK = re.compile(rb"errand-(\d{9})")
_WORD = re.compile(rb" word-\d\d")
MAX_TOKENS = 64
PATHS: dict[Dialect, str] = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}

Json = dict[str, Any]


def request(errand: Errand, host: str) -> bytes:
    """A whole HTTP request, after whose answer the server closes the connection."""
    body = json.dumps(_body(errand)).encode()
    user = errand.user
    lines = [
        f"POST {PATHS[user.dialect]} HTTP/1.1",
        f"host: {host}",
        f"authorization: Bearer {user.key}",
        "content-type: application/json",
        "connection: close",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def number_in(body: bytes) -> int | None:
    """The number of the errand that a request carries."""
    found = _MARK.search(body)
    return int(found[1]) if found else None


def _body(errand: Errand) -> Json:
    text = f"errand-{errand.number:09d}: say a few words about nothing in particular."
    head: Json = {"model": errand.user.model, "max_tokens": MAX_TOKENS, "stream": errand.stream}
    if errand.user.dialect == "openai" and errand.stream:
        head["stream_options"] = {"include_usage": True}
    return head | {
        "messages": [{"role": "user", "content": text}, *([] if errand.typed else _tool(errand.user))]
    }


def _tool(user: User) -> list[Json]:
    """A call of a tool and its result: what follows is no prompt."""
    if user.dialect == "anthropic":
        call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "nothing"}
        return [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "nothing"},
    ]


def word(index: int) -> str:
    """The text of one content event."""
    return f" word-{index:02d}"


def words_in(received: bytes) -> int:
    """How many content events are in what was received."""
    return len(_WORD.findall(received))


def ends_with_error(received: bytes) -> bool:
    """Whether a stream ends by saying that it failed."""
    return b"event: error" in received or b'data: {"error"' in received


def ends_whole(received: bytes) -> bool:
    """Whether a stream ends as a whole one does."""
    return b"message_stop" in received or b"[DONE]" in received


def document(dialect: Dialect, events: int, usage: Usage | None) -> bytes:
    """A whole answer that is no stream."""
    text = "".join(map(word, range(events)))
    if dialect == "anthropic":
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "wire",
            "stop_sequence": None,
        }
        content = [{"type": "text", "text": text}]
        told = {"usage": _anthropic_usage(usage)} if usage else {}
        return json.dumps(message | {"content": content, "stop_reason": "end_turn"} | told).encode()
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    completion = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "wire"}
    told = {"usage": _openai_usage(usage)} if usage else {}
    return json.dumps(completion | {"choices": [choice]} | told).encode()


def opening(dialect: Dialect, usage: Usage | None) -> list[bytes]:
    """The frames before the first content event."""
    if dialect == "openai":
        return [_chunk({"role": "assistant", "content": ""})]
    message: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "wire", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None}
    if usage:
        message["usage"] = _anthropic_usage(usage) | {"output_tokens": 1}
    block = {"type": "text", "text": ""}
    return [
        _event("message_start", message=message),
        _event("content_block_start", index=0, content_block=block),
    ]


def content(dialect: Dialect, index: int) -> bytes:
    """One content event."""
    if dialect == "openai":
        return _chunk({"content": word(index)})
    return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": word(index)})


def closing(dialect: Dialect, usage: Usage | None) -> list[bytes]:
    """The frames after the last content event."""
    if dialect == "openai":
        told = [_frame({**_CHUNK, "choices": [], "usage": _openai_usage(usage)})] if usage else []
        return [_chunk({}, "stop"), *told, b"data: [DONE]\n\n"]
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    told_too: Json = {"usage": {"output_tokens": usage.output}} if usage else {}
    return [
        _event("content_block_stop", index=0),
        _event("message_delta", delta=stop, **told_too),
        _event("message_stop"),
    ]


def failure(dialect: Dialect) -> bytes:
    """An upstream's word, in the middle of a stream, that it cannot go on."""
    error = {"type": "overloaded_error", "message": "too much to do"}
    if dialect == "openai":
        return _frame({"error": error})
    return _event("error", error=error)


def refusal(dialect: Dialect) -> bytes:
    """The body of an error status."""
    error = {"type": "api_error", "message": "not today"}
    return json.dumps({"error": error} if dialect == "openai" else {"type": "error", "error": error}).encode()


_CHUNK: Json = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "wire"}


def _chunk(delta: Json, reason: str | None = None) -> bytes:
    return _frame({**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


def _event(name: str, **members: Any) -> bytes:
    return f"event: {name}\n".encode() + _frame({"type": name, **members})


def _frame(data: Json) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


def _anthropic_usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_creation,
    }


def _openai_usage(usage: Usage) -> Json:
    prompt = usage.input + usage.cache_read + usage.cache_creation
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
    }


def head(status: int, framing: Iterable[str]) -> bytes:
    """The head of an answer."""
    return "\r\n".join([f"HTTP/1.1 {status} X", *framing]).encode() + b"\r\n\r\n"
