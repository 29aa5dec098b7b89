"""From outcomes to a calibrator: what it learns, how sure it is, and that nothing makes it stumble."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.calibrator import Calibrator
from calibration.fitting import hierarchical
from calibration.fitting.hierarchical import fit_calibrator
from calibration.fitting.scoring import Z90
from calibration.outcome import Reader
from calibration.table import Floats, OutcomeTable, SignalTable
from tests.calibration.fitting.readings import COEFFICIENTS, NOW, drawn, effects, looked_at, outcomes, readings, truth
from tests.calibration.fitting.test_posterior import both


def fitted(known: OutcomeTable) -> Calibrator:
    return fit_calibrator(known, created_at=NOW, judged=False)


def test_finds_the_coefficients_that_are_there() -> None:
    rng = np.random.default_rng(1)
    signals = readings(rng, 60_000, missing=0.1)
    calibrator = fitted(outcomes(signals, rng.random(60_000) < truth(signals)))
    assert calibrator.converged
    for each in calibrator.coefficients:
        assert abs(each.value - COEFFICIENTS.get(each.feature, 0.0)) < 4.0 * each.standard_error, each.feature
        assert each.standard_error < 0.5 * each.prior_sd, each.feature
    assert calibrator.label_sd < 0.15
    off = np.abs(calibrator.score(signals).score - truth(signals))
    assert off.mean() < 0.01
    assert off.max() < 0.05


def test_finds_what_a_second_look_is_worth() -> None:
    rng = np.random.default_rng(21)
    signals = looked_at(rng, readings(rng, 60_000, missing=0.1))
    calibrator = fitted(outcomes(signals, rng.random(60_000) < truth(signals)))
    assert (calibrator.schema_version, calibrator.converged) == (2, True)
    for each in calibrator.coefficients:
        assert abs(each.value - COEFFICIENTS.get(each.feature, 0.0)) < 4.0 * each.standard_error, each.feature
    assert np.abs(calibrator.score(signals).score - truth(signals)).max() < 0.05


def test_without_a_second_look_nothing_changes() -> None:
    """Nobody looked twice: the document is of the first version, and the second would have said the same."""
    known = drawn(22, 500, missing=0.2)
    first = fitted(known)
    assert first.schema_version == 1
    by_both = [hierarchical.fit(known, version=version) for version in (1, 2)]
    fixed, wider = (found.mode.theta.fixed for found in by_both)
    assert wider[:10] == pytest.approx(fixed, abs=1e-8)
    assert wider[10:].tolist() == [0.0, 0.0]


def test_a_second_look_that_is_new_is_judged_by_those_who_had_none() -> None:
    """It was turned on when four fifths were decided: who judges the newest fifth has learned nothing of it."""
    known = drawn(23, 1000, looked=True)
    new = np.arange(1000) >= 850
    agreement = np.where(new, known.signals.agreement, np.nan)
    calibrator = fit_calibrator(replace(known, signals=replace(known.signals, agreement=agreement)), created_at=NOW)
    assert calibrator.schema_version == 2
    assert calibrator.metrics is not None


def test_finds_what_labels_and_sources_add() -> None:
    rng = np.random.default_rng(2)
    signals = readings(rng, 40_000, labels=3, sources=2)
    added = np.where(signals.label == "label-1", -1.2, 0.0) + np.where(signals.source == "source-0", 0.5, 0.0)
    calibrator = fitted(outcomes(signals, rng.random(40_000) < truth(signals, added)))
    value = {each.name: each.value for each in (*calibrator.labels, *calibrator.sources)}
    assert value["label-1"] - value["label-0"] == pytest.approx(-1.2, abs=0.1)
    assert value["label-2"] - value["label-0"] == pytest.approx(0.0, abs=0.1)
    assert value["source-0"] - value["source-1"] == pytest.approx(0.5, abs=0.1)


def test_a_rare_label_is_drawn_to_the_others() -> None:
    """All of 5, or all of 500, were wrong: the few are believed less, and leave more doubt."""
    rng = np.random.default_rng(3)
    signals = readings(rng, 4000, labels=6)
    label = signals.label.copy()
    label[:500], label[500:505] = "often", "rarely"
    signals = replace(signals, label=label)
    right = (rng.random(4000) < truth(signals)) & (np.arange(4000) >= 505)
    calibrator = fitted(outcomes(signals, right))
    found = {each.name: each for each in calibrator.labels}
    assert found["often"].value < found["rarely"].value < min(found[f"label-{at}"].value for at in range(6))
    assert found["rarely"].outcomes == 5
    assert found["rarely"].rest > 20 * found["label-0"].rest


def test_without_outcomes_it_says_what_the_model_says_and_that_it_knows_nothing() -> None:
    signals = readings(np.random.default_rng(4), 50)
    calibrator = fit_calibrator(outcomes(signals.take(slice(0)), np.zeros(0, np.bool_)), created_at=NOW)
    scores = calibrator.score(signals)
    assert scores.score == pytest.approx(np.clip(signals.verbal_confidence, 0.01, 0.99))
    assert (scores.high - scores.low > 0.25).all()
    assert (calibrator.n, calibrator.effective_n, calibrator.decided_from, calibrator.metrics) == (0, 0, None, None)


def test_the_same_outcomes_give_the_same_document_in_any_order() -> None:
    known = drawn(5, 400, missing=0.2)
    shuffled = known.take(np.random.default_rng(5).permutation(400))
    assert fit_calibrator(shuffled, created_at=NOW) == fit_calibrator(known, created_at=NOW)
    later = fit_calibrator(known, created_at=datetime(2027, 1, 1, tzinfo=UTC), judged=False)
    assert later.calibrator_id == fitted(known).calibrator_id
    other = replace(known, correct=~known.correct)
    assert fitted(other).calibrator_id != fitted(known).calibrator_id


def test_says_where_it_comes_from() -> None:
    known = drawn(6, 500)
    known.signals.parsed[:20] = False
    reader = Reader(model="m", prompt="p", decoder="d")
    calibrator = fit_calibrator(known, created_at=NOW, reader=reader)
    assert (calibrator.n, calibrator.unparsed) == (480, 20)
    assert calibrator.effective_n == pytest.approx(480)
    assert calibrator.reader == reader
    assert calibrator.decided_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert calibrator.decided_until == datetime(2026, 1, 1, 0, 8, 19, tzinfo=UTC)
    assert len(calibrator.data_sha256) == 64


def test_unparsed_outcomes_teach_nothing() -> None:
    known = drawn(7, 300)
    parsed = known.signals.parsed.copy()
    parsed[::3] = False
    with_them = fitted(replace(known, signals=replace(known.signals, parsed=parsed)))
    without = fitted(known.take(parsed))
    assert with_them.coefficients == without.coefficients
    assert with_them.data_sha256 != without.data_sha256


def test_is_judged_on_newer_outcomes_that_it_has_not_seen() -> None:
    """The newest fifth is the other way round: only a judge that looks there can know."""
    known = drawn(8, 1000)
    turned = replace(known, correct=np.where(np.arange(1000) >= 800, ~known.correct, known.correct))
    honest, late = (fit_calibrator(each, created_at=NOW) for each in (known, turned))
    assert honest.held_out is not None
    assert (honest.held_out.fitted_on, honest.held_out.judged_on) == (800, 200)
    assert honest.held_out.judged_from == datetime(2026, 1, 1, 0, 13, 20, tzinfo=UTC)
    assert honest.metrics is not None
    assert late.metrics is not None
    assert honest.metrics.n == 200
    before, after = honest.metrics.auroc.value, late.metrics.auroc.value
    assert before is not None
    assert after is not None
    assert before > 0.65
    assert after < 0.35
    older = fitted(known.take(slice(800)))
    seen = known.signals.take(slice(800, None))
    brier = np.mean((older.score(seen).score - known.correct[800:]) ** 2)
    assert honest.metrics.brier.value == pytest.approx(brier, abs=1e-4)


def test_too_few_outcomes_are_not_judged() -> None:
    assert fit_calibrator(drawn(9, 100), created_at=NOW).metrics is None


def test_the_interval_is_that_of_the_whole_posterior_and_never_shorter() -> None:
    """Against the inverse of the full matrix of coefficients, labels and sources."""
    known = drawn(13, 250, missing=0.1)
    calibrator = fitted(known)
    _, dense = both(known, np.ones(250), calibrator.label_sd, calibrator.source_sd)
    inverse = np.linalg.inv(dense.curvature(dense.mode()))
    exact = np.sqrt(np.einsum("ij,jk,ik->i", dense.columns, inverse, dense.columns))
    scores = calibrator.score(known.signals)
    found = (np.log(scores.high / (1 - scores.high)) - np.log(scores.score / (1 - scores.score))) / Z90
    assert (found > exact * (1 - 1e-4)).all()
    assert (found < exact * 1.15).all()


def coverage(propensity_below: float, propensity_above: float, n: int, worlds: int) -> float:
    """How often the 90 % interval holds the truth, where scores above .75 are reviewed at another rate than others."""
    held = []
    for seed in range(worlds):
        rng = np.random.default_rng([seed, 90])
        signals = readings(rng, 60 * n)
        probability = truth(signals, effects(rng, signals, 0.5, 0.3))
        propensity = np.where(probability > 0.75, propensity_above, propensity_below)
        known = np.flatnonzero(rng.random(60 * n) < propensity)[:n]
        right = rng.random(n) < probability[known]
        calibrator = fitted(outcomes(signals.take(known), right, propensity[known]))
        asked = slice(-300, None)
        scores = calibrator.score(signals.take(asked))
        held.append(np.mean((scores.low <= probability[asked]) & (probability[asked] <= scores.high)))
    return float(np.mean(held))


@pytest.mark.parametrize(("below", "above"), [(1.0, 1.0), (1.0, 0.02)])
def test_the_interval_holds_the_truth_about_nine_times_in_ten(below: float, above: float) -> None:
    assert 0.85 < coverage(below, above, n=300, worlds=60) < 0.97


def test_names_beyond_what_is_kept_count_as_never_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchical, "MOST_LABELS", 3)
    monkeypatch.setattr(hierarchical, "MOST_SOURCES", 2)
    monkeypatch.setattr(hierarchical, "KEPT_SOURCES", 1)
    known = drawn(10, 300)
    calibrator = fitted(known)
    assert calibrator.converged
    assert (len(calibrator.labels), len(calibrator.sources), calibrator.names_left_out) == (3, 1, 4)
    frequent = max(set(known.signals.source), key=known.signals.source.tolist().count)
    assert calibrator.sources[0].name == frequent


@st.composite
def anything(draw: st.DrawFn) -> OutcomeTable:
    """Outcomes of any values that the contract allows, often constant or missing altogether."""
    n = draw(st.integers(0, 30))

    def column(low: float, high: float) -> Floats:
        values = st.one_of(st.just(float("nan")), st.sampled_from([low, high]), st.floats(low, high))
        if draw(st.booleans()):
            return np.full(n, draw(values))
        return np.array(draw(st.lists(values, min_size=n, max_size=n)), np.float64)

    def texts() -> st.SearchStrategy[list[str]]:
        return st.lists(st.sampled_from(["", "awe", "fear", "\x00", "é"]), min_size=n, max_size=n)

    def flags() -> st.SearchStrategy[list[bool]]:
        return st.one_of(st.just([True] * n), st.just([False] * n), st.lists(st.booleans(), min_size=n, max_size=n))

    signals = SignalTable(
        np.array(draw(texts()), np.object_),
        np.array(draw(texts()), np.object_),
        np.array(draw(flags()), np.bool_),
        column(0.0, 1.0),
        column(0.0, 1.0),
        column(-1.0, 1.0),
        column(0.0, 20.0),
        column(0.0, 1.0) if n else np.empty(0),
    )
    propensity = np.array(draw(st.lists(st.floats(1e-6, 1.0), min_size=n, max_size=n)), np.float64)
    return outcomes(signals, np.array(draw(flags()), np.bool_), propensity)


@settings(max_examples=80, deadline=None)
@given(anything())
def test_nothing_makes_it_stumble(known: OutcomeTable) -> None:
    calibrator = fit_calibrator(known, created_at=NOW)
    assert calibrator.converged
    assert Calibrator.model_validate_json(calibrator.model_dump_json()) == calibrator
    scores = calibrator.score(known.signals)
    assert np.array_equal(np.isnan(scores.score), ~known.signals.parsed)
    parsed = scores.take(known.signals.parsed)
    assert ((parsed.low > 0) & (parsed.low <= parsed.score) & (parsed.score <= parsed.high) & (parsed.high < 1)).all()


@pytest.mark.parametrize("right", [True, False])
def test_many_outcomes_of_one_kind_are_believed_but_never_taken_for_certainty(right: bool) -> None:
    signals = readings(np.random.default_rng(11), 2000)
    calibrator = fit_calibrator(outcomes(signals, np.full(2000, right)), created_at=NOW)
    score = calibrator.score(signals).score
    assert calibrator.converged
    assert (score > 0.9).mean() > 0.9 if right else (score < 0.1).mean() > 0.9
    assert calibrator.metrics is not None
    assert calibrator.metrics.auroc.value is None


def test_two_thousand_sources_stay_small_in_a_file() -> None:
    rng = np.random.default_rng(12)
    signals = readings(rng, 20_000, sources=2000)
    document = fitted(outcomes(signals, rng.random(20_000) < truth(signals)))
    assert len(document.sources) == 2000
    assert len(document.model_dump_json(indent=2)) < 1_000_000
