"""The subscriber's page: how to connect, and for those who signed in their quota, models and keys."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from llm_gateway import pages
from llm_gateway.asgi.browser import (
    Visitor,
    html,
    message,
    redirect,
    sentence,
    visitor,
    wanted_by_session,
)
from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.request import Request
from llm_gateway.asgi.types import Answer
from llm_gateway.asgi.usage import Usage, usages
from llm_gateway.auth.personal_keys import PersonalKey, PersonalKeys
from llm_gateway.errors import Fault
from llm_gateway.signin.code_flow import UNDER_WAY_S, SignInError

_CALLBACK = "/signin/callback"
# Bars are drawn by parts of this: counts can be larger than a browser's numbers are exact.
_SCALE = 1000


async def page(gateway: Gateway, request: Request) -> Answer:
    """The page: for those who signed in with what is theirs."""
    found = await visitor(gateway, request)
    base_url = request.base_url()
    values = {
        "url": base_url,
        "person": await _person(gateway, found) if found.subscriber is not None else None,
        "csrf": found.session.csrf if found.session is not None else None,
        "can_sign_in": gateway.sign_in is not None,
        "notice": found.notice,
        "placeholder": "your key" if gateway.sign_in is not None else "your token",
        "example_model": _example_model(gateway, found),
    }
    headers, body = pages.render(
        "index.html", values, is_personal=gateway.sign_in is not None, form_targets=_targets(gateway)
    )
    return html(200, headers, body, found.cookies(request))


async def asset(_gateway: Gateway, request: Request) -> Answer:
    """A file that the page needs."""
    headers, body = pages.asset(request.argument)
    return html(200, headers, body)


async def sign_in(gateway: Gateway, request: Request) -> Answer:
    """Sends the browser to the identity provider."""
    if gateway.sign_in is None:
        raise Fault("not_found", "this gateway has no sign-in: it knows the keys in its settings only")
    begun = await gateway.sign_in.code_flow.begin(_redirect_uri(request))
    return redirect(begun.url, [request.set_cookie("signin", begun.cookie, UNDER_WAY_S)])


async def sign_in_callback(gateway: Gateway, request: Request) -> Answer:
    """Begins a session with what the identity provider sends back."""
    if gateway.sign_in is None:
        raise Fault("not_found", "this gateway has no sign-in")
    over = request.set_cookie("signin", "", 0)
    uri = _redirect_uri(request)
    try:
        tokens = await gateway.sign_in.code_flow.finish(uri, request.query(), request.cookie("signin"))
    except SignInError as error:
        return message(400, "You are not signed in", sentence(str(error)), ("/signin", "Sign in"), [over])
    cookie = await gateway.sign_in.sessions.begin(tokens)
    session = request.set_cookie("session", cookie, int(gateway.settings.page.session_s))
    return redirect("/", [over, session])


async def sign_out(gateway: Gateway, request: Request) -> Answer:
    """Ends the session, here and at the identity provider."""
    found, _ = await wanted_by_session(gateway, request)
    sign_in = gateway.sign_in
    assert sign_in is not None and gateway.people.provider is not None  # noqa: S101, PT018 - there is a session
    session = await sign_in.sessions.end(found.cookie or "")
    parameters = {"post_logout_redirect_uri": request.base_url() + "/"}
    if session is not None and session.id_token is not None:
        parameters["id_token_hint"] = session.id_token
    url = None
    # The session has ended here, whatever the provider says.
    with suppress(Fault):
        url = await gateway.people.provider.end_session_url(parameters)
    return redirect(url or "/", [request.set_cookie("session", "", 0)])


async def create_key(gateway: Gateway, request: Request) -> Answer:
    """Makes a personal key and shows it once."""
    found, form = await wanted_by_session(gateway, request)
    subscriber, days = found.who(), form.get("days", "")
    if not (days.isascii() and days.isdecimal() and len(days) < 6):
        raise Fault("invalid_request", "the days of a key are a whole number")
    keys = _keys(gateway)
    await keys.retier(subscriber.user, subscriber.tier)
    text, key = await keys.create(subscriber.user, subscriber.tier, form.get("name", ""), int(days))
    until = _time(key.expires_at)
    values = {"name": key.name, "key": text, "expires_at": until}
    headers, body = pages.render("key.html", values, is_personal=True)
    return html(200, headers, body)


async def revoke_key(gateway: Gateway, request: Request) -> Answer:
    """Revokes a personal key."""
    found, form = await wanted_by_session(gateway, request)
    # One that is gone already is as good.
    await _keys(gateway).revoke(found.who().user, form.get("id", "")[:64])
    return redirect("/#keys")


def _redirect_uri(request: Request) -> str:
    return request.base_url() + _CALLBACK


def _targets(gateway: Gateway) -> tuple[str, ...]:
    """Where signing out redirects to."""
    if gateway.sign_in is None:
        return ()
    issuer = urlsplit(gateway.settings.auth.issuer or "")
    return (f"{issuer.scheme}://{issuer.netloc}",)


def _keys(gateway: Gateway) -> PersonalKeys:
    if gateway.people.keys is None:
        raise Fault("not_found", "this gateway has no personal keys")
    return gateway.people.keys


def _example_model(gateway: Gateway, found: Visitor) -> str:
    models = gateway.policy.models(found.subscriber.tier) if found.subscriber is not None else ()
    return models[0].id if models else gateway.settings.models[0].id


async def _person(gateway: Gateway, found: Visitor) -> dict[str, Any]:
    subscriber = found.who()
    settings = gateway.settings.keys
    return {
        "name": subscriber.email or subscriber.user,
        "tier": subscriber.tier,
        "windows": await _windows(gateway, found),
        "models": [model.id for model in gateway.policy.models(subscriber.tier)],
        "own_keys": await _own_keys(gateway, found),
        "default_days": settings.default_days,
        "max_days": settings.max_days,
    }


async def _windows(gateway: Gateway, found: Visitor) -> list[dict[str, Any]] | None:
    subscriber = found.who()
    try:
        counts = await gateway.core.counts(subscriber.user, gateway.policy.windows(subscriber.tier))
    except Fault:
        return None
    return [_window(usage) for usage in usages(counts)]


def _window(usage: Usage) -> dict[str, Any]:
    used, limit = usage["used"], usage["limit"]
    is_full = limit is not None and used >= limit
    unit, period = usage["unit"], usage["period"]
    return {
        "what": "requests at once" if period is None else f"{unit} per {period}",
        "used": f"{used:,}",
        "limit": None if limit is None else f"{limit:,}",
        "scale": _SCALE,
        "filled": _SCALE if is_full or not limit else used * _SCALE // limit,
        "state": "full" if is_full else "",
        "resets_at": None if (at := usage["resets_at"]) is None else at.isoformat().replace("+00:00", "Z"),
    }


async def _own_keys(gateway: Gateway, found: Visitor) -> list[dict[str, Any]] | None:
    if gateway.people.keys is None:
        return None
    subscriber = found.who()
    try:
        keys = await gateway.people.keys.list(subscriber.user, subscriber.tier)
    except Fault:
        return None
    return [_key(key) for key in keys]


def _key(key: PersonalKey) -> dict[str, Any]:
    times = {name: getattr(key, name) for name in ("created_at", "expires_at", "last_used_at")}
    shown = {name: None if at is None else _time(at)[:10] for name, at in times.items()}
    return {"id": key.id, "name": key.name, **shown}


def _time(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
