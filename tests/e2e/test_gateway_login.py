"""The gateway protocol of Claude Code over plain HTTP: two replicas in front of a real Keycloak."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.servers.approval import Person
from tests.servers.caller import Caller
from tests.servers.gateway import Gateway, settings, sign_in_settings
from tests.servers.keycloak import SECRETS, Keycloak
from tests.servers.scripted import ScriptedUpstream
from tests.servers.waiting import eventually

pytestmark = [pytest.mark.keycloak, pytest.mark.timeout(300)]

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
METADATA = "/.well-known/oauth-authorization-server"
NOTICE = "Prompts are not stored."
FORM = {"content-type": "application/x-www-form-urlencoded"}


def configuration(keycloak: Keycloak, upstream: ScriptedUpstream, **sections: Any) -> dict[str, Any]:
    return sign_in_settings(upstream.url, keycloak.auth(login_notice=NOTICE), **sections)


@pytest.fixture(scope="module")
def replicas(
    keycloak: Keycloak, shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Gateway]]:
    config = configuration(keycloak, shared_upstream)
    folder = tmp_path_factory.mktemp("login")
    # A store of its own each: nothing of a sign-in is kept there.
    with Gateway(folder / "one", config) as one, Gateway(folder / "other", config) as other:
        yield one, other


@pytest.fixture
def gateway(replicas: tuple[Gateway, Gateway]) -> Gateway:
    return replicas[0]


def post(gateway: Gateway, path: str, **fields: str) -> httpx.Response:
    return httpx.post(f"{gateway.url}{path}", data=fields, timeout=30, trust_env=False)


def begin(gateway: Gateway) -> dict[str, Any]:
    answer = post(gateway, "/oauth/device_authorization", surface="claude_code", anything="else")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


def redeem(gateway: Gateway, code: str) -> httpx.Response:
    return post(gateway, "/oauth/token", grant_type=DEVICE_GRANT, device_code=code)


def renew(gateway: Gateway, refresh_token: str) -> httpx.Response:
    return post(gateway, "/oauth/token", grant_type="refresh_token", refresh_token=refresh_token)


def signed_in(gateway: Gateway, user: str) -> dict[str, Any]:
    begun = begin(gateway)
    with Person(user) as person:
        person.approve(begun["verification_uri_complete"])
    answer = redeem(gateway, begun["device_code"])
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and word of a refusal in OAuth's shape."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    members = answer.json()
    assert set(members) == {"error", "error_description"}
    assert members["error_description"]
    return answer.status_code, members["error"]


def test_a_sign_in_begun_on_one_replica_is_finished_on_the_other_and_renewed_on_either(
    keycloak: Keycloak, replicas: tuple[Gateway, Gateway]
) -> None:
    one, other = replicas
    begun = begin(one)
    assert begun["login_notice"] == NOTICE
    assert begun["verification_uri_complete"].startswith(keycloak.issuer), "the page is Keycloak's own"
    assert refused(redeem(other, begun["device_code"])) == (400, "authorization_pending")
    with keycloak.person("pro") as user, Person(user) as person:
        person.approve(begun["verification_uri_complete"])
        time.sleep(begun["interval"])
        answer = redeem(other, begun["device_code"])
        tokens = answer.json()
        assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token", "email"}
        assert (tokens["token_type"], tokens["email"]) == ("Bearer", f"{user}@example.com")
        assert refused(redeem(one, begun["device_code"]))[0] == 400, "a code is good once"
        for replica in replicas:
            renewed = renew(replica, tokens["refresh_token"])
            assert renewed.status_code == 200
            assert renewed.json()["access_token"] != tokens["access_token"]
            caller = Caller(replica.url, renewed.json()["access_token"], "authorization")
            assert caller.quota()["tier"] == "pro"
        secrets = [
            SECRETS["llm-gateway"],
            begun["device_code"],
            tokens["access_token"],
            tokens["refresh_token"],
        ]
        for replica in replicas:
            assert not [secret for secret in secrets if secret in replica.log()]


def test_who_asks_too_often_is_told_to_slow_down(gateway: Gateway) -> None:
    code = begin(gateway)["device_code"]
    said = {refused(redeem(gateway, code)) for _ in range(3)}
    assert said == {(400, "authorization_pending"), (400, "slow_down")}


def test_a_denied_and_an_unknown_code_are_told_apart(keycloak: Keycloak, gateway: Gateway) -> None:
    begun = begin(gateway)
    with keycloak.person() as user, Person(user) as person:
        person.deny(begun["verification_uri_complete"])
    assert refused(redeem(gateway, begun["device_code"])) == (400, "access_denied")
    assert refused(redeem(gateway, "no-such-code")) in ((400, "invalid_grant"), (400, "expired_token"))


def test_a_code_that_nobody_used_in_time_has_expired(keycloak: Keycloak, gateway: Gateway) -> None:
    with keycloak.client_attributes("llm-gateway", {"oauth2.device.code.lifespan": "1"}):
        begun = begin(gateway)
        assert begun["expires_in"] == 1
        time.sleep(2.1)
        assert refused(redeem(gateway, begun["device_code"])) == (400, "expired_token")


def test_a_disabled_person_gets_no_new_token_and_is_told_to_sign_in(
    keycloak: Keycloak, gateway: Gateway
) -> None:
    with keycloak.person() as user:
        tokens = signed_in(gateway, user)
        keycloak.set_user_enabled(user, False)
        assert refused(renew(gateway, tokens["refresh_token"])) == (401, "invalid_grant")
        keycloak.set_user_enabled(user, True)


def test_without_a_subscription_nobody_signs_in_and_no_session_stays_open(
    keycloak: Keycloak, gateway: Gateway
) -> None:
    begun = begin(gateway)
    with keycloak.person(None) as user, Person(user) as person:
        person.approve(begun["verification_uri_complete"])
        answer = redeem(gateway, begun["device_code"])
        assert refused(answer) == (400, "invalid_grant")
        assert "no subscription" in answer.json()["error_description"]
        user_id = keycloak.user_id(user)
        sessions = keycloak.admin("GET", f"/users/{user_id}/sessions").json()
        assert not [one for one in sessions if "llm-gateway" in one.get("clients", {}).values()]


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_what_is_revoked_is_gone(keycloak: Keycloak, gateway: Gateway, which: str) -> None:
    with keycloak.person() as user:
        tokens = signed_in(gateway, user)
        caller = Caller(gateway.url, tokens["access_token"], "authorization")
        assert caller.get("/quota").status_code == 200
        assert post(gateway, "/oauth/revoke", token=tokens[which]).json() == {}
        if which == "access_token":
            assert caller.get("/quota").status_code == 401
        else:
            assert refused(renew(gateway, tokens["refresh_token"])) == (401, "invalid_grant")
        assert post(gateway, "/oauth/revoke", token=tokens[which]).status_code == 200, "as RFC 7009 wants it"


@pytest.mark.parametrize("token", ["x", "ö", "a" * 60_000, "ogw_0123456789", "a.b.c", "\x00"])
def test_revoking_what_is_no_token_is_fine(gateway: Gateway, token: str) -> None:
    assert post(gateway, "/oauth/revoke", token=token).status_code == 200


def test_the_metadata_names_the_address_that_was_asked(gateway: Gateway) -> None:
    for host in (f"localhost:{gateway.port}", f"127.0.0.1:{gateway.port}"):
        found = httpx.get(f"http://{host}{METADATA}", trust_env=False).json()
        base = f"http://{host}"
        assert found["issuer"] == base
        assert found["device_authorization_endpoint"] == f"{base}/oauth/device_authorization"
        assert found["token_endpoint"] == f"{base}/oauth/token"
        assert found["revocation_endpoint"] == f"{base}/oauth/revoke"
        assert found["grant_types_supported"] == [DEVICE_GRANT, "refresh_token"]


def test_forwarded_addresses_count_from_trusted_proxies_only(
    keycloak: Keycloak, replicas: tuple[Gateway, Gateway], shared_upstream: ScriptedUpstream, tmp_path: Any
) -> None:
    forwarded = {"x-forwarded-host": "llm.example", "x-forwarded-proto": "https"}

    def issuer(at: Gateway) -> str:
        return str(httpx.get(f"{at.url}{METADATA}", headers=forwarded, trust_env=False).json()["issuer"])

    assert urlsplit(issuer(replicas[0])).hostname == "127.0.0.1"
    behind = configuration(keycloak, shared_upstream, server={"trusted_proxies": ["127.0.0.1/32"]})
    with Gateway(tmp_path / "behind", behind) as gateway:
        assert issuer(gateway) == "https://llm.example"
    public = configuration(keycloak, shared_upstream, server={"public_url": "https://gateway.example"})
    with Gateway(tmp_path / "public", public) as gateway:
        assert issuer(gateway) == "https://gateway.example"


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "told"),
    [
        ("POST", "/oauth/token", b"", FORM, (400, "invalid_request")),
        ("POST", "/oauth/token", b"grant_type=password", FORM, (400, "unsupported_grant_type")),
        ("POST", "/oauth/token", b"grant_type=refresh_token", FORM, (400, "invalid_request")),
        ("POST", "/oauth/token", b"grant_type=a&grant_type=b", FORM, (400, "invalid_request")),
        ("POST", "/oauth/token", b"grant_type=%ff", FORM, (400, "invalid_request")),
        ("POST", "/oauth/token", b"&".join([b"a=b"] * 100), FORM, (400, "invalid_request")),
        ("POST", "/oauth/token", b"{}", {"content-type": "application/json"}, (400, "invalid_request")),
        ("POST", "/oauth/token", b"x=" + b"y" * 100_000, FORM, (413, "invalid_request")),
        ("POST", "/oauth/revoke", b"token=", FORM, (400, "invalid_request")),
        ("POST", "/oauth/device_authorization", b"\xff", {}, (400, "invalid_request")),
        ("GET", "/oauth/token", b"", {}, (405, "invalid_request")),
        ("POST", METADATA, b"x" * 1000, FORM, (405, "invalid_request")),
        ("POST", "/oauth/authorize", b"x=y", FORM, (404, "not_found")),
    ],
)
def test_bad_requests_are_told_in_oauths_shape(
    gateway: Gateway,
    method: str,
    path: str,
    content: bytes,
    headers: dict[str, str],
    told: tuple[int, str],
) -> None:
    url = f"{gateway.url}{path}"
    assert refused(httpx.request(method, url, content=content, headers=headers, trust_env=False)) == told


def test_a_gateway_without_sign_in_says_so(shared_upstream: ScriptedUpstream, tmp_path: Any) -> None:
    with Gateway(tmp_path, settings(shared_upstream.url)) as gateway:
        assert refused(httpx.get(f"{gateway.url}{METADATA}", trust_env=False)) == (404, "not_found")
        assert refused(post(gateway, "/oauth/device_authorization")) == (404, "not_found")


def test_a_keycloak_that_hangs_is_told_of_before_the_client_gives_up(
    keycloak: Keycloak, gateway: Gateway
) -> None:
    with keycloak.frozen(), ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        asked = [
            pool.submit(post, gateway, "/oauth/device_authorization", surface="claude_code"),
            pool.submit(renew, gateway, "some-token"),
        ]
        for one in asked:
            assert refused(one.result()) == (503, "temporarily_unavailable")
            assert one.result().headers["retry-after"]
        assert time.monotonic() - began < 10, "Claude Code waits ten seconds"
    eventually(lambda: post(gateway, "/oauth/device_authorization", a="b").status_code == 200, "back", 20)
