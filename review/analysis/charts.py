"""The analysts' charts: each as SVG for a page, and as rows for a table."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from markupsafe import Markup

from calibration.offline import figures
from calibration.offline.curves import Share
from calibration.offline.report import GroupRow, GroupTable
from calibration.standing.contracts import Diagrams, Standing
from review.analysis.timeline import error_figure, traffic_figure

Drawn = Literal["traffic", "error", "reliability", "risk-coverage", "scores"]
Tabled = Literal["traffic", "error", "reliability", "risk-coverage", "scores", "labels", "sources"]
Row: TypeAlias = dict[str, object]

OF_STANDING: Final = frozenset[Tabled]({"traffic", "error"})
"""The charts of a `Standing`; all others are of `Diagrams`."""


def svg(chart: Drawn, found: Standing | Diagrams) -> Markup:
    """One `<svg>` element, coloured by the page's style sheet.

    Raises:
        ValueError: the chart is of the other kind of figures.
    """
    match chart, found:
        case "traffic", Standing():
            return traffic_figure(found.traffic)
        case "error", Standing():
            return error_figure(found.error, found.live.created_at, found.as_of)
        case "reliability", Diagrams():
            return figures.reliability(found.reliability)
        case "risk-coverage", Diagrams():
            return figures.risk_coverage(found.curve, found.max_error, found.certified)
        case "scores", Diagrams():
            traffic = found.traffic_scores if any(found.traffic_scores) else None
            return figures.histograms(found.labelled_scores, traffic, found.threshold)
        case _:
            raise ValueError(f"{chart} is not drawn of {type(found).__name__}")


def rows(chart: Tabled, found: Standing | Diagrams) -> list[Row]:
    """The same in numbers: shares from 0 to 1, times as they are.

    Raises:
        ValueError: the chart is of the other kind of figures.
    """
    match chart, found:
        case "traffic", Standing():
            return [hour.model_dump() for hour in found.traffic.hours]
        case "error", Standing():
            promised = {"max_error": found.error.max_error}
            return [each.model_dump() | promised for each in found.error.series]
        case "reliability", Diagrams():
            return [
                {"low": each.low, "high": each.high, "mean_score": each.mean_score} | _share("correct", each.correct)
                for each in found.reliability
            ]
        case "risk-coverage", Diagrams():
            return [
                {"threshold": each.threshold, "coverage": each.coverage} | _share("error", each.error)
                for each in found.curve
            ]
        case "scores", Diagrams():
            width = 1.0 / len(found.labelled_scores)
            both = zip(found.labelled_scores, found.traffic_scores, strict=True)
            return [
                {"low": round(at * width, 9), "high": round((at + 1) * width, 9), "labelled": said, "traffic": came}
                for at, (said, came) in enumerate(both)
            ]
        case "labels", Diagrams():
            return _groups("label", found.labels)
        case "sources", Diagrams():
            return _groups("source", found.sources)
        case _:
            raise ValueError(f"{chart} is not of {type(found).__name__}")


def _groups(word: str, table: GroupTable | None) -> list[Row]:
    return [] if table is None else [_group(word, row) for row in table.rows]


def _group(word: str, row: GroupRow) -> Row:
    return (
        {word: row.name}
        | _share("error", row.error)
        | {"mean_score": row.mean_score, "gap": row.gap, "off": row.off, "traffic_share": row.traffic_share}
        | _share("passing_error", row.passing)
        | {"brier": row.brier, "auroc": row.auroc}
    )


def _share(name: str, share: Share | None) -> Row:
    return {
        f"{name}_of": None if share is None else share.n,
        name: None if share is None else share.value,
        f"{name}_low": None if share is None else share.low,
        f"{name}_high": None if share is None else share.high,
    }
