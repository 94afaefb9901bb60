"""What the demo upstream says, before it is put into a dialect; pure.

A `Dialect` (`anthropic.py`, `openai.py`) turns a request's bytes into `Asked` and a `Reply` into bytes.
"""

import re
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from llm_gateway.demo.example import example

Object = dict[str, Any]

MODELS = ("qwen3-32b", "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "gpt-4")

_WANTS_TOOL = re.compile(r"\b(tools?|run|list (the )?files)\b", re.IGNORECASE)
_CHARACTERS_PER_TOKEN = 4
_QUOTED_CHARACTERS = 160


class Tool(msgspec.Struct, frozen=True):
    """A function the client offers: its name and the JSON schema of its arguments."""

    name: str
    schema: Object


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as far as the script cares.

    `said` is what the person typed last; `tool_result` is the output that came back since, or None.
    `tool` is a tool that must be called, or None where that is left to the script. `schema` is a JSON schema
    the text has to follow.
    """

    model: str
    said: str
    tool_result: str | None
    tools: tuple[Tool, ...]
    tool: Tool | None
    thinking: bool
    schema: Object | None
    max_tokens: int | None
    stream: bool
    include_usage: bool
    input_tokens: int


class Call(msgspec.Struct, frozen=True):
    """A call of a tool; `arguments` is JSON text."""

    name: str
    arguments: str


class Reply(msgspec.Struct, frozen=True):
    """One answer: thinking and text in that order, then perhaps a call; `cut` if the token limit ended it."""

    thinking: str
    text: str
    call: Call | None = None
    cut: bool = False

    @property
    def output_tokens(self) -> int:
        return tokens(self.thinking + self.text + (self.call.arguments if self.call else ""))


class Dialect(Protocol):
    """What `anthropic.py` and `openai.py` both offer."""

    def read(self, body: bytes) -> Asked:
        """The request in these bytes; raises msgspec.MsgspecError if they are none."""

    def whole(self, asked: Asked, reply: Reply) -> Object:
        """The answer as one JSON object."""

    def frames(self, asked: Asked, reply: Reply) -> Iterator[bytes]:
        """The answer as server-sent events, a word at a time."""

    def error(self, kind: str, message: str) -> Object:
        """An error body."""


def tokens(text: str | bytes) -> int:
    """An estimate at four characters a token, at least 1."""
    return max(1, len(text) // _CHARACTERS_PER_TOKEN)


def pieces(text: str) -> list[str]:
    """The text in words, each with the space after it."""
    return re.findall(r"\S+\s*|\s+", text)


def reply_to(asked: Asked) -> Reply:
    """The scripted answer: a JSON example, the closing words after a tool, a call, or a few sentences."""
    thinking = _thinking(asked) if asked.thinking else ""
    if asked.schema is not None:
        return _within_limit(asked, Reply("", msgspec.json.encode(example(asked.schema)).decode()))
    if asked.tool_result is not None:
        text = f"The tool answered: “{_quoted(asked.tool_result)}”. That was the demo's tool round trip."
        return _within_limit(asked, Reply(thinking, text))
    tool = asked.tool or (_chosen(asked.tools) if _WANTS_TOOL.search(asked.said) else None)
    if tool:
        call = Call(tool.name, msgspec.json.encode(_arguments(tool)).decode())
        text = f"This is the built-in demo upstream, and it will now call the tool {_quoted(tool.name)}."
        return _within_limit(asked, Reply(thinking, text, call))
    return _within_limit(asked, Reply(thinking, _introduction(asked)))


def _introduction(asked: Asked) -> str:
    return (
        "This is the demo upstream built into LLM Gateway. No model is running: this is a fixed script. "
        f"You asked for the model {_quoted(asked.model)} and wrote: “{_quoted(asked.said)}”. "
        "Ask it to use a tool to see a tool call, or point the gateway at a real model."
    )


def _thinking(asked: Asked) -> str:
    return f"This is where {_quoted(asked.model)} would think. The demo only shows what that looks like."


def _chosen(tools: tuple[Tool, ...]) -> Tool | None:
    shell = next((tool for tool in tools if tool.name == "Bash"), None)
    return shell or next(iter(tools), None)


def _arguments(tool: Tool) -> Any:
    if tool.name == "Bash":
        return {"command": 'echo "hello from the demo"', "description": "Say hello"}
    return example(tool.schema)


def _quoted(text: str) -> str:
    """The text on one line, shortened, without characters that could steer a terminal."""
    line = " ".join(text.split())
    line = "".join(character for character in line if character.isprintable())
    return line if len(line) <= _QUOTED_CHARACTERS else line[: _QUOTED_CHARACTERS - 1] + "…"


def _within_limit(asked: Asked, reply: Reply) -> Reply:
    if asked.max_tokens is None or reply.output_tokens <= asked.max_tokens:
        return reply
    room = asked.max_tokens * _CHARACTERS_PER_TOKEN
    thinking = reply.thinking[:room]
    return Reply(thinking, reply.text[: room - len(thinking)], cut=True)
