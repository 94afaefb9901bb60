"""Personal keys through running gateways, in a real Redis and in SQLite."""

import asyncio
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from llm_gateway.auth.personal_key_shelves import KeyShelves, Row
from llm_gateway.auth.personal_key_text import new
from llm_gateway.auth.refusal import MESSAGE
from llm_gateway.cli.core import opened
from llm_gateway.config.load import load
from tests.servers.caller import APIS, Api, Caller, Header
from tests.servers.gateway import FREE, PRO, Gateway, redis_server, settings
from tests.servers.key_owner import Owner, operator
from tests.servers.scripted import ScriptedUpstream
from tests.servers.waiting import eventually

pytestmark = pytest.mark.requires("redis-server")

PEPPER, OLD_PEPPER = "pepper-of-the-tests-with-32-letters", "an-older-pepper-of-32-letters-or-so"
MAX_PER_USER = 5
KEYS = {"pepper": PEPPER, "max_per_user": MAX_PER_USER}


@pytest.fixture(scope="module")
def replicas(
    redis_url: str, shared_upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Gateway]]:
    config = settings(shared_upstream.url, quota={"redis_url": redis_url}, keys=KEYS)
    folder = tmp_path_factory.mktemp("keys")
    with Gateway(folder / "one", config) as one, Gateway(folder / "other", config) as other:
        yield one, other


@pytest.fixture
def gateway(replicas: tuple[Gateway, Gateway], store: redis.Redis) -> Gateway:
    """One of the replicas, with an empty store."""
    return replicas[0]


def is_refused(gateway: Gateway, key: str) -> bool:
    answer = Caller(gateway.url, key).get("/v1/models")
    if answer.status_code == 200:
        return False
    assert answer.status_code == 401, answer.text
    assert answer.json()["error"]["message"] == MESSAGE
    return True


@contextmanager
def commands(store: redis.Redis) -> Iterator[list[str]]:
    """What the store is asked about personal keys, complete when the context ends."""
    store.config_set("slowlog-max-len", 100_000)
    store.config_set("slowlog-log-slower-than", 0)
    store.slowlog_reset()
    asked: list[str] = []
    try:
        yield asked
    finally:
        store.config_set("slowlog-log-slower-than", -1)
        entries = [entry["command"].decode(errors="replace") for entry in store.slowlog_get(100_000)]
        calls = [entry for entry in entries if entry.startswith("EVALSHA")]
        asked += [entry for entry in calls if re.search(r"records:\{keys?(-used)?%3A", entry)]


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
@pytest.mark.parametrize("api", APIS)
def test_a_key_is_served_and_counted_as_its_owner(
    gateway: Gateway, upstream: ScriptedUpstream, api: Api, header: Header
) -> None:
    key = Owner(gateway, PRO).create()["key"]
    caller, owner = Caller(gateway.url, key, header), Caller(gateway.url, PRO)
    before = owner.used()

    answer = caller.ask(api, model="claude-3-opus")

    assert answer.status_code == 200, answer.text
    assert (answer.headers["x-gateway-tier"], answer.headers["x-gateway-model"]) == ("pro", "claude-3-haiku")
    (request,) = upstream.requests
    assert key not in str(request.headers)
    eventually(lambda: owner.used() == before + 1, "counted for the owner")
    assert caller.quota() == owner.quota()
    assert caller.get("/v1/models").json() == owner.get("/v1/models").json()


def test_a_new_key_is_told_once_and_listed_with_its_last_use(gateway: Gateway) -> None:
    owner = Owner(gateway, PRO)
    answer = owner.ask("laptop", days=30)
    made = answer.json()
    key = made.pop("key")

    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert re.fullmatch(r"ogw_[0-9A-Za-z]{49}", key)
    assert owner.list() == [{**made, "last_used_at": None}]
    assert (made["name"], made["created_at"][-1], made["expires_at"][-1]) == ("laptop", "Z", "Z")
    assert not is_refused(gateway, key)
    eventually(lambda: owner.list()[0]["last_used_at"] is not None, "the use is noted")
    assert owner.list()[0]["last_used_at"] >= made["created_at"]


def test_a_key_revoked_on_one_replica_is_refused_on_the_other_within_a_second(
    replicas: tuple[Gateway, Gateway], store: redis.Redis
) -> None:
    one, other = replicas
    owner = Owner(one, PRO)
    for _ in range(5):
        made = owner.create()
        assert not any(is_refused(replica, made["key"]) for replica in replicas)

        assert owner.revoke(made["id"]) == 204

        begun = time.monotonic()
        assert is_refused(one, made["key"])
        eventually(lambda key=made["key"]: is_refused(other, key), "refused there too")  # type: ignore[misc]
        assert time.monotonic() - begun < 1
        assert owner.revoke(made["id"]) == 404
    assert owner.list() == []


def test_nobody_sees_or_revokes_the_keys_of_others(gateway: Gateway) -> None:
    made = Owner(gateway, PRO).create()
    stranger = Owner(gateway, FREE)

    assert stranger.list() == []
    assert stranger.revoke(made["id"]) == 404
    assert not is_refused(gateway, made["key"])


@pytest.mark.parametrize("key_id", ["0" * 16, "x", "%2e%2e", "0" * 600, "0000000000000000%00"])
def test_an_id_that_nobody_has_is_not_found(gateway: Gateway, key_id: str) -> None:
    assert Owner(gateway, PRO).revoke(key_id) == 404


def test_a_key_cannot_manage_keys(gateway: Gateway) -> None:
    made = Owner(gateway, PRO).create()
    itself = Owner(gateway, made["key"])

    answer = itself.ask("another")

    assert (answer.status_code, answer.json()["error"]["message"]) == (
        403,
        "a personal key cannot manage keys; sign in",
    )
    assert itself.revoke(made["id"]) == 403
    assert not is_refused(gateway, made["key"])


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "send JSON like"),
        (b"{", "send JSON like"),
        (b"[]", "expected `object`, got `array`"),
        (b"{}", "missing required field `name`"),
        (b'{"name": 1}', "expected `str`, got `int` - at `$.name`"),
        (b'{"name": "x", "days": "7"}', "expected `int | null`, got `str` - at `$.days`"),
        (b'{"name": "x", "days": true}', "got `bool` - at `$.days`"),
        (b'{"name": "x", "days": 0}', "a key lives 1 to 365 days here"),
        (b'{"name": "x", "days": 366}', "a key lives 1 to 365 days here"),
        (b'{"name": "x", "days": 99999999999999999999999999}', "a key lives 1 to 365 days here"),
        (b'{"name": "x", "days": 1e400}', "send JSON like"),
        (b'{"name": ""}', "1 to 100 printable characters"),
        (b'{"name": "a\\u0000b"}', "1 to 100 printable characters"),
        (b'{"name": "x", "tier": "enterprise"}', "unknown field `tier`"),
        (b'{"name": "\xff"}', "send JSON like"),
        (b'{"name": "\\ud800"}', "send JSON like"),
        (b"[" * 60_000, "send JSON like"),
    ],
)
@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_what_makes_no_key_is_refused_with_what_to_change(
    gateway: Gateway, body: bytes, complaint: str, dialect: str
) -> None:
    owner = Owner(gateway, PRO)
    headers = {"anthropic_version": "2023-06-01"} if dialect == "anthropic" else {}

    answer = owner.post(body, **headers)

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert complaint in answer.json()["error"]["message"]
    assert ("type" in answer.json()) == (dialect == "anthropic")
    assert owner.list() == []


def test_twenty_at_once_give_no_more_keys_than_there_may_be(
    replicas: tuple[Gateway, Gateway], store: redis.Redis
) -> None:
    owners = [Owner(replica, PRO) for replica in replicas]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda turn: owners[turn % 2].ask(f"{turn}"), range(20)))

    assert sorted(answer.status_code for answer in answers) == [201] * MAX_PER_USER + [400] * 15
    assert len(owners[0].list()) == MAX_PER_USER


def test_a_key_in_use_and_one_that_is_mistyped_cost_the_store_nothing(
    gateway: Gateway, store: redis.Redis
) -> None:
    key = Owner(gateway, PRO).create()["key"]
    assert not is_refused(gateway, key)
    mistyped = key[:-1] + ("0" if key[-1] != "0" else "1")
    eventually(lambda: bool(store.exists("records:{keys-used%3Apaula}")), "the use is noted")

    with commands(store) as asked:
        for _ in range(50):
            assert not is_refused(gateway, key)
            assert is_refused(gateway, mistyped)
    assert asked == []

    with commands(store) as asked:
        assert is_refused(gateway, new())
    assert len(asked) == 1


def test_unknown_expired_and_revoked_keys_are_refused_in_the_same_bytes(
    replicas: tuple[Gateway, Gateway], store: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    owner = Owner(replicas[0], PRO)
    revoked = owner.create()
    owner.revoke(revoked["id"])
    expiring = key_that_lives(1, redis_url, tmp_path)
    assert not is_refused(replicas[0], expiring)
    eventually(lambda: is_refused(replicas[0], expiring), "expired")
    for replica in replicas:
        answers = []
        for key in (new(), revoked["key"], expiring):
            answer = Caller(replica.url, key).get("/v1/models", anthropic_version="2023-06-01")
            assert answer.status_code == 401
            request_id = answer.headers["request-id"]
            answers.append(answer.content.replace(request_id.encode(), b""))
        assert answers[0] == answers[1] == answers[2]


def key_that_lives(seconds: int, redis_url: str, folder: Path) -> str:
    """A key of paula's that an operator could not make: the shortest is a day's."""
    environ = {
        "LLM_GATEWAY_DATA_DIR": str(folder),
        "QUOTA_REDIS_URL": redis_url,
        "AUTH_PROVIDER": "oidc",
        "KEYCLOAK_URL": "https://a.example",
    }

    async def made() -> str:
        key, now = new(), int(time.time()) + 1
        async with opened(load(environ)) as core:
            shelves = KeyShelves(core, [PEPPER.encode()])
            row = Row(
                id="0" * 16,
                user="paula",
                tier="pro",
                name="short",
                created_at=now,
                expires_at=now + seconds,
                hmac=shelves.hmac(key),
            )
            assert await shelves.add(row, MAX_PER_USER)
        return key

    return asyncio.run(made())


def test_no_key_is_in_the_store_or_in_a_log(replicas: tuple[Gateway, Gateway], store: redis.Redis) -> None:
    made = Owner(replicas[0], PRO).create()
    for replica in replicas:
        assert Caller(replica.url, made["key"]).ask().status_code == 200
    eventually(lambda: bool(store.exists("records:{keys-used%3Apaula}")), "the use is noted")
    Owner(replicas[0], PRO).revoke(made["id"])

    stored = "".join(f"{name} {content(store, name)}\n" for name in store.scan_iter())
    logged = "".join(replica.log() for replica in replicas)

    assert "paula" in stored
    for text in (stored, logged):
        assert made["key"] not in text
        assert made["key"][4:47] not in text
        assert PEPPER not in text


def content(store: redis.Redis, name: str) -> Any:
    match store.type(name):
        case "hash":
            return store.hgetall(name)
        case "zset":
            return store.zrange(name, 0, -1)
        case "list":
            return store.lrange(name, 0, -1)
        case _:
            return store.get(name)


def test_the_pepper_can_be_changed_between_two_starts(
    redis_url: str, store: redis.Redis, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    def at(pepper: str) -> Gateway:
        config = settings(upstream.url, quota={"redis_url": redis_url}, keys={"pepper": pepper})
        return Gateway(tmp_path, config)

    with at(OLD_PEPPER) as gateway:
        key = Owner(gateway, PRO).create()["key"]
        unused = Owner(gateway, PRO).create()["key"]
    with at(f"{PEPPER}, {OLD_PEPPER}") as gateway:
        assert not is_refused(gateway, key)
    with at(PEPPER) as gateway:
        assert not is_refused(gateway, key)
        assert is_refused(gateway, unused)


def test_without_the_store_a_known_key_goes_on_and_another_one_waits(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    with redis_server(tmp_path / "redis") as url:
        config = settings(upstream.url, quota={"redis_url": url, "timeout_s": 0.5}, keys=KEYS)
        gateway = Gateway(tmp_path / "gateway", config)
        gateway.wait_until_healthy()
        known, other = Owner(gateway, PRO).create()["key"], Owner(gateway, PRO).create()["key"]
        assert Caller(gateway.url, known).ask().status_code == 200
    try:
        assert Caller(gateway.url, known).ask().status_code == 200
        answer = Caller(gateway.url, other).ask()
        assert (answer.status_code, answer.json()["error"]["type"]) == (529, "overloaded_error")
        assert "retry-after" in answer.headers
    finally:
        gateway.stop()


def test_workers_on_one_machine_share_their_keys_and_a_pepper_that_nobody_set(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    with Gateway(tmp_path, settings(upstream.url), workers=2) as gateway:
        eventually(lambda: len(gateway.worker_pids()) == 2, "two workers")
        owner = Owner(gateway, PRO)
        with ThreadPoolExecutor(8) as pool:
            keys = list(pool.map(lambda turn: owner.create(f"key {turn}"), range(8)))
            # Every request has a connection of its own, so that both workers see all keys.
            assert not any(pool.map(lambda made: is_refused(gateway, made["key"]), keys * 8))
            for made in keys:
                assert owner.revoke(made["id"]) == 204
            begun = time.monotonic()
            eventually(
                lambda: all(pool.map(lambda made: is_refused(gateway, made["key"]), keys * 4)), "refused"
            )
            # Until the last round began.
            assert time.monotonic() - begun < 2
        (pepper,) = tmp_path.rglob("key-pepper")
        assert pepper.stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.rglob(".key-pepper*")) == []


def test_the_operator_makes_and_revokes_keys_while_the_gateway_runs(
    gateway: Gateway, redis_url: str, tmp_path: Path
) -> None:
    config = settings("http://127.0.0.1:1", quota={"redis_url": redis_url}, keys=KEYS)
    config["data_dir"] = str(tmp_path)

    def told(*words: str) -> str:
        return operator(tmp_path, config, *words)

    key = told("create", "robot", "--tier", "enterprise", "--name", "nightly").strip()

    answer = Caller(gateway.url, key).ask(model="claude-3-opus")
    assert (answer.status_code, answer.headers["x-gateway-tier"]) == (200, "enterprise")
    eventually(lambda: "last used" in told("list", "robot"), "the use is noted")
    told("revoke", "robot", "--all")
    eventually(lambda: is_refused(gateway, key), "refused", timeout_s=1)


@pytest.mark.parametrize(
    ("keys", "why"),
    [({}, "its operator has to set LLM_GATEWAY_KEY_PEPPER"), ({"enabled": False}, "they are switched off")],
)
def test_a_gateway_without_personal_keys_says_why(
    redis_url: str, upstream: ScriptedUpstream, tmp_path: Path, keys: dict[str, Any], why: str
) -> None:
    with Gateway(tmp_path, settings(upstream.url, quota={"redis_url": redis_url}, keys=keys)) as gateway:
        answer = Owner(gateway, PRO).ask("laptop")
        assert (answer.status_code, answer.json()["error"]["message"]) == (
            404,
            f"this gateway has no personal keys: {why}",
        )
        assert is_refused(gateway, new())
        warned = gateway.log().count("there are no personal keys")
        assert warned == (0 if keys else 1)
