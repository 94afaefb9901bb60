"""The endpoints that are answered from here: models, quota, health, metrics, the page."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache
from hmac import compare_digest
from typing import Any
from urllib.parse import unquote

import msgspec

from llm_gateway.asgi import clients, keys, oauth, page
from llm_gateway.asgi.answers import JSON, answer, json_answer
from llm_gateway.asgi.endpoints import Endpoint, View
from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.readiness import StoreState, readiness
from llm_gateway.asgi.request import Request
from llm_gateway.asgi.types import Answer, Headers
from llm_gateway.asgi.usage import usages
from llm_gateway.auth.credential import credential
from llm_gateway.config.schema import Dialect
from llm_gateway.errors import Fault
from llm_gateway.policy.plan import ListedModel

_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
# When this gateway cannot know how old a model is, Anthropic's schema still wants a time.
_CREATED_AT = "1970-01-01T00:00:00Z"

Render = Callable[[Gateway, Request], Awaitable[Answer]]


async def render(gateway: Gateway, request: Request, endpoint: Endpoint) -> Answer:
    """The answer of a view.

    Raises:
        Fault: as the view says.
    """
    assert endpoint.view is not None  # noqa: S101 - the endpoint table has one or the other
    return await _VIEWS[endpoint.view](gateway, request)


async def _models(gateway: Gateway, request: Request) -> Answer:
    subscriber = await gateway.subscriber(request.headers)
    body = _model_list(gateway.policy.models(subscriber.tier), _shape(request.headers))
    return answer(body, JSON, headers=[(b"x-gateway-tier", subscriber.tier.encode())])


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


async def _model(gateway: Gateway, request: Request) -> Answer:
    subscriber = await gateway.subscriber(request.headers)
    wanted = unquote(request.argument)
    for model in gateway.policy.models(subscriber.tier):
        if model.id == wanted:
            return json_answer(_model_entry(model, _shape(request.headers)))
    raise Fault("not_found", f"no such model on the {subscriber.tier} tier; GET /v1/models lists them")


async def _quota(gateway: Gateway, request: Request) -> Answer:
    subscriber = await gateway.subscriber(request.headers)
    counts = await gateway.core.counts(subscriber.user, gateway.policy.windows(subscriber.tier))
    windows = usages(counts)
    models = [model.id for model in gateway.policy.models(subscriber.tier)]
    return json_answer(
        {"user": subscriber.user, "tier": subscriber.tier, "windows": windows, "models": models}
    )


async def _health(_gateway: Gateway, _request: Request) -> Answer:
    return json_answer({"status": "ok"})


async def _ready(gateway: Gateway, _request: Request) -> Answer:
    store = StoreState(*await gateway.core.store_state())
    auth = gateway.authenticator.state()
    status, body = readiness(gateway.settings.tiers, store, auth, datetime.now(UTC))
    return json_answer(body, status)


async def _metrics(gateway: Gateway, request: Request) -> Answer:
    token = gateway.settings.metrics.token
    if token is not None and not compare_digest(credential(request.headers), token.encode()):
        raise Fault("unauthenticated", "metrics need the bearer token of `metrics.token`", should_retry=False)
    if (age_s := gateway.authenticator.jwks_age_s()) is not None:
        gateway.core.jwks_age(age_s)
    return answer(gateway.core.metrics(), _PROMETHEUS)


_VIEWS: dict[View, Render] = {
    "models": _models,
    "model": _model,
    "quota": _quota,
    "health": _health,
    "ready": _ready,
    "metrics": _metrics,
    "page": page.page,
    "asset": page.asset,
    "sign_in": page.sign_in,
    "sign_in_callback": page.sign_in_callback,
    "sign_out": page.sign_out,
    "page_key_create": page.create_key,
    "page_key_revoke": page.revoke_key,
    "oauth_metadata": oauth.metadata,
    "oauth_device": oauth.device_authorization,
    "oauth_token": oauth.token,
    "oauth_revoke": oauth.revoke,
    "managed_settings": clients.managed_settings,
    "telemetry": clients.telemetry,
    "keys": keys.listed,
    "key_create": keys.create,
    "key_revoke": keys.revoke,
}
