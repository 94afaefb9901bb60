"""The subscriber's page: how to connect, and for those who signed in their quota, models and keys."""

from llm_gateway import pages
from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.request import Request
from llm_gateway.asgi.types import Answer
from llm_gateway.errors import Fault


async def page(gateway: Gateway, request: Request) -> Answer:
    """The page."""
    return _static(gateway, request)


async def asset(gateway: Gateway, request: Request) -> Answer:
    """A file that the page needs."""
    return _static(gateway, request)


def _static(gateway: Gateway, request: Request) -> Answer:
    found = pages.page(request.scope["path"], request.base_url(gateway.settings.server))
    if found is None:
        raise Fault("not_found", "no such page")
    return found


async def sign_in(gateway: Gateway, request: Request) -> Answer:
    """Sends the browser to the identity provider."""
    raise NotImplementedError


async def sign_in_callback(gateway: Gateway, request: Request) -> Answer:
    """Begins a session with what the identity provider sends back."""
    raise NotImplementedError


async def sign_out(gateway: Gateway, request: Request) -> Answer:
    """Ends the session."""
    raise NotImplementedError


async def create_key(gateway: Gateway, request: Request) -> Answer:
    """Makes a personal key and shows it once."""
    raise NotImplementedError


async def revoke_key(gateway: Gateway, request: Request) -> Answer:
    """Revokes a personal key."""
    raise NotImplementedError
