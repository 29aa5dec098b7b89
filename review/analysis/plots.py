"""The analysts' charts as PNG, for a document or a message: dark on white, whatever the page looks like.

Importing this imports matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from calibration.offline.curves import Bin, Passing
from calibration.standing.contracts import Diagrams, Standing
from review.analysis.charts import Drawn
from review.analysis.timeline import error_scale

_DPI = 160
_INK, _PAPER, _GRID = "#1c1c1c", "#ffffff", "#d9d9d9"
_OURS, _OTHER, _SOFT, _PROMISE, _CERTIFIED = "#1c5bb8", "#c05a00", "#9aa6b2", "#b3221b", "#12744a"
_HOUR = 1 / 24
"""In days since 1970, as matplotlib counts them."""
_WIDE, _SQUARE = (7.2, 3.6), (4.8, 4.4)


def png(chart: Drawn, found: Standing | Diagrams) -> bytes:
    """The chart, with its taxonomy and the time at which it was counted.

    Raises:
        ValueError: the chart is of the other kind of figures.
    """
    title = f"{found.taxonomy}, {found.as_of.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    match chart, found:
        case "traffic", Standing():
            figure, axes = _frame(f"Traffic by the hour: {title}", _WIDE)
            _traffic(axes, found)
        case "error", Standing():
            figure, axes = _frame(f"Error of what passed under {found.live.gate_id}: {title}", _WIDE)
            _error(axes, found)
        case "reliability", Diagrams():
            figure, axes = _frame(f"Reliability: {title}\n{found.labelled:,} labelled readings", _SQUARE)
            _reliability(axes, found.reliability)
        case "risk-coverage", Diagrams():
            figure, axes = _frame(f"Risk and coverage: {title}", _SQUARE)
            _risk(axes, found.curve, found.max_error, found.certified)
        case "scores", Diagrams():
            figure, axes = _frame(f"Scores: {title}", _SQUARE)
            _scores(axes, found)
        case _:
            raise ValueError(f"{chart} is not drawn of {type(found).__name__}")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI, facecolor=_PAPER)
    return content.getvalue()


def _traffic(axes: Axes, found: Standing) -> None:
    hours = found.traffic.hours
    left = _days([hour.start for hour in hours])
    passed = [hour.accepted for hour in hours]
    audits = [min(hour.audits, hour.reviewed) for hour in hours]
    others = [hour.reviewed - drawn for hour, drawn in zip(hours, audits, strict=True)]
    below = [0] * len(hours)
    for heights, colour, label in (
        (passed, _OURS, "passed"),
        (audits, _OTHER, "audit, to people"),
        (others, _SOFT, "others, to people"),
    ):
        axes.bar(left, heights, width=0.9 * _HOUR, bottom=below, align="edge", color=colour, label=label)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axes.set_ylabel("readings an hour")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylim(0, max(1, *below) * 1.25)  # the key lies above
    axes.set_xlim(left[0], left[-1] + _HOUR)
    _over_time(axes)
    _key(axes, "upper left", columns=3)


def _error(axes: Axes, found: Standing) -> None:
    error, end = found.error, found.as_of
    start = min(found.live.created_at, error.series[0].at) if error.series else found.live.created_at
    top, _ = error_scale(error)
    if error.series:
        last = error.series[-1]
        known = [*error.series, last.model_copy(update={"at": max(end, last.at)})]
        at = _days([each.at for each in known])
        axes.fill_between(
            at,
            [each.low for each in known],
            [each.high for each in known],
            color=_OURS,
            alpha=0.15,
            linewidth=0,
            label="interval, valid at all times",
        )
        axes.plot(at, [each.error for each in known], color=_OURS, label="audited error")
    if error.max_error is not None:
        axes.axhline(error.max_error, color=_PROMISE, linestyle=(0, (6, 3)), linewidth=1.2, label="promise")
    axes.set_ylabel("error of what passed")
    axes.set_ylim(0, top)
    axes.set_xlim(*_days([start, max(end, start + timedelta(hours=1))]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _over_time(axes)
    _key(axes, "upper right")


def _reliability(axes: Axes, bins: Sequence[Bin]) -> None:
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=(0, (4, 3)), label="means what it says")
    if bins:
        heights = [each.correct.value for each in bins]
        axes.errorbar(
            [each.mean_score for each in bins],
            heights,
            yerr=[
                [max(0.0, each.correct.value - each.correct.low) for each in bins],
                [max(0.0, each.correct.high - each.correct.value) for each in bins],
            ],
            color=_OURS,
            marker="o",
            markersize=4,
            linewidth=1.3,
            linestyle="none",
            capsize=2,
            label="observed, 95 %",
        )
    axes.set_xlabel("score (promised share correct)")
    axes.set_ylabel("observed share correct")
    _unit(axes)
    axes.set_ylim(0, 1)
    _key(axes, "lower right")


def _risk(axes: Axes, points: Sequence[Passing], max_error: float, certified: tuple[float, float] | None) -> None:
    if points:
        coverage = [each.coverage for each in points]
        lows, highs = [each.error.low for each in points], [each.error.high for each in points]
        axes.fill_between(coverage, lows, highs, color=_OURS, alpha=0.15, linewidth=0, label="95 %")
        axes.plot(coverage, [each.error.value for each in points], color=_OURS, label="observed")
    axes.axhline(max_error, color=_PROMISE, linestyle=(0, (6, 3)), linewidth=1.2, label="promise")
    if certified is not None:
        axes.axvline(certified[0], color=_CERTIFIED, linewidth=1.4, label="certified")
        axes.plot([certified[0]], [certified[1]], color=_CERTIFIED, marker="o", markersize=5)
    highest = max((each.error.high for each in points[len(points) // 5 :]), default=0.1)
    axes.set_xlabel("coverage (share that passes without a person)")
    axes.set_ylabel("error among what passes")
    _unit(axes)
    axes.set_ylim(0, max(highest, 1.6 * max_error, 0.02))
    _key(axes, "upper left")


def _scores(axes: Axes, found: Diagrams) -> None:
    width = 1.0 / len(found.labelled_scores)
    edges = [at * width for at in range(len(found.labelled_scores) + 1)]
    axes.bar(
        edges[:-1], found.labelled_scores, width=0.9 * width, align="edge", color=_OURS, alpha=0.5, label="labelled"
    )
    if any(found.traffic_scores):
        axes.stairs(found.traffic_scores, edges, color=_OTHER, linewidth=1.6, label="traffic")
    if found.threshold is not None:
        axes.axvline(found.threshold, color=_CERTIFIED, linewidth=1.4, label="threshold")
    axes.set_xlabel("score")
    axes.set_ylabel("share of readings")
    _unit(axes)
    axes.set_ylim(0, max(*found.labelled_scores, *found.traffic_scores, 0.02) * 1.05)
    _key(axes, "upper left")


def _frame(title: str, size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained", facecolor=_PAPER)
    axes = figure.add_subplot(facecolor=_PAPER)
    axes.set_title(title, fontsize=9, color=_INK, parse_math=False)  # a taxonomy's name may have dollar signs
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    for side, spine in axes.spines.items():
        spine.set_color(_INK)
        spine.set_visible(side in {"left", "bottom"})
    return figure, axes


def _unit(axes: Axes) -> None:
    """Shares in both directions."""
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _over_time(axes: Axes) -> None:
    locator = AutoDateLocator(tz=UTC, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.set_xlabel("time (UTC)")


def _days(times: Sequence[datetime]) -> list[float]:
    return [at.timestamp() / 86_400 for at in times]


def _key(axes: Axes, place: Literal["upper left", "upper right", "lower right"], columns: int = 1) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc=place, fontsize=8, ncols=columns)
