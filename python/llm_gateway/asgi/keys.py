"""Personal keys, managed by their owner."""

from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.request import Request
from llm_gateway.asgi.types import Answer


async def listed(gateway: Gateway, request: Request) -> Answer:
    """The caller's keys."""
    raise NotImplementedError


async def create(gateway: Gateway, request: Request) -> Answer:
    """A new key, shown once."""
    raise NotImplementedError


async def revoke(gateway: Gateway, request: Request) -> Answer:
    """Revokes one of the caller's keys."""
    raise NotImplementedError
