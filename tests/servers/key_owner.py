"""Those who manage personal keys: their owner by HTTP, an operator by `llm-gateway keys`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.servers.command import llm_gateway
from tests.servers.gateway import Gateway

# One connection for each request: so all workers of a gateway are met, and none outlives its gateway.
_http = httpx.Client(trust_env=False, timeout=30, limits=httpx.Limits(max_keepalive_connections=0))


class Owner:
    """Somebody with a credential who manages their keys at a gateway."""

    def __init__(self, gateway: Gateway, credential: str) -> None:
        self._url = f"{gateway.url}/keys"
        self._headers = {"x-api-key": credential}

    def post(self, content: bytes, **headers: str) -> httpx.Response:
        """The answer to what is to be a new key; underscores in names of `headers` stand for hyphens."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return _http.post(self._url, headers=self._headers | more, content=content)

    def ask(self, name: str = "laptop", **members: Any) -> httpx.Response:
        """The answer to a wish for a key of that name."""
        return self.post(json.dumps({"name": name, **members}).encode())

    def create(self, name: str = "laptop", **members: Any) -> dict[str, Any]:
        """A new key."""
        answer = self.ask(name, **members)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def list(self) -> list[dict[str, Any]]:
        """All keys."""
        answer = _http.get(self._url, headers=self._headers)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["keys"])

    def revoke(self, key_id: str) -> int:
        """The status."""
        return _http.delete(f"{self._url}/{key_id}", headers=self._headers).status_code


def operator(folder: Path, config: Mapping[str, Any], *words: str) -> str:
    """What `llm-gateway keys` with these words prints, with the settings of a gateway that may be running."""
    file = folder / "operator.yaml"
    file.write_text(yaml.safe_dump(dict(config)))
    ended = llm_gateway("keys", *words, "--config", str(file))
    ended.check_returncode()
    return ended.stdout
