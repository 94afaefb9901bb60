from pathlib import Path

import msgspec
import pytest
import yaml

from llm_gateway.config.load import load
from llm_gateway.config.schema import (
    Auth,
    ConfiguredSubscriber,
    Deadlines,
    Limits,
    Metrics,
    Model,
    Quota,
    Route,
    Section,
    Server,
    Settings,
    Tier,
    Upstream,
    Window,
)

EXAMPLE = Path(__file__).parents[2] / "deploy" / "gateway.example.yaml"


def keys_below(node: object) -> set[str]:
    if isinstance(node, dict):
        return set(node).union(*map(keys_below, node.values()))
    if isinstance(node, list):
        return set().union(*map(keys_below, node))
    return set()


def test_loads_as_it_is() -> None:
    settings = load({}, str(EXAMPLE))

    assert settings.auth.provider == "keycloak"
    assert [model.id for model in settings.models][-1] == "coder-30b"


@pytest.mark.parametrize(
    ("section", "struct"),
    [
        ("server", Server),
        ("auth", Auth),
        ("quota", Quota),
        ("limits", Limits),
        ("metrics", Metrics),
        ("tiers", Tier),
        ("tiers", Window),
        ("models", Model),
        ("upstreams", Upstream),
        ("upstreams", Deadlines),
        ("routes", Route),
        ("subscribers", ConfiguredSubscriber),
    ],
)
def test_shows_every_setting(section: str, struct: type[Section]) -> None:
    shown = keys_below(yaml.safe_load(EXAMPLE.read_text())[section])

    assert {field.encode_name for field in msgspec.structs.fields(struct)} <= shown


def test_shows_every_section() -> None:
    sections = {field.encode_name for field in msgspec.structs.fields(Settings)}

    assert sections <= set(yaml.safe_load(EXAMPLE.read_text()))
