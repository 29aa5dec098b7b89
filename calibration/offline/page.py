"""A report as one HTML page: no network, no script, light and dark, printable.

Labels and sources come from users. The template escapes everything that it inserts; only figures, which are made of
numbers and of words of ours, go in as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from calibration.offline import figures
from calibration.offline.curves import Share
from calibration.offline.report import PromiseShown, Report

_BINS_SHOWN = 12
_NOT_DEFINED = "not defined"
_WHISKER = 116


def render(report: Report) -> str:
    """The page."""
    promise = report.promise
    drawn = {
        "reliability": figures.reliability(report.reliability),
        "risk_coverage": figures.risk_coverage(
            report.curve,
            promise.max_error if promise else None,
            _point(promise),
        ),
        "histograms": figures.histograms(
            report.labelled_scores, report.traffic_scores or None, promise.threshold if promise else None
        ),
    }
    return _template().render(report=report, figures=drawn, tables=_tables(report)) + "\n"


def _point(promise: PromiseShown | None) -> tuple[float, float] | None:
    """Coverage and bound of the one certificate, where there is one."""
    if promise is None or promise.threshold is None or promise.upper_bound is None:
        return None
    return promise.coverage, promise.upper_bound


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "percent": percent,
        "number": number,
        "signed": _signed,
        "count": lambda value: f"{value:,}",
        "whisker": _whisker,
    }
    environment.filters |= filters
    return environment.get_template("page.html.j2")


def percent(value: float | None, digits: int = 1) -> str:
    """`4.2 %`; what is None is not defined."""
    return _NOT_DEFINED if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 4) -> str:
    """`0.1234`; what is None is not defined."""
    return _NOT_DEFINED if value is None else f"{value:.{digits}f}"


def _tables(report: Report) -> dict[str, list[tuple[str, ...]]]:
    """The numbers of the figures; of a long curve, every so many."""
    step = max(1, -(-len(report.curve) // _BINS_SHOWN))
    shown = [*report.curve[::step], *report.curve[-1:]] if (len(report.curve) - 1) % step else report.curve[::step]
    width = 1.0 / len(report.labelled_scores)
    return {
        "reliability": [
            (
                f"{percent(bin_.low, 0)} – {percent(bin_.high, 0)}",
                percent(bin_.mean_score),
                percent(bin_.correct.value),
                _range(bin_.correct),
                f"{bin_.correct.n:,}",
            )
            for bin_ in report.reliability
        ],
        "risk_coverage": [
            (
                f"{point.threshold:.4f}",
                percent(point.coverage),
                percent(point.error.value),
                _range(point.error),
                f"{point.error.n:,}",
            )
            for point in shown
        ],
        "histograms": [
            (
                f"{percent(index * width, 0)} – {percent((index + 1) * width, 0)}",
                percent(height),
                *([percent(report.traffic_scores[index])] if report.traffic_scores else []),
            )
            for index, height in enumerate(report.labelled_scores)
        ],
    }


def _signed(value: float) -> str:
    """Percentage points, without a sign where they are none."""
    points = round(100 * value, 1)
    return f"{points:+.1f}".replace("-", "−") if points else "0.0"


def _range(share: Share) -> str:
    return f"{percent(share.low)} – {percent(share.high)}"


def _whisker(share: Share) -> Markup:
    """A share and its interval on a line from 0 to 1, for a glance down the table."""
    if not share.n:
        return Markup("")
    low, value, high = (2 + round(end * _WHISKER, 1) for end in (share.low, share.value, share.high))
    return Markup(  # noqa: S704 - numbers only
        '<svg class="whisker" viewBox="0 0 120 12"><path class="grid" d="M2 6H118M2 3V9M118 3V9"/>'
        f'<path d="M{low} 6H{high}"/><circle cx="{value}" cy="6" r="3"/></svg>'
    )
