"""The identity provider as an OAuth client sees it: its endpoints, asked in the name of our client."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from llm_gateway.auth.issuer import Issuer, UnusableAnswerError
from llm_gateway.auth.provider_answer import ProviderRefusalError
from llm_gateway.auth.provider_connection import ProviderConnection
from llm_gateway.config.schema import Auth
from llm_gateway.errors import Fault

__all__ = ["Provider", "ProviderRefusalError", "misconfigured", "unavailable"]

_log = logging.getLogger("llm_gateway.auth")

# An issuer may move its endpoints; nobody has to wait longer than this for a gateway to notice.
_ENDPOINTS_KEPT_S = 600.0
# While there are none, a provider that is down is not asked by everybody who waits for it.
_DISCOVERY_PAUSE_S = 1.0
# A token of our own is asked for again while it is still good, so that it never ends on the way.
_SERVICE_TOKEN_MARGIN_S = 15.0
_RETRY_AFTER_S = 5
# What says that our client is not set up as it has to be. Source: RFC 6749 section 5.2: all of them are the
# client's doing, and the forms are ours.
_OUR_MISTAKES = frozenset(
    {"invalid_client", "unauthorized_client", "invalid_scope", "unsupported_grant_type"}
)


class Provider:
    """Endpoints that the issuer's discovery document names, asked as the client `auth.client_id`.

    Every method raises the fault `overloaded` if the provider cannot be reached or says nothing usable, and
    `internal` (after a line in the log) if it does not accept our client: that is the operator's mistake.
    `clock` gives seconds that only grow.
    """

    def __init__(self, auth: Auth, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._auth = auth
        self._clock = clock
        self._issuer = Issuer(auth)
        self._connection = ProviderConnection(auth)
        self._endpoints: Mapping[str, str] = {}
        self._discover_at = float("-inf")
        self._discovering = asyncio.Lock()
        self._service_token: tuple[str, float] | None = None
        self._granting_service_token = asyncio.Lock()
        self._complaint: str | None = None

    async def device_authorization(self) -> dict[str, Any]:
        """Returns the answer of the device authorization endpoint. Raises: ProviderRefusalError."""
        return await self._ask("device_authorization_endpoint", {"scope": self._auth.scopes})

    async def grant(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Returns the token endpoint's answer to `form`, to which our client is added.

        Raises: ProviderRefusalError, for example with `authorization_pending` or `invalid_grant`.
        """
        return await self._ask("token_endpoint", form)

    async def revoke(self, token: str) -> None:
        """Has a token revoked; returns whatever the provider thinks of it. Source: RFC 7009."""
        if await self._endpoint("revocation_endpoint") is None:
            return
        try:
            await self._ask("revocation_endpoint", {"token": token}, is_json=False)
        except ProviderRefusalError as refusal:
            _log.debug("the identity provider would not revoke: %s", refusal.error)

    async def is_active(self, token: str) -> bool:
        """Returns whether an access token still holds. Source: RFC 7662."""
        form = {"token": token, "token_type_hint": "access_token"}
        answer = await self._ask("introspection_endpoint", form)
        return answer.get("active") is True

    async def service_token(self) -> str:
        """Returns an access token of our client itself (client credentials), kept while it is good.

        Raises: ProviderRefusalError.
        """
        async with self._granting_service_token:
            if self._service_token is not None and self._clock() < self._service_token[1]:
                return self._service_token[0]
            asked_at = self._clock()
            answer = await self.grant({"grant_type": "client_credentials"})
            token, life_s = answer.get("access_token"), answer.get("expires_in")
            if not isinstance(token, str):
                raise unavailable()
            if isinstance(life_s, int):
                self._service_token = (token, asked_at + life_s - _SERVICE_TOKEN_MARGIN_S)
            return token

    async def authorization_url(self, parameters: Mapping[str, str]) -> str:
        """Returns where a browser begins to sign in, with our client id and `parameters`."""
        url = await self._needed("authorization_endpoint")
        return _with_query(url, {"client_id": self._auth.client_id, **parameters})

    async def end_session_url(self, parameters: Mapping[str, str]) -> str | None:
        """Returns where a browser signs out at the provider, or None if it has no such endpoint."""
        url = await self._endpoint("end_session_endpoint")
        return None if url is None else _with_query(url, {"client_id": self._auth.client_id, **parameters})

    async def stop(self) -> None:
        """Returns when its connections are closed."""
        await self._connection.close()

    async def _ask(self, endpoint: str, form: Mapping[str, str], *, is_json: bool = True) -> dict[str, Any]:
        url = await self._needed(endpoint)
        try:
            answer = await self._connection.post(url, form, is_json=is_json)
        except UnusableAnswerError as cause:
            self._complain(logging.WARNING, f"the identity provider cannot be asked: {cause}")
            raise unavailable() from None
        except ProviderRefusalError as refusal:
            if refusal.error not in _OUR_MISTAKES:
                self._answered()
                raise
            self._complain(
                logging.ERROR,
                f"the identity provider does not accept our client at {endpoint} ({refusal.error}): look at "
                "auth.client_id, auth.client_secret, auth.scopes, and at what the client may do there",
            )
            raise misconfigured() from None
        self._answered()
        return answer

    async def _needed(self, name: str) -> str:
        url = await self._endpoint(name)
        if url is None:
            self._complain(logging.ERROR, f"the identity provider's discovery document names no {name}")
            raise misconfigured()
        return url

    async def _endpoint(self, name: str) -> str | None:
        if self._clock() >= self._discover_at:
            await self._discover()
        if not self._endpoints:
            raise unavailable()
        return self._endpoints.get(name)

    async def _discover(self) -> None:
        async with self._discovering:
            if self._clock() < self._discover_at:
                return
            try:
                self._endpoints = await self._issuer.endpoints()
            except UnusableAnswerError as cause:
                # Known endpoints may still work, and are where they were.
                self._complain(logging.WARNING, f"the identity provider cannot be discovered: {cause}")
            pause_s = _ENDPOINTS_KEPT_S if self._endpoints else _DISCOVERY_PAUSE_S
            self._discover_at = self._clock() + pause_s

    def _complain(self, level: int, text: str) -> None:
        # Once, until something changes: what strangers can repeat must not fill the log.
        if text != self._complaint:
            _log.log(level, text)
        self._complaint = text

    def _answered(self) -> None:
        if self._complaint is not None:
            _log.warning("the identity provider answers again")
        self._complaint = None


def unavailable() -> Fault:
    """Returns the fault of a provider that does not answer."""
    return Fault(
        "overloaded",
        "the identity provider does not answer at the moment; try again in a few seconds",
        retry_after_s=_RETRY_AFTER_S,
    )


def misconfigured() -> Fault:
    """Returns the fault of a provider that was not set up for us; the log says how."""
    return Fault("internal", "sign-in is misconfigured here; tell your administrator")


def _with_query(url: str, parameters: Mapping[str, str]) -> str:
    # Source: RFC 6749 section 3.1: a query that the endpoint has must be retained.
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(parameters))))
    return urlunsplit(parts._replace(query=query))
