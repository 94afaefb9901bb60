"""The decision about one request: which model, at which upstream, under which quota windows."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from llm_gateway.config import profiles
from llm_gateway.config.schema import (
    ITSELF,
    Apis,
    Model,
    OnStoreFailure,
    Route,
    Settings,
    Tier,
    Upstream,
    Weights,
    Window,
)
from llm_gateway.errors import Fault
from llm_gateway.policy.catalogue import Catalogue, classify, internal_aliases, is_well_formed, plain
from llm_gateway.policy.routes import first_match, is_glob
from llm_gateway.policy.tiers import allowed_by, best_of, next_down

OTHER = "other"

# Names of a known class are endless, and every one that is served would be a series of the metrics.
_LABELS = 256
_PLANS = 4096
_ECHOED_CHARACTERS = 64


class Plan(msgspec.Struct, frozen=True):
    """What was decided. `asked` is the name as it came, `model` the id that serves it (`x-gateway-model`),
    `wire_model` the name to send upstream, `profile` the key of what it can do (`config/profiles.py`).
    `adapt`: a model of another class was asked for, so the body is fitted to this one. `weights` say what the
    request counts as in `windows`, `on_store_failure` what holds while it cannot be counted. `from_label` and
    `to_label` stand for `asked` and `model` in metrics: there are never more than some hundreds of them.
    `why` are the reasons, for people.
    """

    tier: str
    asked: str
    model: str
    wire_model: str
    upstream: str
    apis: Apis
    profile: str
    adapt: bool
    windows: tuple[Window, ...]
    weights: Weights
    on_store_failure: OnStoreFailure
    from_label: str
    to_label: str
    why: tuple[str, ...]


class ListedModel(msgspec.Struct, frozen=True):
    """A model that a tier can use, as `/v1/models` shows it."""

    id: str
    model_class: str
    display_name: str


class _Choice(NamedTuple):
    """What routing came to: a model and where it is served, or None and in `why` what is missing."""

    model: Model | None
    upstream: Upstream | None
    why: tuple[str, ...]


class Policy:
    """Tiers, routes and the catalogue of one configuration; the same question has always the same answer."""

    def __init__(self, settings: Settings) -> None:
        self._catalogue = Catalogue(settings)
        self._tiers = settings.tiers
        self._routes = settings.routes
        self._literals = {route.match for route in self._all_routes() if not is_glob(route.match)}
        self._labels: set[str] = set()
        self._models = {name: tuple(self._usable(name)) for name in settings.tiers}
        # Refusals are exceptions, which the cache does not keep: nobody can fill it with nonsense.
        self._planned = functools.lru_cache(maxsize=_PLANS)(self._plan)

    def plan(self, tier: str, model: str) -> Plan:
        """What serves `model` for a subscriber of `tier`.

        Raises: Fault `invalid_request` when nothing that the tier has serves it, `forbidden` for an unknown
        tier.
        """
        return self._planned(tier, model)

    def windows(self, tier: str) -> tuple[Window, ...]:
        """The quota windows of `tier`. Raises: Fault `forbidden` for an unknown tier."""
        return self._tier(tier).quota

    def models(self, tier: str) -> tuple[ListedModel, ...]:
        """The models that `tier` can really use. Raises: Fault `forbidden` for an unknown tier."""
        self._tier(tier)
        return tuple(entry for model in self._models[tier] for entry in _entries(model))

    def reasons(self, tier: str, model: str) -> tuple[str, ...]:
        """Why `model` is served as it is for `tier`, or refused, in sentences for people."""
        return self._choose(tier, self._tier(tier), model).why

    def _tier(self, name: str) -> Tier:
        tier = self._tiers.get(name)
        if tier is None:
            raise Fault("forbidden", f"the tier {echoed(name)} is not configured; ask the operator")
        return tier

    def _plan(self, tier_name: str, asked: str) -> Plan:
        tier = self._tier(tier_name)
        model, upstream, why = self._choose(tier_name, tier, asked)
        if model is None or upstream is None:
            raise self._refusal(tier_name, asked)
        return Plan(
            tier=tier_name,
            asked=asked,
            model=model.id,
            wire_model=model.wire or model.id,
            upstream=model.upstream,
            apis=upstream.apis,
            profile=self._profile(model),
            adapt=self._is_of_another_class(asked, model),
            windows=tier.quota,
            weights=self._weights(model),
            on_store_failure=tier.on_store_failure,
            from_label=self._label(asked),
            to_label=self._label(model.id),
            why=why,
        )

    def _profile(self, model: Model) -> str:
        known = self._catalogue.configured(model)
        return profiles.of_upstream(model.upstream) if known is None else profiles.of_model(known.id)

    def _weights(self, model: Model) -> Weights:
        # Nobody gets round the weights of a model by one of its other names, or by an older one of its class.
        same_class = self._catalogue.of_class(model.model_class)
        known = self._catalogue.configured(model) or next(iter(same_class), model)
        return known.weights

    def _is_of_another_class(self, asked: str, served: Model) -> bool:
        wanted = self._catalogue.find(asked)
        return wanted is not None and wanted.model_class != served.model_class

    def _choose(self, tier_name: str, tier: Tier, asked: str) -> _Choice:
        why: list[str] = []
        model = self._served(tier_name, tier, asked, why) if is_well_formed(asked) else None
        if model is None:
            return _Choice(
                None, None, (*why, "no model of the catalogue that the tier has stands for this name")
            )
        # Default deny: whatever the route said, the allow-list has the last word.
        entry = allowed_by(tier, model)
        if entry is None:
            text = f"{model.id} (class {model.model_class}) is not among the tier's models"
            return _Choice(None, None, (*why, f"{text}: {', '.join(tier.models) or 'none'}"))
        upstream = self._catalogue.upstream(model)
        if upstream is None:
            return _Choice(None, None, (*why, f"the upstream {model.upstream} has no URL or no key"))
        why.append(f'{model.id} is of the class {model.model_class}, allowed by the entry "{entry}"')
        return _Choice(model, upstream, tuple(why))

    def _served(self, tier_name: str, tier: Tier, asked: str, why: list[str]) -> Model | None:
        """What routes and classes say, before the allow-list is asked."""
        route = first_match((*tier.routes, *self._routes), tier_name, (asked, plain(asked)))
        if route is not None:
            why.append(f'the route "{route.match}" leads to {route.model}')
            return self._target(route.model, tier, asked)
        model = self._catalogue.find(asked)
        if model is not None:
            if allowed_by(tier, model):
                why.append("no route matches, so the model is itself")
                return model
            why.append(
                f"no route matches; the tier lacks the class {model.model_class} and goes down from it"
            )
            return next_down(tier, model.model_class, self._catalogue) or self._otherwise(tier, asked, why)
        return self._otherwise(tier, asked, why)

    def _otherwise(self, tier: Tier, asked: str, why: list[str]) -> Model | None:
        if tier.otherwise is None:
            return None
        why.append(f"nothing else matches, so the tier's `otherwise` holds: {tier.otherwise}")
        return self._target(tier.otherwise, tier, asked)

    def _target(self, target: str, tier: Tier, asked: str) -> Model | None:
        if target == ITSELF:
            return self._catalogue.find(asked)
        return self._catalogue.by_id(target) or best_of(tier, target, self._catalogue)

    def _refusal(self, tier_name: str, asked: str) -> Fault:
        available = ", ".join(model.id for model in self._models[tier_name]) or "none"
        text = f"model {echoed(asked)} is not available on the {tier_name} tier; available: {available}"
        return Fault("invalid_request", text, param="model")

    def _usable(self, tier_name: str) -> Iterator[Model]:
        """The configured models that this tier reaches by their own name."""
        for model in self._catalogue.models:
            if self._choose(tier_name, self._tiers[tier_name], model.id).model == model:
                yield model

    def _label(self, name: str) -> str:
        if self._catalogue.names(name) or name in self._literals:
            return name
        if classify(name) is None:
            return OTHER
        if name not in self._labels and len(self._labels) >= _LABELS:
            return OTHER
        self._labels.add(name)
        return name

    def _all_routes(self) -> tuple[Route, ...]:
        return (*(route for tier in self._tiers.values() for route in tier.routes), *self._routes)


def echoed(name: str) -> str:
    """`name` in quotes, escaped and cut, so that it can be part of a message."""
    return ascii(name if len(name) <= _ECHOED_CHARACTERS else f"{name[: _ECHOED_CHARACTERS - 3]}...")


def _entries(model: Model) -> list[ListedModel]:
    """`model` under each name it is listed by."""
    internal = f"{model.id} (internal)" if model.model_class == "internal" else None
    renamed = f"{model.id} ({model.wire})" if model.wire else model.id
    return [
        ListedModel(id=name, model_class=model.model_class, display_name=internal or renamed)
        for name in (model.id, *internal_aliases(model))
    ]
