"""What a tier's allow-list lets through, and what it gets in place of the rest."""

from llm_gateway.config.schema import Model, Tier
from llm_gateway.policy.catalogue import Catalogue
from llm_gateway.policy.routes import matches

# In place of a class that a tier lacks, the next one down that it has.
_LADDERS = {
    "claude": ("opus", "sonnet", "haiku", "internal"),
    "opus": ("opus", "sonnet", "haiku", "internal"),
    "sonnet": ("sonnet", "haiku", "internal"),
    "haiku": ("haiku", "internal"),
    "gpt": ("gpt", "internal"),
}


def allowed_by(tier: Tier, model: Model) -> str | None:
    """The entry of the tier's allow-list that lets `model` through: its class, its id, or a glob over ids."""
    return next(
        (entry for entry in tier.models if entry == model.model_class or matches(entry, model.id)), None
    )


def best_of(tier: Tier, model_class: str, catalogue: Catalogue) -> Model | None:
    """The first model of a class that the tier has."""
    return next((model for model in catalogue.of_class(model_class) if allowed_by(tier, model)), None)


def next_down(tier: Tier, model_class: str, catalogue: Catalogue) -> Model | None:
    """What the tier has in place of a model of `model_class` that it lacks."""
    for rung in _LADDERS.get(model_class, (model_class,)):
        model = best_of(tier, rung, catalogue)
        if model is not None:
            return model
    return None
