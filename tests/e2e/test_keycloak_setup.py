"""`llm-gateway keycloak setup` and `deploy/keycloak/realm.json` against a real Keycloak."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import jwt
import pytest

from tests.servers.command import Ended, llm_gateway
from tests.servers.gateway import Gateway, clean_environment, free_port, settings
from tests.servers.keycloak import ADMIN, DEPLOYED_GATEWAY, DEPLOYED_REALM, Keycloak
from tests.servers.keycloak_realm import Realm
from tests.servers.scripted import ScriptedUpstream

pytestmark = [pytest.mark.keycloak, pytest.mark.timeout(300)]

GATEWAY = "https://gateway.example"


@pytest.fixture
def realm(keycloak: Keycloak) -> Iterator[Realm]:
    """A realm as the console makes it, with nothing of the gateway's."""
    with Realm.unmade(keycloak) as made:
        made.make()
        yield made


def setup(realm: Realm, *words: str, url: str | None = None, password: str = ADMIN["password"]) -> Ended:
    """What the command printed; never a traceback, nor the password."""
    where = ["--url", url or realm.base_url, "--realm", realm.name, "--password-file", "-"]
    ended = llm_gateway("keycloak", "setup", *where, *words, stdin=f"{password}\n", timeout_s=60)
    assert password not in ended.stdout + ended.stderr
    return ended


def made(realm: Realm, *words: str) -> list[str]:
    """The lines of what differed, which is made right."""
    ended = setup(realm, "--gateway-url", GATEWAY, "--yes", *words)
    assert ended.returncode == 0, ended.stderr
    return changes(ended)


def changes(ended: Ended) -> list[str]:
    return [line.strip() for line in ended.stdout.splitlines() if line.startswith(("  +", "  ~"))]


def environment(ended: Ended) -> dict[str, str]:
    """The settings that the command printed."""
    lines = ended.stdout.partition("the gateway's settings:\n")[2].splitlines()
    pairs = [line.partition("=") for line in lines if "=" in line]
    return {name: value for name, _, value in pairs}


def test_people_of_an_empty_realm_are_served_by_a_gateway_with_the_printed_settings(
    keycloak: Keycloak, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    with Realm.unmade(keycloak) as realm:
        ended = setup(realm, "--create-realm", "--gateway-url", GATEWAY, "--yes")
        assert ended.returncode == 0, ended.stderr
        printed = environment(ended)
        user = realm.add_user("petra")
        assert made(realm, "--tier-of", "petra=pro") == ["+ role pro for petra"]

        tokens = realm.sign_in("petra", printed["OIDC_CLIENT_SECRET"])

        config = settings(upstream.url)
        del config["subscribers"]
        with Gateway(tmp_path, config, environment=printed) as gateway:
            headers = {"authorization": f"Bearer {tokens['access_token']}"}
            quota = httpx.get(f"{gateway.url}/quota", headers=headers, trust_env=False)
            refused = httpx.get(
                f"{gateway.url}/quota",
                headers={"authorization": f"Bearer {tokens['id_token']}"},
                trust_env=False,
            )
        assert quota.status_code == 200, quota.text
        assert (quota.json()["user"], quota.json()["tier"]) == (user, "pro")
        assert refused.status_code == 401
        assert tokens["expires_in"] == 600


def test_a_token_carries_nothing_but_the_roles_of_the_gateway(realm: Realm) -> None:
    made(realm)
    realm.add_user("boss", admin_role="realm-admin")
    made(realm, "--tier-of", "boss=enterprise")

    token = realm.sign_in("boss", realm.client()["secret"])["access_token"]

    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["resource_access"]["llm-gateway"] == {"roles": ["enterprise"]}
    assert "realm_access" not in claims
    assert realm.as_bearer(token, "/clients") == 403
    assert claims["azp"] == "llm-gateway"
    assert "llm-gateway" in claims["aud"]
    assert claims["email"] == "boss@example.com"


def test_a_group_gives_its_members_and_those_of_its_subgroups_their_tier(realm: Realm) -> None:
    made(realm)
    client = realm.client()
    role = realm.admin("GET", f"/clients/{client['id']}/roles/pro")
    realm.admin("POST", "/groups", json={"name": "gold"})
    (group,) = realm.admin("GET", "/groups")
    realm.admin("POST", f"/groups/{group['id']}/role-mappings/clients/{client['id']}", json=[role])
    inner = realm.admin("POST", f"/groups/{group['id']}/children", json={"name": "inner"})
    realm.admin("PUT", f"/users/{realm.add_user('petra')}/groups/{inner['id']}")

    token = realm.sign_in("petra", client["secret"])["access_token"]

    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["resource_access"]["llm-gateway"]["roles"] == ["pro"]


def test_the_gateway_itself_may_look_at_accounts_and_at_nothing_else(realm: Realm) -> None:
    made(realm)
    user = realm.add_user("petra")

    token = realm.service_token(realm.client()["secret"])

    assert realm.as_bearer(token, f"/users/{user}") == 200
    assert realm.as_bearer(token, "/clients") == 403
    assert realm.as_bearer(token, "/authentication/flows") == 403


def test_without_the_account_check_the_gateway_may_not_look_at_accounts(realm: Realm) -> None:
    made(realm, "--without-account-check")

    assert realm.client()["serviceAccountsEnabled"] is False
    assert changes(setup(realm, "--gateway-url", GATEWAY, "--dry-run", "--without-account-check")) == []


def test_people_are_sent_back_to_the_gateway_and_nowhere_else(realm: Realm) -> None:
    made(realm)

    def status(place: str, endpoint: str, parameter: str, **more: str) -> int:
        asked = {"client_id": "llm-gateway", parameter: place, **more}
        url = f"{realm.issuer}/protocol/openid-connect/{endpoint}"
        return httpx.get(url, params=asked, trust_env=False).status_code

    code = {"response_type": "code", "scope": "openid"}
    assert status(f"{GATEWAY}/signin/callback", "auth", "redirect_uri", **code) == 200
    assert status(f"{GATEWAY}/signin/callback/x", "auth", "redirect_uri", **code) == 400
    assert status(GATEWAY, "auth", "redirect_uri", **code) == 400
    assert status(f"{GATEWAY}/", "logout", "post_logout_redirect_uri") == 302
    assert status(f"{GATEWAY}/elsewhere", "logout", "post_logout_redirect_uri") == 400


def test_the_second_run_changes_nothing_and_writes_nothing(realm: Realm) -> None:
    made(realm)
    realm.record_writes()

    ended = setup(realm, "--gateway-url", GATEWAY)

    assert ended.returncode == 0
    assert "nothing to change" in ended.stdout
    assert changes(ended) == []
    assert realm.writes() == []
    assert realm.client()["secret"] not in ended.stdout
    shown = setup(realm, "--gateway-url", GATEWAY, "--show-secret")
    assert environment(shown)["OIDC_CLIENT_SECRET"] == realm.client()["secret"]


def test_a_dry_run_shows_all_changes_and_writes_nothing(realm: Realm) -> None:
    realm.record_writes()

    ended = setup(realm, "--gateway-url", GATEWAY, "--dry-run")

    assert ended.returncode == 0
    assert changes(ended)[0] == "+ client llm-gateway"
    assert changes(ended)[1:] == [
        "+ role free of the client",
        "+ role pro of the client",
        "+ role enterprise of the client",
        "+ role view-users for the client's service account",
        "+ role view-users in the scope of the client's tokens",
    ]
    assert realm.writes() == []
    assert environment(ended) == {}


def test_what_was_broken_by_hand_is_shown_and_repaired_and_what_others_added_stays(realm: Realm) -> None:
    made(realm)
    foreign = {"name": "foreign", "protocol": "openid-connect", "protocolMapper": "oidc-sub-mapper"}
    client = realm.client()
    place = f"/clients/{client['id']}"
    (mapper,) = client["protocolMappers"]
    scopes = {scope["name"]: scope["id"] for scope in realm.admin("GET", "/client-scopes")}
    realm.change_client(
        {
            "oauth2.device.authorization.grant.enabled": "false",
            "pkce.code.challenge.method": "S256",
            "access.token.lifespan": "86400",
            "post.logout.redirect.uris": "https://other.example/bye",
            "acr.loa.map": '{"gold":"2"}',
        },
        directAccessGrantsEnabled=True,
        implicitFlowEnabled=True,
        redirectUris=["https://other.example/back"],
        secret="${UNSET_VARIABLE}",
    )
    realm.admin("DELETE", f"{place}/protocol-mappers/models/{mapper['id']}")
    realm.admin("POST", f"{place}/protocol-mappers/models", json=foreign)
    realm.admin("DELETE", f"{place}/roles/pro")
    realm.admin("POST", f"{place}/roles", json={"name": "guest"})
    realm.admin("DELETE", f"{place}/default-client-scopes/{scopes['roles']}")
    realm.admin("DELETE", f"{place}/default-client-scopes/{scopes['email']}")
    realm.admin("DELETE", f"{place}/default-client-scopes/{scopes['basic']}")
    realm.admin("PUT", f"{place}/optional-client-scopes/{scopes['basic']}")

    lines = made(realm)

    assert lines == [
        "~ client's implicit flow: on -> off",
        "~ client's direct access grants: on -> off",
        "~ client's device authorization grant: off -> on",
        "~ client's access token life in seconds: 86400 -> 600",
        "~ client's compulsory PKCE (the device grant has none): S256 -> not set",
        f"+ client's redirect URI {GATEWAY}/signin/callback",
        f"+ client's post logout redirect URI {GATEWAY}/",
        "~ client's secret: one that can be guessed (hidden) -> a new one",
        "+ role pro of the client",
        "~ scope basic: optional -> default",
        "+ scope email of the client",
        "+ mapper gateway-audience",
        "+ scope roles of the client",
    ]
    client = realm.client()
    assert client["redirectUris"] == ["https://other.example/back", f"{GATEWAY}/signin/callback"]
    assert client["attributes"]["post.logout.redirect.uris"] == f"https://other.example/bye##{GATEWAY}/"
    assert client["attributes"]["acr.loa.map"] == '{"gold":"2"}'
    assert {one["name"] for one in client["protocolMappers"]} == {"foreign", "gateway-audience"}
    roles = {one["name"] for one in realm.admin("GET", f"{place}/roles")}
    assert roles == {"free", "pro", "enterprise", "guest"}
    assert len(client["secret"]) > 30
    realm.add_user("petra")
    made(realm, "--tier-of", "petra=pro")
    claims = jwt.decode(
        realm.sign_in("petra", client["secret"])["access_token"], options={"verify_signature": False}
    )
    assert claims["resource_access"]["llm-gateway"]["roles"] == ["pro"]


def test_a_broken_mapper_is_repaired_in_its_place(realm: Realm) -> None:
    made(realm)
    client = realm.client()
    (mapper,) = client["protocolMappers"]
    mapper["config"]["access.token.claim"] = "false"
    realm.admin("PUT", f"/clients/{client['id']}/protocol-mappers/models/{mapper['id']}", json=mapper)

    assert made(realm) == ["~ mapper gateway-audience: access.token.claim: off -> on"]

    assert [one["id"] for one in realm.client()["protocolMappers"]] == [mapper["id"]]


def test_roles_come_by_a_mapper_of_the_client_where_the_realm_has_no_scope_for_them(realm: Realm) -> None:
    scopes = {scope["name"]: scope["id"] for scope in realm.admin("GET", "/client-scopes")}
    realm.admin("DELETE", f"/client-scopes/{scopes['roles']}")

    assert "+ mapper gateway-roles" in made(realm)

    realm.add_user("petra")
    made(realm, "--tier-of", "petra=free")
    token = realm.sign_in("petra", realm.client()["secret"])["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["resource_access"]["llm-gateway"]["roles"] == ["free"]


def test_a_public_client_gets_a_secret(realm: Realm) -> None:
    realm.admin("POST", "/clients", json={"clientId": "llm-gateway", "publicClient": True})

    assert "~ client's public client: on -> off" in made(realm)

    assert len(realm.client()["secret"]) > 30


def test_the_realm_to_import_needs_no_change_and_holds_no_secret(keycloak: Keycloak) -> None:
    realm = Realm(keycloak.base_url, DEPLOYED_REALM)

    ended = setup(realm, "--gateway-url", DEPLOYED_GATEWAY, "--dry-run")

    assert ended.returncode == 0, ended.stderr
    assert "nothing to change" in ended.stdout, ended.stdout
    secret = realm.client()["secret"]
    assert len(secret) > 30
    assert "$" not in secret
    realm.close()


def test_the_password_is_asked_for_and_no_means_no(realm: Realm) -> None:
    realm.record_writes()

    screen, status = talk(realm, "")
    assert "nothing was changed" in screen
    assert (status, realm.writes()) == (1, [])
    assert ADMIN["password"] not in screen

    screen, status = talk(realm, "y")
    assert "all is as it should be" in screen
    assert status == 0
    assert ("CREATE", f"clients/{realm.client()['id']}") in realm.writes()


def talk(realm: Realm, answer: str) -> tuple[str, int]:
    """What a terminal showed while the command was given the password and `answer`, and its exit status."""
    command = [sys.executable, "-m", "llm_gateway", "keycloak", "setup", "--url", realm.base_url]
    terminal, inner = os.openpty()
    with subprocess.Popen(
        [*command, "--realm", realm.name],
        env=clean_environment({}),
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
    ) as process:
        os.close(inner)
        screen = ""
        for question, words in (("password of admin", ADMIN["password"]), ("[y/N]", answer)):
            while question not in screen:
                screen += os.read(terminal, 4096).decode(errors="replace")
            os.write(terminal, f"{words}\n".encode())
        # The end of a terminal whose program has ended is an error on Linux, and empty elsewhere.
        with suppress(OSError):
            while shown := os.read(terminal, 4096):
                screen += shown.decode(errors="replace")
    os.close(terminal)
    return screen, process.returncode


def test_without_a_word_of_consent_nothing_is_changed(realm: Realm) -> None:
    realm.record_writes()

    ended = setup(realm, "--gateway-url", GATEWAY)

    assert ended.returncode == 2
    assert "--yes" in ended.stderr
    assert realm.writes() == []


def test_the_secret_goes_to_a_file_that_others_cannot_read(realm: Realm, tmp_path: Path) -> None:
    place = tmp_path / "secret"
    place.write_text("old")
    place.chmod(0o644)

    ended = setup(realm, "--gateway-url", GATEWAY, "--yes", "--secret-file", str(place))

    secret = realm.client()["secret"]
    assert place.read_text() == f"{secret}\n"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert secret not in ended.stdout
    assert environment(ended)["OIDC_CLIENT_SECRET_FILE"] == str(place)
    assert list(tmp_path.iterdir()) == [place]


def test_names_what_is_wrong_in_one_line(realm: Realm) -> None:
    realm.add_user("clerk", admin_role="view-users")
    missing = Realm(realm.base_url, "missing-realm")
    closed = f"http://127.0.0.1:{free_port()}"

    def complaint(ended: Ended) -> str:
        assert ended.returncode == 1, ended.stdout
        (line,) = ended.stderr.splitlines()
        return line

    assert "does not let admin in" in complaint(setup(realm, password="a-wrong-password"))
    assert "no realm missing-realm" in complaint(setup(missing))
    assert "cannot be reached: ConnectError" in complaint(setup(realm, url=closed))
    assert "no realm nowhere" in complaint(setup(realm, "--admin-realm", "nowhere"))
    clerk = ("--admin", "clerk", "--admin-realm", realm.name)
    assert "needs the role realm-admin" in complaint(setup(realm, *clerk, password="clerk-password"))
    assert "no user stranger" in complaint(setup(realm, "--tier-of", "stranger=pro"))
    assert "speak TLS" in complaint(setup(realm, url=realm.base_url.replace("http:", "https:")))
    missing.close()


def test_an_administrator_of_the_realm_alone_is_enough(realm: Realm) -> None:
    realm.add_user("boss", admin_role="realm-admin")

    ended = setup(realm, "--admin", "boss", "--admin-realm", realm.name, "--yes", password="boss-password")

    assert ended.returncode == 0, ended.stderr
    assert json.dumps(realm.client()["attributes"]).count("oauth2.device") == 1
