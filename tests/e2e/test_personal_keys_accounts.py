"""Personal keys of people with a Keycloak account: made with their token, ended with their account."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.auth.refusal import MESSAGE
from tests.servers.caller import Caller
from tests.servers.gateway import Gateway, sign_in_settings
from tests.servers.key_owner import Owner, operator
from tests.servers.keycloak import SECRETS, Keycloak
from tests.servers.scripted import ScriptedUpstream
from tests.servers.waiting import eventually

# The first start of Keycloak on a machine downloads it.
pytestmark = [pytest.mark.keycloak, pytest.mark.requires("redis-server"), pytest.mark.timeout(300)]

EVERY_S = 1


def configuration(folder: Path, issuer: str, upstream: ScriptedUpstream, **auth: Any) -> dict[str, Any]:
    known = {"provider": "keycloak", "issuer": issuer, "client_secret": SECRETS["llm-gateway"]}
    checked = known | {"introspect": True, "introspect_s": EVERY_S} | auth
    return sign_in_settings(upstream.url, checked, data_dir=str(folder / "data"))


@pytest.fixture(scope="module")
def config(
    keycloak: Keycloak, shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    return configuration(tmp_path_factory.mktemp("store"), keycloak.issuer, shared_upstream)


@pytest.fixture(scope="module")
def gateway(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("accounts"), config) as running:
        yield running


def is_refused(gateway: Gateway, key: str) -> bool:
    answer = Caller(gateway.url, key).get("/quota")
    if answer.status_code == 200:
        return False
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, MESSAGE)
    return True


def test_a_key_made_with_a_token_is_served_and_counted_as_its_owner(
    keycloak: Keycloak, gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    with keycloak.person("pro") as user:
        token = keycloak.token(user)
        caller = Caller(gateway.url, Owner(gateway, token).create()["key"], "authorization")

        answer = caller.ask(model="claude-3-opus")

        assert (answer.status_code, answer.headers["x-gateway-model"]) == (200, "claude-3-haiku")
        eventually(lambda: caller.used() == 1, "counted")
        assert (caller.quota()["user"], caller.quota()["tier"]) == (keycloak.user_id(user), "pro")
        assert caller.quota() == Caller(gateway.url, token).quota()


def test_keys_follow_their_owner_to_another_tier_when_the_owner_is_seen(
    keycloak: Keycloak, gateway: Gateway
) -> None:
    with keycloak.person("free") as user:
        caller = Caller(gateway.url, Owner(gateway, keycloak.token(user)).create()["key"])
        assert caller.quota()["tier"] == "free"
        keycloak.give_role(keycloak.user_id(user), "pro")
        Owner(gateway, keycloak.token(user)).list()
        assert caller.quota()["tier"] == "pro"


def test_a_key_in_use_ends_with_its_owners_account(keycloak: Keycloak, gateway: Gateway) -> None:
    with keycloak.person("pro") as user:
        key = Owner(gateway, keycloak.token(user)).create()["key"]
        assert not is_refused(gateway, key)
        keycloak.set_user_enabled(user, False)
        begun = time.monotonic()
        eventually(lambda: is_refused(gateway, key), "refused", timeout_s=20)
        # Twice the time between two questions, and what a busy machine adds.
        assert time.monotonic() - begun < 2 * EVERY_S + 10
        keycloak.set_user_enabled(user, True)
        eventually(lambda: not is_refused(gateway, key), "let in again", timeout_s=20)


def test_a_key_of_a_disabled_person_is_refused_at_first_sight(keycloak: Keycloak, gateway: Gateway) -> None:
    with keycloak.person("pro") as user:
        key = Owner(gateway, keycloak.token(user)).create()["key"]
        keycloak.set_user_enabled(user, False)
        assert is_refused(gateway, key)


def test_a_key_in_use_ends_when_its_owner_is_deleted(
    keycloak: Keycloak, gateway: Gateway, config: dict[str, Any], tmp_path: Path
) -> None:
    made = keycloak.admin("POST", "/users", json={"username": "leaver", "enabled": True})
    user_id = made.headers["location"].rpartition("/")[2]
    key = made_by_operator(tmp_path, config, user_id)
    assert not is_refused(gateway, key)
    keycloak.admin("DELETE", f"/users/{user_id}")
    eventually(lambda: is_refused(gateway, key), "refused", timeout_s=20)


def test_keys_go_on_while_keycloak_does_not_answer(keycloak: Keycloak, gateway: Gateway) -> None:
    with keycloak.person("pro") as user:
        key = Owner(gateway, keycloak.token(user)).create()["key"]
        assert not is_refused(gateway, key)
        with keycloak.frozen():
            until = time.monotonic() + 4 * EVERY_S
            while time.monotonic() < until:
                assert not is_refused(gateway, key)


@pytest.fixture
def powerless(keycloak: Keycloak) -> Iterator[str]:
    """A client whose service account may not look at users."""
    client = {"clientId": "powerless", "secret": "powerless-secret", "serviceAccountsEnabled": True}
    made = keycloak.admin("POST", "/clients", json={**client, "publicClient": False, "enabled": True})
    yield "powerless"
    keycloak.admin("DELETE", f"/clients/{made.headers['location'].rpartition('/')[2]}")


def test_without_the_role_to_look_at_users_keys_go_on_and_the_log_names_it(
    keycloak: Keycloak, powerless: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    client = {"client_id": powerless, "client_secret": "powerless-secret"}
    config = configuration(tmp_path, keycloak.issuer, upstream, **client)
    with Gateway(tmp_path, config) as gateway, keycloak.person("pro") as user:
        key = made_by_operator(tmp_path, config, keycloak.user_id(user))
        until = time.monotonic() + 4 * EVERY_S
        while time.monotonic() < until:
            assert not is_refused(gateway, key)
        assert gateway.log().count("view-users") == 1


def made_by_operator(folder: Path, config: dict[str, Any], user: str) -> str:
    """A key of the tier pro, made beside the running gateway."""
    return operator(folder, config, "create", user, "--tier", "pro", "--name", "laptop").strip()
