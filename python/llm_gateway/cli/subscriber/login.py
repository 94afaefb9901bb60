"""`llm-gateway login`: sign in by device flow."""

import os.path
import sys
import time
import webbrowser
from typing import Any

from llm_gateway.cli import console
from llm_gateway.cli.subscriber.credentials import Credential, Credentials
from llm_gateway.cli.subscriber.foreign_text import shown
from llm_gateway.cli.subscriber.gateway import Gateway, OAuthError
from llm_gateway.cli.subscriber.problem import ProblemError, UnreachableError

# Source: RFC 8628 section 3.5.
_SLOWER_S = 5
_USUAL_INTERVAL_S = 5
_USUAL_LIFE_S = 600
# One after the other, each waited for twice as long: 75 s with the usual interval.
_FAILURES = 4
_REFUSALS = {
    "access_denied": "the sign-in was refused in the browser",
    "expired_token": "the code was not used in time; run the command again",
}
# They would take the terminal, and the sign-in page needs more than they show.
_TEXT_BROWSERS = ("www-browser", "links", "elinks", "lynx", "w3m")


def login(url: str, ca_file: str | None, credentials: Credentials, *, open_browser: bool) -> None:
    """Signs in, keeps the tokens, and says who it is. Raises: ProblemError."""
    # Kept for commands that run elsewhere.
    ca_file = None if ca_file is None else os.path.abspath(ca_file)
    with Gateway(url, ca_file) as gateway:
        try:
            begun = gateway.begin_sign_in()
            _show(begun, open_browser=open_browser)
            answer = _wait(gateway, begun)
        except OAuthError as refusal:
            text = _REFUSALS.get(refusal.error) or shown(refusal.description or refusal.error)
            raise ProblemError(f"you are not signed in: {text}") from None
        credential = credential_of(answer, None, ca_file)
        with credentials.locked():
            credentials.put(url, credential, signed_in=True)
        quota = gateway.quota(credential.access_token)
    who = console.strong(shown(credential.email or quota.get("user")))
    console.say(f"{console.good('✓')} signed in as {who}, on the {shown(quota.get('tier'))} tier")
    console.say("  `llm-gateway setup` sets Claude Code up, `llm-gateway status` shows what is left")


def credential_of(answer: dict[str, Any], before: Credential | None, ca_file: str | None) -> Credential:
    """Returns what a token endpoint's answer gives. Raises: ProblemError if there is no token in it."""
    token, life_s, now = answer.get("access_token"), answer.get("expires_in"), time.time()
    if not isinstance(token, str) or not token.isprintable():
        raise ProblemError("the gateway has sent no token; try again")
    refresh, email = answer.get("refresh_token"), answer.get("email")
    return Credential(
        access_token=token,
        refresh_token=refresh if isinstance(refresh, str) else before.refresh_token if before else None,
        issued_at=now,
        expires_at=now + (life_s if isinstance(life_s, int) and life_s > 0 else 300),
        email=email if isinstance(email, str) else before.email if before else None,
        ca_file=ca_file,
    )


def _show(begun: dict[str, Any], *, open_browser: bool) -> None:
    page = shown(begun.get("verification_uri_complete") or begun["verification_uri"])
    console.say("Sign in on this page, in any browser:\n")
    console.say(f"    {console.to_paste(page)}\n")
    console.say(f"The code, if it asks for one: {console.strong(shown(begun['user_code']))}")
    if notice := begun.get("login_notice"):
        console.say(f"Notice: {shown(notice)}")
    if open_browser and sys.stdout.isatty():
        _open(page)
    console.say(console.faint("Waiting; Ctrl-C ends it."))


def _open(page: str) -> None:
    # A page that somebody else named is opened only if it is one for browsers.
    if not page.startswith(("https://", "http://")):
        return
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if getattr(browser, "name", None) not in _TEXT_BROWSERS:
        browser.open(page)


def _wait(gateway: Gateway, begun: dict[str, Any]) -> dict[str, Any]:
    interval_s = _seconds(begun.get("interval"), _USUAL_INTERVAL_S)
    until = time.monotonic() + _seconds(begun.get("expires_in"), _USUAL_LIFE_S)
    failures = 0
    while time.monotonic() < until:
        time.sleep(interval_s * 2**failures)
        try:
            return gateway.tokens_for_device(begun["device_code"])
        except UnreachableError:
            # Somebody is at the sign-in page meanwhile, and the network may come back.
            failures += 1
            if failures == _FAILURES:
                raise
        except OAuthError as refusal:
            failures = 0
            if refusal.error == "slow_down":
                interval_s += _SLOWER_S
            elif refusal.error != "authorization_pending":
                raise
    raise OAuthError("expired_token", "")


def _seconds(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and value > 0 else otherwise
