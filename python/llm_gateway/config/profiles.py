"""What the relay is told of an upstream's manners and of what a model can do, merged from the settings."""

from typing import TypedDict

import msgspec

from llm_gateway.config.schema import Capabilities, ServerKind, Settings, Upstream


class Entry(TypedDict):
    """What one key stands for: `wire` holds the `kind` and only what differs from its preset."""

    wire: dict[str, object]
    tokenizer_file: str | None


def of_upstream(name: str) -> str:
    """The key of an upstream: for those of its models that are not in the catalogue."""
    return f"upstream:{name}"


def of_model(model_id: str) -> str:
    """The key of a model of the catalogue."""
    return f"model:{model_id}"


def kind_of(upstream: Upstream) -> ServerKind:
    """The preset of an upstream's manners: the configured one, else what fits the API it speaks."""
    return upstream.kind or ("anthropic" if upstream.apis == ("anthropic",) else "openai")


def by_key(settings: Settings) -> dict[str, Entry]:
    """An entry per upstream, and per model that has one; what a model says beats what its upstream says."""
    wires = {
        name: {"kind": kind_of(upstream)} | _given(upstream.profile)
        for name, upstream in settings.upstreams.items()
    }
    entries = {of_upstream(name): Entry(wire=wire, tokenizer_file=None) for name, wire in wires.items()}
    for model in settings.models:
        if model.upstream in wires:
            wire = wires[model.upstream] | _given(model.capabilities)
            entries[of_model(model.id)] = Entry(wire=wire, tokenizer_file=model.tokenizer_file)
    return entries


def _given(section: Capabilities) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(section).items() if value is not None}
