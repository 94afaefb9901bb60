"""The settings and keys of the demo, on disk: the gateway reads them there, and a person may."""

import json
import secrets
from pathlib import Path
from typing import Any

import yaml

from llm_gateway.config import load

TIERS = ("free", "pro", "enterprise")

_DRAIN_S = 2
_NOTE = "# Written by `llm-gateway demo` at every start; to begin your own, see deploy/gateway.example.yaml\n"


def write(folder: Path, upstream_url: str) -> tuple[Path, dict[str, str]]:
    """Writes the settings, with `upstream_url` for every backend that the environment does not name.

    Returns their file and the key of each tier. Raises: OSError if `folder` cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = _keys(folder / "keys.json")
    settings = {
        "server": {"drain_s": _DRAIN_S},
        "data_dir": str(folder),
        "upstreams": _upstreams(upstream_url),
        "subscribers": [{"user": f"demo-{tier}", "tier": tier, "key": keys[tier]} for tier in TIERS],
    }
    file = folder / "gateway.yaml"
    _write_private(file, _NOTE + yaml.safe_dump(settings, sort_keys=False))
    return file, keys


def _upstreams(url: str) -> dict[str, Any]:
    upstreams: dict[str, Any] = {}
    # A real backend's key must not meet the scripted one's URL.
    if not load.is_set("INTERNAL_LLM_URL"):
        upstreams["internal"] = {"urls": [url]}
    if not load.is_set("CLAUDE_API_KEY", "CLAUDE_API_URL"):
        upstreams["anthropic"] = {"urls": [url], "api_key": "demo"}
    if not load.is_set("OPENAI_API_KEY", "OPENAI_API_URL"):
        upstreams["openai"] = {"urls": [url], "api_key": "demo"}
    return upstreams


def _keys(file: Path) -> dict[str, str]:
    """A key per tier, made once, so that what was pasted yesterday works today."""
    try:
        keys: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        if set(keys) == set(TIERS):
            return keys
    except (FileNotFoundError, ValueError):
        pass
    keys = {tier: f"demo-{tier}-{secrets.token_hex(8)}" for tier in TIERS}
    _write_private(file, json.dumps(keys))
    return keys


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
