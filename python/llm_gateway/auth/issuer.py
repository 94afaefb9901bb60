"""Fetches an OIDC issuer's documents: its discovery document and its JWKS."""

import asyncio
from collections.abc import Mapping

import httpx
import msgspec

from llm_gateway.auth.jwk import VerificationKey, verification_keys
from llm_gateway.config.schema import TrustedIssuer
from llm_gateway.errors import ConfigError
from llm_gateway.tls import trust

_ANSWER_BYTES = 1024 * 1024
FETCH_LIMIT_S = 5.0

_TIMEOUT = httpx.Timeout(3.0, connect=2.0)
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError)
_HEADERS = {"accept": "application/json", "accept-encoding": "identity"}


class UnusableAnswerError(Exception):
    """The issuer could not be reached, or what it said cannot be used; the message is for the log."""


class Issuer:
    """An OIDC issuer, for example a Keycloak realm.

    A connection is made for each fetch: fetches are minutes apart, and so an address that moved is found.
    Proxies and certificates named in the environment are not used; `auth.ca_file` adds to the system's roots.
    """

    def __init__(self, issuer: TrustedIssuer) -> None:
        if not issuer.issuer:
            raise ConfigError(["auth.issuer: needed with the providers keycloak and oidc"])
        self._issuer = issuer.issuer
        self._jwks_url = issuer.jwks_url
        self._tls = trust(issuer.ca_file, "auth.ca_file")

    async def keys(self) -> dict[str, VerificationKey]:
        """Returns the issuer's usable keys by `kid`, at least one, within 5 seconds.

        Raises: UnusableAnswerError.
        """
        try:
            async with asyncio.timeout(FETCH_LIMIT_S), self._client() as client:
                # Discovered anew each time: an issuer may move its keys.
                url = self._jwks_url or (await self._discover(client)).get("jwks_uri")
                if url is None:
                    raise UnusableAnswerError("the discovery document has no usable jwks_uri")
                keys = verification_keys(await _document(client, url))
        except _FAILURES as cause:
            raise UnusableAnswerError(f"{type(cause).__name__}: {cause}") from cause
        if not keys:
            raise UnusableAnswerError("the JWKS holds no usable key")
        return keys

    async def endpoints(self) -> Mapping[str, str]:
        """Returns the usable URLs of the discovery document by their names there, within 5 seconds.

        Raises: UnusableAnswerError.
        """
        try:
            async with asyncio.timeout(FETCH_LIMIT_S), self._client() as client:
                return await self._discover(client)
        except _FAILURES as cause:
            raise UnusableAnswerError(f"{type(cause).__name__}: {cause}") from cause

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            timeout=_TIMEOUT, headers=_HEADERS, verify=self._tls, follow_redirects=False, trust_env=False
        )

    async def _discover(self, client: httpx.AsyncClient) -> Mapping[str, str]:
        """Source: OpenID Connect Discovery 1.0 section 4.3: issuers match exactly."""
        document = await _document(client, f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if not isinstance(document, dict) or document.get("issuer") != self._issuer:
            raise UnusableAnswerError("the discovery document is of another issuer than auth.issuer")
        # What is fetched or sent over TLS is not to go on without it.
        schemes = ("https://",) if self._issuer.startswith("https://") else ("https://", "http://")
        return {
            name: url
            for name, url in document.items()
            if name.endswith(("_endpoint", "_uri")) and isinstance(url, str) and url.startswith(schemes)
        }


async def content(answer: httpx.Response) -> bytes:
    """Returns the body of a streamed answer to a request for `identity`, 1 MB at most.

    Raises: UnusableAnswerError, and what httpx does.
    """
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise UnusableAnswerError("a compressed answer, which was not asked for")
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > _ANSWER_BYTES:
            raise UnusableAnswerError("more than 1 MB")
    return bytes(body)


async def _document(client: httpx.AsyncClient, url: str) -> object:
    async with client.stream("GET", url) as answer:
        if answer.status_code != httpx.codes.OK:
            raise UnusableAnswerError(f"status {answer.status_code}")
        body = await content(answer)
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError) as cause:
        raise UnusableAnswerError("not JSON") from cause
