"""Which route a requested name takes: exact or glob, first match wins."""

import fnmatch
from collections.abc import Iterable

from llm_gateway.config.schema import Route


def is_glob(pattern: str) -> bool:
    """Whether `pattern` stands for more than one name. Brackets do not: `[1m]` is part of a name."""
    return "*" in pattern or "?" in pattern


def matches(pattern: str, name: str) -> bool:
    """Whether `name` is `pattern` itself, or one of the names that the glob `pattern` stands for."""
    if not is_glob(pattern):
        return pattern == name
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def first_match(routes: Iterable[Route], tier: str, spellings: tuple[str, ...]) -> Route | None:
    """The first of `routes` that holds for `tier` and one of the `spellings` of the requested name."""
    for route in routes:
        if route.tiers and tier not in route.tiers:
            continue
        if any(matches(route.match, spelling) for spelling in spellings):
            return route
    return None
