"""Small correct answers in both dialects, for tests to send as they are or to damage."""

import json

from tests.servers.script import Answer, Request


def anthropic_event(name: str, **members: object) -> bytes:
    """One frame of a Messages stream."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **members})}\n\n".encode()


def anthropic_stream(*words: str, model: str = "scripted", usage: tuple[int, int] = (11, 7)) -> list[bytes]:
    """The frames of a correct Messages stream with one text block; `usage` is input and output tokens."""
    start = {"input_tokens": usage[0], "output_tokens": 1}
    message: dict[str, object] = {"id": "msg_scripted", "type": "message", "role": "assistant"}
    message |= {"model": model, "content": [], "stop_reason": None, "stop_sequence": None}
    message |= {"usage": start}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        anthropic_event("message_start", message=message),
        anthropic_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(
            anthropic_event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
            for word in words
        ),
        anthropic_event("content_block_stop", index=0),
        anthropic_event("message_delta", delta=end, usage={"output_tokens": usage[1]}),
        anthropic_event("message_stop"),
    ]


def openai_stream(*words: str, model: str = "scripted", usage: tuple[int, int] = (11, 7)) -> list[bytes]:
    """The frames of a correct chat completion stream with its usage, `[DONE]` included."""
    common = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1, "model": model}
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [*({"content": word} for word in words), {}]
    chunks: list[dict[str, object]] = [
        common | {"choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]}
        for delta in deltas
    ]
    total = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    chunks.append(common | {"choices": [], "usage": total})
    return [*(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks), b"data: [DONE]\n\n"]


def default_answer(request: Request) -> Answer:
    """A small correct answer in the dialect of the path: streamed if asked for, else JSON; 404 elsewhere."""
    asked = request.json() if request.body[:1] == b"{" else {}
    model, streamed = asked.get("model", "scripted"), asked.get("stream") is True
    match request.path:
        case "/v1/messages" if streamed:
            return Answer(chunks=anthropic_stream("hello", " there", model=model))
        case "/v1/chat/completions" if streamed:
            return Answer(chunks=openai_stream("hello", " there", model=model))
        case "/v1/messages":
            message: dict[str, object] = {"id": "msg_scripted", "type": "message", "role": "assistant"}
            message |= {"model": model, "content": [{"type": "text", "text": "hello there"}]}
            message |= {
                "stop_sequence": None,
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 11, "output_tokens": 7},
            }
            return Answer.json(200, message)
        case "/v1/messages/count_tokens":
            return Answer.json(200, {"input_tokens": 11})
        case "/v1/chat/completions":
            choice: dict[str, object] = {"index": 0, "finish_reason": "stop"}
            choice |= {"message": {"role": "assistant", "content": "hello there"}}
            total = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
            completion = {"id": "chatcmpl-scripted", "object": "chat.completion", "created": 1}
            return Answer.json(200, completion | {"model": model, "choices": [choice], "usage": total})
        case "/v1/models":
            return Answer.json(200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})
    return Answer.json(404, {"error": {"type": "not_found_error", "message": "not scripted"}})
