"""What a benchmark found, for programs: the table's figures, and every sample that they were made of."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from cases import Case, Figure
from table import Rounds, comparison, values


def report(machine: Sequence[str], cases: Sequence[Case], samples: Mapping[str, Rounds]) -> dict[str, Any]:
    """Returns a JSON object: `machine` (lines for people) and, by name, the `cases` that were run.

    A case has its `title`, its `baseline`, and by label the `figures`: by target `rounds` (a value each, of
    which `median`), and how it is `shown` (`cases.Shown`); and by target the `samples`, what the client
    reported and what the processes used (CPU seconds, bytes).
    """
    return {
        "machine": list(machine),
        "cases": {case.name: _case(case, samples[case.name]) for case in cases if case.name in samples},
    }


def _case(case: Case, rounds: Rounds) -> dict[str, Any]:
    return {
        "title": case.title,
        "baseline": case.baseline,
        "figures": {figure.label: _figure(case, figure, rounds) for figure in case.figures},
        "samples": {
            name: [
                {
                    "client": sample.report,
                    "cpu_s": sample.cpu_s,
                    "peak_rss_bytes": sample.peak_rss_bytes,
                    "grown_rss_bytes": sample.grown_rss_bytes,
                }
                for sample in taken
            ]
            for name, taken in rounds.items()
        },
    }


def _figure(case: Case, figure: Figure, rounds: Rounds) -> dict[str, Any]:
    found = {}
    for name in rounds:
        if each := values(case, figure, rounds, name):
            how, _ = comparison(case, figure, rounds, name)
            found[name] = {"median": median(each), "rounds": each, "shown": how}
    return found
