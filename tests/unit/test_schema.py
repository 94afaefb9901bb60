import copy

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.config.convert import Mistakes, convert
from llm_gateway.config.schema import SECRET_FIELDS, Auth, Model, Section, Server, Tier, Upstream, Window

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.integers(), inner),
    max_leaves=10,
)
TIERS = st.dictionaries(
    st.sampled_from(["rank", "models", "quota", "routes", "otherwise", "limit"]),
    JSON
    | st.lists(
        st.dictionaries(st.sampled_from(["unit", "period", "limit", "match", "model", "tiers"]), JSON) | JSON
    ),
)


def section_kinds(kind: type[Section] = Section) -> list[type[Section]]:
    return [below for child in kind.__subclasses__() for below in (child, *section_kinds(child))]


@pytest.mark.parametrize("kind", section_kinds())
def test_no_section_takes_an_unknown_setting(kind: type[Section]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"no_such_setting": 1}, kind)


@pytest.mark.parametrize("kind", section_kinds())
def test_no_section_can_be_changed(kind: type[Section]) -> None:
    assert kind.__struct_config__.frozen


def test_secrets_are_not_in_a_repr() -> None:
    upstream = Upstream(urls=("http://a",), apis=("openai",), api_key="hunter2")

    assert "hunter2" not in repr(upstream)
    assert "api_key=<hidden>" in repr(upstream)


def test_fields_that_sound_secret_are_hidden() -> None:
    names = {field.name for kind in section_kinds() for field in msgspec.structs.fields(kind)}
    sound_secret = {name for name in names if name.endswith(("key", "secret", "token", "hash", "password"))}

    assert sound_secret <= SECRET_FIELDS


@pytest.mark.parametrize(
    ("raw", "unit", "period"),
    [
        ({}, "requests", "day"),
        ({"unit": "tokens", "period": None}, "tokens", "day"),
        ({"unit": "prompts", "period": "week"}, "prompts", "week"),
        ({"unit": "concurrent"}, "concurrent", None),
    ],
)
def test_a_window_without_a_period_is_the_days_but_for_concurrent_requests(
    raw: dict[str, str | None], unit: str, period: str | None
) -> None:
    window = msgspec.convert(raw, Window)

    assert (window.unit, window.period) == (unit, period)
    assert msgspec.convert(msgspec.to_builtins(window), Window) == window


@pytest.mark.parametrize("model_id", ["", "-x", "a b", "x\n", "x" * 129, "é"])
def test_model_ids_can_be_sent_in_headers(model_id: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"id": model_id, "class": "x", "upstream": "y"}, Model)


@pytest.mark.parametrize(
    ("raw", "kind", "mistakes"),
    [
        ({"port": "x", "workers": 0}, Server, ["port", "workers"]),
        ({"urls": [1, "a", 2], "apis": [3, "openai", 4]}, Upstream, ["apis.0", "apis.2", "urls.0", "urls.2"]),
        ({"urls": 5, "apis": ["openai"], "more": 1}, Upstream, ["more", "urls"]),
        ({"urls": ["a"], "apis": [3, 4]}, Upstream, ["apis.0", "apis.1"]),
        (
            {"urls": ["a"], "apis": 3, "profile": {"vision": 1, "x": 2, "refused_betas": ["a", 5, "*a"]}},
            Upstream,
            ["apis", "profile.refused_betas.1", "profile.refused_betas.2", "profile.vision", "profile.x"],
        ),
        (
            {"quota": [{"limit": "x"}, 1, {"unit": 2, "limit": -1}, 3]},
            Tier,
            ["quota.0.limit", "quota.1", "quota.2.limit", "quota.2.unit", "quota.3"],
        ),
        (
            {
                "routes": [
                    {"match": 1},
                    {"model": 2},
                    {"match": "x", "model": "y"},
                    {"match": 3, "model": "y"},
                ]
            },
            Tier,
            ["routes.0", "routes.0.match", "routes.1", "routes.1.model", "routes.3.match"],
        ),
        ({"models": [1, 2]}, Tier, ["models.0", "models.1"]),
        ({"tier_names": {1: "a", 2: "b"}, "leeway_s": 61}, Auth, ["leeway_s", "tier_names", "tier_names"]),
        (5, Server, [""]),
    ],
)
def test_every_mistake_is_found_where_it_stands(
    raw: object, kind: type[Section], mistakes: list[str]
) -> None:
    collected: Mistakes = []

    assert convert(raw, kind, (), collected) is None
    assert sorted(".".join(map(str, path)) for path, _ in collected) == mistakes


@settings(deadline=None)
@given(raw=TIERS)
def test_any_data_is_converted_or_explained(raw: dict[str, object]) -> None:
    collected: Mistakes = []
    before = copy.deepcopy(raw)

    value = convert(raw, Tier, ("tiers", "x"), collected)

    assert raw == before
    assert (value is None) == bool(collected)
    for path, text in collected:
        assert path[:2] == ("tiers", "x")
        assert text.isprintable()
