"""`llm-gateway status`: tier, quota and models."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from llm_gateway.cli import console, wording
from llm_gateway.cli.subscriber.gateway import Gateway

_BAR_CHARACTERS = 24


def status(url: str, credential: str, ca_file: str | None, *, as_json: bool) -> None:
    """Prints what is left. Raises: ProblemError."""
    with Gateway(url, ca_file) as gateway:
        quota = gateway.quota(credential)
    if as_json:
        console.say(json.dumps(quota, indent=2, ensure_ascii=False))
        return
    user, tier = (console.strong(str(quota[name])) for name in ("user", "tier"))
    console.say(f"{user} on the {tier} tier of {url}\n")
    for line in (line for window in quota["windows"] for line in _lines(window)):
        console.say(line)
    console.say(f"\n  models: {', '.join(quota['models']) or 'none that is in service'}")


def _lines(window: dict[str, Any]) -> list[str]:
    used, limit = window["used"], window["limit"]
    what = wording.counted(window["unit"], window["period"])
    if limit is None:
        return [f"  {what}: {used:,} used, no limit"]
    ends = "" if window["resets_at"] is None else f", {_until(window['resets_at'])}"
    return [f"  {_bar(used, limit)} {used:,} of {limit:,} {what}{ends}"]


def _bar(used: int, limit: int) -> str:
    filled = _BAR_CHARACTERS if used >= limit else used * _BAR_CHARACTERS // limit
    bar = "█" * filled + "░" * (_BAR_CHARACTERS - filled)
    return console.bad(bar) if used >= limit else console.good(bar)


def _until(resets_at: str) -> str:
    at = datetime.fromisoformat(resets_at)
    left = max(timedelta(0), at - datetime.now(UTC))
    hours, minutes = divmod(int(left.total_seconds()) // 60, 60)
    how_long = f"{hours // 24} days" if hours >= 48 else f"{hours} h" if hours else f"{minutes} min"
    return f"again in {how_long} ({at.astimezone():%Y-%m-%d %H:%M})"
