"""What a request costs, in the units of windows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from operator import add
from typing import NamedTuple

CACHE_READ_WEIGHT = 0.25
"""A power of two: sums of it are exact in binary, so nothing here depends on how they are rounded."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer."""

    input: int
    output: int
    cache_read: int = 0
    cache_creation: int = 0

    def tokens(self, weight: int) -> int:
        """What they count as, for a model of that weight."""
        full = self.input + self.output + self.cache_creation
        return math.ceil(weight * (full + CACHE_READ_WEIGHT * self.cache_read))


class Charge(NamedTuple):
    """How much one request takes of windows of each unit."""

    requests: int = 0
    prompts: int = 0
    tokens: int = 0

    def of(self, unit: str) -> int:
        """The amount of a unit; zero of those that are no counters."""
        return int(getattr(self, unit, 0))

    def plus(self, other: "Charge") -> "Charge":
        """Both together."""
        return Charge(*map(add, self, other))


NOTHING = Charge()


def sums(parts: Iterable[set[Charge]]) -> set[Charge]:
    """Every sum of one charge of each part."""
    reached = {NOTHING}
    for part in parts:
        reached = {total.plus(charge) for total in reached for charge in part}
    return reached
