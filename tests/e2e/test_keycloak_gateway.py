"""Subscribers of a real Keycloak, through the whole gateway, counted in a real Redis."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import redis
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from llm_gateway.auth.refusal import MESSAGE
from tests.servers.caller import APIS, Api, Caller, Header
from tests.servers.claude_code import TokenVariable, run_claude
from tests.servers.gateway import Gateway, sign_in_settings
from tests.servers.issuer import Signer, base64url
from tests.servers.keycloak import SECRETS, Keycloak
from tests.servers.scripted import ScriptedUpstream
from tests.servers.waiting import eventually

# The first start of Keycloak on a machine downloads it.
pytestmark = [pytest.mark.keycloak, pytest.mark.requires("redis-server"), pytest.mark.timeout(300)]

SERVED = {
    "fred": ("free", "qwen3-32b"),
    "paula": ("pro", "claude-3-haiku"),
    "erin": ("enterprise", "claude-3-opus"),
}


@pytest.fixture(scope="module")
def gateway(
    keycloak: Keycloak,
    redis_url: str,
    shared_upstream: ScriptedUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    config = configuration(keycloak, redis_url, shared_upstream, leeway_s=0)
    with Gateway(tmp_path_factory.mktemp("keycloak"), config) as running:
        yield running


def configuration(
    keycloak: Keycloak, redis_url: str, upstream: ScriptedUpstream, **auth: Any
) -> dict[str, Any]:
    known = {"provider": "keycloak", "issuer": keycloak.issuer, "authorized_parties": ["short-lived"]}
    return sign_in_settings(upstream.url, known | auth, quota={"redis_url": redis_url})


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
@pytest.mark.parametrize("user", SERVED)
def test_each_role_is_served_as_its_tier(
    keycloak: Keycloak,
    gateway: Gateway,
    upstream: ScriptedUpstream,
    store: redis.Redis,
    user: str,
    header: Header,
) -> None:
    token = keycloak.token(user)
    caller = Caller(gateway.url, token, header)
    # Not zero, although the store is empty: the gateway remembers what it counted before.
    before = caller.used()
    answer = caller.ask(model="claude-3-opus")
    assert answer.status_code == 200, answer.text
    assert (answer.headers["x-gateway-tier"], answer.headers["x-gateway-model"]) == SERVED[user]
    (request,) = upstream.requests
    assert token not in str(request.headers)
    subject = keycloak.user_id(user)
    eventually(lambda: caller.used() == before + 1, "counted")
    assert (caller.quota()["user"], caller.quota()["tier"]) == (subject, SERVED[user][0])
    assert store.get(f"quota:{{{subject}}}:{datetime.now(UTC).date().isoformat()}") == str(before + 1)
    assert token not in gateway.log()


@pytest.mark.parametrize("api", APIS)
def test_a_user_without_a_role_has_no_subscription(
    keycloak: Keycloak, gateway: Gateway, upstream: ScriptedUpstream, store: redis.Redis, api: Api
) -> None:
    answer = Caller(gateway.url, keycloak.token("nora")).ask(api)
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert error["type"] == "permission_error"
    assert error["message"].startswith("no subscription")
    assert ("code" in error) == (api == "chat/completions")
    assert upstream.requests == []
    assert store.keys() == []


@pytest.fixture(scope="module")
def bad_tokens(keycloak: Keycloak, gateway: Gateway) -> dict[str, str]:
    granted = keycloak.grant("erin")
    good = granted["access_token"]
    head, payload, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    kid = jwt.get_unverified_header(good)["kid"]
    unsigned = base64url(json.dumps({"alg": "none", "typ": "JWT", "kid": kid}).encode())
    promoted = base64url(
        json.dumps(jwt.decode(keycloak.token("fred"), options={"verify_signature": False})).encode()
    )
    with_secret = jwt.encode(claims, SECRETS["llm-gateway"].ljust(32, "-"), "HS256", {"kid": kid})
    signed = f"{base64url(json.dumps({'alg': 'HS256', 'typ': 'JWT', 'kid': kid}).encode())}.{payload}"
    with_public = {
        f"the public key as a secret, {name}": f"{signed}.{base64url(mac(secret, signed))}"
        for name, secret in public_key(keycloak, kid).items()
    }
    return {
        "another audience": keycloak.token("erin", client_id="other-app"),
        "an ID token": granted["id_token"],
        "a refresh token": granted["refresh_token"],
        "expired": expired_token(keycloak, gateway),
        "another payload": f"{head}.{promoted}.{signature}",
        "another signature": f"{head}.{payload}.{signature[:-8]}AAAAAAAA",
        "no signature": f"{head}.{payload}.",
        "algorithm none": f"{unsigned}.{payload}.",
        "algorithm none, with a signature": f"{unsigned}.{payload}.{signature}",
        "a shared secret": with_secret,
        **with_public,
        "another key under the same kid": Signer(kid).token(claims).decode(),
        "another issuer": Signer(kid).token(claims | {"iss": "https://example.org/realms/ai-hub"}).decode(),
        "no token": "key-of-fred-free",
    }


def public_key(keycloak: Keycloak, kid: str) -> dict[str, bytes]:
    """The key that Keycloak publishes, as somebody may have written it down."""
    found = httpx.get(f"{keycloak.issuer}/protocol/openid-connect/certs", trust_env=False).json()["keys"]
    (jwk,) = (key for key in found if key["kid"] == kid)
    key = jwt.PyJWK(jwk).key.public_bytes
    return {
        "PEM": key(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "DER": key(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "PKCS 1": key(Encoding.PEM, PublicFormat.PKCS1),
        "JWK": json.dumps(jwk).encode(),
        "the certificate's base64": jwk["x5c"][0].encode(),
    }


def mac(secret: bytes, signed: str) -> bytes:
    return hmac.new(secret, signed.encode(), hashlib.sha256).digest()


def expired_token(keycloak: Keycloak, gateway: Gateway) -> str:
    """A token that was good a moment ago."""
    token = keycloak.token("erin", client_id="short-lived")
    caller = Caller(gateway.url, token)
    assert caller.get("/v1/models").status_code == 200
    eventually(lambda: caller.get("/v1/models").status_code == 401, "expired", timeout_s=20)
    return token


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
@pytest.mark.parametrize("api", APIS)
def test_every_bad_token_gets_the_same_refusal(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    store: redis.Redis,
    bad_tokens: dict[str, str],
    api: Api,
    header: Header,
) -> None:
    answers = {what: Caller(gateway.url, token, header).ask(api) for what, token in bad_tokens.items()}
    told = {what: without_request_id(answer) for what, answer in answers.items()}
    assert len(set(told.values())) == 1, told
    status, content = next(iter(told.values()))
    assert status == 401
    error = json.loads(content)["error"]
    assert error["message"] == MESSAGE
    assert error["type"] == ("authentication_error" if api == "messages" else "invalid_request_error")
    assert {answer.headers["x-should-retry"] for answer in answers.values()} == {"false"}
    assert upstream.requests == []
    assert store.keys() == []
    assert not any(token in gateway.log() for token in bad_tokens.values())


def without_request_id(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.text.replace(answer.headers["request-id"], "req")


@pytest.mark.claude
@pytest.mark.parametrize("variable", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_claude_code_with_an_expired_token_says_to_sign_in_again(
    keycloak: Keycloak,
    redis_url: str,
    upstream: ScriptedUpstream,
    bad_tokens: dict[str, str],
    tmp_path: Path,
    variable: TokenVariable,
) -> None:
    with Gateway(tmp_path, configuration(keycloak, redis_url, upstream, leeway_s=0)) as gateway:
        result = run_claude(
            "hello", base_url=gateway.url, token=bad_tokens["expired"], token_variable=variable
        )
    assert result.is_error
    assert "Failed to authenticate" in result.text
    assert "sign in again" in result.text
    assert [record["status"] for record in gateway.records()] == [401]
    assert upstream.requests == []


def test_a_promotion_holds_from_the_next_token_on_and_the_count_stays(
    keycloak: Keycloak, gateway: Gateway, upstream: ScriptedUpstream, store: redis.Redis
) -> None:
    before = Caller(gateway.url, keycloak.token("fred"))
    used = before.used()
    assert before.ask().headers["x-gateway-tier"] == "free"
    with role(keycloak, "fred", "pro"):
        after = Caller(gateway.url, keycloak.token("fred"))
        assert after.ask().headers["x-gateway-tier"] == "pro"
        assert before.ask().headers["x-gateway-tier"] == "free"
        assert after.used() == used + 3


@contextmanager
def role(keycloak: Keycloak, user: str, name: str) -> Iterator[None]:
    """Within it, the user has one more role of the gateway's client."""
    (client,) = keycloak.admin("GET", "/clients", params={"clientId": "llm-gateway"}).json()
    roles = [keycloak.admin("GET", f"/clients/{client['id']}/roles/{name}").json()]
    path = f"/users/{keycloak.user_id(user)}/role-mappings/clients/{client['id']}"
    keycloak.admin("POST", path, json=roles)
    try:
        yield
    finally:
        keycloak.admin("DELETE", path, json=roles)


def test_known_keys_go_on_while_keycloak_hangs(
    keycloak: Keycloak, redis_url: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    known, unseen = keycloak.token("paula"), keycloak.token("erin")
    stranger = Signer("a-kid-nobody-knows").token({"iss": keycloak.issuer}).decode()
    # A token that was seen a second ago is verified anew, with keys that should have been fetched anew.
    config = configuration(keycloak, redis_url, upstream, jwks_max_age_s=1, jwks_cooldown_s=0.1)
    with Gateway(tmp_path, config) as gateway:
        assert Caller(gateway.url, known).ask().status_code == 200
        with keycloak.frozen():
            # Keys may have come from a fetch that was under way.
            eventually(lambda: "keys cannot be fetched" in gateway.log(), "noticed", timeout_s=20)
            assert served_tier(gateway, known) == "pro"
            assert served_tier(gateway, unseen) == "enterprise"
            assert Caller(gateway.url, known).get("/health/ready").status_code == 200
            answer = Caller(gateway.url, stranger).ask()
            assert (answer.status_code, answer.headers["retry-after"]) == (529, "5")
        eventually(lambda: "can be fetched again" in gateway.log(), "noticed", timeout_s=20)
        eventually(lambda: Caller(gateway.url, stranger).ask().status_code == 401, "refused")


def served_tier(gateway: Gateway, token: str) -> str:
    began = time.monotonic()
    answer = Caller(gateway.url, token).ask()
    # The issuer, which answers nobody, was not waited for.
    assert time.monotonic() - began < 2
    return answer.headers["x-gateway-tier"]


def test_without_any_keys_the_gateway_is_not_ready_until_it_has_them(
    keycloak: Keycloak, redis_url: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    token = keycloak.token("paula")
    with keycloak.frozen():
        gateway = Gateway(tmp_path, configuration(keycloak, redis_url, upstream))
        gateway.wait_until_healthy()
        caller = Caller(gateway.url, token)
        assert caller.get("/health/ready").status_code == 503
        assert caller.get("/health").status_code == 200
        assert caller.ask().status_code == 529
    with gateway:
        eventually(lambda: caller.get("/health/ready").status_code == 200, "ready", timeout_s=20)
        assert caller.ask().status_code == 200
