"""The built-in tiers, models, upstreams and routes, in the shape of the YAML file.

Source: the seed's tables. Its model names are retired ones; `wire` is the live name that takes their place.
"""

import msgspec

from llm_gateway.config.schema import Model, Route, Tier, Upstream, Window

DATA_DIR = "./data"
INTERNAL_MODEL = "qwen3-32b"

# Without a key these refuse everybody: their models are not offered until one is set.
KEYED_UPSTREAMS = frozenset({"anthropic", "openai"})

_TIERS = {
    "free": Tier(rank=10, models=("internal",), quota=(Window(limit=10),), otherwise="internal"),
    "pro": Tier(rank=20, models=("internal", "haiku"), quota=(Window(limit=1000),)),
    "enterprise": Tier(rank=30, models=("*",), quota=(Window(limit=None),)),
}

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
        )
        for name, date in (("opus", "20240229"), ("sonnet", "20240229"), ("haiku", "20240307"))
    )
    return [
        _plain(Model(id=internal_model, model_class="internal", upstream="internal")),
        *map(_plain, claude),
        _plain(Model(id="gpt-4", model_class="gpt", upstream="openai")),
    ]


def upstreams() -> dict[str, dict[str, object]]:
    """The three backends; `internal` still lacks its URL."""
    claude = Upstream(urls=("https://api.anthropic.com",), apis=("anthropic",), auth="x-api-key")
    openai = Upstream(urls=("https://api.openai.com",), apis=("openai",))
    return {
        "internal": {"apis": ["anthropic", "openai"]},
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
