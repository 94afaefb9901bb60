"""What commands share that read or change what the store holds."""

import asyncio
import os
import pwd
import socket
from collections.abc import Coroutine
from typing import Any

import msgspec

from llm_gateway.cli import console
from llm_gateway.config.schema import Settings
from llm_gateway.errors import ConfigError, Fault

# A person waits longer than a request would, and had to ask again if it was in vain.
_PATIENCE_S = 5.0


def answered(work: Coroutine[Any, Any, int | None], advice: str = "") -> int:
    """Returns the exit status: that of `work`, or 1 if the store does not answer, said with `advice`.

    Raises: ConfigError if the settings cannot be used.
    """
    try:
        return asyncio.run(work) or 0
    except Fault as fault:
        if fault.kind == "config":
            raise ConfigError([fault.message]) from fault
        console.complain(f"{fault.message}{advice}")
        return 1


def store_only(settings: Settings) -> Settings:
    """Returns the settings of a core that has nothing but the store: no upstream is asked what it speaks."""
    timeout_s = max(settings.quota.timeout_s, _PATIENCE_S)
    quota = msgspec.structs.replace(settings.quota, timeout_s=timeout_s)
    return msgspec.structs.replace(settings, quota=quota, upstreams={}, models=())


def operator() -> str:
    """Returns who is at the keyboard, by the system's word and not by the environment's."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    return f"{name}@{socket.gethostname()}"
