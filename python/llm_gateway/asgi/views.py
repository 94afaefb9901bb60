"""The endpoints that are answered from here: models, quota, health, metrics, the page."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache
from hmac import compare_digest
from typing import Any
from urllib.parse import unquote

import msgspec

from llm_gateway import pages
from llm_gateway.asgi.endpoints import Endpoint, View
from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.readiness import StoreState, readiness
from llm_gateway.asgi.types import Answer, Headers, Scope
from llm_gateway.asgi.usage import usages
from llm_gateway.auth.credential import credential
from llm_gateway.config.schema import Dialect
from llm_gateway.errors import Fault
from llm_gateway.policy.plan import ListedModel
from llm_gateway.subscriber import Subscriber

_JSON = b"application/json"
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
# When this gateway cannot know how old a model is, Anthropic's schema still wants a time.
_CREATED_AT = "1970-01-01T00:00:00Z"

Render = Callable[[Gateway, Scope, Endpoint], Awaitable[Answer]]


async def render(gateway: Gateway, scope: Scope, endpoint: Endpoint) -> Answer:
    """The answer of a view.

    Raises:
        Fault: as the view says.
    """
    assert endpoint.view is not None  # noqa: S101 - the endpoint table has one or the other
    return await _VIEWS[endpoint.view](gateway, scope, endpoint)


async def _subscriber(gateway: Gateway, scope: Scope) -> Subscriber:
    return await gateway.authenticator.authenticate(credential(scope["headers"]))


def _json(value: Any, status: int = 200, headers: Headers | None = None) -> Answer:
    return _answer(msgspec.json.encode(value), _JSON, status, headers)


def _answer(body: bytes, content_type: bytes, status: int = 200, headers: Headers | None = None) -> Answer:
    length = str(len(body)).encode()
    return status, [(b"content-type", content_type), (b"content-length", length), *(headers or [])], body


async def _models(gateway: Gateway, scope: Scope, _endpoint: Endpoint) -> Answer:
    subscriber = await _subscriber(gateway, scope)
    body = _model_list(gateway.policy.models(subscriber.tier), _shape(scope["headers"]))
    return _answer(body, _JSON, headers=[(b"x-gateway-tier", subscriber.tier.encode())])


@lru_cache(maxsize=64)
def _model_list(models: tuple[ListedModel, ...], dialect: Dialect) -> bytes:
    entries = [_model_entry(model, dialect) for model in models]
    if dialect == "openai":
        return msgspec.json.encode({"object": "list", "data": entries})
    ids = [model.id for model in models]
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return msgspec.json.encode({"data": entries, "has_more": False, **ends})


def _model_entry(model: ListedModel, dialect: Dialect) -> dict[str, Any]:
    if dialect == "openai":
        return {"id": model.id, "object": "model", "created": 0, "owned_by": model.model_class}
    return {"type": "model", "id": model.id, "display_name": model.display_name, "created_at": _CREATED_AT}


def _shape(headers: Headers) -> Dialect:
    return "anthropic" if any(name == b"anthropic-version" for name, _ in headers) else "openai"


async def _model(gateway: Gateway, scope: Scope, endpoint: Endpoint) -> Answer:
    subscriber = await _subscriber(gateway, scope)
    wanted = unquote(endpoint.argument)
    for model in gateway.policy.models(subscriber.tier):
        if model.id == wanted:
            return _json(_model_entry(model, _shape(scope["headers"])))
    raise Fault("not_found", f"no such model on the {subscriber.tier} tier; GET /v1/models lists them")


async def _quota(gateway: Gateway, scope: Scope, _endpoint: Endpoint) -> Answer:
    subscriber = await _subscriber(gateway, scope)
    counts = await gateway.core.counts(subscriber.user, gateway.policy.windows(subscriber.tier))
    windows = usages(counts)
    models = [model.id for model in gateway.policy.models(subscriber.tier)]
    return _json({"user": subscriber.user, "tier": subscriber.tier, "windows": windows, "models": models})


async def _health(_gateway: Gateway, _scope: Scope, _endpoint: Endpoint) -> Answer:
    return _json({"status": "ok"})


async def _ready(gateway: Gateway, _scope: Scope, _endpoint: Endpoint) -> Answer:
    store = StoreState(*await gateway.core.store_state())
    auth = gateway.authenticator.state()
    status, body = readiness(gateway.settings.tiers, store, auth, datetime.now(UTC))
    return _json(body, status)


async def _metrics(gateway: Gateway, scope: Scope, _endpoint: Endpoint) -> Answer:
    token = gateway.settings.metrics.token
    if token is not None and not compare_digest(credential(scope["headers"]), token.encode()):
        raise Fault("unauthenticated", "metrics need the bearer token of `metrics.token`", should_retry=False)
    if (age_s := gateway.authenticator.jwks_age_s()) is not None:
        gateway.core.jwks_age(age_s)
    return _answer(gateway.core.metrics(), _PROMETHEUS)


async def _page(gateway: Gateway, scope: Scope, _endpoint: Endpoint) -> Answer:
    found = pages.page(scope["path"], gateway.settings.server.public_url or _own_url(scope))
    if found is None:
        raise Fault("not_found", "no such page")
    return found


def _own_url(scope: Scope) -> str:
    """The address the browser used, as far as it can be believed: only shown back to the one who sent it."""
    for name, value in scope["headers"]:
        if name == b"host":
            return f"{scope['scheme']}://{value.decode('latin-1')}"
    return "http://localhost:8000"


_VIEWS: dict[View, Render] = {
    "models": _models,
    "model": _model,
    "quota": _quota,
    "health": _health,
    "ready": _ready,
    "metrics": _metrics,
    "page": _page,
}
