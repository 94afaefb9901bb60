"""What Claude Code asks for beside answers of models: its managed settings, and a place for its telemetry."""

from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.request import Request
from llm_gateway.asgi.types import Answer


async def managed_settings(gateway: Gateway, request: Request) -> Answer:
    """The managed settings of the caller's tier, or 304."""
    raise NotImplementedError


async def telemetry(gateway: Gateway, request: Request) -> Answer:
    """Takes OTLP; always 200."""
    raise NotImplementedError
