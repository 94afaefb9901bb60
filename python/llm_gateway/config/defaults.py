"""The built-in tiers, models, upstreams and routes, in the shape of the YAML file.

Source: the seed's tables. Its model names are retired ones; `wire` is the live name that takes their place,
and capabilities are those of that model.
"""

import msgspec

from llm_gateway.config.schema import Capabilities, Model, Profile, Route, Tier, Upstream, Window

DATA_DIR = "./data"
INTERNAL_MODEL = "qwen3-32b"

# Without a key these refuse everybody: their models are not offered until one is set.
KEYED_UPSTREAMS = frozenset({"anthropic", "openai"})

_TIERS = {
    "free": Tier(rank=10, models=("internal",), quota=(Window(limit=10),), otherwise="internal"),
    "pro": Tier(rank=20, models=("internal", "haiku"), quota=(Window(limit=1000),)),
    "enterprise": Tier(rank=30, models=("*",), quota=(Window(limit=None),)),
}

# What all Claude 5.5 models have in common: a thinking budget is a 400 there, and so is a temperature.
# Source: platform.claude.com/docs/en/models/{opus,sonnet,haiku}-5-5, overview and migration guide, 2026.
_CLAUDE_5_5 = Capabilities(
    context_window=1_000_000,
    max_output_tokens=128_000,
    thinking="adaptive",
    effort=True,
    sampling=False,
    mid_system=True,
)
_CLAUDE = {
    "opus": msgspec.structs.replace(_CLAUDE_5_5, thinking_off=False),
    "sonnet": _CLAUDE_5_5,
    # Larger models' betas, in requests that were meant for those: what they turn on is always on here.
    "haiku": msgspec.structs.replace(
        _CLAUDE_5_5, refused_betas=("context-1m-*", "effort-*", "adaptive-thinking-*")
    ),
}

# Source: developers.openai.com/api/docs/models/gpt-4 (text only; thinking came with later models), 2026.
_GPT_4 = Capabilities(
    vision=False, documents=False, max_output_tokens=8192, thinking="none", structured_output=False
)

_SEED_ROUTES = {
    "free": {
        "claude-3-opus": "internal",
        "claude-3-sonnet": "internal",
        "claude-3-haiku": "internal",
        "gpt-4": "internal",
    },
    "pro": {
        "claude-3-opus": "claude-3-haiku",
        "claude-3-sonnet": "claude-3-haiku",
        "claude-3-haiku": "claude-3-haiku",
        "gpt-4": "internal",
    },
    "enterprise": {
        "claude-3-opus": "itself",
        "claude-3-sonnet": "itself",
        "claude-3-haiku": "itself",
        "gpt-4": "itself",
    },
}


def tiers() -> dict[str, dict[str, object]]:
    """The seed's three tiers."""
    return {name: _plain(tier) for name, tier in _TIERS.items()}


def models(internal_model: str) -> list[dict[str, object]]:
    """The seed's models; `internal_model` is the id of the one that runs in the cluster."""
    claude = (
        Model(
            id=f"claude-3-{name}",
            model_class=name,
            upstream="anthropic",
            wire=f"claude-{name}-5-5",
            aliases=(f"claude-3-{name}-{date}", f"claude-3-{name}-latest"),
            capabilities=_CLAUDE[name],
        )
        for name, date in (("opus", "20240229"), ("sonnet", "20240229"), ("haiku", "20240307"))
    )
    return [
        _plain(Model(id=internal_model, model_class="internal", upstream="internal")),
        *map(_plain, claude),
        _plain(Model(id="gpt-4", model_class="gpt", upstream="openai", capabilities=_GPT_4)),
    ]


def upstreams() -> dict[str, dict[str, object]]:
    """The three backends; `internal` still lacks its URL."""
    claude = Upstream(
        urls=("https://api.anthropic.com",),
        apis=("anthropic",),
        kind="anthropic",
        auth="x-api-key",
        # For the models that are not listed here: the newer ones refuse it, and none needs it.
        profile=Profile(sampling=False),
    )
    openai = Upstream(urls=("https://api.openai.com",), apis=("openai",), kind="openai")
    return {
        "internal": {"apis": "auto", "kind": "vllm"},
        "anthropic": _plain(claude),
        "openai": _plain(openai),
    }


def routes(unchanged_tiers: frozenset[str]) -> tuple[Route, ...]:
    """The seed's routing table, row by row, for the tiers whose allow-list is the seed's.

    A tier with an allow-list of its own follows that list instead.
    """
    return tuple(
        Route(match=requested, model=served, tiers=(tier,))
        for tier, rows in _SEED_ROUTES.items()
        if tier in unchanged_tiers
        for requested, served in rows.items()
    )


def _plain(struct: Model | Tier | Upstream) -> dict[str, object]:
    plain: dict[str, object] = msgspec.json.decode(msgspec.json.encode(struct))
    return plain
