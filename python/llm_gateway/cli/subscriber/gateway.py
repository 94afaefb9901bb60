"""What a subscriber's command asks of the gateway."""

import json
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from llm_gateway.cli.subscriber.address import same_origin
from llm_gateway.cli.subscriber.problem import ProblemError
from llm_gateway.tls import trust

_TIMEOUT_S = 15.0
_ANSWER_BYTES = 1024 * 1024
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class OAuthError(Exception):
    """A refusal of an OAuth endpoint: `error` is its word, `description` what it says to people."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


class Gateway:
    """A gateway at a base URL; use it as a context manager. Every method raises ProblemError if it cannot be
    asked.

    Proxies of the environment are used; redirects are not followed, so that a token goes nowhere else.
    """

    def __init__(self, url: str, ca_file: str | None) -> None:
        self._url = url
        self._metadata: Mapping[str, Any] | None = None
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
        return self._post(url, {"surface": "llm_gateway"})

    def tokens_for_device(self, device_code: str) -> dict[str, Any]:
        """Returns tokens once the person has signed in. Raises: OAuthError: until then that it is pending."""
        return self._token({"grant_type": _DEVICE_GRANT, "device_code": device_code})

    def tokens_for_refresh(self, refresh_token: str) -> dict[str, Any]:
        """Returns new tokens. Raises: OAuthError."""
        return self._token({"grant_type": "refresh_token", "refresh_token": refresh_token})

    def quota(self, credential: str) -> dict[str, Any]:
        """Returns what `/quota` says. Raises: ProblemError, with the gateway's own words where it refuses."""
        answer = self._send("GET", f"{self._url}/quota", headers={"authorization": f"Bearer {credential}"})
        data = self._json(answer)
        if answer.status_code == httpx.codes.OK:
            return data
        error = data.get("error")
        text = error.get("message") if isinstance(error, dict) else None
        raise ProblemError(f"{self._url} says: {text or f'status {answer.status_code}'}")

    def _token(self, form: dict[str, str]) -> dict[str, Any]:
        return self._post(self._endpoint("token_endpoint", "/oauth/token"), form)

    def _endpoint(self, name: str, usual: str) -> str:
        if self._metadata is None:
            answer = self._send("GET", f"{self._url}/.well-known/oauth-authorization-server")
            self._metadata = self._json(answer) if answer.status_code == httpx.codes.OK else {}
        url = self._metadata.get(name)
        # As the protocol has it: what leads elsewhere is not believed.
        return str(url) if same_origin(url, self._url) else f"{self._url}{usual}"

    def _post(self, url: str, form: dict[str, str]) -> dict[str, Any]:
        answer = self._send("POST", url, data=form)
        data = self._json(answer)
        if answer.status_code == httpx.codes.OK:
            return data
        error = data.get("error")
        if isinstance(error, str):
            raise OAuthError(error, str(data.get("error_description", "")))
        raise ProblemError(f"{self._url} answers with status {answer.status_code}: is it an LLM gateway?")

    def _send(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        try:
            return self._http.request(method, url, **arguments)
        except httpx.ConnectError as cause:
            if isinstance(cause.__context__, ssl.SSLError) or "CERTIFICATE" in str(cause):
                text = "its certificate is not trusted here; give the authority's with --ca-file"
                raise ProblemError(f"{self._url}: {text}") from None
            text = "cannot be reached; look at the address and the network"
            raise ProblemError(f"{self._url} {text}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as cause:
            raise ProblemError(f"{self._url} cannot be asked: {type(cause).__name__}") from None

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.is_redirect:
            raise ProblemError(f"{self._url} sends elsewhere; give the address that it sends to")
        try:
            data = json.loads(answer.content[:_ANSWER_BYTES])
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise ProblemError(f"{self._url} does not answer as an LLM gateway does; look at the address")
        return data
