"""Claude Code's own settings: what makes it use the gateway.

Source: Claude Code 2.1.330: `settings.json` in its folder (`CLAUDE_CONFIG_DIR`, else `~/.claude`).
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from llm_gateway.cli.subscriber.problem import ProblemError

FILE = "settings.json"
# Well under the life of a token, so that the client asks again before it ends.
_HELPER_AGE_MS = 240_000


def native(url: str) -> dict[str, Any]:
    """The settings by which it signs in to the gateway by itself."""
    return {"forceLoginMethod": "gateway", "forceLoginGatewayUrl": url}


def helper(url: str) -> dict[str, Any]:
    """The settings by which it asks this command for a token."""
    return {
        "apiKeyHelper": shlex.join([str(_command()), "token", "--url", url]),
        "env": {
            "ANTHROPIC_BASE_URL": url,
            "CLAUDE_CODE_API_KEY_HELPER_TTL_MS": str(_HELPER_AGE_MS),
        },
    }


def changed(before: str, wanted: dict[str, Any], unwanted: dict[str, Any]) -> str:
    """Returns the settings with what is wanted, and without what is unwanted as long as it is still as we
    wrote it.

    Everything else stays, in its order. Raises: ProblemError for a file that is no JSON object.
    """
    try:
        settings = json.loads(before) if before.strip() else {}
    except ValueError as cause:
        raise ProblemError(f"Claude Code's {FILE} is not JSON ({cause}); mend it first") from None
    if not isinstance(settings, dict):
        raise ProblemError(f"Claude Code's {FILE} is no JSON object; mend it first")
    after = _without(settings, unwanted)
    for name, value in wanted.items():
        kept = after.get(name)
        after[name] = {**kept, **value} if isinstance(kept, dict) and isinstance(value, dict) else value
    if after == settings:
        return before
    return json.dumps(after, indent=2, ensure_ascii=False) + "\n"


def _without(settings: dict[str, Any], unwanted: dict[str, Any]) -> dict[str, Any]:
    after = dict(settings)
    for name, value in unwanted.items():
        kept = after.get(name)
        if isinstance(kept, dict) and isinstance(value, dict):
            left = {key: one for key, one in kept.items() if value.get(key) != one}
            after[name] = left
            if not left:
                del after[name]
        elif kept == value:
            del after[name]
    return after


def _command() -> Path:
    # The command beside this interpreter: Claude Code's shell may have another PATH.
    return Path(sys.executable).with_name("llm-gateway")
