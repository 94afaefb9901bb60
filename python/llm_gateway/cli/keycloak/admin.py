"""Keycloak's admin API, asked in an administrator's name.

Source: Keycloak 26, Admin REST API.
"""

import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx

from llm_gateway.cli.keycloak.wanted import Representation

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_SHOWN_CHARACTERS = 200


class AdminError(Exception):
    """Keycloak cannot be asked, or will not do it; the message is one line for people, without secrets."""


class Account(NamedTuple):
    """Who signs in, in which realm. `password` is asked for when it is needed."""

    user: str
    realm: str
    password: Callable[[], str]


class Admin:
    """The admin API of the realm `realm`; use it as a context manager.

    Redirects are not followed; proxies and certificates named in the environment are not used.
    Every method raises AdminError.
    """

    def __init__(self, url: str, tls: ssl.SSLContext, account: Account, realm: str) -> None:
        self._url = url
        self._account = account
        self._realm = realm
        self._token: str | None = None
        self._http = httpx.Client(timeout=_TIMEOUT, verify=tls, follow_redirects=False, trust_env=False)

    def __enter__(self) -> "Admin":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def issuer(self) -> str:
        """The realm's URL as its tokens name it, which may be another than the one that it is asked by."""
        path = f"/realms/{quote(self._realm, safe='')}/.well-known/openid-configuration"
        issuer = _members(_json(self._send("GET", path, None), "see what the realm is called")).get("issuer")
        if not isinstance(issuer, str):
            raise AdminError(f"{self._url} does not answer as a Keycloak does; look at --url")
        return issuer

    def get(self, *segments: str, **query: str) -> Any:
        """What is at the path under the realm, or None if there is nothing."""
        answer = self._ask("GET", self._path(*segments), params=query)
        return None if answer.status_code == httpx.codes.NOT_FOUND else _json(answer, "look there")

    def write(self, doing: str, method: str, *segments: str, body: object = None) -> None:
        """Sends `body` to the path under the realm; `doing` says for people what that does."""
        self._good(self._ask(method, self._path(*segments), json=body), doing)

    def create_realm(self, realm: Representation) -> None:
        """Makes the realm."""
        self._good(self._ask("POST", "/admin/realms", json=realm), f"make the realm {self._realm}")
        # Who may do what in a realm is in the token, and this one is older than the realm.
        self._token = None

    def _path(self, *segments: str) -> str:
        return "/".join(
            ["/admin/realms", quote(self._realm, safe=""), *(quote(one, safe="") for one in segments)]
        )

    def _ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        if self._token is None:
            self._token = self._signed_in()
        answer = self._send(method, path, self._token, **arguments)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            # A token of admin-cli holds for a minute, and people think longer about a question.
            self._token = self._signed_in()
            answer = self._send(method, path, self._token, **arguments)
        if answer.status_code == httpx.codes.FORBIDDEN:
            raise AdminError(
                f"{self._account.user} may not administer the realm {self._realm}; it needs the role "
                "realm-admin there, or manage-clients, manage-users and view-realm"
            )
        return answer

    def _signed_in(self) -> str:
        account = self._account
        form = {"grant_type": "password", "client_id": "admin-cli", "username": account.user}
        form["password"] = account.password()
        path = f"/realms/{quote(account.realm, safe='')}/protocol/openid-connect/token"
        answer = self._send("POST", path, None, data=form)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise AdminError(
                f"{self._url} has no realm {account.realm} to sign in to; look at --url and --admin-realm"
            )
        if answer.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED):
            raise AdminError(
                f"{self._url} does not let {account.user} in, in the realm {account.realm}: "
                f"{_reason(answer)}; look at the name and the password"
            )
        token = _members(_json(answer, "sign in")).get("access_token")
        if not isinstance(token, str):
            raise AdminError(f"{self._url} does not answer as a Keycloak does; look at --url")
        return token

    def _send(self, method: str, path: str, token: str | None, **arguments: Any) -> httpx.Response:
        headers = {"accept": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        try:
            return self._http.request(method, self._url + path, headers=headers, **arguments)
        except httpx.HTTPError as cause:
            raise AdminError(f"{self._url} {_unreachable(cause)}") from None

    def _good(self, answer: httpx.Response, doing: str) -> None:
        if not answer.is_success:
            raise AdminError(f"Keycloak would not {doing}: status {answer.status_code}: {_reason(answer)}")


def _json(answer: httpx.Response, doing: str) -> Any:
    if answer.is_success:
        try:
            return answer.json()
        except ValueError:
            raise AdminError(f"{answer.url.host} does not answer as a Keycloak does; look at --url") from None
    if answer.is_redirect:
        raise AdminError(f"{answer.url.host} sends us elsewhere (a redirect); give --url that place")
    raise AdminError(f"Keycloak would not let us {doing}: status {answer.status_code}: {_reason(answer)}")


def _reason(answer: httpx.Response) -> str:
    """Keycloak's own words for a refusal."""
    try:
        members = _members(answer.json())
    except ValueError:
        members = {}
    for name in ("error_description", "errorMessage", "error"):
        text = members.get(name)
        if isinstance(text, str) and text.isprintable():
            return text[:_SHOWN_CHARACTERS].rstrip(".")
    return "no reason given"


def _members(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _unreachable(cause: httpx.HTTPError) -> str:
    error: BaseException | None = cause
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"shows a certificate that is not trusted: {error.verify_message}; look at --ca-file"
        if isinstance(error, ssl.SSLError):
            return f"does not speak TLS as it should: {error.reason or 'no reason given'}; look at --url"
        error = error.__cause__ or error.__context__
    return f"cannot be reached: {type(cause).__name__}; look at --url"
