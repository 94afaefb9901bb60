"""Reads Prometheus' text format 0.0.4, and refuses whatever a strict reader would.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import re
from collections import defaultdict
from typing import NamedTuple

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{((?:{_LABEL})(?:,{_LABEL})*)\}})? (\S+)")
_TYPES = {"counter", "gauge", "histogram", "untyped"}
_SUFFIXES = ("_bucket", "_sum", "_count")

Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One line of a page."""

    name: str
    labels: dict[str, str]
    value: float


class Samples:
    """The samples of one page."""

    def __init__(self, samples: list[Sample], types: dict[str, str]) -> None:
        self.all = samples
        self.types = types

    def sum(self, name: str, **labels: str) -> float:
        """The sum over all series of that name with at least these labels."""
        return sum(sample.value for sample in self.of(name, **labels))

    def of(self, name: str, **labels: str) -> list[Sample]:
        """The series of that name with at least these labels."""
        return [
            sample for sample in self.all if sample.name == name and labels.items() <= sample.labels.items()
        ]


def parse(page: str) -> Samples:
    """The samples of a page; AssertionError with the line where it is not what the format says."""
    assert page.endswith("\n")
    types: dict[str, str] = {}
    helped: set[str] = set()
    family = ""
    samples: list[Sample] = []
    seen: set[tuple[str, Labels]] = set()
    for line in page.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert re.fullmatch(_NAME, family), line
            assert family not in helped, f"a family twice: {line}"
            helped.add(family)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert (name, kind in _TYPES) == (family, True), line
            types[name] = kind
        else:
            sample = _sample(line)
            assert _family(sample.name, types) == family, f"outside its family: {line}"
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in seen, f"a series twice: {line}"
            seen.add(key)
            samples.append(sample)
    page_of = Samples(samples, types)
    for name in (name for name, kind in types.items() if kind == "histogram"):
        _check_histogram(page_of, name)
    return page_of


def _sample(line: str) -> Sample:
    match = _SAMPLE.fullmatch(line)
    assert match, f"not a sample: {line}"
    labels = re.findall(_LABEL, match[2] or "")
    assert len(dict(labels)) == len(labels), f"a label twice: {line}"
    return Sample(match[1], dict(labels), float(match.groups()[-1]))


def _family(name: str, types: dict[str, str]) -> str:
    for suffix in _SUFFIXES:
        if types.get(name.removesuffix(suffix)) == "histogram":
            return name.removesuffix(suffix)
    return name


def _check_histogram(page: Samples, name: str) -> None:
    """Buckets grow, and the last one says what the count says."""
    buckets: dict[Labels, list[tuple[float, float]]] = defaultdict(list)
    for sample in page.of(f"{name}_bucket"):
        rest = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
        buckets[rest].append((float(sample.labels["le"]), sample.value))
    counts = {tuple(sorted(sample.labels.items())): sample.value for sample in page.of(f"{name}_count")}
    assert buckets.keys() == counts.keys()
    for labels, pairs in buckets.items():
        assert pairs == sorted(pairs), f"{name}{labels}: {pairs}"
        assert [count for _, count in pairs] == sorted(count for _, count in pairs)
        assert pairs[-1] == (float("inf"), counts[labels])
