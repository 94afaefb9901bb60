"""The table that a benchmark prints."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from cases import Case, Figure, Sample

LABEL_WIDTH = 26
COLUMN_WIDTH = 19

Rounds = Mapping[str, Sequence[Sample]]
"""By target: one sample per round, in the order of the rounds."""


def lines(case: Case, rounds: Rounds) -> Iterator[str]:
    """The block of one case: the baseline's own figures, and the others' ratios to it, round by round."""
    others = [name for name in rounds if name != case.baseline]
    names = [case.baseline, *others] if case.baseline in rounds else others
    yield f"{case.name}: {case.title}"
    yield _row("", names, "aim")
    for figure in case.figures:
        yield _row(
            "  " + figure.label,
            [_cell(case, figure, rounds, name) for name in names],
            _aim(case, figure, rounds),
        )


def _row(label: str, cells: Sequence[str], aim: str) -> str:
    return (
        label.ljust(LABEL_WIDTH) + "".join(cell.rjust(COLUMN_WIDTH) for cell in cells) + "   " + aim
    ).rstrip()


def values(case: Case, figure: Figure, rounds: Rounds, name: str) -> list[float]:
    """One value per round: the figure itself, or where `is_ratio`, that to the baseline's of the round."""
    own = [figure.value(sample) for sample in rounds[name]]
    if not is_ratio(case, figure, rounds, name):
        return [value for value in own if value is not None]
    baseline = [figure.value(sample) for sample in rounds[case.baseline]]
    return [mine / other for mine, other in zip(own, baseline, strict=True) if mine is not None and other]


def is_ratio(case: Case, figure: Figure, rounds: Rounds, name: str) -> bool:
    """Whether the figure of `name` is shown as its ratio to the baseline's."""
    return name != case.baseline and case.baseline in rounds and not figure.absolute


def _cell(case: Case, figure: Figure, rounds: Rounds, name: str) -> str:
    found = values(case, figure, rounds, name)
    if not found:
        return "-"
    if not is_ratio(case, figure, rounds, name):
        return _number(median(found))
    return f"{median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _aim(case: Case, figure: Figure, rounds: Rounds) -> str:
    if figure.aim is None:
        return ""
    found = values(case, figure, rounds, case.subject) if case.subject in rounds else []
    comparable = figure.absolute or case.baseline in rounds
    if not found or not comparable:
        return str(figure.aim)
    return f"{figure.aim} {'met' if figure.aim.is_met(median(found)) else 'missed'}"
