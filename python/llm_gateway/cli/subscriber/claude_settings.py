"""Claude Code's own settings: what makes it use the gateway.

Source: Claude Code 2.1.330: `settings.json` in its folder (`CLAUDE_CONFIG_DIR`, else `~/.claude`).
"""

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from llm_gateway.cli.subscriber.problem import ProblemError

FILE = "settings.json"
# Less than what is left of a token that the command prints (a minute), so that one in use does not end: the
# client asks again on a 401, but a second later (seen).
_HELPER_AGE_MS = 30_000
_LIFE = "CLAUDE_CODE_API_KEY_HELPER_TTL_MS"

_INDENTED = re.compile(r"\n([ \t]+)\S")
_USUAL_INDENT = "  "

_Settings = dict[tuple[str, ...], str]


def by_sign_in(before: str, url: str) -> str:
    """Returns the settings by which it signs in to the gateway by itself. Raises: ProblemError."""
    # A helper's token would go before the sign-in's.
    return _changed(before, _native(url), _helper_in(_parsed(before)))


def by_helper(before: str, url: str) -> str:
    """Returns the settings by which it asks this command for a token. Raises: ProblemError."""
    settings = _parsed(before)
    native = _native(str(settings.get("forceLoginGatewayUrl")))
    helper: _Settings = {
        ("apiKeyHelper",): shlex.join([*_command(), "token", "--url", url]),
        ("env", "ANTHROPIC_BASE_URL"): url,
        ("env", _LIFE): str(_HELPER_AGE_MS),
    }
    # What an earlier set-up wrote for the helper is replaced where it stands.
    return _changed(before, helper, native)


def taken_back(before: str, url: str) -> str:
    """Returns the settings without what the other two write, as long as it is as it was written; a helper of
    ours whatever its gateway is. Raises: ProblemError.
    """
    return _changed(before, {}, _native(url) | _helper_in(_parsed(before)))


def _changed(before: str, wanted: _Settings, unwanted: _Settings) -> str:
    """Everything else stays, in its order and with its indent."""
    settings = _parsed(before)
    after = deepcopy(settings)
    for path, value in unwanted.items():
        if _at(after, path) == value:
            _remove(after, path)
    for path, value in wanted.items():
        _put(after, path, value)
    if after == settings:
        return before
    indent = _INDENTED.search(before)
    text = json.dumps(after, indent=indent[1] if indent else _USUAL_INDENT, ensure_ascii=False) + "\n"
    return text.replace("\n", "\r\n") if "\r\n" in before else text


def _parsed(before: str) -> dict[str, Any]:
    try:
        settings = json.loads(before) if before.strip() else {}
    except (ValueError, RecursionError) as cause:
        raise ProblemError(f"Claude Code's {FILE} is not JSON ({cause}); mend it first") from None
    if not isinstance(settings, dict):
        raise ProblemError(f"Claude Code's {FILE} is no JSON object; mend it first")
    return settings


def _native(url: str) -> _Settings:
    return {("forceLoginMethod",): "gateway", ("forceLoginGatewayUrl",): url}


def _helper_in(settings: Mapping[str, Any]) -> _Settings:
    """What this command wrote for the helper, whatever the gateway and the command's place were then."""
    helper = settings.get("apiKeyHelper")
    try:
        *command, action, option, url = shlex.split(str(helper))
    except ValueError:
        return {}
    is_ours = any(word.endswith(("llm-gateway", "llm_gateway")) for word in command)
    if not is_ours or (action, option) != ("token", "--url"):
        return {}
    return {
        ("apiKeyHelper",): str(helper),
        ("env", "ANTHROPIC_BASE_URL"): url,
        ("env", _LIFE): str(_HELPER_AGE_MS),
    }


def _at(settings: object, path: tuple[str, ...]) -> object:
    for name in path:
        if not isinstance(settings, dict):
            return None
        settings = settings.get(name)
    return settings


def _put(settings: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    *around, name = path
    for outer in around:
        inner = settings.get(outer)
        settings[outer] = settings = inner if isinstance(inner, dict) else {}
    settings[name] = value


def _remove(settings: dict[str, Any], path: tuple[str, ...]) -> None:
    name, *rest = path
    if rest:
        _remove(settings[name], tuple(rest))
    # Nor what is around it, if nothing else is in that.
    if not rest or not settings[name]:
        del settings[name]


def _command() -> Iterator[str]:
    # Claude Code's shell may have another PATH.
    beside = Path(sys.executable).with_name("llm-gateway")
    if beside.exists():
        yield str(beside)
    else:
        yield from (sys.executable, "-m", "llm_gateway")
