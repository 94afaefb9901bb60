import asyncio
import typing
from pathlib import Path

import msgspec
import pytest

from llm_gateway._core import Core
from llm_gateway.config import profiles
from llm_gateway.config.core import core_settings
from llm_gateway.config.load import load
from llm_gateway.config.schema import Apis, Profile, ServerKind, Settings, Upstream
from llm_gateway.errors import Fault

KEYCLOAK = {"AUTH_PROVIDER": "keycloak", "KEYCLOAK_URL": "https://keycloak.example.org/realms/ai-hub"}


def settings_with(folder: Path, text: str) -> Settings:
    file = folder / "gateway.yaml"
    file.write_text(text)
    return load(KEYCLOAK, str(file))


@pytest.mark.parametrize(
    ("apis", "kind", "expected"),
    [
        (("anthropic",), None, "anthropic"),
        (("openai",), None, "openai"),
        (("anthropic", "openai"), None, "openai"),
        ("auto", None, "openai"),
        (("anthropic",), "vllm", "vllm"),
        ("auto", "anthropic", "anthropic"),
    ],
)
def test_kind_is_the_configured_one_or_fits_the_api(
    apis: Apis, kind: ServerKind | None, expected: ServerKind
) -> None:
    assert profiles.kind_of(Upstream(urls=("http://a",), apis=apis, kind=kind)) == expected


def test_built_in_upstreams_are_of_the_kind_of_their_names() -> None:
    entries = profiles.by_key(load(KEYCLOAK | {"INTERNAL_LLM_URL": "http://a"}))

    kinds = {key: entry["wire"] for key, entry in entries.items() if key.startswith("upstream:")}
    assert kinds == {
        "upstream:internal": {"kind": "vllm"},
        "upstream:anthropic": {"kind": "anthropic", "sampling": False},
        "upstream:openai": {"kind": "openai"},
    }
    assert entries["model:qwen3-32b"] == {"wire": {"kind": "vllm"}, "tokenizer_file": None}


def test_internal_upstream_stays_a_vllm_whatever_it_speaks() -> None:
    entries = profiles.by_key(
        load(KEYCLOAK | {"INTERNAL_LLM_URL": "http://a", "INTERNAL_LLM_API": "anthropic"})
    )

    assert entries["upstream:internal"]["wire"] == {"kind": "vllm"}


def test_models_of_an_upstream_that_is_not_set_up_have_no_entry() -> None:
    entries = profiles.by_key(load(KEYCLOAK))

    assert "model:claude-3-opus" in entries
    assert "model:qwen3-32b" not in entries


def test_capabilities_of_a_model_beat_those_of_its_upstream(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.touch()
    text = f"""
        upstreams:
          x:
            urls: ["http://a"]
            apis: auto
            kind: vllm
            profile: {{inline_system: preserve, vision: true, context_window: 8192, effort: false}}
        models:
          - id: x
            class: internal
            upstream: x
            capabilities: {{vision: false, effort: null, refused_betas: []}}
            tokenizer_file: {tokenizer}
    """

    entries = profiles.by_key(settings_with(tmp_path, text))

    common = {"kind": "vllm", "inline_system": "preserve", "context_window": 8192, "effort": False}
    assert entries["upstream:x"] == {"wire": common | {"vision": True}, "tokenizer_file": None}
    assert entries["model:x"] == {
        "wire": common | {"vision": False, "refused_betas": ()},
        "tokenizer_file": str(tokenizer),
    }


@pytest.mark.parametrize("model", ["claude-3-opus", "claude-3-sonnet", "claude-3-haiku"])
def test_built_in_claude_models_are_asked_for_no_budget_and_no_temperature(model: str) -> None:
    wire = profiles.by_key(load(KEYCLOAK))[f"model:{model}"]["wire"]

    assert (wire["kind"], wire["thinking"], wire["sampling"]) == ("anthropic", "adaptive", False)
    assert wire["max_output_tokens"] == 128_000


def test_what_becomes_a_request_for_haiku_keeps_no_beta_of_larger_models() -> None:
    wire = profiles.by_key(load(KEYCLOAK))["model:claude-3-haiku"]["wire"]

    assert wire["refused_betas"] == ("context-1m-*", "effort-*", "adaptive-thinking-*")


def values_of(hint: object) -> tuple[object, ...]:
    """What may stand in a field of a profile, at least one value of each sort."""
    (kind,) = (arm for arm in typing.get_args(hint) if arm is not type(None))
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    return {bool: (True, False), int: (1, 1_000_000), tuple[str, ...]: ((), ("a-*", "*"))}[kind]


def test_core_understands_every_value_of_every_field(tmp_path: Path) -> None:
    settings = load(KEYCLOAK | {"LLM_GATEWAY_DATA_DIR": str(tmp_path)})
    written = [
        msgspec.convert({name: value}, Profile)
        for name, hint in typing.get_type_hints(Profile).items()
        if name in Profile.__struct_fields__
        for value in values_of(hint)
    ]
    upstreams = {
        f"x{number}": Upstream(urls=("http://127.0.0.1:9",), apis=("openai",), profile=profile)
        for number, profile in enumerate(written)
    } | {"asked": Upstream(urls=("http://127.0.0.1:9",), apis="auto")}

    async def make() -> None:
        given = core_settings(msgspec.structs.replace(settings, upstreams=upstreams))
        core = Core(given, str(tmp_path), 1.0, asyncio.get_running_loop(), Fault)
        await asyncio.to_thread(core.stop)

    assert len(written) > 2 * len(Profile.__struct_fields__)
    asyncio.run(make())
