"""The figures of a running taxonomy are those of an offline report on the same readings."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from calibration.fitting.weighting import inverse_propensity
from calibration.gate import ReviewEverything
from calibration.ledger.place import LedgerError
from calibration.ledger.reading import Ledger
from calibration.loop.advance import first_rollout
from calibration.offline import figures
from calibration.offline.curves import reliability
from calibration.offline.gathering import report_data
from calibration.policy import Stage
from calibration.settings import LedgerSettings
from calibration.standing.contracts import Diagrams
from calibration.standing.diagram import reliability_report
from tests.calibration.gates import make_calibrator
from tests.calibration.ledger.records import START
from tests.calibration.standing.worlds import NOW, POLICY, READER, SETTINGS, TAXONOMY, gate, rollout


@pytest.fixture(scope="module")
def found(ledger: LedgerSettings) -> Diagrams:
    return reliability_report(ledger, rollout(), POLICY, SETTINGS, NOW)


def test_they_are_those_of_the_report(found: Diagrams, ledger: LedgerSettings) -> None:
    live = gate()
    assert live.calibrator is not None
    source = Ledger.open(ledger)
    outcomes = source.outcomes(TAXONOMY, READER)
    report = report_data(outcomes, live.calibrator, traffic=source.traffic(TAXONOMY, READER).signals)
    assert (found.scored_by, found.gate_id, found.calibrator) == ("live", "g1", live.calibrator.calibrator_id)
    assert (found.labelled, found.unscored, found.left_out, found.traffic_rows) == (26, 0, 0, 73)
    assert (found.reliability, found.curve) == (report.reliability, report.curve)
    assert (found.labelled_scores, found.traffic_scores) == (report.labelled_scores, report.traffic_scores)
    assert found.labels is not None
    assert [(row.name, row.error.n, row.mean_score) for row in found.labels.rows] == [
        (row.name, row.error.n, row.mean_score) for row in report.labels.rows
    ]
    assert found.sources is not None
    assert {row.name for row in found.sources.rows} == {"app", "web"}


def test_the_tables_say_what_the_gate_lets_pass(found: Diagrams, ledger: LedgerSettings) -> None:
    outcomes = Ledger.open(ledger).outcomes(TAXONOMY, READER)
    passes = gate().route_table(outcomes.signals).passes
    assert found.labels is not None
    assert sum(row.passing.n for row in found.labels.rows if row.passing is not None) == passes.sum() > 0


def test_they_can_be_drawn(found: Diagrams) -> None:
    assert (found.max_error, found.threshold, found.certified) == (0.05, 0.8, (0.4, 0.045))
    drawn = (
        figures.reliability(found.reliability),
        figures.risk_coverage(found.curve, found.max_error, found.certified),
        figures.histograms(found.labelled_scores, found.traffic_scores, found.threshold),
    )
    assert all(each.startswith("<svg") for each in drawn)
    assert Diagrams.model_validate_json(found.model_dump_json()) == found


def test_without_a_calibrator_the_model_speaks_for_itself(ledger: LedgerSettings) -> None:
    closed = gate(calibrator=None, rule=ReviewEverything(), provenance=None)
    found = reliability_report(ledger, rollout(closed), POLICY, SETTINGS, NOW)
    outcomes = Ledger.open(ledger).outcomes(TAXONOMY, READER)
    weight = inverse_propensity(outcomes.propensity)
    assert (found.scored_by, found.calibrator, found.certified) == ("label_probability", None, None)
    assert found.reliability == reliability(outcomes.signals.label_probability, outcomes.correct, weight)
    assert found.labels is not None
    assert all(row.passing is None for row in found.labels.rows)


def test_where_only_the_candidate_has_a_calibrator_it_scores(ledger: LedgerSettings) -> None:
    closed = gate(gate_id="closed", calibrator=None, rule=ReviewEverything(), provenance=None)
    candidate = gate(stage=Stage.SHADOW)
    found = reliability_report(ledger, rollout(closed, candidate=candidate), POLICY, SETTINGS, NOW)
    assert (found.scored_by, found.gate_id) == ("candidate", "g1")


def test_what_the_calibrator_learned_from_is_left_out(ledger: LedgerSettings) -> None:
    until = START + timedelta(minutes=49)  # the tenth audit's
    live = gate(calibrator=make_calibrator().model_copy(update={"decided_until": until}))
    found = reliability_report(ledger, rollout(live), POLICY, SETTINGS, NOW)
    assert (found.labelled, found.left_out, found.since) == (16, 10, until)


def test_an_empty_ledger_has_empty_figures(empty_ledger: LedgerSettings) -> None:
    found = reliability_report(empty_ledger, first_rollout(POLICY, NOW), POLICY, SETTINGS, NOW)
    assert (found.labelled, found.traffic_rows, found.reliability, found.curve) == (0, 0, (), ())
    assert (found.labels, found.sources) == (None, None)
    assert np.sum(found.labelled_scores) == np.sum(found.traffic_scores) == 0.0
    assert figures.histograms(found.labelled_scores, None, found.threshold)
    assert figures.reliability(found.reliability)
    assert figures.risk_coverage(found.curve, found.max_error, found.certified)


def test_without_a_ledger_the_way_to_one_is_named(no_ledger: LedgerSettings) -> None:
    with pytest.raises(LedgerError, match="tidegate ledger sync"):
        reliability_report(no_ledger, rollout(), POLICY, SETTINGS, NOW)
