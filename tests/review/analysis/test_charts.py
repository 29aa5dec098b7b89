"""Charts show what was counted, as drawings, as pictures and as tables."""

from __future__ import annotations

import io
from typing import get_args
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from calibration.loop.advance import first_rollout
from calibration.standing.contracts import Diagrams, ErrorPoint, ErrorStanding, Standing
from calibration.standing.diagram import reliability_report
from calibration.standing.reading import standing
from review.analysis.charts import OF_STANDING, Drawn, Tabled, rows, svg
from review.analysis.plots import png
from review.analysis.timeline import count_step, error_scale
from tests.calibration.standing.ledgers import ledger_of
from tests.calibration.standing.worlds import DECISIONS, NOW, POLICY, SETTINGS, VERDICTS, rollout

DRAWN: tuple[Drawn, ...] = get_args(Drawn)
TABLED: tuple[Tabled, ...] = get_args(Tabled)
_SVG = "{http://www.w3.org/2000/svg}"


class Counted:
    """What the charts of one platform are made of."""

    def __init__(self, of: Standing, diagrams: Diagrams) -> None:
        self.standing, self.diagrams = of, diagrams

    def behind(self, chart: Tabled) -> Standing | Diagrams:
        return self.standing if chart in OF_STANDING else self.diagrams


@pytest.fixture(scope="module")
def morning(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    ledger = ledger_of(tmp_path_factory.mktemp("morning"), *DECISIONS, *VERDICTS)
    return Counted(
        standing(ledger, rollout(), POLICY, SETTINGS, NOW, waiting=6, hours=12),
        reliability_report(ledger, rollout(), POLICY, SETTINGS, NOW),
    )


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    ledger, closed = ledger_of(tmp_path_factory.mktemp("nothing")), first_rollout(POLICY, NOW)
    return Counted(
        standing(ledger, closed, POLICY, SETTINGS, NOW, waiting=None, hours=1),
        reliability_report(ledger, closed, POLICY, SETTINGS, NOW),
    )


def parsed(chart: Drawn, counted: Counted) -> ElementTree.Element:
    return ElementTree.fromstring(svg(chart, counted.behind(chart)))


@pytest.mark.parametrize("chart", DRAWN)
@pytest.mark.parametrize("which", ["morning", "nothing"])
def test_a_drawing_is_a_picture_with_a_name(chart: Drawn, which: str, request: pytest.FixtureRequest) -> None:
    drawn = parsed(chart, request.getfixturevalue(which))
    assert (drawn.tag, drawn.get("role")) == (f"{_SVG}svg", "img")
    assert (title := drawn.findtext(f"{_SVG}title"))
    assert drawn.get("aria-label", "").startswith(f"{title}: ")
    written = ElementTree.tostring(drawn, "unicode")
    assert "nan" not in written
    assert not any("style" in each.attrib for each in drawn.iter())


@pytest.mark.parametrize("chart", DRAWN)
@pytest.mark.parametrize("which", ["morning", "nothing"])
def test_a_picture_opens(chart: Drawn, which: str, request: pytest.FixtureRequest) -> None:
    counted: Counted = request.getfixturevalue(which)
    found = counted.behind(chart).model_copy(update={"taxonomy": "fi-8 $x_{"})  # no formula
    with Image.open(io.BytesIO(png(chart, found))) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 400


def test_traffic_has_a_bar_for_whatever_came(morning: Counted) -> None:
    hours = morning.standing.traffic.hours
    kinds = [each.get("class") for each in parsed("traffic", morning).iter(f"{_SVG}rect")]
    legend = 1
    assert kinds.count("passed") == legend + sum(hour.accepted > 0 for hour in hours)
    assert kinds.count("audit") == legend + sum(hour.audits > 0 for hour in hours)
    assert kinds.count("reviewed") == legend + sum(hour.reviewed > hour.audits for hour in hours)


def test_the_error_is_drawn_with_its_interval_against_the_promise(morning: Counted) -> None:
    drawn = parsed("error", morning)
    kinds = [each.get("class") for each in drawn.iter(f"{_SVG}path")]
    assert {"band", "curve", "promise"} <= set(kinds)
    assert "18 answered audits, 4 wrong; the error is 22.2 %" in drawn.get("aria-label", "")


def test_rows_are_what_was_counted(morning: Counted) -> None:
    of, diagrams = morning.standing, morning.diagrams
    table = {chart: rows(chart, morning.behind(chart)) for chart in TABLED}
    assert [row["readings"] for row in table["traffic"]] == [hour.readings for hour in of.traffic.hours]
    assert [(row["audits"], row["wrong"], row["max_error"]) for row in table["error"][-1:]] == [(18, 4, 0.05)]
    assert [row["correct"] for row in table["reliability"]] == [each.correct.value for each in diagrams.reliability]
    assert [row["coverage"] for row in table["risk-coverage"]] == [each.coverage for each in diagrams.curve]
    assert [row["labelled"] for row in table["scores"]] == list(diagrams.labelled_scores)
    assert table["scores"][-1]["high"] == 1.0
    assert diagrams.labels is not None
    assert [(row["label"], row["error_of"]) for row in table["labels"]] == [
        (each.name, each.error.n) for each in diagrams.labels.rows
    ]
    assert all(len({tuple(row) for row in table[chart]}) == 1 for chart in TABLED)


def test_of_nothing_there_are_no_rows(nothing: Counted) -> None:
    empty = {chart for chart in TABLED if not rows(chart, nothing.behind(chart))}
    assert empty == {"error", "reliability", "risk-coverage", "labels", "sources"}


@pytest.mark.parametrize("chart", TABLED)
def test_a_chart_of_other_figures_is_refused(chart: Tabled, morning: Counted) -> None:
    other = morning.diagrams if chart in OF_STANDING else morning.standing
    with pytest.raises(ValueError, match=f"{chart} is not"):
        rows(chart, other)
    if chart in DRAWN:
        with pytest.raises(ValueError, match=f"{chart} is not"):
            svg(chart, other)
        with pytest.raises(ValueError, match=f"{chart} is not"):
            png(chart, other)


@given(st.integers(0, 10**9))
def test_few_ticks_reach_any_count(highest: int) -> None:
    step = count_step(highest)
    assert 5 * step >= highest
    assert step == 1 or 2 * step < highest


@given(highs=st.lists(st.floats(0.001, 1.0), max_size=30), promise=st.none() | st.floats(0.001, 0.5))
def test_the_promise_and_what_is_known_by_now_lie_in_the_frame(highs: list[float], promise: float | None) -> None:
    error = _error_of(highs, promise)
    top, step = error_scale(error)
    assert top <= 1.0
    assert abs(top / step - round(top / step)) < 1e-6
    assert promise is None or promise < top
    assert not highs or highs[-1] <= top + 1e-9


def _error_of(highs: list[float], promise: float | None) -> ErrorStanding:
    series = tuple(
        ErrorPoint(at=NOW, audits=n, wrong=0, error=0.0, low=0.0, high=high) for n, high in enumerate(highs, start=1)
    )
    return ErrorStanding(
        answered=len(highs),
        wrong=0,
        error=None,
        low=0.0,
        high=1.0,
        evidence=None,
        series=series,
        gate_id="g1",
        max_error=promise,
        alarms=(),
        waiting=0,
        overdue=0,
        overdue_share=0.0,
        promises=(),
    )
