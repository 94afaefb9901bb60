"""Whether people still have their account at Keycloak: what their personal keys stand and fall with."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import httpx
import msgspec

from llm_gateway.auth.issuer import UnusableAnswerError, content
from llm_gateway.auth.provider import Provider, ProviderRefusalError
from llm_gateway.auth.refusal import refusal
from llm_gateway.config.schema import Auth
from llm_gateway.errors import Fault
from llm_gateway.tls import trust

_log = logging.getLogger("llm_gateway.auth")

_LIMIT_S = 5.0
_TIMEOUT = httpx.Timeout(_LIMIT_S, connect=2.0)
_HEADERS = {"accept": "application/json", "accept-encoding": "identity"}
# What a request waits for the word on somebody whom nobody has asked about for long.
_WAIT_S = 2.0
# Above it Keycloak is asked no more at once: people wait for their turn.
_ASKED_AT_ONCE = 16
_KEPT = 10_000
# A claim of tokens that names people, and the parameter of Keycloak's search for it; `sub` needs no search.
_SEARCHED_BY = {"preferred_username": "username", "email": "email"}


class _User(msgspec.Struct):
    enabled: bool


class _Account:
    """What was last heard of somebody's account, at `asked_at` by a clock that only grows."""

    __slots__ = ("asked_at", "is_over")

    def __init__(self) -> None:
        self.asked_at: float | None = None
        self.is_over = False


class Accounts:
    """Asks Keycloak's admin API, in the name of our client, whether the owners of keys are still enabled.

    Somebody who is being served is asked about beside the requests, at most every `auth.introspect_s`; who
    was not seen for twice that waits for the answer. So a key ends at the latest twice that after its
    owner's account. While Keycloak does not answer, what it said last holds. People of other issuers are not
    asked about. Source: Keycloak admin REST API 26, `GET /admin/realms/{realm}/users/{id}`, 2026-11.
    """

    def __init__(self, auth: Auth, provider: Provider, clock: Callable[[], float] = time.monotonic) -> None:
        self._auth = auth
        self._provider = provider
        self._clock = clock
        self._users_url = _users_url(auth.issuer or "")
        self._tls = trust(auth.ca_file, "auth.ca_file")
        self._http: httpx.AsyncClient | None = None
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_ASKED_AT_ONCE)
        self._complaint: str | None = None

    async def check(self, user: str) -> None:
        """Returns if `user` has an account, as far as is known; without a wait if that was known lately.

        Raises: `unauthenticated` if it is disabled or gone.
        """
        url = self._url(user)
        if url is None:
            return
        account = self._account(user)
        age_s = float("inf") if account.asked_at is None else self._clock() - account.asked_at
        if age_s >= self._auth.introspect_s:
            task = self._asking.get(user) or self._ask(user, url, account)
            if age_s >= 2 * self._auth.introspect_s:
                await asyncio.wait({task}, timeout=_WAIT_S)
        if account.is_over:
            raise refusal("the account of the key's owner is disabled or gone")

    async def stop(self) -> None:
        """Returns when nobody is being asked about any more."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def _account(self, user: str) -> _Account:
        account = self._accounts.get(user)
        if account is None:
            account = self._accounts[user] = _Account()
            if len(self._accounts) > _KEPT:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(user)
        return account

    def _ask(self, user: str, url: str, account: _Account) -> asyncio.Task[None]:
        task = asyncio.create_task(self._learn(url, account))
        self._asking[user] = task
        task.add_done_callback(lambda _: self._asking.pop(user, None))
        return task

    async def _learn(self, url: str, account: _Account) -> None:
        try:
            async with self._turns:
                account.is_over = not await self._is_enabled(url)
        except (UnusableAnswerError, Fault, ProviderRefusalError) as cause:
            self._complain(f"Keycloak cannot be asked for the owners of personal keys: {cause}")
        else:
            self._complaint = None
        account.asked_at = self._clock()

    async def _is_enabled(self, url: str) -> bool:
        token = await self._provider.service_token()
        try:
            async with asyncio.timeout(_LIMIT_S):
                status, body = await self._get(url, {"authorization": f"Bearer {token}"})
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as cause:
            # The kind alone: no text of a library is vouched for.
            raise UnusableAnswerError(type(cause).__name__) from None
        return _enabled(status, body)

    async def _get(self, url: str, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._http is None:
            self._http = httpx.AsyncClient(
                timeout=_TIMEOUT, headers=_HEADERS, verify=self._tls, follow_redirects=False, trust_env=False
            )
        async with self._http.stream("GET", url, headers=headers) as answer:
            return answer.status_code, await content(answer)

    def _url(self, user: str) -> str | None:
        """Where somebody is asked about, or None for people of other issuers, and if nobody can be."""
        if any(user.startswith(f"{name}:") for name in self._auth.issuers):
            return None
        if self._auth.user_claim == "sub":
            return f"{self._users_url}/{quote(user, safe='')}"
        parameter = _SEARCHED_BY.get(self._auth.user_claim)
        if parameter is None:
            self._complain(
                "auth.introspect does not reach personal keys: with the auth.user_claim that is configured "
                f"Keycloak cannot be asked for people; it can with sub, {' and '.join(_SEARCHED_BY)}"
            )
            return None
        return f"{self._users_url}?{urlencode({parameter: user, 'exact': 'true'})}"

    def _complain(self, text: str) -> None:
        # Once, until something changes.
        if text != self._complaint:
            _log.warning(text)
        self._complaint = text


def _users_url(issuer: str) -> str:
    """Returns where the users of a realm are, from its issuer: `<base>/realms/<realm>`."""
    parts = urlsplit(issuer)
    base, _, realm = parts.path.rstrip("/").rpartition("/realms/")
    return urlunsplit(parts._replace(path=f"{base}/admin/realms/{realm}/users"))


def _enabled(status: int, body: bytes) -> bool:
    """Returns whether Keycloak's answer tells of a user, enabled. Raises: UnusableAnswerError."""
    if status == httpx.codes.FORBIDDEN:
        raise UnusableAnswerError(
            "it does not allow it; give the service account of auth.client_id the role view-users of the "
            "client realm-management"
        )
    # A proxy that hides the admin API says 404 as well, in its own words.
    if status == httpx.codes.NOT_FOUND and b"User not found" in body:
        return False
    if status != httpx.codes.OK:
        raise UnusableAnswerError(f"status {status}")
    try:
        found = msgspec.json.decode(body, type=_User | list[_User])
    except (ValueError, RecursionError):
        raise UnusableAnswerError("no user in its answer") from None
    return any(user.enabled for user in found) if isinstance(found, list) else found.enabled
