"""Forms sent to an identity provider, with the proof that our client sends them."""

import asyncio
import base64
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import quote_plus

import httpx

from llm_gateway.auth.issuer import UnusableAnswerError, content
from llm_gateway.auth.provider_answer import ProviderRefusalError, understood
from llm_gateway.config.schema import Auth
from llm_gateway.tls import trust

# Claude Code waits 10 s for an answer of /oauth/*; ours has to come before it gives up.
_LIMIT_S = 8.0
_TIMEOUT = httpx.Timeout(_LIMIT_S, connect=3.0)
_CONNECTIONS = httpx.Limits(max_connections=128, max_keepalive_connections=16, keepalive_expiry=30.0)
_HEADERS = {"accept": "application/json", "accept-encoding": "identity"}


class ProviderConnection:
    """Connections to the provider's endpoints, kept open; made in the event loop that first needs one.

    A client with a secret shows it by HTTP Basic, which every provider has to accept, and in the form once
    the provider has refused that: no document tells what a client was registered with. One without a secret
    says its name only. Source: RFC 6749 sections 2.3.1 and 3.2.1.

    Redirects are not followed; proxies and certificates named in the environment are not used.
    """

    def __init__(self, auth: Auth) -> None:
        self._client_id = auth.client_id
        self._secret = auth.client_secret
        self._tls = trust(auth.ca_file, "auth.ca_file")
        self._client: httpx.AsyncClient | None = None
        self._secret_in_form = False

    async def post(self, url: str, form: Mapping[str, str], *, is_json: bool = True) -> dict[str, Any]:
        """Returns the members of the answer, within 8 s; none if `is_json` is false and there is nothing.

        Raises: ProviderRefusalError, UnusableAnswerError.
        """
        secret_in_form = self._secret_in_form
        try:
            return await self._post(url, form, secret_in_form, is_json)
        except ProviderRefusalError as refusal:
            if self._secret is None or not _is_unknown_client(refusal):
                raise
            first = refusal
        try:
            answer = await self._post(url, form, not secret_in_form, is_json)
        except ProviderRefusalError as second:
            if _is_unknown_client(second):
                raise first from None
            self._secret_in_form = not secret_in_form
            raise
        self._secret_in_form = not secret_in_form
        return answer

    async def close(self) -> None:
        """Returns when the connections are closed."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _post(
        self, url: str, form: Mapping[str, str], secret_in_form: bool, is_json: bool
    ) -> dict[str, Any]:
        headers, fields = self._proof(secret_in_form)
        try:
            async with asyncio.timeout(_LIMIT_S):
                status, body = await self._exchange(url, {**form, **fields}, headers)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as cause:
            # The kind alone: a form holds tokens, and no text of a library is vouched for.
            raise UnusableAnswerError(type(cause).__name__) from None
        return understood(status, body, is_json=is_json)

    async def _exchange(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        async with self._opened().stream("POST", url, data=form, headers=headers) as answer:
            return answer.status_code, await content(answer)

    def _proof(self, secret_in_form: bool) -> tuple[dict[str, str], dict[str, str]]:
        if self._secret is None:
            return {}, {"client_id": self._client_id}
        if secret_in_form:
            return {}, {"client_id": self._client_id, "client_secret": self._secret}
        # Source: RFC 6749 section 2.3.1: both are form-urlencoded before they are put together.
        pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}"
        return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}, {}

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=_TIMEOUT,
                limits=_CONNECTIONS,
                headers=_HEADERS,
                verify=self._tls,
                # What the provider would keep at one person's client must not come back with another's form.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                follow_redirects=False,
                trust_env=False,
            )
        return self._client


def _is_unknown_client(refusal: ProviderRefusalError) -> bool:
    # Keycloak says `unauthorized_client` with 401 for a wrong secret; with 400 it is another matter.
    is_secret_wrong = refusal.status == 401 and refusal.error == "unauthorized_client"
    return is_secret_wrong or refusal.error == "invalid_client"
