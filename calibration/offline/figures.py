"""The figures of a report, drawn as SVG: no network, no script, colours by the style sheet of the page.

Every figure has a title and a description for those who cannot see it; the page repeats its numbers in a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from calibration.offline.curves import Bin, Passing

_WIDTH, _HEIGHT = 460.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 24.0, 18.0, 48.0
_STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25)
_LEAST_POINT, _LARGEST_POINT = 2.5, 7.0


@dataclass(frozen=True)
class Axes:
    """A frame with a scale of shares in each direction: numbers go in, places in the drawing come out."""

    x_title: str
    y_title: str
    y_high: float = 1.0

    def x(self, value: float) -> float:
        """From the left."""
        return round(_LEFT + min(max(value, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        """From the top; what is above the frame lies on its edge."""
        return round(_HEIGHT - _BOTTOM - min(max(value / self.y_high, 0.0), 1.0) * (_HEIGHT - _TOP - _BOTTOM), 1)

    def line(self, points: Iterable[tuple[float, float]], kind: str) -> str:
        """A line through points."""
        return f'<path class="{kind}" d="M{"L".join(f"{self.x(x)} {self.y(y)}" for x, y in points)}"/>'

    def frame(self) -> str:
        """Grid, ticks and titles."""
        parts = []
        for value in _ticks(self.y_high):
            y = self.y(value)
            parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
            parts.append(_text(_LEFT - 8, y + 4, _percent(value), "tick", "end"))
        parts += [_text(self.x(value), _HEIGHT - _BOTTOM + 18, _percent(value), "tick") for value in _ticks(1.0)]
        parts.append(f'<path class="axis" d="M{_LEFT} {self.y(0.0)}H{_WIDTH - _RIGHT}"/>')
        middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(_text(middle_x, _HEIGHT - 8, self.x_title, "title"))
        turned = _text(0, 0, self.y_title, "title")
        parts.append(f'<g transform="translate(14 {middle_y}) rotate(-90)">{turned}</g>')
        return "".join(parts)


def reliability(bins: Sequence[Bin]) -> Markup:
    """Observed correctness against the score, with intervals; the diagonal is a score that means what it says."""
    axes = Axes("score (promised share correct)", "observed share correct")
    largest = max((bin_.correct.n for bin_ in bins), default=1)
    parts = [axes.frame(), axes.line([(0, 0), (1, 1)], "reference")]
    for bin_ in bins:
        x = axes.x(bin_.mean_score)
        parts.append(
            f'<path class="interval" d="M{x} {axes.y(bin_.correct.low)}V{axes.y(bin_.correct.high)}'
            f'M{x - 4} {axes.y(bin_.correct.low)}h8M{x - 4} {axes.y(bin_.correct.high)}h8"/>'
        )
        radius = max(_LEAST_POINT, _LARGEST_POINT * math.sqrt(bin_.correct.n / largest))
        parts.append(f'<circle class="point" cx="{x}" cy="{axes.y(bin_.correct.value)}" r="{radius:.1f}"/>')
    described = "; ".join(
        f"score {_percent(bin_.mean_score)}: {_percent(bin_.correct.value)} correct of {bin_.correct.n}"
        for bin_ in bins
    )
    return _figure("Reliability diagram", described or "no readings", parts)


def risk_coverage(points: Sequence[Passing], max_error: float | None, certified: tuple[float, float] | None) -> Markup:
    """The error of what would pass against how much would pass; the promise, and where the certificate stands.

    `certified` is the coverage at the certified threshold and the certified bound of its error.
    """
    highest = max((point.error.high for point in points[len(points) // 5 :]), default=0.1)
    axes = Axes(
        "coverage (share that passes without a person)",
        "error among what passes",
        _round_up(max(min(highest, 1.0), 1.6 * (max_error or 0.0), 0.02)),
    )
    parts = [axes.frame()]
    if points:
        edge = [(p.coverage, p.error.high) for p in points] + [(p.coverage, p.error.low) for p in reversed(points)]
        parts.append(axes.line(edge, "band"))
        parts.append(axes.line([(p.coverage, p.error.value) for p in points], "curve"))
    if max_error is not None:
        parts.append(axes.line([(0.0, max_error), (1.0, max_error)], "promise"))
        parts.append(
            _text(axes.x(1.0) - 4, axes.y(max_error) - 6, f"promise: at most {_percent(max_error)}", "warn", "end")
        )
    if certified is not None:
        coverage, bound = certified
        x = axes.x(coverage)
        parts.append(f'<path class="certified" d="M{x} {axes.y(0.0)}V{_TOP}"/>')
        parts.append(f'<circle class="certified-point" cx="{x}" cy="{axes.y(bound)}" r="4"/>')
        left = coverage > 0.6
        words = f"certified: {_percent(coverage)} passes"
        parts.append(_text(x - 6 if left else x + 6, _TOP + 10, words, "good", "end" if left else "start"))
    described = f"{len(points)} thresholds" + (
        f", from {_percent(points[0].error.value)} error at {_percent(points[0].coverage)} coverage to "
        f"{_percent(points[-1].error.value)} at {_percent(points[-1].coverage)}"
        if points
        else ""
    )
    return _figure("Risk-coverage curve", described, parts)


def histograms(labelled: Sequence[float], traffic: Sequence[float] | None, threshold: float | None) -> Markup:
    """Where the scores of the labelled readings lie, as bars, and those of the traffic, as an outline."""
    axes = Axes("score", "share of readings", _round_up(max(*labelled, *(traffic or ()), 0.02)))
    width = 1.0 / len(labelled)
    parts = [axes.frame()]
    for index, height in enumerate(labelled):
        left, right, top = axes.x(index * width), axes.x((index + 1) * width), axes.y(height)
        parts.append(
            f'<rect class="bar" x="{left + 1:.1f}" y="{top}" width="{right - left - 2:.1f}" '
            f'height="{axes.y(0.0) - top:.1f}"/>'
        )
    if traffic is not None:
        steps = [(0.0, 0.0)]
        for index, height in enumerate(traffic):
            steps += [(index * width, height), ((index + 1) * width, height)]
        parts.append(axes.line([*steps, (1.0, 0.0)], "outline"))
    if threshold is not None:
        x = axes.x(threshold)
        parts.append(f'<path class="certified" d="M{x} {axes.y(0.0)}V{_TOP}"/>')
        left = threshold > 0.5
        parts.append(_text(x - 6 if left else x + 6, _TOP + 10, "threshold", "good", "end" if left else "start"))
    both = "labelled readings as bars, traffic as a line" if traffic is not None else "labelled readings as bars"
    return _figure("Histogram of scores", both, parts)


def _figure(title: str, described: str, parts: Sequence[str]) -> Markup:
    head = (
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'aria-label="{escape(title)}: {escape(described)}"><title>{escape(title)}</title>'
    )
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704 - numbers and words of this file only


def _text(x: float, y: float, words: str, kind: str, anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _ticks(high: float) -> list[float]:
    step = next((step for step in _STEPS if high / step <= 5.001), _STEPS[-1])
    return [round(index * step, 4) for index in range(int(high / step + 1e-9) + 1)]


def _round_up(high: float) -> float:
    """The end of a scale: the next tick."""
    step = next((step for step in _STEPS if high / step <= 5.001), _STEPS[-1])
    return min(1.0, math.ceil(high / step - 1e-9) * step)


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
