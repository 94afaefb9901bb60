"""`llm-gateway status`: tier, quota and models."""

import json
from datetime import UTC, datetime, timedelta

import msgspec

from llm_gateway.cli import console, wording
from llm_gateway.cli.subscriber.foreign_text import shown
from llm_gateway.cli.subscriber.gateway import Gateway
from llm_gateway.cli.subscriber.problem import ProblemError

_BAR_CHARACTERS = 24


class _Window(msgspec.Struct, frozen=True):
    unit: str
    period: str | None
    limit: int | None
    used: int
    resets_at: datetime | None


class _Quota(msgspec.Struct, frozen=True):
    user: str
    tier: str
    windows: list[_Window]
    models: list[str]


def status(url: str, credential: str, ca_file: str | None, *, as_json: bool) -> None:
    """Prints what is left. Raises: ProblemError."""
    if not (credential and credential.isascii() and credential.isprintable()):
        raise ProblemError("there is no key on standard input")
    with Gateway(url, ca_file) as gateway:
        data = gateway.quota(credential)
    try:
        quota = msgspec.convert(data, _Quota)
    except msgspec.ValidationError:
        raise ProblemError(
            f"{url} does not tell a quota as an LLM gateway does; look at the address"
        ) from None
    if as_json:
        console.say(json.dumps(data, indent=2, ensure_ascii=False))
        return
    user, tier = console.strong(shown(quota.user)), console.strong(shown(quota.tier))
    console.say(f"{user} on the {tier} tier of {url}\n")
    for window in quota.windows:
        console.say(_line(window))
    console.say(f"\n  models: {shown(', '.join(quota.models)) or 'none that is in service'}")


def _line(window: _Window) -> str:
    used, limit = window.used, window.limit
    what = shown(wording.counted(window.unit, window.period))
    if limit is None:
        return f"  {what}: {used:,} used, no limit"
    ends = "" if window.resets_at is None else f", {_until(window.resets_at)}"
    return f"  {_bar(used, limit)} {used:,} of {limit:,} {what}{ends}"


def _bar(used: int, limit: int) -> str:
    filled = _BAR_CHARACTERS if used >= limit else used * _BAR_CHARACTERS // limit
    bar = "█" * filled + "░" * (_BAR_CHARACTERS - filled)
    return console.bad(bar) if used >= limit else console.good(bar)


def _until(at: datetime) -> str:
    left = max(timedelta(0), at - datetime.now(UTC))
    hours, minutes = divmod(int(left.total_seconds()) // 60, 60)
    how_long = f"{hours // 24} days" if hours >= 48 else f"{hours} h" if hours else f"{minutes} min"
    return f"again in {how_long} ({at.astimezone():%Y-%m-%d %H:%M})"
