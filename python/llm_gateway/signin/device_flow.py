"""The gateway protocol's OAuth endpoints: the device flow, passed through to the identity provider."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from llm_gateway.auth.authenticator import Authenticator
from llm_gateway.auth.credential import MAX_CREDENTIAL_BYTES
from llm_gateway.auth.personal_keys import PREFIX as PERSONAL_KEY_PREFIX
from llm_gateway.auth.provider import Provider, ProviderRefusalError, misconfigured
from llm_gateway.config.schema import Auth
from llm_gateway.errors import Fault
from llm_gateway.signin.token_answer import device_answer, token_answer
from llm_gateway.subscriber import Subscriber

_log = logging.getLogger("llm_gateway.signin")

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
REFRESH_GRANT = "refresh_token"
# Anybody may ask these endpoints: what they make the provider do at once, in one worker, is bounded.
_AT_ONCE = 64
_RETRY_AFTER_S = 5


class OAuthRefusalError(Exception):
    """A refusal in OAuth's shape, for the client: `status`, `error`, `description`."""

    def __init__(
        self, status: int, error: str, description: str, *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.description = description
        self.retry_after_s = retry_after_s


class DeviceFlow:
    """Sign-in by device code, refresh and revocation.

    Nothing is kept here, so that every replica can go on with any sign-in. Every method but `metadata` also
    raises the faults of `Provider`.
    """

    def __init__(self, auth: Auth, provider: Provider, authenticator: Authenticator) -> None:
        self._auth = auth
        self._provider = provider
        self._authenticator = authenticator
        self._in_flight = 0

    def metadata(self, base_url: str) -> dict[str, Any]:
        """Returns the authorization server metadata. Source: RFC 8414 section 2."""
        return {
            "issuer": base_url,
            "device_authorization_endpoint": f"{base_url}/oauth/device_authorization",
            "token_endpoint": f"{base_url}/oauth/token",
            "revocation_endpoint": f"{base_url}/oauth/revoke",
            "grant_types_supported": [DEVICE_GRANT, REFRESH_GRANT],
            # Required by the RFC; there is no authorization endpoint for one to be asked for.
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
        }

    async def authorize(self) -> dict[str, Any]:
        """Returns a device code for a client. Raises: OAuthRefusalError. Source: RFC 8628 section 3.2."""
        with self._turn(), _told_as(400):
            answer = device_answer(await self._provider.device_authorization())
        if self._auth.login_notice is not None:
            answer["login_notice"] = self._auth.login_notice
        return answer

    async def token(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Returns tokens for a device code or a refresh token. Raises: OAuthRefusalError."""
        grant_type = _field(form, "grant_type")
        if grant_type == DEVICE_GRANT:
            return await self._tokens_for_device(_field(form, "device_code"))
        if grant_type == REFRESH_GRANT:
            return await self._tokens_for_refresh(_field(form, "refresh_token"))
        text = "this gateway knows device codes and refresh tokens only"
        raise OAuthRefusalError(400, "unsupported_grant_type", text)

    async def revoke(self, form: Mapping[str, str]) -> None:
        """Revokes `token`, whatever it is. Raises: OAuthRefusalError without a token. Source: RFC 7009.

        An access token is refused here and on all replicas at once, whether or not the provider can be told.
        """
        token = _field(form, "token")
        if token.startswith(PERSONAL_KEY_PREFIX):
            # A secret of ours that means nothing to the provider; its owner revokes it by its id.
            return
        try:
            if token.isascii() and token.isprintable() and len(token) <= MAX_CREDENTIAL_BYTES:
                await self._authenticator.revoke(token.encode("ascii"))
        finally:
            with self._turn():
                await self._provider.revoke(token)

    async def _tokens_for_device(self, code: str) -> dict[str, Any]:
        with self._turn("slow_down"), _told_as(400):
            answer = await self._provider.grant({"grant_type": DEVICE_GRANT, "device_code": code})
        found = token_answer(answer)
        try:
            subscriber = await self._authenticator.authenticate(found["access_token"].encode())
        except Fault as fault:
            if fault.kind == "overloaded":
                # The code is spent, and the token may well be good: it is judged when it is used.
                return _told(found, None)
            await self._give_back(found)
            if fault.kind == "forbidden":
                # Not `access_denied`: for that Claude Code has a sentence of its own, and it is a wrong one.
                raise OAuthRefusalError(400, "invalid_grant", fault.message) from None
            _log.error(
                "the identity provider issues tokens that are refused here; run `llm-gateway check --token` "
                "with one to see why"
            )
            raise misconfigured() from None
        return _told(found, subscriber)

    async def _tokens_for_refresh(self, refresh_token: str) -> dict[str, Any]:
        # 401 is how a client is told to sign in again: the account was disabled, or its session ended.
        with self._turn(), _told_as(400, {"invalid_grant": 401}):
            answer = await self._provider.grant({"grant_type": REFRESH_GRANT, "refresh_token": refresh_token})
        # Source: RFC 6749 section 6: without a new refresh token the old one stays good.
        found = token_answer({"refresh_token": refresh_token, **answer})
        subscriber = None
        # Whoever has no subscription any more hears that with the next request, and keeps their session.
        with suppress(Fault):
            subscriber = await self._authenticator.authenticate(found["access_token"].encode())
        return _told(found, subscriber)

    async def _give_back(self, found: Mapping[str, Any]) -> None:
        # Nobody has these tokens now; a session that nobody can end should not stay open at the provider.
        with suppress(Fault):
            await self._provider.revoke(found.get("refresh_token") or found["access_token"])

    @contextmanager
    def _turn(self, error: str = "temporarily_unavailable") -> Iterator[None]:
        if self._in_flight >= _AT_ONCE:
            raise OAuthRefusalError(
                # A client that polls goes on polling after `slow_down`, and gives up after anything else.
                429 if error == "slow_down" else 503,
                error,
                "too many sign-ins at the moment; try again in a few seconds",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1


@contextmanager
def _told_as(status: int, others: Mapping[str, int] | None = None) -> Iterator[None]:
    """The provider's refusals as ours, with `status`, or that of their error in `others`."""
    try:
        yield
    except ProviderRefusalError as refusal:
        status = (others or {}).get(refusal.error, status)
        raise OAuthRefusalError(status, refusal.error, refusal.description) from None


def _told(found: dict[str, Any], subscriber: Subscriber | None) -> dict[str, Any]:
    if subscriber is not None and subscriber.email and subscriber.email.strip():
        return {**found, "email": subscriber.email}
    return found


def _field(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise OAuthRefusalError(400, "invalid_request", f"the field {name} is missing; send it in the form")
    return value
