"""Forged tokens through the whole gateway: one refusal for all of them, and nobody is asked about any.

The issuer is scripted, because only who has its private key can sign what a real one would not.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from llm_gateway.auth.refusal import MESSAGE
from tests.servers.caller import APIS, Api, Caller, Header
from tests.servers.connection import Connection, head
from tests.servers.gateway import Gateway, sign_in_settings
from tests.servers.issuer import AUDIENCE, DISCOVERY, JWKS, Signer, base64url
from tests.servers.scripted import Answer, ScriptedUpstream

RSA = Signer("main")
STRANGER = Signer("stranger")

Attack = Callable[["Forge"], str]


class Forge:
    """Tokens of the issuer at `url`, good or bad; `elsewhere` is where a header may try to lead."""

    def __init__(self, url: str, elsewhere: str) -> None:
        self.url, self.elsewhere = url, elsewhere

    def claims(self, **members: Any) -> dict[str, Any]:
        now = int(time.time())
        roles = {AUDIENCE: {"roles": ["enterprise"]}}
        claims = {"iss": self.url, "aud": AUDIENCE, "azp": AUDIENCE, "sub": "user-1", "typ": "Bearer"}
        found = {**claims, "iat": now, "exp": now + 300, "resource_access": roles, **members}
        return {name: value for name, value in found.items() if value is not None}

    def token(self, signer: Signer = RSA, header: dict[str, Any] | None = None, **claims: Any) -> str:
        return signer.token(self.claims(**claims), **(header or {})).decode()

    def unsigned(self, alg: object, signature: str = "") -> str:
        return f"{self.token(header={'alg': alg}).rpartition('.')[0]}.{signature}"

    def hmac(self, secret: bytes, algorithm: str = "HS256") -> str:
        digest = getattr(hashlib, f"sha{algorithm[2:]}")
        signed = self.token(header={"alg": algorithm}).rpartition(".")[0]
        return f"{signed}.{base64url(hmac.new(secret, signed.encode(), digest).digest())}"


def public(encoding: Encoding, form: PublicFormat) -> bytes:
    return RSA.key().public_key().public_bytes(encoding, form)


SECRETS = {
    "PEM": public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "PEM without its last line end": public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
    "DER": public(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "PKCS 1": public(Encoding.PEM, PublicFormat.PKCS1),
    "JWK": json.dumps(RSA.jwk(), separators=(",", ":"), sort_keys=True).encode(),
    "nothing": b"",
}


def unsigned(alg: object, signature: str = "") -> Attack:
    return lambda forge: forge.unsigned(alg, signature)


def keyed(secret: bytes) -> Attack:
    return lambda forge: forge.hmac(secret)


def respelled(token: str) -> str:
    """Another letter at the end of the signature, with the same bytes: only unused bits differ."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = token[:-1] + alphabet[alphabet.index(token[-1]) + 1]
    as_bytes = [base64.urlsafe_b64decode(text.rpartition(".")[2] + "==") for text in (token, other)]
    assert as_bytes[0] == as_bytes[1]
    return other


def mixed(forge: Forge) -> str:
    head, _, signature = forge.token().split(".")
    return ".".join((head, forge.token(sub="admin").split(".")[1], signature))


def doubled_algorithm(forge: Forge) -> str:
    _, payload, signature = forge.token().split(".")
    head = f'{{"alg":"RS256","kid":"{RSA.kid}","alg":"none"}}'
    return f"{base64url(head.encode())}.{payload}.{signature}"


ATTACKS: dict[str, Attack] = {
    **{f"alg {alg!r}": unsigned(alg) for alg in ("none", "None", "NONE", "nOnE", "")},
    **{f"alg {alg!r}, signed": unsigned(alg, "AAAA") for alg in ("none", "none ", None)},
    **{f"HMAC with {name}": keyed(secret) for name, secret in SECRETS.items()},
    "HMAC of 384 bits": lambda f: f.hmac(SECRETS["PEM"], "HS384"),
    "HMAC of 512 bits": lambda f: f.hmac(SECRETS["PEM"], "HS512"),
    "another family of the same key": lambda f: f.token(Signer(RSA.kid, "PS256", RSA.key())),
    "an algorithm named twice": doubled_algorithm,
    "an embedded key": lambda f: f.token(STRANGER, {"kid": RSA.kid, "jwk": STRANGER.jwk()}),
    "jku": lambda f: f.token(STRANGER, {"kid": RSA.kid, "jku": f"{f.elsewhere}/jwks"}),
    "x5u": lambda f: f.token(STRANGER, {"kid": RSA.kid, "x5u": f"{f.elsewhere}/chain.pem"}),
    "x5c": lambda f: f.token(STRANGER, {"kid": RSA.kid, "x5c": ["MIIB"]}),
    "jku beside the right key": lambda f: f.token(header={"jku": f"{f.elsewhere}/jwks"}),
    "another key under the kid": lambda f: f.token(Signer(RSA.kid, private=STRANGER.key())),
    "no kid": lambda f: f.token(header={"kid": None}),
    "kid, a path": lambda f: f.token(header={"kid": "../../../../dev/null"}),
    "kid, an address": lambda f: f.token(header={"kid": f"{f.elsewhere}/key"}),
    "kid, SQL": lambda f: f.token(header={"kid": "x' UNION SELECT 'key' --"}),
    "kid, a list": lambda f: f.token(header={"kid": [RSA.kid]}),
    "another audience": lambda f: f.token(aud="other-app"),
    "audiences without ours": lambda f: f.token(aud=["other-app", "account"]),
    "audiences, one no text": lambda f: f.token(aud=[AUDIENCE, 1]),
    "no audience": lambda f: f.token(aud=None),
    "another client": lambda f: f.token(azp="other-app"),
    "another realm": lambda f: f.token(iss=f"{f.url}/realms/other"),
    "an issuer with a slash": lambda f: f.token(iss=f"{f.url}/"),
    "an issuer elsewhere": lambda f: f.token(iss=f.elsewhere),
    "an ID token": lambda f: f.token(typ="ID"),
    "a refresh token": lambda f: f.token(typ="Refresh"),
    "another kind of token": lambda f: f.token(header={"typ": "logout+jwt"}),
    "expired": lambda f: f.token(exp=int(time.time()) - 61),
    "not yet valid": lambda f: f.token(nbf=int(time.time()) + 120),
    "issued in the future": lambda f: f.token(iat=int(time.time()) + 120),
    "without exp": lambda f: f.token(exp=None),
    "exp, a text": lambda f: f.token(exp=str(int(time.time()) + 300)),
    "crit": lambda f: f.token(header={"crit": ["exp"]}),
    "crit, empty": lambda f: f.token(header={"crit": []}),
    "b64": lambda f: f.token(header={"b64": False, "crit": ["b64"]}),
    "oversized": lambda f: f.token(filler="x" * 8192),
    "truncated": lambda f: f.token()[:-20],
    "two parts": lambda f: f.token().rpartition(".")[0],
    "padded": lambda f: f"{f.token()}==",
    "not canonical": lambda f: respelled(f.token()),
    "ordinary base64": lambda f: f.token().rpartition(".")[0] + "." + "+/" * 171,
    "the same header, another payload": mixed,
    "five parts": lambda f: f"{f.token()}.AAAA.AAAA",
    "nobody's": lambda f: f.token(sub=None),
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        document = {"issuer": server.url, "jwks_uri": f"{server.url}{JWKS}"}
        server.always(DISCOVERY, Answer.json(200, document))
        server.always(JWKS, Answer.json(200, {"keys": [RSA.jwk()]}))
        yield server


@pytest.fixture(scope="module")
def gateway(
    issuer: ScriptedUpstream, shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    config = sign_in_settings(shared_upstream.url, {"provider": "oidc", "issuer": issuer.url})
    with Gateway(tmp_path_factory.mktemp("attacks"), config) as running:
        yield running


@pytest.fixture
def forge(issuer: ScriptedUpstream, upstream: ScriptedUpstream) -> Forge:
    return Forge(issuer.url, upstream.url)


def asked_for_keys(issuer: ScriptedUpstream, since: int) -> int:
    return sum(request.path == JWKS for request in issuer.requests[since:])


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
@pytest.mark.parametrize("api", APIS)
def test_every_forged_token_gets_the_refusal_of_an_unknown_one_and_nobody_is_asked(
    gateway: Gateway,
    forge: Forge,
    issuer: ScriptedUpstream,
    upstream: ScriptedUpstream,
    api: Api,
    header: Header,
) -> None:
    assert Caller(gateway.url, forge.token(), header).ask(api).status_code == 200
    upstream.forget()
    before, began = len(issuer.requests), time.monotonic()
    told: dict[str, tuple[int, Any]] = {}
    for name, attack in ATTACKS.items():
        answer = Caller(gateway.url, attack(forge), header).ask(api)
        assert answer.headers["x-should-retry"] == "false", name
        told[name] = answer.status_code, answer.text.replace(answer.headers["request-id"], "")
    assert len(set(told.values())) == 1, told
    status, text = told["nobody's"]
    error = json.loads(text)["error"]
    assert (status, error["message"]) == (401, MESSAGE)
    assert error["type"] == ("authentication_error" if api == "messages" else "invalid_request_error")
    assert upstream.requests == [], "nothing of it went on, and no header led anywhere"
    # For its own keys, as an unknown kid makes it do once in ten seconds.
    assert {request.path for request in issuer.requests[before:]} <= {DISCOVERY, JWKS}
    assert asked_for_keys(issuer, before) <= (time.monotonic() - began) // 10 + 1


def test_the_log_says_why_and_holds_no_token(gateway: Gateway, forge: Forge) -> None:
    for name in ("another audience", "expired", "crit", "HMAC with PEM"):
        token = ATTACKS[name](forge)
        assert Caller(gateway.url, token).get("/quota").status_code == 401
        assert token.split(".")[1] not in gateway.log()


@pytest.mark.load
def test_ten_thousand_unknown_keys_ask_the_issuer_once_and_delay_nobody(
    gateway: Gateway, forge: Forge, issuer: ScriptedUpstream
) -> None:
    count, lines = 10_000, 10
    good = Caller(gateway.url, forge.token(sub="somebody-else"))
    assert good.get("/quota").status_code == 200
    _, payload, signature = forge.token().split(".")
    floods = []
    for line in range(lines):
        heads = (
            base64url(json.dumps(RSA.header(kid=f"kid-{line}-{number}")).encode())
            for number in range(count // lines)
        )
        tokens = (f"{name}.{payload}.{signature}" for name in heads)
        floods.append([head("GET", "/v1/models", [("x-api-key", token)]) for token in tokens])
    before, began = len(issuer.requests), time.monotonic()
    over = threading.Event()

    def flood(requests: list[bytes]) -> set[int]:
        with Connection(gateway.port) as connection:
            statuses = set()
            for request in requests:
                connection.send(request)
                statuses.add(connection.reply("GET").status)
            return statuses

    def visit() -> list[float]:
        took = []
        while not over.wait(0.02):
            asked_at = time.monotonic()
            assert good.get("/v1/models").status_code == 200
            took.append(time.monotonic() - asked_at)
        return took

    with ThreadPoolExecutor(lines + 1) as pool:
        visits = pool.submit(visit)
        statuses = set().union(*pool.map(flood, floods))
        over.set()
        took = visits.result()
    assert statuses == {401}
    lasted_s = time.monotonic() - began
    assert asked_for_keys(issuer, before) <= lasted_s // 10 + 1
    assert len(took) > 10
    assert max(took) < 2, "nobody waited for the issuer"
