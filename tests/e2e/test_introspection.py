"""Losing the account closes the door: revoked tokens and disabled people, with a real Keycloak."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.servers.caller import Caller
from tests.servers.gateway import Gateway, sign_in_settings
from tests.servers.keycloak import Keycloak
from tests.servers.scripted import ScriptedUpstream
from tests.servers.waiting import eventually

pytestmark = [pytest.mark.keycloak, pytest.mark.requires("redis-server"), pytest.mark.timeout(300)]

EVERY_S = 1


@pytest.fixture(scope="module")
def replicas(
    keycloak: Keycloak,
    redis_url: str,
    shared_upstream: ScriptedUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Gateway, Gateway]]:
    auth = keycloak.auth(introspect=True, introspect_s=EVERY_S)
    config = sign_in_settings(shared_upstream.url, auth, quota={"redis_url": redis_url})
    folder = tmp_path_factory.mktemp("introspection")
    with Gateway(folder / "one", config) as one, Gateway(folder / "other", config) as other:
        yield one, other


def is_refused(gateway: Gateway, token: str) -> bool:
    answer = Caller(gateway.url, token, "authorization").get("/quota")
    if answer.status_code == 200:
        return False
    unknown = Caller(gateway.url, "nobodys-token", "authorization").get("/quota")
    assert told(answer) == told(unknown), "who was closed out is told what a stranger is told"
    return True


def told(answer: httpx.Response) -> tuple[int, str | None, str]:
    text = answer.text.replace(answer.headers["request-id"], "")
    return answer.status_code, answer.headers.get("x-should-retry"), text


def revoke(gateway: Gateway, token: str) -> int:
    answer = httpx.post(f"{gateway.url}/oauth/revoke", data={"token": token}, trust_env=False)
    return answer.status_code


def test_a_disabled_person_is_refused_while_their_token_is_in_use(
    keycloak: Keycloak, replicas: tuple[Gateway, Gateway]
) -> None:
    with keycloak.person("pro") as user:
        token = keycloak.token(user)
        assert not any(is_refused(replica, token) for replica in replicas)
        keycloak.set_user_enabled(user, False)
        began = time.monotonic()
        for replica in replicas:
            eventually(lambda at=replica: is_refused(at, token), "refused", timeout_s=20)  # type: ignore[misc]
        # Twice the time between two questions, and what a busy machine adds.
        assert time.monotonic() - began < 2 * EVERY_S + 10


def test_a_disabled_persons_token_is_refused_at_first_sight(
    keycloak: Keycloak, replicas: tuple[Gateway, Gateway]
) -> None:
    with keycloak.person("pro") as user:
        token = keycloak.token(user)
        keycloak.set_user_enabled(user, False)
        assert is_refused(replicas[0], token)


def test_a_token_revoked_on_one_replica_is_refused_on_the_other_within_a_second(
    keycloak: Keycloak, replicas: tuple[Gateway, Gateway]
) -> None:
    one, other = replicas
    with keycloak.person("pro") as user:
        token = keycloak.token(user)
        assert not any(is_refused(replica, token) for replica in replicas)
        assert revoke(one, token) == 200
        began = time.monotonic()
        assert is_refused(one, token)
        eventually(lambda: is_refused(other, token), "refused there too", timeout_s=5)
        assert time.monotonic() - began < 1.5
        assert not is_refused(other, keycloak.token(user)), "who signs in again is let in"


def test_strangers_revoke_nothing(keycloak: Keycloak, replicas: tuple[Gateway, Gateway]) -> None:
    one, other = replicas
    with keycloak.person("pro") as user:
        token = keycloak.token(user)
        head, payload, signature = token.split(".")
        for forged in ("x", "a.b.c", f"{head}.{payload}.{signature[:-8]}AAAAAAAA", "x" * 20_000):
            assert revoke(one, forged) == 200
        time.sleep(1)
        assert not any(is_refused(replica, token) for replica in (one, other))


def test_tokens_go_on_while_keycloak_hangs(keycloak: Keycloak, replicas: tuple[Gateway, Gateway]) -> None:
    gateway, _ = replicas
    with keycloak.person("pro") as user:
        token = keycloak.token(user)
        assert not is_refused(gateway, token)
        with keycloak.frozen():
            time.sleep(2 * EVERY_S)
            for _ in range(5):
                assert not is_refused(gateway, token)
        assert not is_refused(gateway, token)
