"""The table that a benchmark prints."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from cases import DIRECT, Case, Figure, Sample, Shown

LABEL_WIDTH = 26
COLUMN_WIDTH = 24

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
    """One value per round: the figure itself, or how it compares with the other's of that round."""
    own = [figure.value(sample) for sample in rounds[name]]
    how, other = comparison(case, figure, rounds, name)
    if how == "own":
        return [value for value in own if value is not None]
    others = [figure.value(sample) for sample in rounds[other]]
    pairs = [(mine, its) for mine, its in zip(own, others, strict=True) if mine is not None and its]
    return [mine / its if how == "ratio" else mine - its for mine, its in pairs]


def comparison(case: Case, figure: Figure, rounds: Rounds, name: str) -> tuple[Shown, str]:
    """How the figure of `name` is shown, and whose it is compared with: its own where there is no other."""
    other = DIRECT if figure.shown == "added" else case.baseline
    if figure.shown == "own" or name == other or other not in rounds:
        return "own", name
    return figure.shown, other


def _cell(case: Case, figure: Figure, rounds: Rounds, name: str) -> str:
    found = values(case, figure, rounds, name)
    if not found:
        return "-"
    how, _ = comparison(case, figure, rounds, name)
    if how == "own":
        return _number(median(found))
    write = _added if how == "added" else _ratio
    return f"{write(median(found))} ({write(min(found))}-{write(max(found))})"


def _ratio(value: float) -> str:
    return f"{value:.4f}" if value < 0.01 else f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _added(value: float) -> str:
    return f"{value:+.2f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _aim(case: Case, figure: Figure, rounds: Rounds) -> str:
    if figure.aim is None:
        return ""
    found = values(case, figure, rounds, case.subject) if case.subject in rounds else []
    if not found or comparison(case, figure, rounds, case.subject)[0] != figure.shown:
        return str(figure.aim)
    return f"{figure.aim} {'met' if figure.aim.is_met(median(found)) else 'missed'}"
