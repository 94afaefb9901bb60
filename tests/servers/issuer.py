"""A small OIDC issuer on a real socket, for what Keycloak cannot be made to do: lie, stall, flood."""

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "llm-gateway"
DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/jwks"

PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)
Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@cache
def rsa_key(name: str = "main", bits: int = 2048) -> rsa.RSAPrivateKey:
    """Returns the same key for the same name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def base64url(data: bytes) -> str:
    """Returns `data` in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Signer:
    """A private key, the `kid` it is published under, and the algorithm that it signs with."""

    kid: str = "key-1"
    algorithm: str = "RS256"
    private: PrivateKey | None = None

    def key(self) -> PrivateKey:
        """Returns the private key, by default an RSA key named after the `kid`."""
        return self.private or rsa_key(self.kid)

    def jwk(self, **members: Any) -> dict[str, Any]:
        """Returns the public key as in a JWKS, with `members` laid over it; None takes one away."""
        match self.key():
            case rsa.RSAPrivateKey() as key:
                public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            case ec.EllipticCurvePrivateKey() as key:
                public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
            case key:
                public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        public.pop("key_ops", None)
        jwk = {**public, "kid": self.kid, "use": "sig", "alg": self.algorithm, **members}
        return {name: value for name, value in jwk.items() if value is not None}

    def header(self, **members: Any) -> dict[str, Any]:
        """Returns the header of an ordinary token; None takes a member away."""
        header = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **members}
        return {name: value for name, value in header.items() if value is not None}

    def token(self, claims: dict[str, Any] | bytes, **header: Any) -> bytes:
        """Returns a compact JWS, rightly signed whatever its header and payload say."""
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        head = json.dumps(self.header(**header)).encode()
        signing_input = f"{base64url(head)}.{base64url(payload)}"
        return f"{signing_input}.{base64url(self._signature(signing_input.encode()))}".encode()

    def _signature(self, data: bytes) -> bytes:
        match self.key():
            case rsa.RSAPrivateKey() as key if self.algorithm == "PS256":
                return key.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
            case rsa.RSAPrivateKey() as key:
                return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
            case ec.EllipticCurvePrivateKey() as key:
                r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
                size = (key.curve.key_size + 7) // 8
                return r.to_bytes(size) + s.to_bytes(size)
            case key:
                return key.sign(data)


class ScriptedIssuer:
    """Serves discovery and JWKS; `scripts` replaces the answer of a path, `keys` holds the public JWKs."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.scripts: dict[str, Script] = {}
        self.requests: Counter[str] = Counter()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[Any]] = set()
        self._asked = asyncio.Condition()

    @property
    def url(self) -> str:
        """Returns the issuer's identifier."""
        return f"http://127.0.0.1:{self.port}"

    def claims(self, **members: Any) -> dict[str, Any]:
        """Returns the claims of an access token as Keycloak makes them; None takes one away."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "user-1",
            "iat": now,
            "exp": now + 300,
            "typ": "Bearer",
            "azp": AUDIENCE,
            "resource_access": {AUDIENCE: {"roles": ["pro"]}},
            **members,
        }
        return {name: value for name, value in claims.items() if value is not None}

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()

    async def listen(self) -> None:
        """Begins to listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def hang_up(self) -> None:
        """Stops listening; connections are refused from then on."""
        if self._server is not None:
            self._server.close()
            for handler in self._handlers:
                handler.cancel()
            await asyncio.gather(*self._handlers, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def asked(self, path: str, times: int) -> None:
        """Returns when `path` was requested that often."""
        async with self._asked:
            await self._asked.wait_for(lambda: self.requests[path] >= times)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split(b" ")[1].decode()
            async with self._asked:
                self.requests[path] += 1
                self._asked.notify_all()
            await self.scripts.get(path, self._answer(path))(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._handlers.discard(task)

    def _answer(self, path: str) -> Script:
        if path == DISCOVERY:
            return reply(json.dumps({"issuer": self.url, "jwks_uri": self.url + JWKS}))
        if path == JWKS:
            return reply(json.dumps({"keys": self.keys}))
        return reply("", status="404 Not Found")


def reply(body: str | bytes, *, status: str = "200 OK", headers: str = "") -> Script:
    """Returns a script that sends this answer."""
    data = body if isinstance(body, bytes) else body.encode()

    async def send(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {len(data)}\r\n{headers}\r\n"
        writer.write(head.encode() + data)

    return send
