from pathlib import Path

import msgspec
import pytest
import yaml

from llm_gateway.config.load import load
from llm_gateway.config.schema import (
    Auth,
    Capabilities,
    ConfiguredSubscriber,
    Deadlines,
    Limits,
    Metrics,
    Model,
    Page,
    PersonalKeys,
    Profile,
    Quota,
    Route,
    Section,
    Server,
    Settings,
    Telemetry,
    Tier,
    Upstream,
    Weights,
    Window,
)

EXAMPLE = Path(__file__).parents[2] / "deploy" / "gateway.example.yaml"


def keys_below(node: object) -> set[str]:
    if isinstance(node, dict):
        return set(node).union(*map(keys_below, node.values()))
    if isinstance(node, list):
        return set().union(*map(keys_below, node))
    return set()


def names_of(struct: type[Section]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def test_loads_as_it_is() -> None:
    settings = load({}, str(EXAMPLE))

    assert settings.auth.provider == "keycloak"
    assert [model.id for model in settings.models][-1] == "coder-30b"
    assert settings.upstreams["internal"].apis == "auto"
    assert settings.upstreams["internal"].profile.thinking_when_absent == "off"


@pytest.mark.parametrize(
    ("section", "struct"),
    [
        ("server", Server),
        ("auth", Auth),
        ("quota", Quota),
        ("limits", Limits),
        ("metrics", Metrics),
        ("keys", PersonalKeys),
        ("page", Page),
        ("telemetry", Telemetry),
        ("tiers", Tier),
        ("tiers", Window),
        ("models", Model),
        ("models", Capabilities),
        ("models", Weights),
        ("upstreams", Upstream),
        ("upstreams", Deadlines),
        ("routes", Route),
        ("subscribers", ConfiguredSubscriber),
    ],
)
def test_shows_every_setting(section: str, struct: type[Section]) -> None:
    shown = keys_below(yaml.safe_load(EXAMPLE.read_text())[section])

    assert names_of(struct) <= shown


def test_shows_every_setting_of_a_profile_that_is_no_capability() -> None:
    shown = keys_below(yaml.safe_load(EXAMPLE.read_text())["upstreams"])

    assert names_of(Profile) - names_of(Capabilities) <= shown


def test_shows_every_section() -> None:
    assert names_of(Settings) <= set(yaml.safe_load(EXAMPLE.read_text()))
