"""`llm-gateway quota show|set`: what a user has used, read and set while gateways run."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from llm_gateway.asgi.usage import Usage, usages
from llm_gateway.cli import console, wording
from llm_gateway.cli.core import opened
from llm_gateway.cli.store_command import answered, operator, store_only
from llm_gateway.config.schema import Settings, Window
from llm_gateway.errors import ConfigError, Fault

_UNTOLD = "the store has not confirmed it, so it may or may not be set; `llm-gateway quota show` tells"


class Change(NamedTuple):
    """What is to be set: `used` of the current bucket of `window`, for `reason`, a sentence."""

    window: Window
    used: int
    reason: str


def show(settings: Settings, user: str, tier: str | None, as_json: bool) -> int:
    """Prints what `user` has used and the last changes by hand; 0, or 1 if the store does not answer.

    Limits are those of `tier`, else of the tier that the settings give the user. Raises: ConfigError for a
    tier that is not configured.
    """
    tier = tier or next((entry.tier for entry in settings.subscribers if entry.user == user), None)
    if tier is not None and tier not in settings.tiers:
        raise ConfigError([f"--tier: unknown tier {tier!r}; configured: {', '.join(settings.tiers)}"])
    windows = _all_windows(settings) if tier is None else settings.tiers[tier].quota
    return answered(_show(settings, user, tier, windows, as_json))


def set_used(settings: Settings, user: str, change: Change) -> int:
    """Sets what `user` has used, prints it before and after, and leaves a record; 0, or 1 as `show`.

    Raises: ConfigError for a window that no tier has.
    """
    counted = [wording.counted(window.unit, window.period) for window in _all_windows(settings)]
    asked = wording.counted(change.window.unit, change.window.period)
    if asked not in counted:
        raise ConfigError([f"no tier counts {asked}; configured: {', '.join(counted) or 'nothing'}"])
    return answered(_set(settings, user, change), f"; {_UNTOLD}")


async def _show(
    settings: Settings, user: str, tier: str | None, windows: tuple[Window, ...], as_json: bool
) -> None:
    async with opened(store_only(settings)) as core:
        # A failure of `counts` is worded for clients; an operator is told the cause.
        text, *_ = await core.store_state()
        if text != "ok":
            raise Fault("overloaded", text)
        windows_now = usages(await core.counts(user, windows))
        notes = [json.loads(note) for note in await core.quota_notes(user)]
    if as_json:
        answer = {"user": user, "tier": tier, "windows": windows_now, "notes": notes}
        console.say(msgspec.json.format(msgspec.json.encode(answer)).decode())
        return
    console.say(f"{user} on {f'the {tier} tier' if tier else 'a tier that only the token tells'}")
    for usage in windows_now:
        console.say(_in_words(usage))
    for note in notes:
        console.say(_remembered(note))


async def _set(settings: Settings, user: str, change: Change) -> None:
    window = change.window
    record = {
        "ts": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "event": "quota_set",
        "by": operator(),
        "user": user,
        "unit": window.unit,
        "period": window.period,
        "used": change.used,
        "reason": change.reason,
    }
    async with opened(store_only(settings)) as core:
        before = await core.set_quota(user, window, change.used, json.dumps(record))
    # The store keeps the record as it was sent: what was there before is known only now.
    console.record(json.dumps(record | {"before": before}))
    console.say(f"{user}: {wording.counted(window.unit, window.period)}: {before:,} → {change.used:,}")


def _all_windows(settings: Settings) -> tuple[Window, ...]:
    """What any tier counts, without the limits: a user's tier may be known to the token alone."""
    return tuple(
        dict.fromkeys(
            msgspec.structs.replace(window, limit=None)
            for tier in settings.tiers.values()
            for window in tier.quota
        )
    )


def _in_words(usage: Usage) -> str:
    of = "" if usage["limit"] is None else f" of {usage['limit']:,}, {usage['remaining']:,} left"
    until = "" if usage["resets_at"] is None else f", until {usage['resets_at']:%Y-%m-%d %H:%M:%S} UTC"
    return f"  {wording.counted(usage['unit'], usage['period'])}: {usage['used']:,}{of}{until}"


def _remembered(note: Mapping[str, Any]) -> str:
    what = wording.counted(note["unit"], note["period"])
    return f"  {note['ts']}: {note['by']} set {what} to {note['used']:,}: {note['reason']}"
