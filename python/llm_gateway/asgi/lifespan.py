"""Births a worker's gateway when the server starts it, and drains it when the server stops it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.types import Receive, Send
from llm_gateway.errors import ConfigError, Fault

logger = logging.getLogger(__name__)

Birth = Callable[[], Awaitable[Gateway]]


async def run(birth: Birth, started: Callable[[Gateway], None], receive: Receive, send: Send) -> None:
    """Speaks the lifespan protocol: `started` gets the gateway before the first request does."""
    await receive()
    try:
        gateway = await birth()
    except (Fault, ConfigError) as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    started(gateway)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    # What still asks the store goes before the core; exchanges that are ending need none of it.
    await gateway.stop()
    # In a thread: the exchanges that are still ending need this loop.
    await asyncio.to_thread(gateway.core.stop)
    await send({"type": "lifespan.shutdown.complete"})
