"""A server of the Anthropic API with a scripted model: strict in what it takes, as Anthropic's own is.

It is used as `chat_upstream.py` is, and its models say the same turns.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any

from tests.servers.answers import anthropic_event
from tests.servers.chat_upstream import Model, Turn, words_of
from tests.servers.messages_rules import Body, problem_of
from tests.servers.script import Answer, Part, Request
from tests.servers.scripted import ScriptedUpstream

MESSAGES = "/v1/messages"
INPUT_TOKENS, OUTPUT_TOKENS = 100, 20


class MessagesUpstream(ScriptedUpstream):
    """A context manager, like the server beneath it."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.problems: list[str] = []
        self._key = key
        self._numbers = itertools.count(1)
        self.serve(lambda asked: Turn(text="hello there"))

    def serve(self, model: Model) -> None:
        """Forgets all that was and puts this model there."""
        self.forget()
        self.problems.clear()
        self._model = model
        self.always(MESSAGES, self._answer)

    @property
    def asked(self) -> list[Body]:
        """The bodies of all requests, in order."""
        return [request.json() for request in self.requests]

    def _answer(self, request: Request) -> Answer:
        if problem := problem_of(request, self._key):
            self.problems.append(problem)
            error = {"type": "invalid_request_error", "message": problem}
            return Answer.json(400, {"type": "error", "error": error, "request_id": "req_scripted"})
        asked = request.json()
        turn = self._model(asked)
        if isinstance(turn, Answer):
            return turn
        message = _message(turn, next(self._numbers), asked["model"])
        if asked.get("stream") is not True:
            return Answer.json(200, message)
        return Answer(chunks=list(_stream(message, turn)))


def _message(turn: Turn, number: int, model: str) -> Body:
    content: list[Body] = []
    if turn.thinking:
        content.append({"type": "thinking", "thinking": turn.thinking, "signature": "c2lnbmVk"})
    if turn.text:
        content.append({"type": "text", "text": turn.text})
    for at, call in enumerate(turn.calls):
        call_id = f"toolu_{number:04}{at}"
        content.append({"type": "tool_use", "id": call_id, "name": call.name, "input": call.arguments})
    return {
        "id": f"msg_{number:04}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": "tool_use" if turn.calls else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": INPUT_TOKENS,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": OUTPUT_TOKENS,
        },
    }


def _stream(message: Body, turn: Turn) -> Iterator[Part]:
    open_end = {"content": [], "stop_reason": None, "usage": message["usage"] | {"output_tokens": 1}}
    yield anthropic_event("message_start", message=message | open_end)
    for index, block in enumerate(message["content"]):
        empty, deltas = _in_pieces(block)
        yield anthropic_event("content_block_start", index=index, content_block=empty)
        if index == 0:
            yield anthropic_event("ping")
        for delta in deltas:
            yield anthropic_event("content_block_delta", index=index, delta=delta)
        yield anthropic_event("content_block_stop", index=index)
    if turn.before_end is not None:
        yield turn.before_end
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield anthropic_event("message_delta", delta=end, usage={"output_tokens": OUTPUT_TOKENS})
    yield anthropic_event("message_stop")


def _in_pieces(block: Body) -> tuple[Body, list[Body]]:
    """A block as it starts, and what it becomes."""
    match block["type"]:
        case "thinking":
            deltas: list[Body] = [
                {"type": "thinking_delta", "thinking": word} for word in words_of(block["thinking"])
            ]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return block | {"thinking": "", "signature": ""}, deltas
        case "text":
            words = words_of(block["text"])
            return block | {"text": ""}, [{"type": "text_delta", "text": word} for word in words]
        case _:
            pieces = _pieces_of(block["input"])
            return block | {"input": {}}, [
                {"type": "input_json_delta", "partial_json": one} for one in pieces
            ]


def _pieces_of(value: Any) -> list[str]:
    """JSON as it comes, the first piece being nothing; nothing else comes of an empty object."""
    text = json.dumps(value) if value else ""
    return ["", *(text[begin : begin + 5] for begin in range(0, len(text), 5))]
