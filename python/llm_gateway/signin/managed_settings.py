"""Managed settings of Claude Code, by tier.

Source: the gateway protocol of Claude Code 2.1.330 (`claude gateway`, `GET /protocol`).
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from llm_gateway.config.schema import Tier

_NAMESPACE = uuid.UUID("7e0a8a3e-6a0b-5c52-9d53-2f9f6f0f2f0b")


class Document(NamedTuple):
    """What a client gets: `body` in JSON, and the `checksum` that names it (`sha256:` and 64 hex digits)."""

    checksum: str
    body: bytes


class ManagedSettings:
    """The documents of all tiers, made once."""

    def __init__(self, tiers: Mapping[str, Tier]) -> None:
        self._documents = {
            name: _document(tier.managed_settings)
            for name, tier in tiers.items()
            if tier.managed_settings is not None
        }

    def of(self, tier: str) -> Document | None:
        """Returns the document of a tier, or None if it has no policy."""
        return self._documents.get(tier)


def _document(settings: dict[str, Any]) -> Document:
    text = _canonical(settings)
    checksum = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    name = str(uuid.uuid5(_NAMESPACE, checksum))
    head = json.dumps({"uuid": name, "checksum": checksum}, separators=(",", ":"))
    return Document(checksum, f'{head[:-1]},"settings":{text}}}'.encode())


def _canonical(settings: dict[str, Any]) -> str:
    """JSON with sorted keys and no white space, as JavaScript would write it: the client hashes its own."""
    return json.dumps(_plain(settings), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case list():
            return [_plain(one) for one in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
