"""What each tier gets for a name, through HTTP: the seed's table, and that no name leaves a tier's list."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.servers.caller import APIS, Api, Caller
from tests.servers.gateway import ENTERPRISE, FREE, PRO, Gateway
from tests.servers.gateway import settings as gateway_settings
from tests.servers.scripted import ScriptedUpstream

KEYS = {"free": FREE, "pro": PRO, "enterprise": ENTERPRISE}
INTERNAL = ("qwen3-32b", "qwen3-32b", "internal")
HAIKU = ("claude-3-haiku", "claude-haiku-5-5", "anthropic")

# Tier, name asked for, then the model, its name at the upstream, and the upstream.
SEED_TABLE = [
    ("free", "claude-3-opus", *INTERNAL),
    ("free", "claude-3-sonnet", *INTERNAL),
    ("free", "claude-3-haiku", *INTERNAL),
    ("free", "gpt-4", *INTERNAL),
    ("pro", "claude-3-opus", *HAIKU),
    ("pro", "claude-3-sonnet", *HAIKU),
    ("pro", "claude-3-haiku", *HAIKU),
    ("pro", "gpt-4", *INTERNAL),
    ("enterprise", "claude-3-opus", "claude-3-opus", "claude-opus-5-5", "anthropic"),
    ("enterprise", "claude-3-sonnet", "claude-3-sonnet", "claude-sonnet-5-5", "anthropic"),
    ("enterprise", "claude-3-haiku", *HAIKU),
    ("enterprise", "gpt-4", "gpt-4", "gpt-4", "openai"),
]
OTHER_NAMES = [
    ("free", "claude-opus-5-5", *INTERNAL),
    ("free", "claude-sonnet-5-5[1m]", *INTERNAL),
    ("free", "gpt-4o", *INTERNAL),
    ("free", "a-model-nobody-knows", *INTERNAL),
    ("free", "claude-internal-qwen3-32b", *INTERNAL),
    ("pro", "claude-opus-5-5", *HAIKU),
    ("pro", "claude-3-opus-20240229", *HAIKU),
    ("pro", "claude-opus-4-7", *HAIKU),
    ("pro", "claude-sonnet-5-5[1m]", *HAIKU),
    ("pro", "anthropic/claude-opus-4-1", *HAIKU),
    ("pro", "claude-3-haiku-20240307", *HAIKU),
    ("pro", "claude-haiku-5-5", "claude-haiku-5-5", "claude-haiku-5-5", "anthropic"),
    (
        "pro",
        "claude-haiku-4-5-20251001",
        "claude-haiku-4-5-20251001",
        "claude-haiku-4-5-20251001",
        "anthropic",
    ),
    ("pro", "gpt-4o", *INTERNAL),
    ("pro", "gpt-5.2-mini", *INTERNAL),
    ("pro", "qwen3-32b", *INTERNAL),
    ("pro", "claude-internal-qwen3-32b", *INTERNAL),
    ("enterprise", "claude-opus-5-5", "claude-opus-5-5", "claude-opus-5-5", "anthropic"),
    ("enterprise", "claude-opus-4-7", "claude-opus-4-7", "claude-opus-4-7", "anthropic"),
    ("enterprise", "claude-3-opus-20240229", "claude-3-opus", "claude-opus-5-5", "anthropic"),
    ("enterprise", "claude-sonnet-5-5[1m]", "claude-sonnet-5-5", "claude-sonnet-5-5", "anthropic"),
    ("enterprise", "anthropic/claude-opus-4-1", "claude-opus-4-1", "claude-opus-4-1", "anthropic"),
    ("enterprise", "gpt-4o", "gpt-4o", "gpt-4o", "openai"),
    ("enterprise", "qwen3-32b", *INTERNAL),
    ("enterprise", "claude-internal-qwen3-32b", *INTERNAL),
]
SPOKEN = {"internal": APIS, "anthropic": ("messages",), "openai": ("chat/completions",)}
UPSTREAM_CREDENTIALS = {
    "internal": (None, None),
    "anthropic": ("upstream-anthropic-key", None),
    "openai": (None, "Bearer upstream-openai-key"),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, ScriptedUpstream]]:
    unlimited = {"quota": [{"unit": "requests", "period": "day"}]}
    config = {
        "tiers": dict.fromkeys(KEYS, unlimited),
        # A route may say what it likes: the allow-list has the last word.
        "routes": [{"match": "gold*", "model": "claude-3-opus"}],
    }
    with (
        ScriptedUpstream() as upstream,
        Gateway(tmp_path_factory.mktemp("routing"), gateway_settings(upstream.url, **config)) as gateway,
    ):
        yield gateway, upstream


@pytest.fixture
def upstream(running: tuple[Gateway, ScriptedUpstream]) -> ScriptedUpstream:
    running[1].forget()
    return running[1]


@pytest.fixture
def callers(running: tuple[Gateway, ScriptedUpstream]) -> dict[str, Caller]:
    return {tier: Caller(running[0].url, key) for tier, key in KEYS.items()}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(("tier", "asked", "model", "wire", "at"), SEED_TABLE + OTHER_NAMES)
def test_a_name_is_served_as_its_tier_may(
    callers: dict[str, Caller],
    upstream: ScriptedUpstream,
    api: Api,
    tier: str,
    asked: str,
    model: str,
    wire: str,
    at: str,
) -> None:
    answer = callers[tier].ask(api, asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-gateway-model"] == model
    assert answer.headers["x-gateway-tier"] == tier
    assert answer.headers["x-gateway-upstream"] == at
    (request,) = upstream.requests
    assert request.path == f"/v1/{api if api in SPOKEN[at] else SPOKEN[at][0]}"
    assert request.json()["model"] == wire
    assert answer.json()["model"] == (wire if api in SPOKEN[at] else asked)
    assert (request.header("x-api-key"), request.header("authorization")) == UPSTREAM_CREDENTIALS[at]


def test_a_translated_answer_counts_once_and_a_refused_request_not(callers: dict[str, Caller]) -> None:
    before = callers["enterprise"].used()
    assert callers["enterprise"].ask("messages", "gpt-4").status_code == 200
    assert callers["enterprise"].used() == before + 1
    server_side = {"mcp_servers": [{"type": "url", "name": "files", "url": "https://files.example"}]}
    refused = callers["enterprise"].ask("messages", "gpt-4", **server_side)
    assert refused.status_code == 400
    assert "mcp_servers" in refused.json()["error"]["message"]
    assert callers["enterprise"].used() == before + 1


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("tier", "asked", "available"),
    [
        ("pro", "a-model-nobody-knows", "qwen3-32b, claude-3-haiku"),
        ("pro", "gold", "qwen3-32b, claude-3-haiku"),
        ("free", "gold", "qwen3-32b"),
        (
            "enterprise",
            "a-model-nobody-knows",
            "qwen3-32b, claude-3-opus, claude-3-sonnet, claude-3-haiku, gpt-4",
        ),
    ],
)
def test_what_a_tier_lacks_is_refused_in_the_same_words_as_what_nobody_has(
    callers: dict[str, Caller], upstream: ScriptedUpstream, api: Api, tier: str, asked: str, available: str
) -> None:
    before = callers[tier].used()
    answer = callers[tier].ask(api, asked)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    expected = f"model '{asked}' is not available on the {tier} tier; available: {available}"
    assert error["message"] == expected
    assert error.get("param", "model") == "model"
    assert upstream.requests == []
    assert callers[tier].used() == before


@pytest.mark.parametrize(
    ("tier", "ids"),
    [
        ("free", ["qwen3-32b", "claude-internal-qwen3-32b"]),
        ("pro", ["qwen3-32b", "claude-internal-qwen3-32b", "claude-3-haiku"]),
        (
            "enterprise",
            [
                "qwen3-32b",
                "claude-internal-qwen3-32b",
                "claude-3-opus",
                "claude-3-sonnet",
                "claude-3-haiku",
                "gpt-4",
            ],
        ),
    ],
)
def test_models_lists_what_the_tier_can_use_in_both_shapes(
    callers: dict[str, Caller], upstream: ScriptedUpstream, tier: str, ids: list[str]
) -> None:
    openai = callers[tier].get("/v1/models").json()
    assert openai["object"] == "list"
    assert [model["id"] for model in openai["data"]] == ids
    assert {model["object"] for model in openai["data"]} == {"model"}
    anthropic = callers[tier].get("/v1/models?limit=1000", anthropic_version="2023-06-01").json()
    assert [model["id"] for model in anthropic["data"]] == ids
    assert {model["type"] for model in anthropic["data"]} == {"model"}
    assert (anthropic["first_id"], anthropic["last_id"], anthropic["has_more"]) == (ids[0], ids[-1], False)
    for name in ids:
        assert callers[tier].get(f"/v1/models/{name}").json()["id"] == name
        api: Api = "chat/completions" if name == "gpt-4" else "messages"
        assert callers[tier].ask(api, name).status_code == 200
    assert callers[tier].get("/v1/models/claude-opus-none").status_code == 404
    assert len(upstream.requests) == len(ids)


_WORDS = st.sampled_from(
    ["claude", "opus", "sonnet", "haiku", "gpt", "internal", "qwen3", "32b", "3", "4o", "5-5", "OPUS", "[1m]"]
) | st.sampled_from(["gold", "anthropic/", "openai/", *'*?.-/@: \n\0\\"', "\ufb01", "\u212a"])
NAMES = st.one_of(
    st.lists(_WORDS, max_size=8).map("".join),
    st.lists(_WORDS, max_size=6).map("-".join),
    st.text(max_size=40),
    st.sampled_from(sorted({row[1] for row in SEED_TABLE + OTHER_NAMES})),
    st.tuples(st.sampled_from([row[1] for row in SEED_TABLE]), st.text(max_size=4)).map("".join),
)
ALLOWED = {
    "free": re.compile(r"qwen3-32b"),
    "pro": re.compile(r"qwen3-32b|(?!.*(opus|sonnet))claude-.*haiku.*"),
    "enterprise": re.compile(r"qwen3-32b|claude-.+|gpt-.+|chatgpt-.+|o[0-9].*"),
}


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(name=NAMES, api=st.sampled_from(APIS))
@example(name="gold", api="messages")
@example(name="\ud800", api="messages")
@example(name="claude-haiku-opus-5", api="messages")
@example(name="claude-3-opus\0haiku", api="messages")
@example(name="claude-3-opus" * 100, api="messages")
def test_no_name_leaves_the_allow_list(
    callers: dict[str, Caller], upstream: ScriptedUpstream, name: str, api: Api
) -> None:
    for tier, caller in callers.items():
        upstream.forget()
        answer = caller.ask(api, name)
        assert answer.status_code in {200, 400}, (tier, answer.text)
        served = [request.json()["model"] for request in upstream.requests]
        assert len(served) == (1 if answer.status_code == 200 else 0)
        assert all(ALLOWED[tier].fullmatch(model) for model in served), (tier, served)
