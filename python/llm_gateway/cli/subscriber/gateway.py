"""What a subscriber's command asks of the gateway."""

import json
import ssl
from types import TracebackType
from typing import Any, Self

import httpx

from llm_gateway.cli.subscriber.address import same_origin
from llm_gateway.cli.subscriber.foreign_text import shown
from llm_gateway.cli.subscriber.problem import ProblemError, UnreachableError
from llm_gateway.tls import trust

_TIMEOUT_S = 15.0
_ANSWER_BYTES = 1024 * 1024
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_NEEDED = ("device_code", "user_code", "verification_uri")
# The gateway is there, and what it asks is not. Source: RFC 6749 section 4.1.2.1.
_PASSING = "temporarily_unavailable"


class OAuthError(Exception):
    """A refusal of an OAuth endpoint: `error` is its word, `description` what it says to people."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


class Gateway:
    """A gateway at a base URL; use it as a context manager. Every method raises ProblemError if it cannot be
    asked, UnreachableError where it may be later.

    Proxies of the environment are used; redirects are not followed, so that a token goes nowhere else.
    """

    def __init__(self, url: str, ca_file: str | None) -> None:
        self._url = url
        self._metadata: dict[str, Any] | None = None
        self._http = httpx.Client(
            timeout=_TIMEOUT_S, verify=trust(ca_file, "--ca-file"), headers={"accept": "application/json"}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def begin_sign_in(self) -> dict[str, Any]:
        """Returns the answer of RFC 8628 section 3.2. Raises: OAuthError."""
        url = self._endpoint("device_authorization_endpoint", "/oauth/device_authorization")
        answer = self._post(url, {"surface": "llm_gateway"})
        if not all(isinstance(answer.get(name), str) for name in _NEEDED):
            raise self._no_gateway()
        return answer

    def tokens_for_device(self, device_code: str) -> dict[str, Any]:
        """Returns tokens once the person has signed in. Raises: OAuthError: until then that it is pending."""
        return self._token({"grant_type": _DEVICE_GRANT, "device_code": device_code})

    def tokens_for_refresh(self, refresh_token: str) -> dict[str, Any]:
        """Returns new tokens. Raises: OAuthError."""
        return self._token({"grant_type": "refresh_token", "refresh_token": refresh_token})

    def quota(self, credential: str) -> dict[str, Any]:
        """Returns what `/quota` says. Raises: ProblemError, with the gateway's own words where it refuses."""
        bearer = {"authorization": f"Bearer {credential}"}
        status, data = self._ask("GET", f"{self._url}/quota", headers=bearer)
        if data is None:
            raise self._no_gateway()
        if status == httpx.codes.OK:
            return data
        error = data.get("error")
        text = error.get("message") if isinstance(error, dict) else None
        raise ProblemError(f"{self._url} says: {shown(text or f'status {status}')}")

    def _token(self, form: dict[str, str]) -> dict[str, Any]:
        return self._post(self._endpoint("token_endpoint", "/oauth/token"), form)

    def _endpoint(self, name: str, usual: str) -> str:
        if self._metadata is None:
            status, data = self._ask("GET", f"{self._url}/.well-known/oauth-authorization-server")
            self._metadata = data if data is not None and status == httpx.codes.OK else {}
        url = self._metadata.get(name)
        # As the protocol has it: what leads elsewhere is not believed.
        return str(url) if same_origin(url, self._url) else f"{self._url}{usual}"

    def _post(self, url: str, form: dict[str, str]) -> dict[str, Any]:
        status, data = self._ask("POST", url, data=form)
        if data is None:
            raise self._no_gateway()
        if status == httpx.codes.OK:
            return data
        error, description = data.get("error"), str(data.get("error_description") or "")
        if error == _PASSING:
            raise UnreachableError(f"{self._url} cannot do it now: {shown(description or error)}")
        if isinstance(error, str):
            raise OAuthError(error, description)
        raise ProblemError(f"{self._url} answers with status {status}: is it an LLM gateway?")

    def _ask(self, method: str, url: str, **arguments: Any) -> tuple[int, dict[str, Any] | None]:
        try:
            with self._http.stream(method, url, **arguments) as answer:
                if answer.is_redirect:
                    raise ProblemError(f"{self._url} sends elsewhere; give the address that it sends to")
                return answer.status_code, _members(answer)
        except httpx.ConnectError as cause:
            if isinstance(cause.__context__, ssl.SSLError) or "CERTIFICATE" in str(cause):
                text = "its certificate is not trusted here; give the authority's to `login` with --ca-file"
                raise ProblemError(f"{self._url}: {text}") from None
            text = "cannot be reached; look at the address and the network"
            raise UnreachableError(f"{self._url} {text}") from None
        except httpx.TimeoutException:
            raise UnreachableError(f"{self._url} does not answer; try again later") from None
        except (httpx.HTTPError, httpx.InvalidURL) as cause:
            raise UnreachableError(f"{self._url} cannot be asked: {type(cause).__name__}") from None

    def _no_gateway(self) -> ProblemError:
        return ProblemError(f"{self._url} does not answer as an LLM gateway does; look at the address")


def _members(answer: httpx.Response) -> dict[str, Any] | None:
    """The JSON object in the answer; None for anything else, and for more than a gateway says."""
    body = b""
    for part in answer.iter_bytes():
        body += part
        if len(body) > _ANSWER_BYTES:
            return None
    try:
        data = json.loads(body)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None
