"""What else people put in front of models: a file each, measured beside the gateway where it is installed.

A peer has `PACKAGES` (what pip installs for it) and `start` (runs it as a relay to the scripted upstream).
Envoy relays and does nothing else; LiteLLM looks at one key; `claude gateway` checks a token and logs each
request. None of them counts requests here: what they cost is what they cost at least.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from servers import Target

from peers import claude, envoy, litellm

Start = Callable[[Path, Path, int], AbstractContextManager[Target]]
"""From its program, a folder for what it writes, and the port of the upstream."""


@dataclass(frozen=True)
class Peer:
    """How one of them is had and run."""

    packages: tuple[str, ...]
    program: str
    start: Start


PEERS = {
    "envoy": Peer(envoy.PACKAGES, "envoy", envoy.start),
    "claude": Peer(claude.PACKAGES, "claude", claude.start),
    "litellm": Peer(litellm.PACKAGES, "litellm", litellm.start),
}
"""By name, as `--only` has it."""
