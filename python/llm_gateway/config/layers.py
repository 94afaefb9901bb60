"""One layer of settings over another, while they are still plain data."""

import copy
from collections.abc import Mapping
from typing import get_args

from llm_gateway.config.environment import Overrides
from llm_gateway.config.schema import Dialect


def overlaid(data: Mapping[str, object], overrides: Overrides) -> dict[str, object]:
    """The sections of the file under what the environment sets."""
    laid = {name: copy.deepcopy(section) for name, section in data.items() if section is not None}
    for path, value in overrides.values.items():
        node: object = laid
        for step in path[:-1]:
            if isinstance(node, dict):
                if node.get(step) is None:
                    node[step] = {}
                node = node[step]
        if isinstance(node, dict):
            node[path[-1]] = value
    return laid


def mapping(value: object) -> dict[str, object]:
    """`value` if it is a mapping, else an empty one: the mistake is found where it is converted."""
    return value if isinstance(value, dict) else {}


def listed_api(upstream: object) -> object:
    """An upstream whose `apis`, if it was a single word, is a list of it."""
    word = mapping(upstream).get("apis")
    return mapping(upstream) | {"apis": [word]} if word in get_args(Dialect) else upstream


def model(built_in: dict[str, object], given: dict[str, object]) -> dict[str, object]:
    """`given` over `built_in`, whose capabilities are those of its name at the upstream and end with it."""
    if given.get("wire", built_in.get("wire")) != built_in.get("wire"):
        built_in = built_in | {"capabilities": {}}
    return built_in | given


def base_url(url: str) -> str:
    """`url` without `/v1` and slashes at its end."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")
