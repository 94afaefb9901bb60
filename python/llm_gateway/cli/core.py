"""A core for the length of one command."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llm_gateway._core import Core
from llm_gateway.config.core import core_settings
from llm_gateway.config.schema import Settings
from llm_gateway.errors import Fault


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Core]:
    """A core of these settings, which ends with the context. Raises: Fault `config` if there can be none."""
    with tempfile.TemporaryDirectory() as folder:
        # A journal is the gateway's own: the command may run as another user, and waits for the store itself.
        slice_ = core_settings(settings, journal=False)
        core = Core(slice_, folder, 1.0, asyncio.get_running_loop(), Fault)
        try:
            yield core
        finally:
            await asyncio.to_thread(core.stop)
