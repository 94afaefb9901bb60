"""`llm-gateway login`: sign in by device flow."""

import sys
import time
import webbrowser
from typing import Any

from llm_gateway.cli import console
from llm_gateway.cli.subscriber.credentials import Credential, Credentials
from llm_gateway.cli.subscriber.gateway import Gateway, OAuthError
from llm_gateway.cli.subscriber.problem import ProblemError

# Source: RFC 8628 section 3.5.
_SLOWER_S = 5
_USUAL_INTERVAL_S = 5
_REFUSALS = {
    "access_denied": "the sign-in was refused in the browser",
    "expired_token": "the code was not used in time; run the command again",
}


def login(url: str, ca_file: str | None, credentials: Credentials, *, open_browser: bool) -> None:
    """Signs in, keeps the tokens, and says who it is. Raises: ProblemError."""
    with Gateway(url, ca_file) as gateway:
        try:
            begun = gateway.begin_sign_in()
            _show(begun, open_browser=open_browser)
            answer = _wait(gateway, begun)
        except OAuthError as refusal:
            text = _REFUSALS.get(refusal.error) or refusal.description or refusal.error
            raise ProblemError(f"you are not signed in: {text}") from None
        credential = credential_of(answer, None, ca_file)
        credentials.put(url, credential)
        quota = gateway.quota(credential.access_token)
    who = console.strong(str(credential.email or quota.get("user")))
    console.say(f"{console.good('✓')} signed in as {who}, on the {quota.get('tier')} tier")
    console.say("  `llm-gateway setup` sets Claude Code up, `llm-gateway status` shows what is left")


def credential_of(answer: dict[str, Any], before: Credential | None, ca_file: str | None) -> Credential:
    """Returns what a token endpoint's answer gives. Raises: ProblemError if there is no token in it."""
    token, life_s, now = answer.get("access_token"), answer.get("expires_in"), time.time()
    if not isinstance(token, str):
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
    page = str(begun.get("verification_uri_complete") or begun.get("verification_uri"))
    console.say("Sign in on this page, in any browser:\n")
    console.say(f"    {console.to_paste(page)}\n")
    console.say(f"The code, if it asks for one: {console.strong(str(begun.get('user_code')))}")
    if notice := begun.get("login_notice"):
        console.say(f"Notice: {notice}")
    # A page that somebody else named is opened only if it is one for browsers.
    if open_browser and sys.stdout.isatty() and page.startswith(("https://", "http://")):
        webbrowser.open(page)
    console.say(console.faint("Waiting; Ctrl-C ends it."))


def _wait(gateway: Gateway, begun: dict[str, Any]) -> dict[str, Any]:
    interval_s = _seconds(begun.get("interval"), _USUAL_INTERVAL_S)
    until = time.monotonic() + _seconds(begun.get("expires_in"), 600)
    while time.monotonic() < until:
        time.sleep(interval_s)
        try:
            return gateway.tokens_for_device(str(begun.get("device_code")))
        except OAuthError as refusal:
            if refusal.error == "slow_down":
                interval_s += _SLOWER_S
            elif refusal.error not in ("authorization_pending", "temporarily_unavailable"):
                raise
    raise OAuthError("expired_token", "")


def _seconds(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and value > 0 else otherwise
