"""Prompts that dictate their answer (`inside/dictation.py`), and the SDK's two ways of asking."""

import json
from typing import Any

import anthropic
from anthropic.types import Message

ON = {"type": "adaptive"}
OFF = {"type": "disabled"}
WEATHER = {
    "name": "get_weather",
    "description": "What the weather is like",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def say(*parts: str) -> str:
    """The prompt to which the answer is these parts, one after another."""
    return f"Please say ⟪{''.join(parts)}⟫"


def thought(text: str) -> str:
    """Thinking, as Qwen3 writes it."""
    return f"<think>\n{text}\n</think>\n\n"


def call(name: str, **arguments: str) -> str:
    """A tool call, as Qwen3 writes it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def user(content: str | list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": "user", "content": content}


def ask(claude: anthropic.Anthropic, prompt: str, *, streamed: bool, **members: Any) -> Message:
    """The whole message, streamed or not; `members` beat what is asked by default."""
    request: dict[str, Any] = {
        "model": "claude-3-haiku",
        "max_tokens": 500,
        "thinking": OFF,
        "messages": [user(prompt)],
    }
    request |= members
    if not streamed:
        message: Message = claude.messages.create(**request)
        return message
    with claude.messages.stream(**request) as stream:
        return stream.get_final_message()
