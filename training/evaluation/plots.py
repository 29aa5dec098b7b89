"""Reliability diagrams and risk-coverage curves as PNG and SVG: one pair of files for each group of readings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calibration.offline.curves import reliability, risk_coverage
from calibration.table import Bools, Floats
from training.evaluation.figures import SIGNALS, Judged
from training.evaluation.readings import ItemReading
from worker.reading.taxonomy import Taxonomy

FORMATS = ("png", "svg")
_NAMES = {"verbal": "said confidence", "label": "label-token probability"}
_COLOURS = {"verbal": "#1b5e8c", "label": "#b3541e"}
_INK, _PAPER, _GRID = "#1c1c1c", "#ffffff", "#d9d9d9"


def write_plots(
    folder: Path, groups: Mapping[str, Sequence[ItemReading]], taxonomies: Mapping[str, Taxonomy]
) -> list[Path]:
    """Draw both figures of every group; the files that were written.

    Raises:
        OSError: one cannot be written.
    """
    written = []
    for title, readings in groups.items():
        judged = Judged.of(readings, taxonomies)
        figures = {"reliability": reliability_figure(title, judged), "risk-coverage": risk_figure(title, judged)}
        for kind, figure in figures.items():
            for suffix in FORMATS:
                path = folder / f"{kind}-{_slug(title)}.{suffix}"
                figure.savefig(path, dpi=160, facecolor=_PAPER, metadata={"Date": None} if suffix == "svg" else {})
                written.append(path)
    return written


def reliability_figure(title: str, judged: Judged) -> Figure:
    """Observed correctness in ten bins of each signal, with 95 % Clopper-Pearson intervals, and the diagonal."""
    figure, axes = _frame(f"{title}: reliability, n = {len(judged):,}{_unread(judged)}")
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle=(0, (4, 3)), label="means what it says")
    for signal in SIGNALS:
        score, correct = _known(judged, signal)
        if not len(score):
            continue
        bins = reliability(score, correct, np.ones(len(score)))
        places, heights = [each.mean_score for each in bins], [each.correct.value for each in bins]
        below = [each.correct.value - each.correct.low for each in bins]
        above = [each.correct.high - each.correct.value for each in bins]
        axes.errorbar(
            places,
            heights,
            yerr=[below, above],
            label=_NAMES[signal],
            color=_COLOURS[signal],
            marker="o",
            markersize=4,
            linewidth=1.4,
            capsize=2,
        )
    axes.set_xlabel("confidence")
    axes.set_ylabel("share right")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    return figure


def risk_figure(title: str, judged: Judged) -> Figure:
    """The error among what would pass, against how much would pass; what cannot be read never passes."""
    figure, axes = _frame(f"{title}: risk and coverage, n = {len(judged):,}{_unread(judged)}")
    for signal in SIGNALS:
        score, correct = _known(judged, signal)
        if not len(score):
            continue
        points = risk_coverage(score, correct, np.ones(len(score)), None, float(len(judged)))
        coverage = [point.coverage for point in points]
        lows, highs = [point.error.low for point in points], [point.error.high for point in points]
        axes.fill_between(coverage, lows, highs, color=_COLOURS[signal], alpha=0.15, linewidth=0)
        axes.plot(coverage, [point.error.value for point in points], color=_COLOURS[signal], label=_NAMES[signal])
    axes.set_xlabel("coverage: share that would pass")
    axes.set_ylabel("error among what would pass")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend(frameon=False, loc="upper left", fontsize=8)
    return figure


def _known(judged: Judged, signal: str) -> tuple[Floats, Bools]:
    score = judged.score(signal)
    rows = np.flatnonzero(judged.parsed & ~np.isnan(score))
    return score[rows], judged.right[rows] > 0.5


def _unread(judged: Judged) -> str:
    unread = int((~judged.parsed).sum())
    return f", {unread:,} unreadable" if unread else ""


def _frame(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 4.4), layout="constrained", facecolor=_PAPER)
    axes = figure.add_subplot(facecolor=_PAPER)
    axes.set_title(title, fontsize=9, color=_INK)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.tick_params(colors=_INK, labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    return figure, axes


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
