"""`llm-gateway keys create|list|revoke`: an operator's hand on personal keys, while gateways run."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from llm_gateway.auth import personal_keys
from llm_gateway.auth.personal_keys import PersonalKey, PersonalKeys
from llm_gateway.auth.revocations import Revocations
from llm_gateway.cli import console
from llm_gateway.cli.core import opened
from llm_gateway.cli.store_command import answered, operator, store_only
from llm_gateway.config.schema import Settings
from llm_gateway.errors import ConfigError, Fault

_UNTOLD = "; the store has not confirmed it: `llm-gateway keys list` tells what there is"


class Wanted(NamedTuple):
    """The key that is to be made; `days` is None for as long as keys live by default."""

    tier: str
    name: str
    days: int | None


def create(settings: Settings, user: str, wanted: Wanted, as_json: bool) -> int:
    """Prints a new key of `user`, alone on its line, and leaves a record; 0, or 1 as `show`.

    Raises: ConfigError for a tier that is not configured, a name or a life that a key cannot have.
    """
    if wanted.tier not in settings.tiers:
        raise ConfigError([f"--tier: unknown tier {wanted.tier!r}; configured: {', '.join(settings.tiers)}"])
    return answered(_create(settings, user, wanted, as_json), _UNTOLD)


def show(settings: Settings, user: str, as_json: bool) -> int:
    """Prints the keys of `user`, the newest first; 0, or 1 if the store does not answer.

    Raises: ConfigError if the settings give no personal keys.
    """
    return answered(_show(settings, user, as_json))


def revoke(settings: Settings, user: str, key_id: str | None, as_json: bool) -> int:
    """Revokes a key of `user`, or all of them for None, prints which, and leaves a record of each.

    Returns 0, or 1 if there is no such key or the store does not answer. Raises: ConfigError as `show`.
    """
    return answered(_revoke(settings, user, key_id, as_json), _UNTOLD)


async def _create(settings: Settings, user: str, wanted: Wanted, as_json: bool) -> int:
    async with _keys(settings) as keys:
        try:
            text, key = await keys.create(user, wanted.tier, wanted.name, wanted.days)
        except Fault as fault:
            if fault.kind != "invalid_request":
                raise
            where = f"--{fault.param}: " if fault.param else ""
            raise ConfigError([f"{where}{fault.message}"]) from None
    _record("key_created", user, key)
    if as_json:
        console.say(json.dumps({**_entry(key), "key": text}))
    else:
        console.say(text)
    return 0


async def _show(settings: Settings, user: str, as_json: bool) -> int:
    async with _keys(settings) as keys:
        found = await keys.list(user)
    if as_json:
        console.say(json.dumps({"user": user, "keys": [_entry(key) for key in found]}, indent=2))
        return 0
    console.say(f"{user}: {len(found)} of {settings.keys.max_per_user} keys")
    for key in found:
        used = "never used" if key.last_used_at is None else f"last used {_day(key.last_used_at)}"
        console.say(f"  {key.id}  {key.name} ({key.tier}), until {_day(key.expires_at)}, {used}")
    return 0


async def _revoke(settings: Settings, user: str, key_id: str | None, as_json: bool) -> int:
    revoked: list[str] = []
    async with _keys(settings) as keys:
        for key in await keys.list(user):
            if key_id in (None, key.id) and await keys.revoke(user, key.id):
                _record("key_revoked", user, key)
                revoked.append(key.id)
    if as_json:
        console.say(json.dumps({"user": user, "revoked": revoked}))
    elif revoked:
        console.say(f"{user}: revoked {', '.join(revoked)}")
    if revoked or key_id is None:
        return 0
    console.complain(f"{user} has no key {key_id!r}; `llm-gateway keys list` shows those there are")
    return 1


@asynccontextmanager
async def _keys(settings: Settings) -> AsyncIterator[PersonalKeys]:
    async with opened(store_only(settings)) as core:
        keys = personal_keys.build(settings, core, Revocations(core))
        if keys is None:
            text = "keys: there are none; set LLM_GATEWAY_KEY_PEPPER as the gateways have it"
            raise ConfigError([text if settings.keys.enabled else "keys.enabled: is false"])
        try:
            yield keys
        finally:
            await keys.stop()


def _record(event: str, user: str, key: PersonalKey) -> None:
    """Leaves a line for those who ask later who did this."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    entry = {"ts": now, "event": event, "by": operator(), "user": user, **_entry(key)}
    console.record(json.dumps(entry))


def _entry(key: PersonalKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "tier": key.tier,
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "last_used_at": None if key.last_used_at is None else _time(key.last_used_at),
    }


def _time(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")


def _day(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M}"
