"""What happens over time, drawn as SVG in the manner of `calibration.offline.figures`: colours are the page's.

Every figure has a title and a description for those who cannot see it. Times are UTC.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from markupsafe import Markup, escape

from calibration.standing.contracts import ErrorStanding, Traffic

_WIDTH, _HEIGHT = 620.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 16.0, 34.0, 44.0
_MOST_TICKS = 8
_STEPS_H: Final = (1, 3, 6, 12, 24, 48, 96, 168, 336, 672, 1344)
_HOUR = timedelta(hours=1)
_EARLY = 5
"""One part in so many of a series, its first, may lie above the frame: intervals of a few audits reach from 0 to 1."""


@dataclass(frozen=True)
class Frame:
    """Times from left to right, amounts from 0 upwards: places in the drawing come out."""

    first: datetime
    last: datetime
    high: float
    step: float
    """Between two ticks of amounts; `high` is a multiple of it."""
    y_title: str
    shares: bool
    """Whether amounts are shares, shown in percent."""

    def x(self, at: datetime) -> float:
        """From the left."""
        span = max((self.last - self.first).total_seconds(), 1.0)
        part = min(max((at - self.first).total_seconds() / span, 0.0), 1.0)
        return round(_LEFT + part * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, amount: float) -> float:
        """From the top; what is above the frame lies on its edge."""
        part = min(max(amount / self.high, 0.0), 1.0)
        return round(_HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM), 1)

    def line(self, points: Iterable[tuple[datetime, float]], kind: str) -> str:
        """A line through points."""
        return f'<path class="{kind}" d="M{"L".join(f"{self.x(at)} {self.y(amount)}" for at, amount in points)}"/>'

    def bar(self, left: float, right: float, low: float, high: float, kind: str) -> str:
        """An amount from `low` to `high`, between two places from the left; nothing of nothing."""
        top, bottom = self.y(high), self.y(low)
        if bottom - top <= 0.0:
            return ""
        return f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{right - left:.1f}" height="{bottom - top:.1f}"/>'

    def drawn(self) -> str:
        """Grid, ticks and titles."""
        parts = []
        for index in range(round(self.high / self.step) + 1):
            amount = index * self.step
            y = self.y(amount)
            parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
            words = f"{100 * amount:.3g} %" if self.shares else f"{amount:,.0f}"
            parts.append(_text(_LEFT - 8, y + 4, words, "tick", "end"))
        bottom = _HEIGHT - _BOTTOM
        for at, words in _times(self.first, self.last):
            x = self.x(at)
            parts.append(f'<path class="axis" d="M{x} {bottom}v4"/>')
            parts.append(_text(x, bottom + 18, words, "tick"))
        parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "time (UTC)", "title"))
        turned = _text(0, 0, self.y_title, "title")
        parts.append(f'<g transform="translate(14 {(_TOP + bottom) / 2}) rotate(-90)">{turned}</g>')
        return "".join(parts)


def traffic_figure(traffic: Traffic) -> Markup:
    """What passed, what was drawn for an audit and what else went to people, hour by hour, one upon the other."""
    hours = traffic.hours
    step = count_step(max((hour.readings for hour in hours), default=0))
    high = step * max(1, math.ceil(max((hour.readings for hour in hours), default=0) / step))
    frame = Frame(hours[0].start, hours[-1].start + _HOUR, high, step, "readings an hour", shares=False)
    parts = [frame.drawn()]
    for hour in hours:
        left, right = frame.x(hour.start), frame.x(hour.start + _HOUR)
        gap = min(1.0, (right - left) / 6)
        audits = min(hour.audits, hour.reviewed)
        edges = (0, hour.accepted, hour.accepted + audits, hour.accepted + hour.reviewed)
        for low, above, kind in zip(edges, edges[1:], ("passed", "audit", "reviewed"), strict=False):
            parts.append(frame.bar(left + gap, right - gap, low, above, kind))
    parts.append(_legend(("passed", "passed"), ("audit", "audit, to people"), ("reviewed", "others, to people")))
    described = (
        f"{len(hours)} hours with {traffic.readings:,} readings: {traffic.accepted:,} passed, {traffic.audits:,} were "
        f"drawn for an audit, {traffic.reviewed:,} went to people, these included"
    )
    return _figure("Traffic by the hour", described, parts)


def error_figure(error: ErrorStanding, since: datetime, now: datetime) -> Markup:
    """The error of what passed, as it was known after each answered audit, with its anytime-valid interval.

    Args:
        since: the least that the time goes back,
        now: and where it ends.
    """
    series = error.series
    first = min(since, series[0].at) if series else since
    top, step = error_scale(error)
    frame = Frame(first, max(now, first + _HOUR), top, step, "error of what passed", shares=True)
    parts = [frame.drawn()]
    if series:
        last = series[-1]
        known = [(each.at, each.low, each.error, each.high) for each in series] + [
            (frame.last, last.low, last.error, last.high)
        ]
        edge = [(at, high) for at, _, _, high in known] + [(at, low) for at, low, _, _ in reversed(known)]
        parts.append(frame.line(edge, "band"))
        parts.append(frame.line([(at, value) for at, _, value, _ in known], "curve"))
    if error.max_error is not None:
        promised = error.max_error
        parts.append(frame.line([(frame.first, promised), (frame.last, promised)], "promise"))
        words = f"promise: at most {100 * promised:.3g} %"
        parts.append(_text(_WIDTH - _RIGHT - 4, frame.y(promised) - 6, words, "warn", "end"))
    parts.append(_legend(("curve", "audited error"), ("band", "interval, valid at all times")))
    described = f"{error.answered:,} answered audits, {error.wrong:,} wrong" + (
        f"; the error is {100 * series[-1].error:.3g} %, between {100 * error.low:.3g} % and {100 * error.high:.3g} %"
        if series
        else ""
    )
    return _figure("Error of what passed", described, parts)


def error_scale(error: ErrorStanding) -> tuple[float, float]:
    """The end of the scale of an error, and its step: the interval fits in once there are some audits."""
    later = error.series[len(error.series) // _EARLY :]
    highest = max((each.high for each in later), default=0.1)
    wanted = min(1.0, max(highest, 1.6 * (error.max_error or 0.0), 0.02))
    step = next((step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if wanted / step <= 5.001), 0.25)
    return min(1.0, math.ceil(wanted / step - 1e-9) * step), step


def count_step(highest: int) -> int:
    """Between ticks, so that there are at most five: 1, 2 or 5 times a power of ten."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power * 5 >= highest:
                return digit * power
        power *= 10


def _times(first: datetime, last: datetime) -> Sequence[tuple[datetime, str]]:
    """Ticks at whole hours or midnights, and their words: a day at midnight, else the time."""
    first, last = first.astimezone(UTC), last.astimezone(UTC)
    hours = (last - first) / _HOUR
    step = next((step for step in _STEPS_H if hours / step <= _MOST_TICKS), 24 * math.ceil(hours / _MOST_TICKS / 24))
    at = first.replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    while at <= last:
        if at >= first:
            found.append((at, f"{at.day} {at:%b}" if at.hour == 0 else f"{at:%H:%M}"))
        at += step * _HOUR
    return found


def _legend(*entries: tuple[str, str]) -> str:
    parts, x = [], _LEFT
    for kind, words in entries:
        swatch = (
            f'<path class="curve" d="M{x} 15h14"/>'
            if kind == "curve"
            else f'<rect class="{kind}" x="{x}" y="10" width="14" height="10"/>'
        )
        parts.append(swatch + _text(x + 20, 19, words, "tick", "start"))
        x += 44 + 6.4 * len(words)
    return "".join(parts)


def _figure(title: str, described: str, parts: Sequence[str]) -> Markup:
    head = (
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'aria-label="{escape(title)}: {escape(described)}"><title>{escape(title)}</title>'
    )
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704 - numbers and words of this file only


def _text(x: float, y: float, words: str, kind: str, anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
