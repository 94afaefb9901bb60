"""Browsers: their sessions, their forms, and what they are told."""

from hmac import compare_digest
from typing import NamedTuple

from llm_gateway import pages
from llm_gateway.asgi.gateway import Gateway
from llm_gateway.asgi.request import Request
from llm_gateway.asgi.types import Answer, Headers
from llm_gateway.errors import Fault
from llm_gateway.signin.sessions import Session
from llm_gateway.subscriber import Subscriber

_ENDED = "Your session has ended. Sign in again."
_STATUSES = {
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "unsupported_media_type": 415,
    "overloaded": 503,
    "internal": 500,
}


class Visitor(NamedTuple):
    """Who looks at the page. `notice` is what they should know; `is_over`: their cookie is worth nothing.

    There is no `subscriber` without a subscription.
    """

    cookie: str | None = None
    session: Session | None = None
    subscriber: Subscriber | None = None
    notice: str | None = None
    is_over: bool = False

    def who(self) -> Subscriber:
        """Returns who signed in. Raises: `unauthenticated` if nobody did."""
        if self.subscriber is None:
            raise Fault("unauthenticated", _ENDED)
        return self.subscriber

    def cookies(self, request: Request) -> Headers:
        """What takes a worthless cookie away."""
        return [request.set_cookie("session", "", 0)] if self.is_over else []


async def visitor(gateway: Gateway, request: Request) -> Visitor:
    """Returns who asks, by the session that their cookie names; the tokens of it are judged as everywhere.

    Raises: `overloaded` if that cannot be told at the moment.
    """
    cookie = request.cookie("session")
    if gateway.sign_in is None or not cookie:
        return Visitor()
    session = await gateway.sign_in.sessions.find(cookie)
    if session is None:
        return Visitor(notice=_ENDED, is_over=True)
    try:
        subscriber = await gateway.authenticator.authenticate(session.access_token.encode())
    except Fault as fault:
        if fault.kind == "forbidden":
            # They keep their session: without it they could not sign out and come back as somebody else.
            return Visitor(cookie, session, notice=f"You are signed in, but you have {fault.message}.")
        if fault.kind != "unauthenticated":
            raise
        await gateway.sign_in.sessions.end(cookie)
        return Visitor(notice=_ENDED, is_over=True)
    return Visitor(cookie, session, subscriber)


async def wanted_by_session(gateway: Gateway, request: Request) -> tuple[Visitor, dict[str, str]]:
    """Returns who sent a form, and its fields: only if the page itself sent it.

    Raises: `unauthenticated` without a session, `forbidden` for a form of another page, and as
    `Request.form`.
    """
    _from_own_page(request)
    form = await request.form(gateway.settings.limits)
    found = await visitor(gateway, request)
    if found.session is None:
        raise Fault("unauthenticated", _ENDED)
    if not compare_digest(form.get("csrf", "").encode(), found.session.csrf.encode()):
        raise Fault("forbidden", "this form is not from your session; go back to the page and reload it")
    return found, form


def _from_own_page(request: Request) -> None:
    # Browsers of the last years send at least one of the two with a form; who sends none is none of them.
    site, origin = request.header(b"sec-fetch-site"), request.header(b"origin")
    own = request.base_url().encode()
    if (site is not None and site != b"same-origin") or (origin is not None and origin != own):
        raise Fault("forbidden", "this form was sent from another page; open the gateway's own one")


def is_asking(headers: Headers) -> bool:
    """Whether somebody at a browser asks, and not a program: only browsers ask for HTML."""
    return any(name == b"accept" and b"text/html" in value for name, value in headers)


def refused(fault: Fault) -> Answer:
    """The page that says what is wrong."""
    status = _STATUSES.get(fault.kind, 400)
    headers = [(b"retry-after", str(fault.retry_after_s).encode())] if fault.retry_after_s else []
    return message(status, "That did not work", sentence(fault.message), ("/", "To the page"), headers)


def sentence(text: str) -> str:
    """Returns what an error says as people write it."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def message(
    status: int, title: str, text: str, way_on: tuple[str, str], headers: Headers | None = None
) -> Answer:
    """A page that says one thing; `way_on` is a path and its label."""
    link, label = way_on
    values = {"title": title, "text": text, "link": link, "label": label}
    sent, body = pages.render("message.html", values, is_personal=True)
    return html(status, sent, body, headers)


def html(status: int, headers: Headers, body: bytes, more: Headers | None = None) -> Answer:
    """A page as an answer."""
    return status, [*headers, (b"content-length", str(len(body)).encode()), *(more or [])], body


def redirect(url: str, headers: Headers | None = None) -> Answer:
    """Sends the browser on, with GET."""
    kept = (b"cache-control", b"no-store")
    location = (b"location", url.encode())
    return 303, [location, kept, (b"content-length", b"0"), *(headers or [])], b""
