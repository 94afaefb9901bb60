"""Every kind of window, over HTTP: what takes from it, what it refuses and how, what a client is told."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers.answers import default_answer
from tests.servers.caller import APIS, Api, Caller
from tests.servers.gateway import Gateway, redis_server, settings
from tests.servers.scripted import Answer, Gate, Request, ScriptedUpstream, WaitFor
from tests.servers.waiting import eventually

BIG = 1_000_000
# One subscriber for each tier, of the same name; the tier's windows.
TIERS: dict[str, list[dict[str, object]]] = {
    "bursts": [{"period": "minute", "limit": 2}, {"period": "day", "limit": 3}],
    "hours": [{"period": "hour", "limit": 1}],
    "weeks": [{"unit": "tokens", "period": "week", "limit": 60}, {"period": "month", "limit": 1}],
    "turns": [{"unit": "prompts", "limit": 2}, {"limit": BIG}],
    "places": [{"unit": "concurrent", "limit": 2}],
    "tokens": [{"unit": "tokens", "limit": 300}],
    "warned": [{"limit": 100}, {"unit": "tokens", "period": "month", "limit": BIG}],
    "counted": [{"limit": None}, {"unit": "tokens", "limit": None}],
    "priced": [{"limit": 10}, {"unit": "tokens", "limit": BIG}],
}
TOOL_RESULT = {
    "anthropic": [
        {"role": "user", "content": "read it"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "text"},
                {"type": "text", "text": "<system-reminder>be brief</system-reminder>"},
            ],
        },
    ],
    "openai": [
        {"role": "user", "content": "read it"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "Read", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "text"},
    ],
}


def config(url: str, **quota: Any) -> dict[str, Any]:
    made = settings(url, quota=quota)
    tiers = {
        name: {"rank": number, "models": ["*"], "quota": windows}
        for number, (name, windows) in enumerate(TIERS.items())
    }
    subscribers = [{"user": name, "tier": name, "key": f"key-of-{name}"} for name in TIERS]
    opus: dict[str, object] = {"id": "heavy", "class": "internal", "upstream": "internal"}
    opus["weights"] = {"requests": 3, "tokens": 2.5}
    free: dict[str, object] = {"id": "free-of-charge", "class": "internal", "upstream": "internal"}
    free["weights"] = {"requests": 0, "prompts": 0, "tokens": 0}
    return made | {"tiers": tiers, "subscribers": subscribers, "models": [opus, free]}


@pytest.fixture(
    scope="module", params=[pytest.param("redis", marks=pytest.mark.requires("redis-server")), "sqlite"]
)
def gateway(
    request: pytest.FixtureRequest,
    shared_upstream: ScriptedUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("windows")
    with ExitStack() as stack:
        quota = {}
        if request.param == "redis":
            quota = {"redis_url": stack.enter_context(redis_server(folder / "redis"))}
        yield stack.enter_context(Gateway(folder, config(shared_upstream.url, **quota), workers=2))


def windows_of(caller: Caller) -> list[dict[str, Any]]:
    return list(caller.quota()["windows"])


def used(caller: Caller) -> list[int]:
    return [window["used"] for window in windows_of(caller)]


def settle_into_a_minute() -> None:
    """Returns when enough of a minute is left for a few requests."""
    left_s = 60 - time.time() % 60
    if left_s < 8:
        time.sleep(left_s)


def error_of(answer: httpx.Response) -> dict[str, Any]:
    return dict(answer.json()["error"])


def test_all_windows_are_taken_from_or_none(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    settle_into_a_minute()
    caller = Caller(gateway.url, "key-of-bursts")
    assert [caller.ask().status_code for _ in range(4)] == [200, 200, 429, 429]
    assert used(caller) == [2, 2], "a request that the minute refused is not in the day either"
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("api", APIS)
def test_a_full_minute_may_be_asked_again_when_it_is_over(gateway: Gateway, api: Api) -> None:
    settle_into_a_minute()
    caller = Caller(gateway.url, "key-of-bursts")
    while (answer := caller.ask(api)).status_code == 200:
        pass
    windows = windows_of(caller)
    if windows[0]["remaining"] == 0 and windows[1]["remaining"] > 0:
        assert answer.status_code == 429
        assert error_of(answer)["type"] == "rate_limit_error"
        assert "2 requests per minute" in error_of(answer)["message"]
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        # Clients may wait and repeat by themselves.
        assert "x-should-retry" not in answer.headers
        assert "anthropic-ratelimit-unified-status" not in answer.headers


@pytest.mark.parametrize("api", APIS)
def test_a_spent_hour_is_a_budget(gateway: Gateway, api: Api) -> None:
    caller = Caller(gateway.url, "key-of-hours")
    caller.ask(api)
    answer = caller.ask(api)
    assert answer.status_code == 429
    assert answer.headers["x-should-retry"] == "false"
    assert 1 <= int(answer.headers["retry-after"]) <= 3600
    kind = {"messages": "billing_error", "chat/completions": "insufficient_quota"}[api]
    assert error_of(answer)["type"] == kind
    assert "the hours tier's quota of 1 requests per hour is used up" in error_of(answer)["message"]


def test_weeks_end_on_monday_and_months_on_the_first(gateway: Gateway) -> None:
    week, month = windows_of(Caller(gateway.url, "key-of-weeks"))
    monday, first = (datetime.fromisoformat(window["resets_at"]) for window in (week, month))
    now = datetime.now(UTC)
    assert (monday.isoweekday(), monday.hour, monday.minute) == (1, 0, 0)
    assert 0 < (monday - now).total_seconds() <= 7 * 86400
    assert (first.day, first.hour, first.minute) == (1, 0, 0)
    assert 0 < (first - now).total_seconds() <= 31 * 86400


@pytest.mark.parametrize(("api", "dialect"), [("messages", "anthropic"), ("chat/completions", "openai")])
def test_a_tools_result_is_no_prompt(gateway: Gateway, api: Api, dialect: str) -> None:
    caller = Caller(gateway.url, "key-of-turns")
    prompts, requests = used(caller)
    assert caller.ask(api, messages=TOOL_RESULT[dialect]).status_code == 200
    assert used(caller) == [prompts, requests + 1]
    if prompts == 0:
        assert caller.ask(api).status_code == 200
        assert used(caller) == [1, requests + 2]
    else:
        assert caller.ask(api).status_code == 200
        refused = caller.ask(api)
        assert refused.status_code == 429
        assert "2 prompts per day" in error_of(refused)["message"]
        # What a tool brought may still be read.
        assert caller.ask(api, messages=TOOL_RESULT[dialect]).status_code == 200


def test_places_are_free_again_when_their_requests_end(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    caller = Caller(gateway.url, "key-of-places")
    gate = Gate()

    def held(request: Request) -> Answer:
        answer = default_answer(request)
        return Answer(answer.status, answer.headers, answer.chunks, answer.framing, before=[WaitFor(gate)])

    upstream.always("/v1/messages", held)
    with ThreadPoolExecutor(2) as pool:
        inside = [pool.submit(caller.ask) for _ in range(2)]
        try:
            upstream.wait_for_requests(2)
            refused = caller.ask()
            (window,) = windows_of(caller)
        finally:
            gate.open()
        assert [future.result().status_code for future in inside] == [200, 200]
    assert refused.status_code == 429
    assert error_of(refused)["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert "x-should-retry" not in refused.headers
    assert window == {
        "unit": "concurrent",
        "period": None,
        "limit": 2,
        "used": 2,
        "remaining": 0,
        "resets_at": None,
    }
    # Whoever has read an answer finds its place free.
    assert [caller.ask().status_code for _ in range(5)] == [200] * 5
    assert used(caller) == [0]


def test_a_place_is_free_when_its_client_has_left(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    caller = Caller(gateway.url, "key-of-places")
    upstream.always("/v1/messages", Answer.never())
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{gateway.url}/v1/messages",
                json={
                    "model": "claude-3-opus",
                    "max_tokens": 9,
                    "messages": [{"role": "user", "content": "x"}],
                },
                headers={**caller.headers},
                timeout=0.3,
            )
    eventually(lambda: used(caller) == [0], "no place taken")


def test_tokens_are_reserved_by_a_bound_and_corrected(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    caller = Caller(gateway.url, "key-of-tokens")
    assert caller.ask().status_code == 200
    assert used(caller) == [18], "what the upstream told, not what was reserved"
    refused = caller.ask(max_tokens=2000)
    assert refused.status_code == 429
    message = error_of(refused)["message"]
    assert "300 tokens per day" in message
    assert "282" in message, "says what is left"
    assert used(caller) == [18], "nothing is taken by a request that is refused"
    assert caller.ask(max_tokens=10).status_code == 200


def test_a_model_weighs_what_the_operator_says(gateway: Gateway) -> None:
    caller = Caller(gateway.url, "key-of-priced")
    assert caller.ask(model="heavy").status_code == 200
    assert used(caller) == [3, 45]
    assert caller.ask(model="free-of-charge").status_code == 200
    assert used(caller) == [3, 45]
    assert [caller.ask(model="heavy").status_code for _ in range(3)] == [200, 200, 429], "9 of 10, and 3 more"
    # What weighs nothing goes on.
    assert caller.ask(model="free-of-charge").status_code == 200


@pytest.mark.parametrize("api", APIS)
def test_every_metered_answer_says_what_is_left(gateway: Gateway, api: Api) -> None:
    caller = Caller(gateway.url, "key-of-warned")
    answer = caller.ask(api, stream=api == "messages")
    left = 100 - used(caller)[0]
    policy, state = answer.headers["ratelimit-policy"], answer.headers["ratelimit"]
    assert '"requests-day";q=100;w=86400' in policy
    assert f'"requests-day";r={left};t=' in state
    assert '"tokens-month";q=1000000' in policy
    assert ("anthropic-ratelimit-unified-status" in answer.headers) == (api == "messages")


def test_claude_code_is_told_how_far_the_budget_is_spent(gateway: Gateway) -> None:
    caller = Caller(gateway.url, "key-of-warned")
    told: dict[int, dict[str, str]] = {}
    while (answer := caller.ask()).status_code == 200:
        told[used(caller)[0]] = dict(answer.headers)
    prefix = "anthropic-ratelimit-unified-"
    midnight = windows_of(caller)[0]["resets_at"]
    reset = str(int(datetime.fromisoformat(midnight).timestamp()))
    for spent, status, utilization, threshold in (
        (50, "allowed", "0.5", None),
        (76, "allowed_warning", "0.76", "0.75"),
        (96, "allowed_warning", "0.96", "0.95"),
        (100, "allowed_warning", "0.99", "0.95"),
    ):
        headers = told[spent]
        assert headers[prefix + "status"] == headers[prefix + "overage-status"] == status
        assert headers[prefix + "representative-claim"] == "overage"
        assert float(headers[prefix + "overage-utilization"]) == float(utilization)
        assert headers.get(prefix + "overage-surpassed-threshold") == threshold
        assert headers[prefix + "reset"] == headers[prefix + "overage-reset"] == reset
    refused = answer.headers
    assert answer.status_code == 429
    assert error_of(answer)["type"] == "billing_error"
    assert refused[prefix + "status"] == "rejected"
    assert refused[prefix + "reset"] == refused[prefix + "overage-reset"] == reset
    assert refused[prefix + "overage-utilization"] == "1"
    assert refused[prefix + "overage-surpassed-threshold"] == "1"
    assert refused[prefix + "overage-period"] == "daily"
    assert refused[prefix + "overage-disabled-reason"] == "org_spend_cap_reached"
    assert prefix + "representative-claim" not in refused
    assert prefix + "overage-status" not in refused


def test_without_a_limit_nothing_is_said_of_one(gateway: Gateway) -> None:
    caller = Caller(gateway.url, "key-of-counted")
    answer = caller.ask()
    assert not [name for name in answer.headers if "ratelimit" in name]
    eventually(lambda: used(caller) == [1, 18], "counted beside the request")
    assert [(window["limit"], window["remaining"]) for window in windows_of(caller)] == [(None, None)] * 2
    assert json.loads(caller.get("/quota").content)["windows"][0]["limit"] is None


def test_a_new_tier_in_mid_day_keeps_the_count(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """The same person, of another tier from the next token on."""
    for tier, statuses, count in (("warned", [200, 200], 2), ("bursts", [200, 429], 3), ("warned", [200], 4)):
        made = config(upstream.url) | {"subscribers": [{"user": "kim", "tier": tier, "key": "key-of-kim"}]}
        with Gateway(tmp_path, made) as gateway:
            caller = Caller(gateway.url, "key-of-kim")
            assert [caller.ask().status_code for _ in statuses] == statuses
            daily = {window["unit"] + str(window["period"]): window["used"] for window in windows_of(caller)}
            assert daily["requestsday"] == count
