"""The calibrator as a document: it scores, one reading or many, and cannot be taken for what it is not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from calibration.calibrator import Calibrator
from calibration.fitting.hierarchical import fit_calibrator
from calibration.fitting.scoring import Z90
from calibration.outcome import ParseStatus, Signals
from calibration.table import SignalTable
from tests.calibration.fitting.readings import NOW, drawn

GOLDEN = Path(__file__).parent / "golden" / "calibrator-1.json"
GOLDEN_2 = GOLDEN.with_name("calibrator-2.json")
CALIBRATOR = fit_calibrator(drawn(1, 600, missing=0.2), created_at=NOW)
LOOKING = fit_calibrator(drawn(1, 600, missing=0.2, looked=True), created_at=NOW)

probabilities = st.none() | st.floats(0, 1)
signals = st.builds(
    Signals,
    parse_status=st.just(ParseStatus.OK),
    verbal_confidence=probabilities,
    label_probability=probabilities,
    label_margin=st.none() | st.floats(-1, 1),
    label_entropy=st.none() | st.floats(0, 50),
    agreement=probabilities,
)
labels = st.sampled_from(["", "label-0", "label-1", "label-4", "never seen"])
sources = st.sampled_from(["", "source-0", "source-2", "never seen"])


@given(st.sampled_from([CALIBRATOR, LOOKING]), labels, sources, signals)
def test_one_reading_scores_as_in_a_table(calibrator: Calibrator, label: str, source: str, evidence: Signals) -> None:
    table = calibrator.score(SignalTable.of([(label, source, evidence)]))
    wanted = (table.score[0], table.low[0], table.high[0])
    one = calibrator.score_one(label, source, evidence)
    assert all(type(number) is float for number in one)
    assert one == pytest.approx(wanted, abs=1e-12)
    assert 0 < one[1] <= one[0] <= one[2] < 1


def test_a_second_look_counts_only_for_those_who_have_learned_of_it() -> None:
    once = Signals(parse_status=ParseStatus.OK, verbal_confidence=0.8, label_probability=0.7)
    lower, higher = (once.model_copy(update={"agreement": agreement}) for agreement in (0.3, 0.9))
    scores = [LOOKING.score_one("label-0", "source-0", each)[0] for each in (lower, higher)]
    assert scores[0] < scores[1] - 0.1
    assert CALIBRATOR.score_one("label-0", "source-0", lower) == CALIBRATOR.score_one("label-0", "source-0", once)


@pytest.mark.parametrize("calibrator", [CALIBRATOR, LOOKING])
@pytest.mark.parametrize("status", [each for each in ParseStatus if each is not ParseStatus.OK])
def test_what_was_not_parsed_has_no_score(calibrator: Calibrator, status: ParseStatus) -> None:
    evidence = Signals(parse_status=status, verbal_confidence=0.9)
    assert all(map(math.isnan, calibrator.score_one("label-0", "source-0", evidence)))
    assert np.isnan(calibrator.score(SignalTable.of([("label-0", "source-0", evidence)])).score).all()


def test_a_table_may_be_long_or_empty() -> None:
    table = drawn(2, 40_000).signals
    scores = CALIBRATOR.score(table)
    few = CALIBRATOR.score(table.take(np.array([0, 16_383, 16_384, 39_999])))
    assert few.score.tolist() == scores.score[[0, 16_383, 16_384, 39_999]].tolist()
    assert len(CALIBRATOR.score(table.take(slice(0)))) == 0


def test_the_score_is_the_equation_that_a_person_can_read() -> None:
    evidence = Signals(parse_status=ParseStatus.OK, verbal_confidence=0.8, label_probability=0.7, label_margin=-0.1)
    b = {each.feature: each.value for each in CALIBRATOR.coefficients}
    u = {each.name: each.value for each in CALIBRATOR.labels}["label-2"]
    v = {each.name: each.value for each in CALIBRATOR.sources}["source-1"]
    eta = (
        b["intercept"]
        + b["verbal_logit"] * math.log(4)
        + b["label_logit"] * math.log(7 / 3)
        + b["margin"] * -0.1
        + b["disagrees"]
        + b["no_entropy"]
    )
    score, _, _ = CALIBRATOR.score_one("label-2", "source-1", evidence)
    assert score == pytest.approx(1 / (1 + math.exp(-eta - u - v)), abs=1e-12)
    unknown, _, _ = CALIBRATOR.score_one("never seen", "never seen", evidence)
    assert unknown == pytest.approx(1 / (1 + math.exp(-eta)), abs=1e-12)


def test_a_name_never_seen_adds_its_whole_doubt() -> None:
    evidence = Signals(parse_status=ParseStatus.OK)
    x = np.array([1.0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    fixed = x @ np.array(CALIBRATOR.covariance) @ x
    wanted = math.sqrt(fixed + CALIBRATOR.label_sd**2 + CALIBRATOR.source_sd**2)
    score, low, high = CALIBRATOR.score_one("never seen", "never seen", evidence)
    logit = [math.log(p / (1 - p)) for p in (score, low, high)]
    assert logit[0] - logit[1] == pytest.approx(Z90 * wanted)
    assert logit[2] - logit[0] == pytest.approx(Z90 * wanted)


def test_a_document_of_today_scores_the_same_in_years() -> None:
    calibrator = Calibrator.model_validate_json(GOLDEN.read_bytes())
    full = Signals(
        parse_status=ParseStatus.OK,
        verbal_confidence=0.87,
        label_probability=0.64,
        label_margin=0.41,
        label_entropy=0.93,
    )
    bare = Signals(parse_status=ParseStatus.OK, verbal_confidence=1.0, label_margin=-0.2)
    for (label, source, evidence), wanted in {
        ("label-0", "source-0", full): (0.5804533975883279, 0.41085425729162517, 0.7329623865876617),
        ("label-3", "source-2", bare): (0.7824476464589472, 0.5294824013610203, 0.9199677111276476),
        ("never seen", "", full): (0.561968976349806, 0.2591350681414838, 0.8247378495569109),
    }.items():
        assert calibrator.score_one(label, source, evidence) == pytest.approx(wanted, abs=1e-12)
    assert calibrator.n == 300
    assert calibrator.metrics is not None


def test_a_document_with_a_second_look_scores_the_same_in_years() -> None:
    calibrator = Calibrator.model_validate_json(GOLDEN_2.read_bytes())
    looked = Signals(
        parse_status=ParseStatus.OK,
        verbal_confidence=0.87,
        label_probability=0.64,
        label_margin=0.41,
        label_entropy=0.93,
        agreement=0.35,
    )
    sure = looked.model_copy(update={"label_probability": 0.97, "agreement": None})
    for evidence, wanted in {
        looked: (0.34489846085867804, 0.20846451667847385, 0.5127785892476823),
        sure: (0.773242767735029, 0.5832583545225076, 0.8925697046333207),
    }.items():
        assert calibrator.score_one("label-0", "source-0", evidence) == pytest.approx(wanted, abs=1e-12)
    assert (calibrator.schema_version, calibrator.n) == (2, 300)


def document(**changes: Any) -> str:
    return json.dumps(json.loads(GOLDEN.read_text()) | changes)


def test_unknown_fields_of_later_writers_are_ignored() -> None:
    assert Calibrator.model_validate_json(document(new=1)).calibrator_id


def damaged() -> dict[str, str]:
    whole = json.loads(GOLDEN.read_text())
    coefficients, covariance, label = whole["coefficients"], whole["covariance"], whole["labels"][0]
    other = [row.copy() for row in covariance]
    other[0][0] = -1.0
    return {
        "schema_version": document(schema_version=3),
        "version 2 has the features .*, look_shift, looked, not intercept": document(schema_version=2),
        "version 1 has the features": document(coefficients=coefficients[::-1]),
        "finite number": document(coefficients=[coefficients[0] | {"value": math.nan}, *coefficients[1:]]),
        "must have 10 rows": document(covariance=covariance[1:]),
        "must be symmetric": document(covariance=[covariance[0][::-1], *covariance[1:]]),
        "positive definite": document(covariance=other),
        "stands there twice": document(labels=[label, *whole["labels"]]),
        "must have 10 numbers": document(labels=[label | {"slope": [0.0]}, *whole["labels"][1:]]),
        "it was changed or damaged": document(label_sd=9.0),
        "greater than or equal to 0": document(labels=[label | {"rest": -1.0}, *whole["labels"][1:]]),
    }


@pytest.mark.parametrize(("message", "text"), damaged().items())
def test_a_damaged_document_is_refused(message: str, text: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Calibrator.model_validate_json(text)
