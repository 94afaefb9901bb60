"""Sign-in of browsers: Authorization Code with PKCE. Nothing of a sign-in under way is kept here.

Source: RFC 6749 section 4.1, RFC 7636, RFC 9207, RFC 9700 section 2.1.1.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from llm_gateway.auth.provider import Provider, ProviderRefusalError
from llm_gateway.config.schema import Auth

# How long somebody may take to sign in at the provider.
UNDER_WAY_S = 600


class SignInError(Exception):
    """The sign-in came to nothing; the message says why, and what to do, to the person."""


class Begun(NamedTuple):
    """Where to send the browser, and what it has to bring back as a cookie."""

    url: str
    cookie: str


class CodeFlow:
    """Sends browsers to the identity provider, and takes what they come back with.

    The cookie binds a sign-in to the browser that began it, and carries the verifier: so any replica can
    finish what another one began. Every method raises the faults of `Provider` too.
    """

    def __init__(self, auth: Auth, provider: Provider) -> None:
        self._auth = auth
        self._provider = provider

    async def begin(self, redirect_uri: str) -> Begun:
        """Returns a new sign-in that ends at `redirect_uri`."""
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
        parameters = {
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "scope": self._auth.scopes,
            "state": state,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        return Begun(await self._provider.authorization_url(parameters), f"{state}.{verifier}")

    async def finish(self, redirect_uri: str, query: Mapping[str, str], cookie: str | None) -> dict[str, Any]:
        """Returns the token endpoint's answer. Raises: SignInError."""
        state, _, verifier = (cookie or "").partition(".")
        if not state or not hmac.compare_digest(state.encode(), query.get("state", "").encode()):
            raise SignInError("this sign-in was begun somewhere else, or too long ago; begin again")
        if query.get("iss", self._auth.issuer) != self._auth.issuer:
            raise SignInError("another identity provider answered than was asked; begin again")
        if query.get("error") == "access_denied":
            raise SignInError("the sign-in was cancelled")
        code = query.get("code")
        if not code or "error" in query:
            raise SignInError(
                "the identity provider refused the sign-in; begin again, or ask your administrator"
            )
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        try:
            return await self._provider.grant(form)
        except ProviderRefusalError:
            raise SignInError("this sign-in was used already, or took too long; begin again") from None
