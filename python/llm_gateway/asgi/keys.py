"""Personal keys, managed by their owner."""

import re
from datetime import UTC, datetime

import msgspec

from llm_gateway.asgi.answers import json_answer
from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.request import Request
from llm_gateway.asgi.types import Answer
from llm_gateway.auth.personal_keys import PersonalKey, PersonalKeys
from llm_gateway.errors import Fault
from llm_gateway.subscriber import Subscriber

_ID = re.compile(r"[0-9a-f]{16}")
# A key is shown once, and who has which is nobody else's business.
_NOT_KEPT = [(b"cache-control", b"no-store")]


class _NewKey(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    days: int | None = None


async def listed(gateway: Gateway, request: Request) -> Answer:
    """The caller's keys, the newest first. Raises: `forbidden`, `not_found`, `overloaded`."""
    subscriber, keys = await _owner(gateway, request)
    found = await keys.list(subscriber.user, subscriber.tier)
    entries = [{**_entry(key), "last_used_at": _time(key.last_used_at)} for key in found]
    return json_answer({"keys": entries}, headers=_NOT_KEPT)


async def create(gateway: Gateway, request: Request) -> Answer:
    """A new key with the caller's tier, shown once. Raises: as `listed`, and `invalid_request`."""
    subscriber, keys = await _owner(gateway, request)
    body = await request.body(gateway.settings.limits)
    try:
        wanted = msgspec.json.decode(body, type=_NewKey)
    except (ValueError, RecursionError) as cause:
        reason = str(cause) if isinstance(cause, msgspec.DecodeError) else "it is not UTF-8"
        text = f'send JSON like {{"name": "laptop", "days": 30}}: {reason[:1].lower()}{reason[1:200]}'
        raise Fault("invalid_request", text) from None
    await keys.retier(subscriber.user, subscriber.tier)
    text, key = await keys.create(subscriber.user, subscriber.tier, wanted.name, wanted.days)
    return json_answer({**_entry(key), "key": text}, 201, _NOT_KEPT)


async def revoke(gateway: Gateway, request: Request) -> Answer:
    """Revokes one of the caller's keys: 204. Raises: as `listed`; `not_found` for one of somebody else."""
    subscriber, keys = await _owner(gateway, request)
    key_id = request.argument
    if not _ID.fullmatch(key_id) or not await keys.revoke(subscriber.user, key_id):
        raise Fault("not_found", "no such key; GET /keys lists yours")
    return 204, list(_NOT_KEPT), b""


async def _owner(gateway: Gateway, request: Request) -> tuple[Subscriber, PersonalKeys]:
    subscriber = await gateway.subscriber(request.headers)
    keys = gateway.people.keys
    if keys is None:
        why = "its operator has to set LLM_GATEWAY_KEY_PEPPER"
        if not gateway.settings.keys.enabled:
            why = "they are switched off"
        raise Fault("not_found", f"this gateway has no personal keys: {why}")
    if subscriber.means == "personal_key":
        raise Fault("forbidden", "a personal key cannot manage keys; sign in", should_retry=False)
    return subscriber, keys


def _entry(key: PersonalKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
    }


def _time(at_s: int | None) -> datetime | None:
    """Unix seconds as what becomes RFC 3339 in JSON."""
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC)
