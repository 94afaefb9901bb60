"""A server of the OpenAI API with a scripted model: strict in what it takes, and speaking as vLLM does.

    with ChatUpstream() as upstream:
        upstream.serve(lambda asked: Turn(thinking="hm", text="hello"))
        ...                                # point the gateway at upstream.url
    assert not upstream.problems

A model is a function from the body of a request to what it says. What a strict server would not take is
answered with 400 and remembered in `problems`.

Source: transcripts of vLLM 0.32.0 with Qwen3 and the parsers `hermes` and `qwen3`.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.servers.chat_rules import Body, problem_of
from tests.servers.script import Answer, Part, Request
from tests.servers.scripted import ScriptedUpstream

COMPLETIONS, TOKENIZE = "/v1/chat/completions", "/tokenize"
_CHARACTERS_A_TOKEN = 4
_WINDOW_TOKENS = 262_144


@dataclass(frozen=True)
class Call:
    """One call of a tool."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """What the model says, in this order. `before_end` holds the end of a stream back, or breaks it off."""

    thinking: str = ""
    text: str = ""
    calls: Sequence[Call] = ()
    before_end: Part | None = None


Model = Callable[[Body], Turn | Answer]


class ChatUpstream(ScriptedUpstream):
    """A context manager, like the server beneath it."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []
        self._numbers = itertools.count(1)
        self.serve(lambda asked: Turn(text="hello there"))

    def serve(self, model: Model, window_tokens: int = _WINDOW_TOKENS) -> None:
        """Forgets all that was and puts this model there; `window_tokens` is vLLM's `max_model_len`.

        A token is four characters of what is asked.
        """
        self.forget()
        self.problems.clear()
        self._model, self._window_tokens = model, window_tokens
        self.always(COMPLETIONS, self._complete)
        self.always(TOKENIZE, self._tokenize)

    @property
    def asked(self) -> list[Body]:
        """The bodies of all requests for a completion, in order."""
        return [request.json() for request in self.requests if request.path == COMPLETIONS]

    def _complete(self, request: Request) -> Answer:
        if problem := problem_of(request):
            return self._refuse_as_strict(problem)
        asked = request.json()
        prompt_tokens = tokens_of(asked)
        if too_long := self._too_long(prompt_tokens, asked.get("max_tokens", 1)):
            return _refusal(too_long)
        turn = self._model(asked)
        if isinstance(turn, Answer):
            return turn
        said = _Said(turn, prompt_tokens, next(self._numbers), asked["model"])
        if asked.get("stream") is not True:
            return Answer.json(200, said.whole())
        return Answer(headers=[("content-type", "text/event-stream; charset=utf-8")], chunks=said.stream())

    def _tokenize(self, request: Request) -> Answer:
        if problem := problem_of(request, generates=False):
            return self._refuse_as_strict(problem)
        count = tokens_of(request.json())
        return Answer.json(200, {"count": count, "max_model_len": self._window_tokens, "tokens": []})

    def _refuse_as_strict(self, problem: str) -> Answer:
        self.problems.append(problem)
        return _refusal(problem)

    def _too_long(self, prompt_tokens: int, max_tokens: int) -> str | None:
        window = self._window_tokens
        if max_tokens > window:
            return (
                f"max_tokens={max_tokens} cannot be greater than max_model_len={window}. "
                f"Please request fewer output tokens. (parameter=max_tokens, value={max_tokens})"
            )
        if prompt_tokens > window:
            # It stops counting there.
            least = window + 1
            return (
                f"This model's maximum context length is {window} tokens. However, your prompt contains "
                f"at least {least} input tokens, which exceeds this limit even without any output tokens. "
                f"Please reduce the length of the input prompt. (parameter=input_tokens, value={least})"
            )
        return None


def tokens_of(asked: Body) -> int:
    """What this server counts for a prompt."""
    return len(json.dumps([asked["messages"], asked.get("tools")])) // _CHARACTERS_A_TOKEN


class _Said:
    """A turn on the wire."""

    def __init__(self, turn: Turn, prompt_tokens: int, number: int, model: str) -> None:
        self._turn = turn
        self._prompt_tokens = prompt_tokens
        self._id = f"{number:016x}"
        self._head = {"id": f"chatcmpl-{self._id}", "created": 1_795_460_889, "model": model}
        self._reason = "tool_calls" if turn.calls else "stop"
        self._deltas = list(self._spoken())

    def whole(self) -> Body:
        """The answer that is not streamed."""
        turn = self._turn
        message: Body = {"role": "assistant", "content": turn.text or None, "refusal": None}
        message["reasoning"] = turn.thinking or None
        if turn.calls:
            message["tool_calls"] = [_call(call, self._call_id(at)) for at, call in enumerate(turn.calls)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._reason}
        usage = self._usage(len(self._deltas), ended=True)
        return self._head | {"object": "chat.completion", "choices": [choice], "usage": usage}

    def stream(self) -> list[Part]:
        """The frames of a stream, and what happens before its end."""
        frames: list[Part] = [self._frame({"role": "assistant", "content": ""}, 0)]
        frames += [self._frame(delta, tokens) for tokens, delta in enumerate(self._deltas, 1)]
        if self._turn.before_end is not None:
            frames.append(self._turn.before_end)
        tokens = len(self._deltas)
        last = {"object": "chat.completion.chunk", "choices": [], "usage": self._usage(tokens, ended=True)}
        return [*frames, self._frame({}, tokens, self._reason), _data(self._head | last), b"data: [DONE]\n\n"]

    def _spoken(self) -> Iterator[Body]:
        turn = self._turn
        for word in words_of(turn.thinking):
            yield {"reasoning": word}
        if turn.thinking:
            # Behind the mark that ends the thinking, before a call too.
            yield {"content": "\n\n"}
        for word in words_of(turn.text):
            yield {"content": word}
        for at, call in enumerate(turn.calls):
            whole = _call(call, self._call_id(at))
            arguments = whole["function"].pop("arguments")
            yield _calling({**whole, "index": at})
            for begin in range(0, len(arguments), _CHARACTERS_A_TOKEN):
                piece = arguments[begin : begin + _CHARACTERS_A_TOKEN]
                yield _calling({"index": at, "function": {"arguments": piece}})

    def _call_id(self, at: int) -> str:
        return f"chatcmpl-tool-{self._id}{at}"

    def _frame(self, delta: Body, tokens: int, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk = {"object": "chat.completion.chunk", "choices": [choice], "usage": self._usage(tokens)}
        return _data(self._head | chunk)

    def _usage(self, tokens: int, *, ended: bool = False) -> Body:
        prompt_tokens = self._prompt_tokens
        usage: Body = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens + tokens}
        usage["completion_tokens"] = tokens
        if ended:
            usage["prompt_tokens_details"] = {"cached_tokens": 0, "created_cache_tokens": 0}
        reasoning = sum("reasoning" in delta for delta in self._deltas[:tokens])
        return usage | {"completion_tokens_details": {"reasoning_tokens": reasoning}}


def words_of(text: str) -> list[str]:
    """Each word with the blanks before it, as models say them."""
    return re.findall(r"\s*\S+\s*\Z|\s*\S+", text)


def _call(call: Call, call_id: str) -> Body:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call_id, "type": "function", "function": function}


def _calling(call: Body) -> Body:
    return {"content": None, "tool_calls": [call]}


def _data(value: Body) -> bytes:
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


def _refusal(message: str) -> Answer:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
    return Answer.json(400, {"error": error})
