"""What a strict server of the OpenAI API takes, down to the last member; everything else is a problem.

As strict as OpenAI, vLLM, Qwen's chat template and servers that validate every member are taken together.
"""

import base64
import binascii
import json
import re
from typing import Any

from tests.servers.script import Request

Body = dict[str, Any]

_PROMPT = {"model", "messages", "tools", "chat_template_kwargs"}
_PROMPT |= {"add_generation_prompt", "continue_final_message"}
_GENERATION = {"max_tokens", "temperature", "top_p", "top_k", "stop", "stream", "stream_options"}
_GENERATION |= {"tool_choice", "parallel_tool_calls", "response_format"}
_OF_ROLE = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "reasoning", "reasoning_content"},
    "tool": {"role", "content", "tool_call_id"},
}
_HEADERS = {"host", "content-type", "content-length", "user-agent", "accept", "accept-encoding"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What Claude Code says to Anthropic of itself; it changes with every request, and no prefix would be cached.
_ATTRIBUTION = "x-anthropic-billing-header"


class _Problem(Exception):  # noqa: N818 - what the server says, not a failure of it
    pass


def problem_of(request: Request, *, generates: bool = True) -> str | None:
    """What is wrong with a request for a completion, or for a count; None if nothing is."""
    try:
        _check_head(request)
        asked = request.json()
        _only(asked, _PROMPT | _GENERATION if generates else _PROMPT, "body")
        _check_options(asked)
        _check_tools(asked)
        _check_messages(asked)
        _must(_ATTRIBUTION not in json.dumps(asked), "the attribution line")
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


def _check_head(request: Request) -> None:
    names = {name.lower() for name, _ in request.headers}
    _must(names <= _HEADERS, f"unknown headers {sorted(names - _HEADERS)}")
    _must(request.header("content-type") == "application/json", "content-type")
    _must(request.target == request.path, "a query")


def _check_options(asked: Body) -> None:
    limit = asked.get("max_tokens", 1)
    _must(type(limit) is int and limit >= 1, "max_tokens")
    if asked.get("stream"):
        options = {"include_usage": True, "continuous_usage_stats": True}
        _must(asked["stream_options"] == options, "stream_options")
    else:
        _must("stream_options" not in asked, "stream_options without stream")
    switches = asked.get("chat_template_kwargs", {})
    _only(switches, {"enable_thinking"}, "chat_template_kwargs")
    _must(all(isinstance(value, bool) for value in switches.values()), "enable_thinking")
    if "response_format" in asked:
        form = asked["response_format"]
        _must(form.keys() == {"type", "json_schema"}, "response_format")
        _must(form["json_schema"].keys() == {"name", "schema"}, "response_format.json_schema")


def _check_tools(asked: Body) -> None:
    names = []
    for at, tool in enumerate(asked.get("tools", ())):
        place = f"tools.{at}"
        _must(tool.keys() == {"type", "function"}, place)
        _must(tool["type"] == "function", f"{place}.type")
        function = tool["function"]
        _only(function, {"name", "description", "parameters"}, f"{place}.function")
        _must(bool(_NAME.fullmatch(function["name"])), f"{place}.function.name")
        _must(isinstance(function.get("description", ""), str), f"{place}.function.description")
        _must(function["parameters"]["type"] == "object", f"{place}.function.parameters")
        names.append(function["name"])
    _must(bool(names) or "tools" not in asked, "tools: empty")
    _must(len(names) == len(set(names)), "tools: two of one name")
    _must(bool(names) or "tool_choice" not in asked, "tool_choice without tools")
    match asked.get("tool_choice", "auto"):
        case "auto" | "none" | "required":
            pass
        case {"type": "function", "function": {"name": name}}:
            _must(name in names, "tool_choice: no such tool")
        case other:
            _must(False, f"tool_choice: {other}")


def _check_messages(asked: Body) -> None:
    messages = asked["messages"]
    _must(bool(messages), "messages: empty")
    unanswered: list[str] = []
    seen: set[str] = set()
    for at, message in enumerate(messages):
        role, place = message["role"], f"messages.{at}"
        _must(role in _OF_ROLE, f"{place}.role: {role}")
        _only(message, _OF_ROLE[role], place)
        if role == "tool":
            # The calls of a turn are answered in their order.
            _must(unanswered[:1] == [message["tool_call_id"]], f"{place}: answers no call, or not the next")
            del unanswered[0]
            _must(isinstance(message["content"], str), f"{place}.content: not a text")
            continue
        _must(not unanswered, f"{place}: {unanswered} are not answered yet")
        if role == "assistant":
            unanswered = _check_assistant(message, place)
            _must(seen.isdisjoint(unanswered), f"{place}: the id of an earlier call")
            seen.update(unanswered)
        elif role == "system":
            # Qwen's template raises an error for any other.
            _must(at == 0, f"{place}: a system message that is not the first")
            _must(isinstance(message["content"], str) and bool(message["content"]), f"{place}.content")
        else:
            _check_user(message["content"], f"{place}.content")
    last = messages[-1]["role"]
    _must(not unanswered, f"messages: {unanswered} are never answered")
    _must(last != "assistant" or asked.get("continue_final_message") is True, "messages: nothing to answer")


def _check_assistant(message: Body, place: str) -> list[str]:
    """The ids of the calls, in order."""
    calls = message.get("tool_calls")
    _must(calls != [], f"{place}.tool_calls: empty")
    _must(
        isinstance(message["content"], str) or (message["content"] is None and bool(calls)),
        f"{place}.content",
    )
    for member in ("reasoning", "reasoning_content"):
        _must(isinstance(message.get(member, ""), str), f"{place}.{member}")
    ids = []
    for call in calls or ():
        function = call["function"]
        _must(call.keys() == {"id", "type", "function"} and call["type"] == "function", f"{place}.tool_calls")
        _must(function.keys() == {"name", "arguments"}, f"{place}.tool_calls.function")
        _must(bool(_NAME.fullmatch(function["name"])), f"{place}.tool_calls.function.name")
        _must(isinstance(json.loads(function["arguments"]), dict), f"{place}.tool_calls.function.arguments")
        _must(isinstance(call["id"], str) and bool(call["id"]), f"{place}.tool_calls.id")
        ids.append(call["id"])
    _must(len(ids) == len(set(ids)), f"{place}.tool_calls: two of one id")
    return ids


def _check_user(content: Any, place: str) -> None:
    if isinstance(content, str):
        _must(bool(content), f"{place}: empty")
        return
    _must(isinstance(content, list) and bool(content), f"{place}: neither text nor parts")
    for part in content:
        match part:
            case {"type": "text", "text": str(text), **rest} if text and not rest:
                pass
            case {"type": "image_url", "image_url": {"url": str(url), **more}, **rest} if (
                not more and not rest
            ):
                _must(_is_picture(url), f"{place}: not a picture")
            case _:
                _must(False, f"{place}: {json.dumps(part)[:200]}")


def _is_picture(url: str) -> bool:
    found = re.fullmatch(r"data:image/(png|jpeg|gif|webp);base64,(.+)", url)
    try:
        return bool(found and base64.b64decode(found[2], validate=True))
    except binascii.Error:
        return False
