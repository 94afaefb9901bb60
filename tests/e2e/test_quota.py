"""How requests are counted and refused, with real stores and several processes."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers.answers import default_answer
from tests.servers.caller import APIS, Api, Caller
from tests.servers.connection import ask, chat
from tests.servers.gateway import ENTERPRISE, FREE, PRO, Gateway, settings
from tests.servers.scripted import Answer, Gate, Request, ScriptedUpstream, WaitFor
from tests.servers.waiting import eventually

pytestmark = pytest.mark.requires("redis-server")

LIMIT = 10
PARALLEL, ADMITTED = 500, 100
TIERS = {"pro": {"quota": [{"limit": ADMITTED}]}}


@pytest.fixture
def replicas(
    redis_url: str, store: redis.Redis, upstream: ScriptedUpstream, tmp_path: Path
) -> Iterator[tuple[Gateway, Gateway]]:
    # New ones for each test: those that saw the store before it was emptied would write their counts into it.
    config = settings(upstream.url, quota={"redis_url": redis_url})
    with Gateway(tmp_path / "one", config) as one, Gateway(tmp_path / "two", config) as two:
        yield one, two


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def seconds_to_midnight() -> float:
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - now).total_seconds()


def admitted_of_many(gateways: list[Gateway], upstream: ScriptedUpstream) -> int:
    """How many of 500 requests at once are served; the upstream holds those until the rest is refused."""
    gate = Gate()

    def held(request: Request) -> Answer:
        answer = default_answer(request)
        return Answer(answer.status, answer.headers, answer.chunks, answer.framing, before=[WaitFor(gate)])

    upstream.always("/v1/messages", held)
    with ThreadPoolExecutor(PARALLEL) as pool:
        asked = [pool.submit(ask_at, gateways[number % len(gateways)]) for number in range(PARALLEL)]
        try:
            ended = as_completed(asked, timeout=25)
            refused = [next(ended).result() for _ in range(PARALLEL - ADMITTED)]
        finally:
            gate.open()
        assert set(refused) == {429}
        return sum(future.result() == 200 for future in asked)


def ask_at(gateway: Gateway) -> int:
    """The status of a request on a connection of its own."""
    return ask(gateway.port, "/v1/messages", chat("claude-3-opus"), PRO).status


def test_two_processes_let_exactly_the_limit_through(
    redis_url: str, store: redis.Redis, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    config = settings(upstream.url, tiers=TIERS, quota={"redis_url": redis_url})
    with Gateway(tmp_path / "one", config) as one, Gateway(tmp_path / "two", config) as two:
        callers = [Caller(gateway.url, PRO) for gateway in (one, two)]
        assert admitted_of_many([one, two], upstream) == ADMITTED
        assert len(upstream.requests) == ADMITTED
        assert store.get(f"quota:{{paula}}:{today()}") == str(ADMITTED)
        assert [caller.used() for caller in callers] == [ADMITTED, ADMITTED]


def test_workers_on_sqlite_let_exactly_the_limit_through(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    with Gateway(tmp_path, settings(upstream.url, tiers=TIERS), workers=3) as gateway:
        assert len(gateway.worker_pids()) >= 3
        caller = Caller(gateway.url, PRO)
        assert admitted_of_many([gateway], upstream) == ADMITTED
        assert len(upstream.requests) == ADMITTED
        assert caller.used() == ADMITTED


def test_a_store_that_forgets_the_script_goes_on_counting(
    replicas: tuple[Gateway, Gateway], store: redis.Redis, upstream: ScriptedUpstream
) -> None:
    caller = Caller(replicas[0].url, FREE)
    for used in (1, 2, 3):
        assert caller.ask().status_code == 200
        store.script_flush()
        assert caller.used() == used
        store.script_flush()


def test_the_counter_reads_as_in_the_seed(
    replicas: tuple[Gateway, Gateway], store: redis.Redis, upstream: ScriptedUpstream
) -> None:
    days = {today()}
    Caller(replicas[0].url, FREE).ask()
    Caller(replicas[1].url, FREE).ask()
    days.add(today())
    (key,) = store.scan_iter("quota:*:????-??-??")
    assert key in {f"quota:{{fred}}:{day}" for day in days}
    assert store.get(key) == "2"
    # It lives to the end of the day, however busy the user is, and an hour more for what began before.
    lives_s = store.ttl(key)
    assert isinstance(lives_s, int)
    assert seconds_to_midnight() <= lives_s <= seconds_to_midnight() + 3600 + 1


@pytest.mark.parametrize("api", APIS)
def test_the_request_after_the_last_is_told_when_to_come_back(
    replicas: tuple[Gateway, Gateway], store: redis.Redis, upstream: ScriptedUpstream, api: Api
) -> None:
    caller = Caller(replicas[0].url, FREE)
    assert [caller.ask(api).status_code for _ in range(LIMIT)] == [200] * LIMIT
    answer = caller.ask(api)
    assert answer.status_code == 429
    assert answer.headers["x-should-retry"] == "false"
    assert abs(int(answer.headers["retry-after"]) - seconds_to_midnight()) <= 2
    error = answer.json()["error"]
    assert error["type"] == {"messages": "billing_error", "chat/completions": "insufficient_quota"}[api]
    assert error["message"].startswith(
        "the free tier's quota of 10 requests per day is used up; it resets at "
    )
    if api == "messages":
        assert answer.json()["type"] == "error"
        assert answer.json()["request_id"] == answer.headers["request-id"]
    else:
        assert error["code"] == "insufficient_quota"
    assert caller.used() == LIMIT
    assert len(upstream.requests) == LIMIT


def test_pro_ends_at_a_thousand(
    replicas: tuple[Gateway, Gateway], store: redis.Redis, upstream: ScriptedUpstream
) -> None:
    caller = Caller(replicas[0].url, PRO)
    store.set(f"quota:{{paula}}:{today()}", 999)
    assert [caller.ask().status_code for _ in range(2)] == [200, 429]
    (window,) = caller.quota()["windows"]
    assert (window["limit"], window["used"], window["remaining"]) == (1000, 1000, 0)


def test_enterprise_is_counted_without_a_limit(
    replicas: tuple[Gateway, Gateway], store: redis.Redis, upstream: ScriptedUpstream
) -> None:
    caller = Caller(replicas[0].url, ENTERPRISE)
    store.set(f"quota:{{erin}}:{today()}", 1_000_000)
    assert caller.ask().status_code == 200
    # Use of a tier without limits is noted beside the request, and nobody waits for it.
    eventually(lambda: caller.used() == 1_000_001, "counted")
    (window,) = caller.quota()["windows"]
    assert (window["limit"], window["remaining"]) == (None, None)


def test_quota_has_its_shape(
    replicas: tuple[Gateway, Gateway], store: redis.Redis, upstream: ScriptedUpstream
) -> None:
    caller = Caller(replicas[0].url, FREE)
    caller.ask()
    quota = caller.quota()
    resets_at = quota["windows"][0].pop("resets_at")
    window = {"unit": "requests", "period": "day", "limit": 10, "used": 1, "remaining": 9}
    models = ["qwen3-32b", "claude-internal-qwen3-32b"]
    assert quota == {"user": "fred", "tier": "free", "windows": [window], "models": models}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00Z", resets_at)
    assert 0 < (datetime.fromisoformat(resets_at) - datetime.now(UTC)).total_seconds() <= 86400


@pytest.mark.parametrize("on_redis", [True, False], ids=["redis", "sqlite"])
def test_a_changed_limit_keeps_the_days_count(
    redis_url: str, store: redis.Redis, upstream: ScriptedUpstream, tmp_path: Path, on_redis: bool
) -> None:
    def limited(limit: int) -> dict[str, Any]:
        tiers = {"free": {"quota": [{"unit": "requests", "period": "day", "limit": limit}]}}
        quota = {"redis_url": redis_url} if on_redis else {}
        return settings(upstream.url, tiers=tiers, quota=quota)

    for limit, statuses, used in ((3, [200, 200], 2), (2, [429], 2), (4, [200, 200, 429], 4)):
        with Gateway(tmp_path, limited(limit)) as gateway:
            caller = Caller(gateway.url, FREE)
            assert [caller.ask().status_code for _ in statuses] == statuses
            (window,) = caller.quota()["windows"]
            assert (window["limit"], window["used"]) == (limit, used)
            assert window["remaining"] == limit - used
