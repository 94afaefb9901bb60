"""An OpenID provider that is not Keycloak: `oidc-provider` from npm, on a free loopback port.

It issues access tokens as RFC 9068 has them, signed with ES256; it uses refresh tokens up; its client's
secret is one that has to be escaped.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote_plus, urljoin

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.servers.approval import Forms
from tests.servers.gateway import free_port
from tests.servers.keycloak import ROOT, UnavailableError

CLIENT = "llm-gateway"
SECRET = "a secret: with / odd % characters +"
_TOOLS_MISSING = 3
_START_LIMIT_S = 30.0
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_PAGES = 6


class SecondProvider:
    """A running provider. Everybody can sign in; whose name is that of a tier has it as the claim `plan`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self._folder, self._port = folder, port
        self._keys = [_key("first")]
        self._http = httpx.Client(
            base_url=self.issuer, auth=(quote_plus(CLIENT), quote_plus(SECRET)), timeout=30, trust_env=False
        )
        self._process = self._launch()

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[Self]:
        """Yields the server, ready, and stops it afterwards. Raises: UnavailableError without Node or npm."""
        provider = cls(_fetched(), free_port())
        try:
            yield provider
        finally:
            provider._http.close()
            provider.stop()

    def stop(self) -> None:
        """Returns when the process is gone."""
        self._process.terminate()
        self._process.wait(20)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def restart_with_another_key(self) -> None:
        """Signs with a new key from now on, and has forgotten the old one and all sessions."""
        self.stop()
        self._keys = [_key(f"key-{time.monotonic_ns()}")]
        self._process = self._launch()

    def grant(self, user: str) -> dict[str, Any]:
        """Returns what signing in gives, by device flow: access_token, refresh_token, id_token, …"""
        begun = self._http.post("/device/auth", data={"scope": "openid profile email"}).json()
        approve(begun["verification_uri_complete"], user)
        form = {"grant_type": _DEVICE_GRANT, "device_code": begun["device_code"]}
        answer = self._http.post("/token", data=form)
        answer.raise_for_status()
        return dict(answer.json())

    def token(self, user: str) -> str:
        """Returns an access token."""
        return str(self.grant(user)["access_token"])

    def revoke(self, token: str) -> None:
        """Ends a token, as its owner would there."""
        self._http.post("/token/revocation", data={"token": token}).raise_for_status()

    def _launch(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            ["node", "server.mjs", str(self._port), *map(json.dumps, self._keys)],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        until = time.monotonic() + _START_LIMIT_S
        said = ""
        for line in process.stdout:
            said += line
            if line.strip() == "ready":
                return process
            if time.monotonic() > until:
                break
        process.kill()
        raise RuntimeError(f"the provider did not start:\n{said}")


def approve(url: str, user: str) -> None:
    """Signs in on the provider's own pages, which begin at `url`, and agrees to everything."""
    with httpx.Client(follow_redirects=True, timeout=30, trust_env=False) as http:
        page = http.get(url)
        for _ in range(_PAGES):
            if not (forms := Forms(page.text).forms):
                return
            action, fields = forms[0]
            known = {"login": user, "password": "any"}
            filled = {name: known.get(name, value) for name, value in fields.items()}
            page = http.post(urljoin(str(page.url), action), data=filled)
            page.raise_for_status()
        raise RuntimeError(f"the sign-in does not end:\n{page.text[:2000]}")


def _fetched() -> Path:
    found = subprocess.run(
        [ROOT / "scripts" / "get-oidc-provider"], capture_output=True, text=True, check=False
    )
    if found.returncode == _TOOLS_MISSING:
        raise UnavailableError(found.stderr.strip())
    if found.returncode != 0:
        raise RuntimeError(f"get-oidc-provider failed:\n{found.stderr}")
    return Path(found.stdout.strip())


def _key(kid: str) -> dict[str, Any]:
    jwk = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    jwk.pop("key_ops", None)
    return {**jwk, "kid": kid, "use": "sig", "alg": "ES256"}
