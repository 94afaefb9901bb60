"""Any order of requests, failures, departures, deaths and outages leaves the counts that a model predicts."""

import os
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.servers.answers import anthropic_stream
from tests.servers.caller import Caller, body
from tests.servers.gateway import Gateway
from tests.servers.gateway import settings as gateway_settings
from tests.servers.lasting_redis import LastingRedis
from tests.servers.scripted import Answer, CloseNow, ScriptedUpstream, WaitFor
from tests.servers.waiting import eventually

LIMIT = 12
INPUT, TOLD_INPUT, TOLD_OUTPUT, DELIVERED = 9, 11, 7, 2
STREAM = anthropic_stream("hello", " there")
REFUSED = {"type": "error", "error": {"type": "api_error", "message": "not today"}}
JSON = {"content-type": "application/json"}
PEOPLE = ("ann", "ben")
# A worker that dies within 5.5 s of its birth makes the server end.
SETTLED_IN_S = 6.0
WINDOWS = [
    {"limit": LIMIT},
    {"unit": "prompts", "period": "week", "limit": LIMIT - 2},
    {"unit": "tokens", "period": "month", "limit": 100_000},
    {"unit": "concurrent", "limit": 3},
]


class Books(RuleBasedStateMachine):
    """Two subscribers of one gateway, whose store and workers come and go."""

    on_redis: bool

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.upstream = self.stack.enter_context(ScriptedUpstream())
        quota: dict[str, Any] = {"lease_s": 1, "replicas": 1}
        self.store = LastingRedis(folder / "redis") if self.on_redis else None
        if self.store:
            quota["redis_url"] = self.stack.enter_context(self.store).url
        made = gateway_settings(self.upstream.url, quota=quota)
        made["tiers"] = {"team": {"models": ["*"], "quota": WINDOWS}}
        made["subscribers"] = [{"user": name, "tier": "team", "key": f"key-of-{name}"} for name in PEOPLE]
        self.gateway = self.stack.enter_context(Gateway(folder / "gateway", made))
        self.born_at = 0.0
        self.used = {name: [0, 0, 0] for name in PEOPLE}

    def teardown(self) -> None:
        self.stack.close()

    def caller(self, name: str) -> Caller:
        return Caller(self.gateway.url, f"key-of-{name}")

    def has_room(self, name: str) -> bool:
        requests, prompts, _ = self.used[name]
        return requests < LIMIT and prompts < LIMIT - 2

    def count(self, name: str, tokens: int) -> None:
        self.used[name] = [old + new for old, new in zip(self.used[name], (1, 1, tokens), strict=True)]

    @initialize()
    def begin(self) -> None:
        assert all(self.shown(name) == [0, 0, 0, 0] for name in PEOPLE)

    @rule(name=strategies.sampled_from(PEOPLE), stream=strategies.booleans())
    def is_served(self, name: str, stream: bool) -> None:
        answer = self.caller(name).ask(stream=stream)
        assert answer.status_code == (200 if self.has_room(name) else 429)
        if answer.status_code == 200:
            self.count(name, TOLD_INPUT + TOLD_OUTPUT)

    @rule(name=strategies.sampled_from(PEOPLE))
    def is_refused_upstream(self, name: str) -> None:
        room = self.has_room(name)
        if room:
            self.upstream.respond("/v1/messages", Answer.json(500, REFUSED))
        assert self.caller(name).ask().status_code == (500 if room else 429)

    @rule(name=strategies.sampled_from(PEOPLE))
    def dies_mid_stream(self, name: str) -> None:
        room = self.has_room(name)
        if room:
            self.upstream.respond("/v1/messages", Answer(chunks=[*STREAM[:4], CloseNow()]))
        assert self.caller(name).ask(stream=True).status_code == (200 if room else 429)
        if room:
            self.count(name, TOLD_INPUT + DELIVERED)

    @rule(name=strategies.sampled_from(PEOPLE), begun=strategies.booleans())
    def leaves(self, name: str, begun: bool) -> None:
        if not self.has_room(name):
            return
        answer = Answer(chunks=[*STREAM[:4], WaitFor()]) if begun else Answer.never()
        self.upstream.respond("/v1/messages", answer)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{self.gateway.url}/v1/messages",
                content=body("claude-3-opus", stream=True),
                headers=self.caller(name).headers | JSON,
                timeout=httpx.Timeout(5, read=0.3),
                trust_env=False,
            )
        self.upstream.wait_until_client_closed()
        self.count(name, TOLD_INPUT + DELIVERED if begun else INPUT)
        self.agree()

    @rule()
    def the_scripts_are_flushed(self) -> None:
        if self.store:
            self.store.client.script_flush()

    @rule(name=strategies.sampled_from(PEOPLE))
    def the_store_dies_for_a_while(self, name: str) -> None:
        if not self.store:
            return
        self.store.kill()
        # With one gateway and one worker, its share is all that is left.
        answer = self.caller(name).ask()
        assert answer.status_code in ({200} if self.has_room(name) else {429, 529})
        if answer.status_code == 200:
            self.count(name, TOLD_INPUT + TOLD_OUTPUT)
        self.store.start()
        eventually(self.is_ready, "ready again", 15)
        self.agree()

    @rule(name=strategies.sampled_from(PEOPLE))
    def a_worker_dies(self, name: str) -> None:
        """With a request of this person in it, if there is room for one: what was reserved stands."""
        room = self.has_room(name)
        before = self.shown(name)
        if room:
            self.upstream.respond("/v1/messages", Answer.never())
            seen = len(self.upstream.requests)
            with httpx.Client(trust_env=False) as client, pytest.raises(httpx.HTTPError):
                self.ask_and_kill(client, name, seen)
        else:
            self.kill_workers()
        eventually(self.is_ready, "a new worker", 15)
        self.born_at = time.monotonic()
        if room:
            eventually(lambda: self.shown(name)[3] == 0, "its place is free", 5)
            reserved = self.shown(name)[2] - before[2]
            assert INPUT + 100 <= reserved <= 300
            self.count(name, reserved)

    def ask_and_kill(self, client: httpx.Client, name: str, seen: int) -> None:
        def kill() -> None:
            self.upstream.wait_for_requests(seen + 1)
            self.kill_workers()

        killer = Thread(target=kill)
        killer.start()
        try:
            client.post(
                f"{self.gateway.url}/v1/messages",
                content=body("claude-3-opus"),
                headers=self.caller(name).headers | JSON,
                timeout=20,
            )
        finally:
            killer.join()

    def kill_workers(self) -> None:
        # The server gives up on workers that die as soon as they are born.
        time.sleep(max(0.0, self.born_at + SETTLED_IN_S - time.monotonic()))
        for pid in self.gateway.worker_pids():
            os.kill(pid, signal.SIGKILL)

    def is_ready(self) -> bool:
        try:
            return (
                httpx.get(f"{self.gateway.url}/health/ready", trust_env=False, timeout=2).status_code == 200
            )
        except httpx.HTTPError:
            return False

    def shown(self, name: str) -> list[int]:
        return [window["used"] for window in self.caller(name).quota()["windows"]]

    @invariant()
    def agree(self) -> None:
        """What is shown is what was used, no place is held, and nothing was granted beyond a limit."""
        for name in PEOPLE:
            expected = [*self.used[name], 0]
            eventually(lambda: self.shown(name) == expected, f"{name}: {expected}, {self.shown(name)}", 10)  # noqa: B023
            assert self.used[name][0] <= LIMIT
            assert self.used[name][1] <= LIMIT - 2


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "on_redis",
    [
        pytest.param(True, marks=pytest.mark.requires("redis-server"), id="redis"),
        pytest.param(False, id="sqlite"),
    ],
)
def test_the_books_agree_with_the_model_in_any_order(on_redis: bool) -> None:
    machine = type("Chosen", (Books,), {"on_redis": on_redis})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=4,
            stateful_step_count=16,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            # Every step is real servers' work: a smaller failing case is not worth the minutes.
            phases=[Phase.generate],
        ),
    )
