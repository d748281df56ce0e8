"""Plots as inline SVG: no script, nothing fetched, readable when printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

#: A colour for each subject; also told apart by the dashes when printed in grey.
COLOURS: Final[Mapping[str, tuple[str, str]]] = {
    "xmppd": ("#1d4f91", ""),
    "Prosody": ("#b3541e", "7 3"),
    "ejabberd": ("#4d7c2a", "2 3"),
    "floor": ("#777777", "1 4"),
}
OTHER_COLOURS: Final = (
    ("#1d4f91", ""),
    ("#b3541e", "7 3"),
    ("#4d7c2a", "2 3"),
    ("#777777", "1 4"),
    ("#7a3b8f", "9 2 2 2"),
)
WIDTH: Final = 520
HEIGHT: Final = 290
LEFT: Final = 66
RIGHT: Final = 30
TOP: Final = 48
BOTTOM: Final = 66

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """What is along one side of a plot."""

    title: str
    log: bool = False
    ticks: Sequence[tuple[float, str]] = ()  # not given: chosen
    low: float | None = None


def short(value: float) -> str:
    """A number for a tick: 1.5k, 20M."""
    for above, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= above:
            return f"{value / above:g}{letter}"
    return f"{value:g}"


def _scale(
    axis: Axis, values: Sequence[float], begin: float, end: float
) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """value -> coordinate, and the ticks."""
    low, high = min(values), max(values)
    if axis.log:
        low = axis.low or max(low, 1e-9)
        bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(max(high, low * 1.01)))
        at: Callable[[float], float]
        ticks = list(axis.ticks) or [(10.0**n, short(10.0**n)) for n in range(bottom, top + 1)]
        at = lambda value: (math.log10(max(value, 10.0**bottom)) - bottom) / max(top - bottom, 1)  # noqa: E731
    else:
        low = axis.low if axis.low is not None else low
        step = _step((high - low) or abs(high) or 1.0)
        top_value = math.ceil(high / step - 1e-9) * step if high > low else low + step
        ticks = list(axis.ticks) or [
            (low + n * step, short(round(low + n * step, 6)))
            for n in range(int((top_value - low) / step + 1.5))
        ]
        if axis.ticks:
            top_value = high if high > low else low + 1
        at = lambda value: (value - low) / (top_value - low)  # noqa: E731
    return (lambda value: begin + at(value) * (end - begin)), ticks


def _step(span: float) -> float:
    """A round distance of ticks that gives about five."""
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(n * power for n in (1, 2, 5, 10) if n * power >= rough - 1e-12))


def _frame(title: str, height: int, body: list[str], what: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}: {escape(what)}">'
        f'<text class="t" x="{LEFT}" y="18">{escape(title)}</text>{"".join(body)}</svg>'
    )


def lines(title: str, series: Mapping[str, Points], x: Axis, y: Axis) -> str:
    """A line for each name; nothing if there is no point."""
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    all_points = [point for points in series.values() for point in points]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    at_x, x_ticks = _scale(x, [point[0] for point in all_points], LEFT, right)
    at_y, y_ticks = _scale(y, [point[1] for point in all_points], bottom, TOP)
    body = []
    for value, label in y_ticks:
        body.append(f'<path class="g" d="M{LEFT} {at_y(value):.1f}H{right}"/>')
        body.append(
            f'<text class="l" text-anchor="end" x="{LEFT - 6}" y="{at_y(value) + 4:.1f}">{escape(label)}</text>'
        )
    for value, label in x_ticks:
        body.append(f'<path class="g" d="M{at_x(value):.1f} {bottom}v4"/>')
        body.append(
            f'<text class="l" text-anchor="middle" x="{at_x(value):.1f}" y="{bottom + 17}">{escape(label)}</text>'
        )
    body.append(f'<path class="a" d="M{LEFT} {TOP}V{bottom}H{right}"/>')
    body.append(f'<text class="l" text-anchor="end" x="{right}" y="{bottom + 34}">{escape(x.title)}</text>')
    body.append(f'<text class="l" x="{LEFT}" y="{TOP - 10}">{escape(y.title)}</text>')
    at = float(LEFT)
    for n, (name, points) in enumerate(series.items()):
        colour, dash = COLOURS.get(name, OTHER_COLOURS[n % len(OTHER_COLOURS)])
        style = f'stroke="{colour}" stroke-dasharray="{dash}"'
        way = " ".join(f"{at_x(px):.1f},{at_y(py):.1f}" for px, py in points)
        body.append(f'<polyline class="s" {style} points="{way}"/>')
        if len(points) < 12:
            body += [
                f'<circle cx="{at_x(px):.1f}" cy="{at_y(py):.1f}" r="3" fill="{colour}"/>'
                for px, py in points
            ]
        body.append(f'<path class="s" {style} d="M{at:.0f} {HEIGHT - 12}h22"/>')
        body.append(f'<text class="l" x="{at + 27:.0f}" y="{HEIGHT - 8}">{escape(name)}</text>')
        at += 38 + 6.2 * len(name)
    return _frame(title, HEIGHT, body, ", ".join(series))


@dataclass(frozen=True)
class Bar:
    """One bar, and the mark it has to reach."""

    name: str
    value: float
    goal: float
    met: bool
    remark: str


def bars(title: str, found: Sequence[Bar]) -> str:
    """Horizontal bars on a logarithmic scale, the goal of each as a tick across it."""
    if not found:
        return ""
    left, row, bottom = 118, 26, TOP + 26 * len(found)
    most = max(max(bar.value, bar.goal) for bar in found)
    at, ticks = _scale(Axis("", log=True, low=1.0), [1.0, most], left, WIDTH - 108)
    body = []
    for value, label in ticks:
        for shown, text in ((value, f"{label} ×"), (3 * value, f"{short(3 * value)} ×")):
            if shown <= ticks[-1][0]:
                body.append(f'<path class="g" d="M{at(shown):.1f} {TOP}V{bottom}"/>')
                body.append(
                    f'<text class="l" text-anchor="middle" x="{at(shown):.1f}" y="{bottom + 17}">{text}</text>'
                )
    for n, bar in enumerate(found):
        y = TOP + row * n + 5
        colour = "#1d4f91" if bar.met else "#a33a2a"
        body.append(
            f'<text class="l" text-anchor="end" x="{left - 8}" y="{y + 12}">{escape(bar.name)}</text>'
        )
        body.append(
            f'<rect x="{left}" y="{y}" width="{max(at(bar.value) - left, 1):.1f}" height="16" fill="{colour}"/>'
        )
        body.append(f'<path class="k" d="M{at(bar.goal):.1f} {y - 4}v24"/>')
        body.append(
            f'<text class="l" x="{max(at(bar.value), at(bar.goal)) + 6:.1f}" y="{y + 12}">{escape(bar.remark)}</text>'
        )
    return _frame(title, bottom + 28, body, ", ".join(bar.name for bar in found))
