"""An OpenID provider that lets everybody in: as much of one as `claude gateway` asks for at a sign-in."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

CLIENT_ID = "bench"
CLIENT_SECRET = "bench-secret-5b02e7c4"  # noqa: S105 - never checked

_VALID_S = 3600


class _Provider(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def jwks(self) -> dict[str, Any]:
        public = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": "bench", "alg": "RS256", "use": "sig"}]}

    def tokens(self, nonce: str) -> dict[str, Any]:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "bench",
            "email": "bench@example.com",
        }
        claims |= {"nonce": nonce, "iat": now, "exp": now + _VALID_S}
        id_token = jwt.encode(claims, self.key, "RS256", headers={"kid": "bench"})
        return {
            "access_token": "bench",
            "token_type": "Bearer",
            "expires_in": _VALID_S,
            "id_token": id_token,
        }


class _Handler(BaseHTTPRequestHandler):
    server: _Provider

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/.well-known/openid-configuration":
            self._answer(self.server.discovery())
        elif address.path == "/jwks":
            self._answer(self.server.jwks())
        elif address.path == "/authorize":
            asked = dict(parse_qsl(address.query))
            # The nonce is the code, so that nothing has to be remembered until the code comes back.
            back = urlencode({"code": asked["nonce"], "state": asked["state"]})
            self.send_response(302)
            self.send_header("location", f"{asked['redirect_uri']}?{back}")
            self.end_headers()
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
        self._answer(self.server.tokens(form["code"]))

    def _answer(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing: the benchmark's output is its table."""


@contextmanager
def provider() -> Iterator[str]:
    """Runs one in a thread, and gives its issuer."""
    with _Provider() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.issuer
        finally:
            server.shutdown()
            thread.join()
