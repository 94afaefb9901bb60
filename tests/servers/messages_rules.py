"""What a strict server of the Anthropic API takes, down to the last member; everything else is a problem.

Source: the errors that Anthropic's own server answers.
"""

import re
from typing import Any

from tests.servers.script import Request

Body = dict[str, Any]

_MEMBERS = {"model", "messages", "max_tokens", "system", "tools", "tool_choice", "stop_sequences", "stream"}
_MEMBERS |= {"temperature", "top_p", "thinking", "output_config", "metadata"}
_HEADERS = {"host", "content-type", "content-length", "user-agent", "accept", "accept-encoding"}
_HEADERS |= {"anthropic-version", "x-api-key"}
_BLOCKS = {
    "user": {"text", "image", "document", "tool_result"},
    "assistant": {"text", "tool_use", "thinking"},
}
_OF_BLOCK = {
    "text": {"type", "text"},
    "image": {"type", "source"},
    "document": {"type", "source", "title"},
    "tool_result": {"type", "tool_use_id", "content", "is_error"},
    "tool_use": {"type", "id", "name", "input"},
    "thinking": {"type", "thinking", "signature"},
}
_ID = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class _Problem(Exception):  # noqa: N818 - what the server says, not a failure of it
    pass


def problem_of(request: Request, key: str) -> str | None:
    """What is wrong with a request for a message by the owner of that key; None if nothing is."""
    try:
        names = {name.lower() for name, _ in request.headers}
        _must(names <= _HEADERS, f"unknown headers {sorted(names - _HEADERS)}")
        _must(request.header("x-api-key") == key, "x-api-key")
        _must(request.header("anthropic-version") == "2023-06-01", "anthropic-version")
        _must(request.header("content-type") == "application/json", "content-type")
        asked = request.json()
        _only(asked, _MEMBERS, "body")
        _must(type(asked["max_tokens"]) is int and asked["max_tokens"] >= 1, "max_tokens")
        _must(0 <= asked.get("temperature", 0) <= 1, "temperature")
        for at, block in enumerate(asked.get("system", ())):
            _check_block(block, "user", f"system.{at}")
        _check_tools(asked)
        _check_turns(asked["messages"])
    except _Problem as problem:
        return str(problem)
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        return f"{type(cause).__name__}: {cause}"
    return None


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise _Problem(what)


def _only(value: Body, allowed: set[str], place: str) -> None:
    _must(value.keys() <= allowed, f"{place}: unknown members {sorted(value.keys() - allowed)}")


def _check_tools(asked: Body) -> None:
    names = []
    for at, tool in enumerate(asked.get("tools", ())):
        _only(tool, {"name", "description", "input_schema", "strict"}, f"tools.{at}")
        _must(bool(_NAME.fullmatch(tool["name"])), f"tools.{at}.name")
        _must(tool["input_schema"]["type"] == "object", f"tools.{at}.input_schema")
        names.append(tool["name"])
    _must(len(names) == len(set(names)), "tools: names must be unique")
    if "tool_choice" in asked:
        choice = asked["tool_choice"]
        _must(bool(names), "tool_choice without tools")
        _must(choice["type"] in {"auto", "any", "none", "tool"}, "tool_choice.type")
        _must(choice.get("name", names[0]) in names, "tool_choice.name")


def _check_turns(turns: list[Body]) -> None:
    _must(bool(turns), "messages: at least one message is required")
    wanted: list[str] = []
    seen: set[str] = set()
    for at, turn in enumerate(turns):
        place, role = f"messages.{at}", ("user", "assistant")[at % 2]
        _must(turn["role"] == role, f"{place}: roles must alternate")
        _only(turn, {"role", "content"}, place)
        content = turn["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        _must(bool(content), f"{place}: content must not be empty")
        for nth, block in enumerate(content):
            _check_block(block, role, f"{place}.content.{nth}")
        results = [block["tool_use_id"] for block in content if block["type"] == "tool_result"]
        _must(sorted(results) == sorted(wanted), f"{place}: tool_use ids without tool_result, or the reverse")
        first = [block["type"] == "tool_result" for block in content[: len(results)]]
        _must(all(first), f"{place}: tool_result blocks must come first")
        wanted = [block["id"] for block in content if block["type"] == "tool_use"]
        _must(len(set(wanted)) == len(wanted) and seen.isdisjoint(wanted), f"{place}: ids must be unique")
        seen.update(wanted)
    _must(turns[-1]["role"] == "user", "messages: nothing to answer")


def _check_block(block: Body, role: str, place: str) -> None:
    kind = block["type"]
    _must(kind in _BLOCKS[role], f"{place}: {kind} in a turn of the {role}")
    _only(block, _OF_BLOCK[kind], place)
    match kind:
        case "text":
            _must(bool(block["text"].strip()), f"{place}: text content blocks must be non-empty")
        case "tool_use":
            _must(bool(_ID.fullmatch(block["id"])), f"{place}.id: should match pattern '^[a-zA-Z0-9_-]+$'")
            _must(isinstance(block["input"], dict), f"{place}.input: should be a valid dictionary")
        case "tool_result":
            _must(isinstance(block["content"], str | list), f"{place}.content")
        case "thinking":
            _must(not block["signature"].startswith("gw1."), f"{place}: Invalid `signature`")
