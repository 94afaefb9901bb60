"""Managed settings of Claude Code, by tier."""

from collections.abc import Mapping
from typing import NamedTuple

from llm_gateway.config.schema import Tier


class Document(NamedTuple):
    """What a client gets: `body` in JSON, and the `checksum` that names it (`sha256:` and 64 hex digits)."""

    checksum: str
    body: bytes


class ManagedSettings:
    """The documents of all tiers, made once."""

    def __init__(self, tiers: Mapping[str, Tier]) -> None:
        self._documents: dict[str, Document] = {}

    def of(self, tier: str) -> Document | None:
        """Returns the document of a tier, or None if it has no policy."""
        return self._documents.get(tier)
