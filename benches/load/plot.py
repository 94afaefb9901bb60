"""A benchmark's report as a picture: for each ratio a bar per target, on a scale of powers of ten."""

import math
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 900, 300, 70
BAR, GAP, HEAD, SCALE = 12, 14, 22, 30
COLOURS = {"gateway": "#0f766e", "direct": "#94a3b8", "envoy": "#7c3aed", "litellm": "#c2410c"}
OTHER = "#475569"
STYLE = "text{font:12px system-ui,sans-serif;fill:#0f172a}.small{font-size:11px;fill:#475569}"


def svg(report: dict[str, Any]) -> str:
    """Draws the ratios of `report.report`: medians as bars, lowest and highest round as a line on each.

    Left of the dark line is less than the baseline, right of it more. What is shown otherwise is left out.
    """
    groups = list(_groups(report))
    if not groups:
        return _document(SCALE, [])
    values = [value for _, bars in groups for _, figure in bars for value in figure["rounds"]]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    scale = _Scale(min(low, 0), max(high, 0))
    parts: list[str] = []
    y = SCALE
    for title, bars in groups:
        parts.append(f'<text x="10" y="{y + BAR}">{escape(title)}</text>')
        for name, figure in bars:
            parts.append(_bar(scale, name, figure, y))
            y += BAR + 2
        y += GAP
    return _document(y, [*scale.lines(y), *parts])


class _Scale:
    """Where a ratio lies, between two powers of ten."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, max(high, low + 1)

    def x(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def lines(self, bottom: int) -> Iterator[str]:
        for power in range(self._low, self._high + 1):
            x, colour = self.x(10**power), "#0f172a" if power == 0 else "#e2e8f0"
            yield f'<path d="M{x:.1f} {SCALE - 8}V{bottom}" stroke="{colour}"/>'
            yield f'<text class="small" x="{x:.1f}" y="14" text-anchor="middle">{10**power:g}</text>'


def _groups(report: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    for name, case in report["cases"].items():
        for label, targets in case["figures"].items():
            bars = [
                (target, figure)
                for target, figure in targets.items()
                if figure["shown"] == "ratio" and min(figure["rounds"]) > 0
            ]
            if bars:
                yield f"{name}: {label.partition(',')[0]}", bars


def _bar(scale: _Scale, name: str, figure: dict[str, Any], y: int) -> str:
    median, least, most = figure["median"], min(figure["rounds"]), max(figure["rounds"])
    one, middle = scale.x(1), scale.x(median)
    left, width = min(one, middle), max(abs(middle - one), 1)
    colour, line = COLOURS.get(name, OTHER), y + BAR / 2
    return (
        f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'
        f'<path d="M{scale.x(least):.1f} {line}H{scale.x(most):.1f}" stroke="#0f172a"/>'
        f'<text class="small" x="{LEFT - 8}" y="{y + BAR - 2}" text-anchor="end">{escape(name)}</text>'
        f'<text class="small" x="{max(one, scale.x(most)) + 6:.1f}" y="{y + BAR - 2}">'
        f"{median:.3g}</text>"
    )


def _document(height: int, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + HEAD}" role="img">'
    ground = f'<rect width="{WIDTH}" height="{height + HEAD}" fill="#fff"/>'
    words = "ratio to the baseline of the same round; bars: median, lines: all rounds"
    note = f'<text class="small" x="10" y="{height + 8}">{words}</text>'
    return "\n".join([head, f"<style>{STYLE}</style>", ground, *parts, note, "</svg>\n"])
