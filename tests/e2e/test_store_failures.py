"""What happens to requests and their counts while the quota store is gone, slow, or back with older data."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers.caller import APIS, Api, Caller
from tests.servers.gateway import Gateway, settings
from tests.servers.lasting_redis import LastingRedis
from tests.servers.prometheus import Samples, parse
from tests.servers.scripted import Answer, Gate, ScriptedUpstream, WaitFor, anthropic_stream
from tests.servers.waiting import eventually

pytestmark = pytest.mark.requires("redis-server")

LIMIT = 20
TIERS = {
    "lenient": {"models": ["*"], "quota": [{"limit": LIMIT}]},
    "strict": {"models": ["*"], "quota": [{"limit": LIMIT}], "on_store_failure": "closed"},
    "generous": {"models": ["*"], "quota": [{"limit": LIMIT}], "on_store_failure": "open"},
    "unmetered": {"models": ["*"], "quota": [{"limit": None}]},
}
HASTY = {"timeout_s": 0.25}
ERROR = {"type": "error", "error": {"type": "api_error", "message": "not today"}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LastingRedis]:
    with LastingRedis(tmp_path / "redis") as server:
        yield server


def config(url: str, store: LastingRedis, **quota: Any) -> dict[str, Any]:
    # One gateway with one worker: its share is everything that is left.
    made = settings(url, quota={"redis_url": store.url, "replicas": 1, **HASTY, **quota})
    subscribers = [{"user": name, "tier": name, "key": f"key-of-{name}"} for name in TIERS]
    return made | {"tiers": TIERS, "subscribers": subscribers}


@pytest.fixture
def gateway(upstream: ScriptedUpstream, store: LastingRedis, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, config(upstream.url, store)) as running:
        yield running


def of(gateway: Gateway, tier: str) -> Caller:
    return Caller(gateway.url, f"key-of-{tier}")


def metrics(gateway: Gateway) -> Samples:
    return parse(httpx.get(f"{gateway.url}/metrics", trust_env=False).text)


def ready(gateway: Gateway) -> dict[str, Any]:
    answer = httpx.get(f"{gateway.url}/health/ready", trust_env=False)
    return {"code": answer.status_code, **answer.json()}


def is_back(gateway: Gateway) -> bool:
    return bool(ready(gateway)["status"] == "ok")


def settled(gateway: Gateway) -> bool:
    return metrics(gateway).sum("gateway_quota_journal_entries") == 0


def test_a_lenient_tier_goes_on_with_what_was_left(gateway: Gateway, store: LastingRedis) -> None:
    caller = of(gateway, "lenient")
    assert [caller.ask().status_code for _ in range(5)] == [200] * 5
    store.kill()
    alone = [caller.ask() for _ in range(LIMIT)]
    assert [answer.status_code for answer in alone] == [200] * (LIMIT - 5) + [529] * 5
    refused = alone[-1]
    assert "the quota cannot be read" in refused.json()["error"]["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    store.start()
    eventually(lambda: is_back(gateway) and settled(gateway), "back", 10)
    assert caller.used() == LIMIT, "what was granted alone is counted once"
    assert caller.ask().status_code == 429


def test_a_share_is_a_part_of_what_was_left(
    upstream: ScriptedUpstream, store: LastingRedis, tmp_path: Path
) -> None:
    with Gateway(tmp_path, config(upstream.url, store, replicas=5)) as gateway:
        caller = of(gateway, "lenient")
        assert [caller.ask().status_code for _ in range(10)] == [200] * 10
        store.kill()
        assert [caller.ask().status_code for _ in range(5)] == [200, 200, 529, 529, 529]


@pytest.mark.parametrize("api", APIS)
def test_a_strict_tier_is_closed(
    gateway: Gateway, store: LastingRedis, upstream: ScriptedUpstream, api: Api
) -> None:
    caller = of(gateway, "strict")
    assert caller.ask(api).status_code == 200
    store.kill()
    for _ in range(8):
        answer = caller.ask(api)
        assert answer.status_code == 429
        assert answer.headers["x-should-retry"] == "false"
        if api == "messages":
            reason = answer.headers["anthropic-ratelimit-unified-overage-disabled-reason"]
            assert reason == "fetch_error"
    assert len(upstream.requests) == 1
    store.start()
    eventually(lambda: is_back(gateway) and settled(gateway), "back", 10)
    assert caller.used() == 1, "what was refused is not counted"


def test_a_generous_tier_is_open_and_counted_afterwards(gateway: Gateway, store: LastingRedis) -> None:
    caller = of(gateway, "generous")
    store.kill()
    assert [caller.ask().status_code for _ in range(LIMIT + 3)] == [200] * (LIMIT + 3)
    store.start()
    eventually(lambda: is_back(gateway) and settled(gateway), "back", 10)
    assert caller.used() == LIMIT + 3
    assert caller.ask().status_code == 429


def test_without_a_limit_nobody_waits_and_all_is_counted(gateway: Gateway, store: LastingRedis) -> None:
    caller = of(gateway, "unmetered")
    with store.frozen():
        began = time.monotonic()
        assert [caller.ask().status_code for _ in range(5)] == [200] * 5
        assert time.monotonic() - began < 1
    eventually(lambda: is_back(gateway) and settled(gateway), "back", 10)
    eventually(lambda: caller.used() == 5, "counted")


def test_what_fails_upstream_without_the_store_is_not_counted(
    gateway: Gateway, store: LastingRedis, upstream: ScriptedUpstream
) -> None:
    caller = of(gateway, "lenient")
    store.kill()
    upstream.respond("/v1/messages", Answer.json(500, ERROR))
    assert [caller.ask().status_code for _ in range(3)] == [500, 200, 200]
    store.start()
    eventually(lambda: is_back(gateway) and settled(gateway), "back", 10)
    assert caller.used() == 2


def test_readiness_metrics_and_log_say_what_is_in_force(gateway: Gateway, store: LastingRedis) -> None:
    assert ready(gateway)["code"] == 200
    store.kill()
    eventually(lambda: not is_back(gateway), "seen without a request", 2)
    state = ready(gateway)
    # A tier is closed now: this replica cannot do all that it should.
    assert (state["code"], state["status"]) == (503, "unavailable")
    assert "strict: closed" in state["checks"]["store"]
    assert "lenient: local" in state["checks"]["store"]
    assert httpx.get(f"{gateway.url}/health", trust_env=False).json() == {"status": "ok"}
    # After five failures in a row nobody asks any more.
    assert [of(gateway, "lenient").ask().status_code for _ in range(5)] == [200] * 5
    page = metrics(gateway)
    assert page.sum("gateway_store_mode", mode="down") == 1
    assert page.sum("gateway_store_mode", mode="ok") == 0
    assert page.sum("gateway_quota_local_grants_total", mode="local") == 5
    assert page.sum("gateway_quota_journal_entries") >= 1
    store.start()
    eventually(lambda: is_back(gateway), "ready again", 5)
    eventually(lambda: metrics(gateway).sum("gateway_store_mode", mode="ok") == 1, "mode")
    log = gateway.log()
    assert '"store_down"' in log
    assert '"store_back"' in log
    assert "Traceback" not in log


def test_a_gateway_whose_tiers_can_go_on_stays_in_service(
    upstream: ScriptedUpstream, store: LastingRedis, tmp_path: Path
) -> None:
    made = config(upstream.url, store, local_for_s=3)
    made["tiers"] = {name: tier for name, tier in TIERS.items() if name != "strict"}
    made["subscribers"] = [entry for entry in made["subscribers"] if entry["tier"] != "strict"]
    with Gateway(tmp_path, made) as gateway:
        store.kill()
        eventually(lambda: not is_back(gateway), "seen", 2)
        assert (ready(gateway)["code"], ready(gateway)["status"]) == (200, "degraded")
        assert of(gateway, "lenient").ask().status_code == 200
        # Going on alone has an end.
        eventually(lambda: ready(gateway)["code"] == 503, "too long without the store", 6)
        assert of(gateway, "lenient").ask().status_code == 529
        assert of(gateway, "generous").ask().status_code == 200


def test_a_slow_store_costs_a_quarter_of_a_second_and_then_nothing(
    gateway: Gateway, store: LastingRedis
) -> None:
    caller = of(gateway, "lenient")

    def asked() -> float:
        began = time.monotonic()
        assert caller.ask().status_code == 200
        return time.monotonic() - began

    usual_s = min(asked() for _ in range(3))
    with store.frozen():
        taken_s = [asked() for _ in range(12)]
        # Five failures open the breaker; a busy machine is granted a tenth of a second.
        assert max(taken_s) < usual_s + 0.25 + 0.1
        assert max(taken_s[5:]) < usual_s + 0.1
    began = time.monotonic()
    eventually(lambda: is_back(gateway) and settled(gateway), "back", 10)
    assert time.monotonic() - began < 10
    # Reservations that arrived late and their settlements are one.
    assert caller.used() == 15


def test_a_crowd_in_front_of_a_slow_store_waits_as_long_as_one(gateway: Gateway, store: LastingRedis) -> None:
    caller = of(gateway, "generous")
    caller.ask()
    with store.frozen(), ThreadPoolExecutor(LIMIT) as pool:
        began = time.monotonic()
        answers = list(pool.map(lambda _: caller.ask().status_code, range(LIMIT)))
        taken_s = time.monotonic() - began
    assert answers == [200] * LIMIT
    assert taken_s < 1
    eventually(lambda: is_back(gateway) and settled(gateway), "back", 10)
    assert caller.used() == LIMIT + 1


@pytest.mark.parametrize("gone", ["killed", "frozen"])
def test_a_stream_outlives_its_store_and_is_counted_once(
    gateway: Gateway, store: LastingRedis, upstream: ScriptedUpstream, gone: str
) -> None:
    caller = of(gateway, "lenient")
    frames = anthropic_stream("hello", " there")
    gate = Gate()
    upstream.respond("/v1/messages", Answer(chunks=[*frames[:3], WaitFor(gate), *frames[3:]]))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(caller.ask, stream=True)
        upstream.wait_for_requests(1)
        if gone == "killed":
            store.kill()
            gate.open()
            answer = asked.result(10)
            store.start()
        else:
            with store.frozen():
                gate.open()
                answer = asked.result(10)
    assert answer.content == b"".join(frames)
    eventually(lambda: is_back(gateway) and settled(gateway), "back", 10)
    assert caller.used() == 1


def test_a_gateway_that_is_killed_leaves_its_journal_to_the_next(
    upstream: ScriptedUpstream, store: LastingRedis, tmp_path: Path
) -> None:
    made = config(upstream.url, store)
    with Gateway(tmp_path, made) as gateway:
        caller = of(gateway, "lenient")
        assert [caller.ask().status_code for _ in range(2)] == [200] * 2
        store.kill()
        assert [caller.ask().status_code for _ in range(3)] == [200] * 3
        for pid in (gateway.process.pid, *gateway.worker_pids()):
            os.kill(pid, signal.SIGKILL)
    store.start()
    with Gateway(tmp_path, made) as gateway:
        caller = of(gateway, "lenient")
        eventually(lambda: caller.used() == 5, "settled from the journal")
    # And only once.
    with Gateway(tmp_path, made) as gateway:
        eventually(lambda: is_back(gateway), "ready")
        assert of(gateway, "lenient").used() == 5


def test_a_store_that_comes_back_older_is_noticed_and_mended(
    gateway: Gateway, store: LastingRedis, tmp_path: Path
) -> None:
    caller = of(gateway, "lenient")
    assert [caller.ask().status_code for _ in range(4)] == [200] * 4
    shutil.copytree(store.folder, tmp_path / "older")
    assert [caller.ask().status_code for _ in range(5)] == [200] * 5
    store.kill()
    shutil.rmtree(store.folder)
    shutil.copytree(tmp_path / "older", store.folder)
    store.start()
    eventually(lambda: is_back(gateway), "back", 10)
    assert caller.ask().status_code == 200
    assert caller.used() == 10, "4 of its own, 5 that it had lost, and one more"
    assert metrics(gateway).sum("gateway_quota_older_total") == 1
    assert '"store_older"' in gateway.log()


def test_an_empty_store_gets_the_counts_that_are_known(gateway: Gateway, store: LastingRedis) -> None:
    caller = of(gateway, "lenient")
    assert [caller.ask().status_code for _ in range(4)] == [200] * 4
    store.client.flushall()
    assert caller.ask().status_code == 200
    assert caller.used() == 5


def test_a_killed_workers_place_is_free_when_its_lease_is_over(
    upstream: ScriptedUpstream, store: LastingRedis, tmp_path: Path
) -> None:
    made = config(upstream.url, store, lease_s=2)
    made["tiers"] = {
        "lenient": {"models": ["*"], "quota": [{"limit": LIMIT}, {"unit": "concurrent", "limit": 1}]}
    }
    made["subscribers"] = [{"user": "kim", "tier": "lenient", "key": "key-of-lenient"}]
    upstream.respond("/v1/messages", Answer.never())
    with Gateway(tmp_path, made) as gateway, ThreadPoolExecutor(1) as pool:
        caller = of(gateway, "lenient")
        lost = pool.submit(caller.ask)
        upstream.wait_for_requests(1)
        assert caller.ask().status_code == 429
        # Longer than a lease lives: the gateway extends it.
        time.sleep(3)
        assert caller.ask().status_code == 429
        for pid in gateway.worker_pids():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(httpx.HTTPError):
            lost.result()
        eventually(lambda: _serves(caller), "the place is free", 10)
        used = [window["used"] for window in caller.quota()["windows"]]
    assert used == [2, 0], "the killed one's request stands"


def _serves(caller: Caller) -> bool:
    try:
        return caller.ask().status_code == 200
    except httpx.HTTPError:
        return False
