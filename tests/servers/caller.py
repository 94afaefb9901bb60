"""What a subscriber asks of a gateway, through a plain HTTP client."""

import json
from typing import Any, Literal

import httpx

Api = Literal["messages", "chat/completions", "messages/count_tokens"]
Header = Literal["x-api-key", "authorization"]

APIS: tuple[Api, ...] = ("messages", "chat/completions")

# One connection for each request: a pooled one would outlive the gateway of its test.
_http = httpx.Client(trust_env=False, timeout=30, limits=httpx.Limits(max_keepalive_connections=0))


class Caller:
    """One subscriber of the gateway at `url`; `header` is how the credential is sent."""

    def __init__(self, url: str, credential: str, header: Header = "x-api-key") -> None:
        self.url = url
        value = f"Bearer {credential}" if header == "authorization" else credential
        self.headers: dict[str, str] = {header: value}

    def ask(self, api: Api = "messages", model: str = "claude-3-opus", **members: Any) -> httpx.Response:
        """The answer to a small request; `members` are added to its body."""
        headers = self.headers | {"content-type": "application/json"}
        return _http.post(f"{self.url}/v1/{api}", content=body(model, **members), headers=headers)

    def post(self, api: Api, content: bytes) -> httpx.Response:
        """The answer to a body as it stands."""
        headers = self.headers | {"content-type": "application/json"}
        return _http.post(f"{self.url}/v1/{api}", content=content, headers=headers)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """The answer of a view; underscores in names of `headers` stand for hyphens."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return _http.get(f"{self.url}{path}", headers=self.headers | more)

    def quota(self) -> dict[str, Any]:
        """What `/quota` says."""
        answer = self.get("/quota")
        answer.raise_for_status()
        return dict(answer.json())

    def used(self) -> int:
        """What is used of the first window."""
        return int(self.quota()["windows"][0]["used"])


def body(model: str, **members: Any) -> bytes:
    """A small request for `model` that both APIs understand, in ASCII."""
    messages = [{"role": "user", "content": "hello"}]
    return json.dumps({"model": model, "max_tokens": 100, "messages": messages, **members}).encode()
