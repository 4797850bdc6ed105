"""Charts as SVG text: lines over an axis, in one picture without scripts or files beside it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 44
COLOURS = ("#1f5fa8", "#c2571a", "#2c7d45", "#8b3a8f", "#9b8a10", "#555555")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart. A point without a value (None) leaves a gap."""

    name: str
    points: Sequence[tuple[float, float | None]]
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis: its title, and how values become places from 0 to 1."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    place: Callable[[float], float]


def linear(title: str, high: float) -> Axis:
    """Make an axis from 0 to a round number not below `high`."""
    top, step = _round_up(high)
    count = round(top / step)
    ticks = [(step * n, f"{step * n:g}") for n in range(count + 1)]
    return Axis(title=title, low=0.0, high=top, ticks=ticks, place=lambda value: value / top)


def logarithmic(title: str, low: float, high: float) -> Axis:
    """Make an axis of powers of ten that holds both values."""
    bottom = math.floor(math.log10(max(low, 1e-3)))
    top = max(bottom + 1, math.ceil(math.log10(max(high, 1e-3))))
    ticks = [(10.0**n, f"{10.0**n:g}") for n in range(bottom, top + 1)]
    return Axis(
        title=title,
        low=10.0**bottom,
        high=10.0**top,
        ticks=ticks,
        place=lambda value: (math.log10(max(value, 10.0**bottom)) - bottom) / (top - bottom),
    )


def percentiles(title: str, highest: float) -> Axis:
    """Make an axis on which each further nine of a percentile takes the same room."""
    nines = max(2, math.ceil(-math.log10(max(1e-7, 1 - min(highest, 99.99999) / 100))))

    def place(value: float) -> float:
        tail = max(1 - value / 100, 10.0**-nines)
        return -math.log10(tail) / nines

    named = [0.0, 50.0] + [100 - 10.0 ** (2 - n) for n in range(1, nines + 1)]
    ticks = [(value, f"{value:.10g}%") for value in named]
    return Axis(title=title, low=0.0, high=100.0, ticks=ticks, place=place)


def chart(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """Draw a chart; the title is also what a screen reader says."""
    inner_w, inner_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at_x(value: float) -> float:
        return LEFT + inner_w * min(1.0, max(0.0, x.place(value)))

    def at_y(value: float) -> float:
        return TOP + inner_h * (1 - min(1.0, max(0.0, y.place(value))))

    out = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<rect x="{LEFT}" y="{TOP}" width="{inner_w}" height="{inner_h}" class="plot"/>',
    ]
    for value, text in y.ticks:
        place = at_y(value)
        out.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}" '
            'class="grid"/>'
            f'<text x="{LEFT - 6}" y="{place + 4:.1f}" class="tick end">{escape(text)}</text>'
        )
    for value, text in x.ticks:
        place = at_x(value)
        out.append(
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{TOP + inner_h}" '
            'class="grid"/>'
            f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 16}" class="tick mid">'
            f"{escape(text)}</text>"
        )
    out.append(
        f'<text x="{LEFT + inner_w / 2:.1f}" y="{HEIGHT - 6}" class="title mid">'
        f"{escape(x.title)}</text>"
        f'<text transform="translate(14 {TOP + inner_h / 2:.1f}) rotate(-90)" class="title mid">'
        f"{escape(y.title)}</text>"
    )
    for number, line in enumerate(lines):
        out.append(_path(line, COLOURS[number % len(COLOURS)], at_x, at_y))
    out.append("</svg>")
    return "\n".join(out) + _legend(lines)


def _path(
    line: Line, colour: str, at_x: Callable[[float], float], at_y: Callable[[float], float]
) -> str:
    parts, pen = [], "M"
    for x, y in line.points:
        if y is None:
            pen = "M"
            continue
        parts.append(f"{pen}{at_x(x):.1f} {at_y(y):.1f}")
        pen = "L"
    dash = ' stroke-dasharray="5 4"' if line.dashed else ""
    return f'<path d="{" ".join(parts)}" class="line" stroke="{colour}"{dash}/>'


def _legend(lines: Sequence[Line]) -> str:
    items = "".join(
        f'<span><i style="background:{COLOURS[number % len(COLOURS)]}"></i>'
        f"{escape(line.name)}</span>"
        for number, line in enumerate(lines)
    )
    return f'<p class="legend">{items}</p>'


def _round_up(value: float) -> tuple[float, float]:
    """Return a round number not below a value, and a step that divides it into a few parts."""
    if value <= 0:
        return 1.0, 0.25
    power = 10.0 ** math.floor(math.log10(value))
    for step in (0.2, 0.25, 0.5, 1.0, 2.0, 2.5):
        parts = math.ceil(value / (step * power) - 1e-9)
        if parts <= 6:
            return parts * step * power, step * power
    return 10 * power, 2 * power
