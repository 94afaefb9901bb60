"""The OAuth endpoints of the gateway protocol; their errors have the shape of RFC 6749."""

from collections.abc import Awaitable, Callable
from functools import wraps

from llm_gateway.asgi.answers import json_answer
from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.request import Request
from llm_gateway.asgi.types import Answer, Headers
from llm_gateway.errors import Fault, Kind
from llm_gateway.signin.device_flow import DeviceFlow, OAuthRefusalError

_METADATA_PATH = b"/.well-known/oauth-authorization-server"
# Source: RFC 6749 section 5.1: no answer with a token is kept anywhere; the others are nobody else's either.
_UNKEPT: Headers = [(b"cache-control", b"no-store"), (b"pragma", b"no-cache")]
# Source: RFC 6749 sections 4.1.2.1 and 5.2 for the words.
_WORDS: dict[Kind, tuple[int, str]] = {
    "invalid_request": (400, "invalid_request"),
    "unsupported_media_type": (400, "invalid_request"),
    "canceled": (400, "invalid_request"),
    "request_timeout": (408, "invalid_request"),
    "too_large": (413, "invalid_request"),
    "not_found": (404, "not_found"),
    "method_not_allowed": (405, "invalid_request"),
    "overloaded": (503, "temporarily_unavailable"),
}
_OUR_FAILURE = (500, "server_error")

View = Callable[[Gateway, Request], Awaitable[Answer]]


def _in_oauth_words(view: View) -> View:
    @wraps(view)
    async def told(gateway: Gateway, request: Request) -> Answer:
        try:
            return await view(gateway, request)
        except OAuthRefusalError as refusal:
            return _refused(refusal)

    return told


def is_oauth(raw_path: bytes) -> bool:
    """Whether who asks for this path expects the words of OAuth, be there an endpoint or not."""
    return raw_path.startswith((b"/oauth/", _METADATA_PATH))


def refused(fault: Fault) -> Answer:
    """What a client of these paths is told when something is wrong."""
    status, error = _WORDS.get(fault.kind, _OUR_FAILURE)
    return _refused(OAuthRefusalError(status, error, fault.message, retry_after_s=fault.retry_after_s))


@_in_oauth_words
async def metadata(gateway: Gateway, request: Request) -> Answer:
    """The authorization server metadata."""
    found = _device_flow(gateway).metadata(request.base_url())
    return json_answer(found, headers=_UNKEPT)


@_in_oauth_words
async def device_authorization(gateway: Gateway, request: Request) -> Answer:
    """A device code."""
    flow = _device_flow(gateway)
    # Nothing of the form is needed: the client's name and what it may ask for are the gateway's own.
    await request.form(gateway.settings.limits)
    return json_answer(await flow.authorize(), headers=_UNKEPT)


@_in_oauth_words
async def token(gateway: Gateway, request: Request) -> Answer:
    """Tokens for a device code or a refresh token."""
    flow = _device_flow(gateway)
    return json_answer(await flow.token(await request.form(gateway.settings.limits)), headers=_UNKEPT)


@_in_oauth_words
async def revoke(gateway: Gateway, request: Request) -> Answer:
    """Revokes a token."""
    flow = _device_flow(gateway)
    await flow.revoke(await request.form(gateway.settings.limits))
    return json_answer({}, headers=_UNKEPT)


def _device_flow(gateway: Gateway) -> DeviceFlow:
    if gateway.sign_in is None:
        raise Fault("not_found", "this gateway has no sign-in: it knows the keys in its settings only")
    return gateway.sign_in.device_flow


def _refused(refusal: OAuthRefusalError) -> Answer:
    headers = list(_UNKEPT)
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    members = {"error": refusal.error, "error_description": refusal.description}
    return json_answer(members, refusal.status, headers)
