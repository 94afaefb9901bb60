import json
from pathlib import Path

import pytest

from llm_gateway.cli.explain import explain
from llm_gateway.config.load import load
from llm_gateway.config.schema import Settings

ENVIRONMENT = {
    "INTERNAL_LLM_URL": "http://vllm-0:8000/v1,http://vllm-1:8000/v1",
    "CLAUDE_API_KEY": "sk-secret-claude",
    "AUTH_PROVIDER": "keycloak",
    "KEYCLOAK_URL": "https://keycloak.example.org/realms/ai-hub",
}


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(ENVIRONMENT)


def test_tells_route_model_upstream_and_quota(settings: Settings) -> None:
    text, status = explain(settings, "pro", "claude-3-opus", as_json=False)

    assert status == 0
    for part in (
        "claude-3-haiku",
        "anthropic (api.anthropic.com)",
        "claude-haiku-5-5",
        "1,000 requests per day",
        'the route "claude-3-opus" leads to claude-3-haiku',
        'allowed by the entry "haiku"',
    ):
        assert part in text


def test_names_every_replica(settings: Settings) -> None:
    text, _ = explain(settings, "free", "claude-opus-5-5", as_json=False)

    assert "internal (vllm-0:8000, vllm-1:8000)" in text


@pytest.mark.parametrize(
    ("tier", "asked", "words"),
    [
        (
            "free",
            "qwen3-32b",
            "the server is asked at start; natively what it speaks, translated what it does",
        ),
        ("enterprise", "claude-3-opus", "messages natively; chat completions translated to messages"),
        ("enterprise", "local", "messages translated to chat completions; chat completions natively"),
        ("enterprise", "both", "messages natively; chat completions natively"),
        ("enterprise", "claude-opus-4-1", "upstream:anthropic: anthropic but for sampling: false\n"),
        ("enterprise", "local", "model:local: openai but for vision: false, top_effort: xhigh\n"),
        ("pro", "claude-3-haiku", "model:claude-3-haiku: anthropic but for sampling: false, context_window"),
        ("pro", "claude-3-haiku", "not adapted"),
        (
            "pro",
            "claude-3-opus",
            " adapted: claude-3-opus is of another class, so what claude-3-haiku cannot",
        ),
    ],
)
def test_tells_how_the_body_is_fitted_to_the_upstream(
    tmp_path: Path, tier: str, asked: str, words: str
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        """
        upstreams:
          local: {urls: ["http://a"], apis: openai, profile: {top_effort: xhigh, vision: true}}
          both: {urls: ["http://a"], apis: [anthropic, openai]}
        models:
          - {id: local, class: own, upstream: local, capabilities: {vision: false}}
          - {id: both, class: own, upstream: both}
        """
    )
    text, status = explain(load(ENVIRONMENT, str(file)), tier, asked, as_json=False)

    assert status == 0
    assert words in text


QUOTA = """
tiers:
  free:
    quota:
      - {limit: 60, period: minute}
      - {unit: tokens, period: month, limit: 50000000}
      - {unit: concurrent, limit: 8}
    on_store_failure: closed
models:
  - {id: heavy, class: internal, upstream: internal, weights: {requests: 3, prompts: 0, tokens: 2.5}}
"""


def test_tells_every_window_what_is_taken_from_it_and_what_holds_without_the_store(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(QUOTA)

    text, _ = explain(load(ENVIRONMENT, str(file)), "free", "heavy", as_json=False)

    rows = [line.partition("  ")[::2] for line in text.splitlines()]
    told = {label: words.strip() for label, words in rows}
    assert told["quota"] == "60 requests per minute; 50,000,000 tokens per month; 8 concurrent requests"
    assert told["counts as"] == "requests: 3, prompts: 0, tokens: each as 2.5"
    assert told["store down"] == "closed: requests are refused"


def test_json_tells_every_window_too(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(QUOTA)

    answer = json.loads(explain(load(ENVIRONMENT, str(file)), "free", "heavy", as_json=True)[0])

    assert answer["windows"][1:] == [
        {"unit": "tokens", "period": "month", "limit": 50_000_000},
        {"unit": "concurrent", "period": None, "limit": 8},
    ]
    assert answer["weights"] == {"requests": 3, "prompts": 0, "tokens": 2.5}
    assert answer["on_store_failure"] == "closed"


def test_a_tier_without_a_limit_does_not_mind_the_store(settings: Settings) -> None:
    text, _ = explain(settings, "enterprise", "claude-3-opus", as_json=False)

    assert "goes on: nothing is limited" in text


def test_json_holds_the_same(settings: Settings) -> None:
    text, status = explain(settings, "enterprise", "claude-opus-5-5", as_json=True)

    answer = json.loads(text)
    assert status == 0
    assert answer["served"] is True
    assert answer["wire_model"] == "claude-opus-5-5"
    assert answer["windows"] == [{"unit": "requests", "period": "day", "limit": None}]
    assert answer["apis"] == ["anthropic"]
    assert answer["profile"]["key"] == "model:claude-3-opus"
    assert answer["profile"]["kind"] == "anthropic"
    assert answer["adapt"] is False


def test_refusal_says_why_and_fails(settings: Settings) -> None:
    text, status = explain(settings, "pro", "no-such-model", as_json=False)

    assert status == 1
    assert "model 'no-such-model' is not available on the pro tier" in text
    assert "why: " in text


def test_names_the_upstream_that_lacks_its_key(settings: Settings) -> None:
    text, status = explain(settings, "enterprise", "gpt-4", as_json=False)

    assert status == 1
    assert "the upstream openai has no URL or no key" in text


@pytest.mark.parametrize("as_json", [True, False])
def test_unknown_tier_lists_the_tiers(settings: Settings, as_json: bool) -> None:
    text, status = explain(settings, "gold", "gpt-4", as_json=as_json)

    assert status == 1
    assert "free, pro, enterprise" in text


@pytest.mark.parametrize("as_json", [True, False])
def test_shows_no_secret(settings: Settings, as_json: bool) -> None:
    assert "sk-secret" not in explain(settings, "enterprise", "claude-3-opus", as_json=as_json)[0]
