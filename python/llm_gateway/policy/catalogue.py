"""The models there are, and which of them a requested name means."""

import re

from llm_gateway.config.defaults import KEYED_UPSTREAMS
from llm_gateway.config.schema import Model, Settings, Upstream
from llm_gateway.policy.routes import is_glob, matches

INTERNAL_PREFIX = "claude-internal-"

_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}(?:\[1m\])?")
_VENDOR = re.compile(r"(?:anthropic|openai)/", re.IGNORECASE)
_CLAUDE = re.compile(r"claude-[a-z0-9][a-z0-9.@-]*")
_GPT = re.compile(r"(?:gpt-|chatgpt-)[a-z0-9][a-z0-9.-]*|o[0-9]+(?:-[a-z0-9.-]+)?")

# The dearest first: a name that holds two of these words is the more restricted of both.
_CLAUDE_CLASSES = ("opus", "sonnet", "haiku")
_CLASS_UPSTREAMS = {
    "opus": "anthropic",
    "sonnet": "anthropic",
    "haiku": "anthropic",
    "claude": "anthropic",
    "gpt": "openai",
}


def is_well_formed(name: str) -> bool:
    """Whether `name` can be the name of a model at all."""
    return _WELL_FORMED.fullmatch(name) is not None


def plain(name: str) -> str:
    """`name` without a vendor's prefix and without Claude Code's suffix for the long context window.

    Source: Claude Code 2.1.330 appends `[1m]`; no upstream knows a model of that name.
    """
    spelling = name.removesuffix("[1m]")
    vendor = _VENDOR.match(spelling)
    return spelling[vendor.end() :] if vendor else spelling


def classify(name: str) -> str | None:
    """The class of a Claude or GPT model of any generation by its name's spelling.

    `opus`, `sonnet`, `haiku`, `claude` (another one), `gpt`, or None for every other name.
    """
    if not is_well_formed(name):
        return None
    spelling = plain(name).lower()
    if spelling.startswith(INTERNAL_PREFIX):
        return None
    if _CLAUDE.fullmatch(spelling):
        words = re.split(r"[-.@]", spelling)
        return next((word for word in _CLAUDE_CLASSES if word in words), "claude")
    return "gpt" if _GPT.fullmatch(spelling) else None


class Catalogue:
    """The configured models by name, and every other model of the classes known by spelling."""

    def __init__(self, settings: Settings) -> None:
        self.models = settings.models
        self._upstreams = settings.upstreams
        self._by_name: dict[str, Model] = {}
        for model in settings.models:
            self._by_name.setdefault(model.id, model)
        for model in settings.models:
            for alias in (*model.aliases, *internal_aliases(model)):
                self._by_name.setdefault(alias, model)
        self._globs = [
            (alias, model) for model in settings.models for alias in model.aliases if is_glob(alias)
        ]

    def names(self, name: str) -> bool:
        """Whether `name` is written in the catalogue, as an id or an alias."""
        return name in self._by_name

    def find(self, name: str) -> Model | None:
        """The model that `name` means, whoever asks; None when no upstream could know it."""
        if not is_well_formed(name):
            return None
        spelling = plain(name)
        for spelled in (name, spelling, spelling.lower()):
            if spelled in self._by_name:
                return self._by_name[spelled]
        for pattern, model in self._globs:
            if matches(pattern, spelling):
                return model
        model_class = classify(name)
        if model_class is None:
            return None
        return Model(id=spelling.lower(), model_class=model_class, upstream=self._upstream_of(model_class))

    def by_id(self, model_id: str) -> Model | None:
        """The configured model with exactly this id."""
        model = self._by_name.get(model_id)
        return model if model is not None and model.id == model_id else None

    def configured(self, model: Model) -> Model | None:
        """The entry that says what `model` can do: itself, or the one that is served under its name."""
        served = (
            entry for entry in self.models if entry.upstream == model.upstream and entry.wire == model.id
        )
        return self.by_id(model.id) or next(served, None)

    def of_class(self, model_class: str) -> tuple[Model, ...]:
        """The configured models of a class, in their order."""
        return tuple(model for model in self.models if model.model_class == model_class)

    def upstream(self, model: Model) -> Upstream | None:
        """Where `model` is served, or None while that upstream lacks its URL or its key."""
        upstream = self._upstreams.get(model.upstream)
        if upstream is None or (model.upstream in KEYED_UPSTREAMS and not upstream.api_key):
            return None
        return upstream

    def _upstream_of(self, model_class: str) -> str:
        configured = self.of_class(model_class)
        return configured[0].upstream if configured else _CLASS_UPSTREAMS[model_class]


def internal_aliases(model: Model) -> tuple[str, ...]:
    """The other name of an internal model: Claude Code shows only ids that start with `claude`."""
    return (f"{INTERNAL_PREFIX}{model.id}",) if model.model_class == "internal" else ()
