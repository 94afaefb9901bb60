"""Signing in at a provider that is not Keycloak: nothing of it is Keycloak's by accident."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_gateway.auth.refusal import MESSAGE
from tests.servers.caller import Caller
from tests.servers.gateway import Gateway, sign_in_settings
from tests.servers.keycloak import Keycloak, UnavailableError
from tests.servers.scripted import ScriptedUpstream
from tests.servers.second_provider import CLIENT, SECRET, SecondProvider, approve
from tests.servers.waiting import eventually

# The first start on a machine downloads it.
pytestmark = pytest.mark.timeout(300)

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture(scope="module")
def provider() -> Iterator[SecondProvider]:
    try:
        with SecondProvider.start() as running:
            yield running
    except UnavailableError as cause:
        pytest.skip(str(cause))


def configuration(provider: SecondProvider, upstream_url: str, **auth: Any) -> dict[str, Any]:
    known = {"provider": "oidc", "issuer": provider.issuer, "client_id": CLIENT, "client_secret": SECRET}
    return sign_in_settings(upstream_url, known | {"claims": ["plan"]} | auth)


@pytest.fixture(scope="module")
def gateway(
    provider: SecondProvider, shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    config = configuration(provider, shared_upstream.url, introspect=True, introspect_s=1)
    with Gateway(tmp_path_factory.mktemp("other"), config) as running:
        yield running


def post(gateway: Gateway, path: str, **fields: str) -> httpx.Response:
    return httpx.post(f"{gateway.url}{path}", data=fields, timeout=30, trust_env=False)


def signed_in(gateway: Gateway, user: str) -> dict[str, Any]:
    """What the gateway's own device flow gives."""
    begun = post(gateway, "/oauth/device_authorization", surface="claude_code").json()
    assert begun["interval"] == 5, "what the RFC says where the provider says nothing"
    pending = post(gateway, "/oauth/token", grant_type=DEVICE_GRANT, device_code=begun["device_code"])
    assert (pending.status_code, pending.json()["error"]) == (400, "authorization_pending")
    approve(begun["verification_uri_complete"], user)
    answer = post(gateway, "/oauth/token", grant_type=DEVICE_GRANT, device_code=begun["device_code"])
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("user", ["free", "pro", "enterprise"])
def test_a_claim_gives_the_tier_and_the_quota_is_counted(
    provider: SecondProvider, gateway: Gateway, upstream: ScriptedUpstream, user: str
) -> None:
    token = provider.token(user)
    caller = Caller(gateway.url, token, "authorization")
    assert (caller.quota()["user"], caller.quota()["tier"]) == (user, user)
    before = caller.used()
    assert caller.ask().status_code == 200
    eventually(lambda: caller.used() == before + 1, "counted")
    assert token not in str(upstream.requests[-1].headers)


def test_who_has_no_plan_has_no_subscription(provider: SecondProvider, gateway: Gateway) -> None:
    answer = Caller(gateway.url, provider.token("somebody")).ask()
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")
    begun = post(gateway, "/oauth/device_authorization", surface="claude_code").json()
    approve(begun["verification_uri_complete"], "somebody")
    refused = post(gateway, "/oauth/token", grant_type=DEVICE_GRANT, device_code=begun["device_code"])
    assert refused.status_code == 400
    assert "no subscription" in refused.json()["error_description"]


@pytest.mark.parametrize("kind", ["id_token", "refresh_token"])
def test_other_tokens_are_no_access_tokens(provider: SecondProvider, gateway: Gateway, kind: str) -> None:
    answer = Caller(gateway.url, provider.grant("pro")[kind]).ask()
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, MESSAGE)


def test_tokens_of_keycloak_are_strangers_here(keycloak: Keycloak, gateway: Gateway) -> None:
    assert Caller(gateway.url, keycloak.token("erin")).ask().status_code == 401


def test_tokens_for_another_audience_are_refused(
    provider: SecondProvider, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    config = configuration(provider, upstream.url, audience="another")
    with Gateway(tmp_path, config) as strict:
        assert Caller(strict.url, provider.token("pro")).ask().status_code == 401


def test_a_sign_in_through_the_gateway_is_renewed_and_ends(gateway: Gateway) -> None:
    first = signed_in(gateway, "pro")
    assert first["email"] == "pro@example.net"
    assert "id_token" not in first
    renewed = post(gateway, "/oauth/token", grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert renewed.status_code == 200
    second = renewed.json()
    assert second["refresh_token"] != first["refresh_token"], "this provider uses them up"
    caller = Caller(gateway.url, second["access_token"], "authorization")
    assert caller.get("/quota").status_code == 200
    for token in (second["access_token"], second["refresh_token"]):
        assert post(gateway, "/oauth/revoke", token=token).status_code == 200
    assert caller.get("/quota").status_code == 401
    over = post(gateway, "/oauth/token", grant_type="refresh_token", refresh_token=second["refresh_token"])
    assert (over.status_code, over.json()["error"]) == (401, "invalid_grant")


def test_a_new_key_is_accepted_after_one_fetch_and_the_old_one_ends_with_its_age(
    provider: SecondProvider, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    config = configuration(provider, upstream.url, jwks_max_age_s=2, jwks_cooldown_s=0.5)
    with Gateway(tmp_path, config) as gateway:
        before = Caller(gateway.url, provider.token("pro"))
        assert before.get("/quota").status_code == 200
        provider.restart_with_another_key()
        after = Caller(gateway.url, provider.token("pro"))
        eventually(lambda: after.get("/quota").status_code == 200, "the new key is known", timeout_s=10)
        eventually(lambda: before.get("/quota").status_code == 401, "the old one is not", timeout_s=10)
