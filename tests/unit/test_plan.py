import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.config.load import load
from llm_gateway.config.profiles import by_key
from llm_gateway.config.schema import Settings, Weights
from llm_gateway.errors import Fault
from llm_gateway.policy.plan import Plan, Policy

SEED = {
    "INTERNAL_LLM_URL": "http://vllm.ai-hub.svc:8000/v1",
    "CLAUDE_API_KEY": "claude-key",
    "OPENAI_API_KEY": "openai-key",
    "QUOTA_REDIS_URL": "redis://valkey.ai-hub.svc:6379",
    "AUTH_PROVIDER": "keycloak",
    "KEYCLOAK_URL": "https://keycloak.example.org/realms/ai-hub",
}
TIERS = ("free", "pro", "enterprise")


def settings_with(text: str, tmp_path_factory: pytest.TempPathFactory, **environ: str) -> Settings:
    file = tmp_path_factory.mktemp("config") / "gateway.yaml"
    file.write_text(text)
    return load(SEED | environ, str(file))


POLICY = Policy(load(SEED))
PROFILES = by_key(load(SEED))


@pytest.mark.parametrize(
    ("asked", "free", "pro", "enterprise"),
    [
        ("claude-3-opus", "qwen3-32b", "claude-3-haiku", "claude-3-opus"),
        ("claude-3-sonnet", "qwen3-32b", "claude-3-haiku", "claude-3-sonnet"),
        ("claude-3-haiku", "qwen3-32b", "claude-3-haiku", "claude-3-haiku"),
        ("gpt-4", "qwen3-32b", "qwen3-32b", "gpt-4"),
    ],
)
def test_serves_every_row_of_the_seed(asked: str, free: str, pro: str, enterprise: str) -> None:
    assert [POLICY.plan(tier, asked).model for tier in TIERS] == [free, pro, enterprise]


@pytest.mark.parametrize(
    ("asked", "pro", "enterprise"),
    [
        ("claude-3-opus-20240229", "claude-3-haiku", "claude-3-opus"),
        ("claude-opus-5-5", "claude-3-haiku", "claude-opus-5-5"),
        ("claude-opus-4-7", "claude-3-haiku", "claude-opus-4-7"),
        ("anthropic/claude-opus-4-1", "claude-3-haiku", "claude-opus-4-1"),
        ("claude-sonnet-5-5[1m]", "claude-3-haiku", "claude-sonnet-5-5"),
        ("claude-sonnet-5", "claude-3-haiku", "claude-sonnet-5"),
        ("claude-3-7-sonnet-20250219", "claude-3-haiku", "claude-3-7-sonnet-20250219"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
        ("claude-3-haiku-20240307", "claude-3-haiku", "claude-3-haiku"),
        ("claude-3-haiku-latest", "claude-3-haiku", "claude-3-haiku"),
        ("CLAUDE-Opus-5-5", "claude-3-haiku", "claude-opus-5-5"),
        ("claude-next-9", "claude-3-haiku", "claude-next-9"),
        ("gpt-4o", "qwen3-32b", "gpt-4o"),
        ("openai/gpt-5", "qwen3-32b", "gpt-5"),
        ("chatgpt-4o-latest", "qwen3-32b", "chatgpt-4o-latest"),
        ("o3-mini", "qwen3-32b", "o3-mini"),
        ("qwen3-32b", "qwen3-32b", "qwen3-32b"),
        ("claude-internal-qwen3-32b", "qwen3-32b", "qwen3-32b"),
    ],
)
def test_routes_every_generation_by_its_class(asked: str, pro: str, enterprise: str) -> None:
    assert [POLICY.plan(tier, asked).model for tier in TIERS] == ["qwen3-32b", pro, enterprise]


@pytest.mark.parametrize(
    ("asked", "wire_model", "upstream", "apis", "profile"),
    [
        ("claude-3-haiku", "claude-haiku-5-5", "anthropic", ("anthropic",), "model:claude-3-haiku"),
        ("claude-3-haiku-latest", "claude-haiku-5-5", "anthropic", ("anthropic",), "model:claude-3-haiku"),
        ("claude-3-opus[1m]", "claude-opus-5-5", "anthropic", ("anthropic",), "model:claude-3-opus"),
        (
            "anthropic/claude-opus-4-1[1m]",
            "claude-opus-4-1",
            "anthropic",
            ("anthropic",),
            "upstream:anthropic",
        ),
        ("claude-opus-5-5", "claude-opus-5-5", "anthropic", ("anthropic",), "model:claude-3-opus"),
        ("gpt-4", "gpt-4", "openai", ("openai",), "model:gpt-4"),
        ("gpt-4o", "gpt-4o", "openai", ("openai",), "upstream:openai"),
        ("claude-internal-qwen3-32b", "qwen3-32b", "internal", "auto", "model:qwen3-32b"),
    ],
)
def test_sends_a_name_that_the_upstream_knows(
    asked: str, wire_model: str, upstream: str, apis: str | tuple[str, ...], profile: str
) -> None:
    plan = POLICY.plan("enterprise", asked)

    assert (plan.wire_model, plan.upstream, plan.apis) == (wire_model, upstream, apis)
    assert plan.profile == profile


@pytest.mark.parametrize(
    ("tier", "asked", "adapt"),
    [
        ("enterprise", "claude-3-opus", False),
        ("enterprise", "claude-opus-4-1", False),
        ("enterprise", "gpt-4o", False),
        ("enterprise", "claude-internal-qwen3-32b", False),
        ("pro", "claude-3-haiku", False),
        ("pro", "claude-haiku-4-5", False),
        ("pro", "claude-3-opus", True),
        ("pro", "claude-sonnet-5-5[1m]", True),
        ("pro", "anthropic/claude-opus-4-1", True),
        ("pro", "gpt-4", True),
        ("free", "claude-3-haiku", True),
        ("free", "claude-next-9", True),
        ("free", "qwen3-32b", False),
        ("free", "a-model-nobody-knows", False),
    ],
)
def test_body_is_adapted_when_another_class_was_asked_for(tier: str, asked: str, adapt: bool) -> None:
    assert POLICY.plan(tier, asked).adapt is adapt


def test_class_asked_for_is_that_of_the_catalogue(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = """
        models:
          - {id: coder, class: internal, upstream: internal, aliases: [claude-opus-local]}
          - {id: large, class: own, upstream: internal}
        routes: [{match: large, model: coder}]
    """
    policy = Policy(settings_with(text, tmp_path_factory))

    assert policy.plan("pro", "claude-opus-local").adapt is False
    assert policy.plan("pro", "large").adapt is True


@pytest.mark.parametrize("tier", ["pro", "enterprise"])
@pytest.mark.parametrize(
    "asked", ["mistral-large", "claude-internal-other", "claude-", "internal", "*", "haiku"]
)
def test_refuses_names_that_no_upstream_knows(tier: str, asked: str) -> None:
    with pytest.raises(Fault) as refused:
        POLICY.plan(tier, asked)

    assert refused.value.kind == "invalid_request"
    assert refused.value.param == "model"


def test_free_gets_the_internal_model_for_any_name() -> None:
    assert POLICY.plan("free", "mistral-large").model == "qwen3-32b"


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    "asked",
    [
        "",
        " ",
        "a b",
        "-gpt-4",
        "gpt-4\n",
        "gpt-4\x00",
        "gpt-4[1m]x",
        "modèle",
        "x" * 129,
        "claude-3-opus[2m]",
    ],
)
def test_refuses_what_cannot_be_a_name(tier: str, asked: str) -> None:
    with pytest.raises(Fault):
        POLICY.plan(tier, asked)


def test_refusal_names_the_model_the_tier_and_what_it_has() -> None:
    with pytest.raises(Fault) as refused:
        POLICY.plan("pro", "no-such-model")

    assert refused.value.message == (
        "model 'no-such-model' is not available on the pro tier; available: qwen3-32b, claude-3-haiku"
    )


def test_refusal_echoes_a_bounded_and_escaped_name() -> None:
    with pytest.raises(Fault) as refused:
        POLICY.plan("pro", "\x1b[31m\n" + "é" * 500)

    echoed = refused.value.message.split(" is not available")[0]
    assert echoed.isprintable()
    assert echoed.isascii()
    assert "\\x1b" in echoed
    assert len(refused.value.message) < 400


@pytest.mark.parametrize(
    ("tier", "limit"),
    [("free", 10), ("pro", 1000), ("enterprise", None)],
)
def test_takes_the_windows_of_the_tier(tier: str, limit: int | None) -> None:
    (window,) = POLICY.plan(tier, "claude-3-opus").windows

    assert (window.unit, window.period, window.limit) == ("requests", "day", limit)
    assert POLICY.windows(tier) == (window,)


@pytest.mark.parametrize(
    "asked",
    [
        "claude-3-opus",
        "claude-3-opus-20240229",
        "claude-opus-5-5",
        "claude-opus-4-7",
        "anthropic/claude-opus-9",
    ],
)
def test_no_other_name_of_a_model_gets_round_its_weights(
    tmp_path_factory: pytest.TempPathFactory, asked: str
) -> None:
    text = "models: [{id: claude-3-opus, weights: {requests: 5, tokens: 2}}]"
    policy = Policy(settings_with(text, tmp_path_factory))

    assert policy.plan("enterprise", asked).weights == Weights(requests=5, prompts=1, tokens=2)
    assert policy.plan("enterprise", "claude-3-haiku").weights == Weights()


def test_takes_from_the_tier_what_holds_without_the_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    policy = Policy(settings_with("tiers: {free: {on_store_failure: open}}", tmp_path_factory))

    assert policy.plan("free", "gpt-4").on_store_failure == "open"
    assert policy.plan("pro", "gpt-4").on_store_failure == "local"


def test_unknown_tier_is_forbidden() -> None:
    for ask in (
        lambda: POLICY.plan("gold", "gpt-4"),
        lambda: POLICY.windows("gold"),
        lambda: POLICY.models("gold"),
    ):
        with pytest.raises(Fault) as refused:
            ask()
        assert refused.value.kind == "forbidden"


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
def test_lists_what_the_tier_can_use(tier: str, ids: list[str]) -> None:
    assert [model.id for model in POLICY.models(tier)] == ids


@pytest.mark.parametrize("tier", TIERS)
def test_serves_what_it_lists(tier: str) -> None:
    for model in POLICY.models(tier):
        assert POLICY.plan(tier, model.id).model == model.id.removeprefix("claude-internal-")


def test_models_without_a_key_are_neither_listed_nor_served() -> None:
    policy = Policy(load({name: value for name, value in SEED.items() if name != "OPENAI_API_KEY"}))

    assert "gpt-4" not in [model.id for model in policy.models("enterprise")]
    with pytest.raises(Fault, match="available: qwen3-32b, claude-3-opus"):
        policy.plan("enterprise", "gpt-4")


def test_without_internal_upstream_free_has_nothing() -> None:
    policy = Policy(load({name: value for name, value in SEED.items() if name != "INTERNAL_LLM_URL"}))

    with pytest.raises(Fault, match="available: none"):
        policy.plan("free", "claude-3-opus")


def test_routes_follow_the_name_of_the_internal_model() -> None:
    policy = Policy(load(SEED | {"INTERNAL_LLM_MODEL": "Qwen/Qwen3-Coder"}))

    assert policy.plan("free", "claude-3-opus").wire_model == "Qwen/Qwen3-Coder"
    assert policy.plan("pro", "gpt-4").model == "Qwen/Qwen3-Coder"
    assert policy.plan("pro", "claude-internal-Qwen/Qwen3-Coder").model == "Qwen/Qwen3-Coder"


class TestOperatorsTiersAndRoutes:
    def test_new_tier_goes_down_from_what_it_lacks(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        policy = Policy(settings_with("tiers: {team: {models: [internal, sonnet]}}", tmp_path_factory))

        served = {
            asked: policy.plan("team", asked).model
            for asked in ("claude-opus-5-5", "claude-haiku-5-5", "gpt-5")
        }
        assert served == {
            "claude-opus-5-5": "claude-3-sonnet",
            "claude-haiku-5-5": "qwen3-32b",
            "gpt-5": "qwen3-32b",
        }

    def test_changed_allow_list_wins_over_the_seeds_rows(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        policy = Policy(settings_with("tiers: {pro: {models: [internal, sonnet]}}", tmp_path_factory))

        assert policy.plan("pro", "claude-3-opus").model == "claude-3-sonnet"

    def test_routes_in_the_file_go_first(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        text = """
            routes: [{match: "claude-*-opus", model: gpt-4, tiers: [enterprise]}]
            tiers: {pro: {routes: [{match: claude-3-sonnet, model: internal}]}}
        """
        policy = Policy(settings_with(text, tmp_path_factory))

        assert policy.plan("enterprise", "claude-3-opus").model == "gpt-4"
        assert policy.plan("pro", "claude-3-opus").model == "claude-3-haiku"
        assert policy.plan("pro", "claude-3-sonnet").model == "qwen3-32b"

    @pytest.mark.parametrize("target", ["itself", "gpt-4", "gpt"])
    def test_no_route_leads_past_the_allow_list(
        self, tmp_path_factory: pytest.TempPathFactory, target: str
    ) -> None:
        text = f"routes: [{{match: '*', model: {target}}}]"
        policy = Policy(settings_with(text, tmp_path_factory))

        for tier in ("free", "pro"):
            with pytest.raises(Fault):
                policy.plan(tier, "gpt-4")

    def test_class_as_target_is_the_first_the_tier_has(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        text = """
            models: [{id: coder, class: internal, upstream: internal}]
            tiers: {team: {models: [coder], routes: [{match: "*", model: internal}]}}
        """
        policy = Policy(settings_with(text, tmp_path_factory))

        assert policy.plan("team", "anything").model == "coder"
        assert policy.plan("free", "anything").model == "qwen3-32b"
        assert policy.plan("free", "coder").model == "coder"

    def test_glob_in_the_allow_list_is_over_ids(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        policy = Policy(settings_with("tiers: {team: {models: ['claude-opus-5*']}}", tmp_path_factory))

        assert policy.plan("team", "claude-opus-5-5").model == "claude-opus-5-5"
        with pytest.raises(Fault):
            policy.plan("team", "claude-opus-4-7")

    def test_aliases_mean_their_model(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        text = (
            "models: [{id: coder, class: internal, upstream: internal, wire: C/30B, aliases: [c, 'coder-*']}]"
        )
        policy = Policy(settings_with(text, tmp_path_factory))

        assert {policy.plan("pro", asked).wire_model for asked in ("c", "coder-fast", "coder")} == {"C/30B"}


def test_label_of_an_unknown_name_is_other() -> None:
    assert POLICY.plan("free", "some-secret-project").from_label == "other"
    assert POLICY.plan("free", "claude-3-opus").from_label == "claude-3-opus"
    assert POLICY.plan("free", "claude-opus-5-5").from_label == "claude-opus-5-5"


def test_labels_are_bounded_however_many_names_are_asked_for() -> None:
    policy = Policy(load(SEED))
    plans = [policy.plan("enterprise", f"claude-opus-{number}") for number in range(2000)]

    assert len({plan.from_label for plan in plans}) < 600
    assert len({plan.to_label for plan in plans}) < 600
    assert policy.plan("enterprise", "claude-3-opus").from_label == "claude-3-opus"


def test_answers_from_memory_the_second_time() -> None:
    policy = Policy(load(SEED))

    assert policy.plan("pro", "claude-opus-5-5") is policy.plan("pro", "claude-opus-5-5")


FRAGMENTS = st.sampled_from(
    [
        "claude",
        "opus",
        "sonnet",
        "haiku",
        "gpt",
        "internal",
        "qwen3-32b",
        "anthropic/",
        "openai/",
        "[1m]",
        "-",
        "5",
        "3",
        "chatgpt",
        "o3",
        "mini",
        "*",
        "?",
        ".",
        "@",
        "/",
        ":",
        " ",
        "\n",
        "latest",
        "itself",
        "CLAUDE",
        "Haiku",
    ]
)
NAMES = st.one_of(st.text(), st.lists(FRAGMENTS, max_size=8).map("".join), st.lists(FRAGMENTS).map("-".join))


def is_in_the_seeds_allow_list(plan: Plan) -> bool:
    """The seed's table of tiers, written down once more, by what would be sent upstream."""
    if plan.upstream == "internal":
        return plan.wire_model == "qwen3-32b"
    if plan.tier == "free":
        return False
    if plan.tier == "pro":
        is_haiku = re.search(r"\bhaiku\b", plan.wire_model) and not re.search("opus|sonnet", plan.wire_model)
        return plan.upstream == "anthropic" and bool(is_haiku)
    vendor = "anthropic" if plan.wire_model.startswith("claude-") else "openai"
    return plan.upstream == vendor and not re.search(r"[\s*?\[\]/]", plan.wire_model)


@settings(deadline=None)
@given(asked=NAMES, tier=st.sampled_from(TIERS))
def test_every_name_is_served_from_the_allow_list_or_refused(asked: str, tier: str) -> None:
    try:
        plan = POLICY.plan(tier, asked)
    except Fault as fault:
        refused: Fault | None = fault
    else:
        refused = None

    if refused is None:
        assert is_in_the_seeds_allow_list(plan)
        assert plan.profile in PROFILES
        assert plan.asked == asked
        assert plan.why
    else:
        assert refused.kind == "invalid_request"
        assert refused.message.isprintable()
