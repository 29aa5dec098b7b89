"""What the calibrator sees of a reading."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.fitting.features import FEATURES, NAMES, VERSIONS, design, design_row, version_for
from calibration.outcome import ParseStatus, Signals
from calibration.table import SignalTable


def features(**signals: float) -> dict[str, float]:
    row = design(SignalTable.of([("awe", "", Signals(parse_status=ParseStatus.OK, **signals))]))
    return dict(zip(NAMES, row[0].tolist(), strict=True))


def test_a_whole_reading() -> None:
    assert features(
        verbal_confidence=0.8, label_probability=0.6, label_margin=0.25, label_entropy=math.log(2)
    ) == pytest.approx(
        {
            "intercept": 1.0,
            "verbal_logit": math.log(4),
            "label_logit": math.log(1.5),
            "margin": 0.25,
            "disagrees": 0.0,
            "concentration": 0.5,
            "no_verbal": 0.0,
            "no_label_probability": 0.0,
            "no_margin": 0.0,
            "no_entropy": 0.0,
        }
    )


def test_what_is_missing_counts_nothing_but_is_flagged() -> None:
    found = features()
    assert [name for name, value in found.items() if value] == [
        "intercept", "no_verbal", "no_label_probability", "no_margin", "no_entropy",
    ]  # fmt: skip
    assert features(label_margin=-0.1)["disagrees"] == 1.0
    assert features(label_margin=0.0)["disagrees"] == 0.0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_certainty_is_finite(value: float) -> None:
    found = features(verbal_confidence=value, label_probability=value)
    assert abs(found["verbal_logit"]) == pytest.approx(math.log(99))
    assert abs(found["label_logit"]) == pytest.approx(math.log(9999))


@pytest.mark.parametrize("labels", [2, 8, 25])
def test_having_no_idea_is_one_over_the_number_of_labels(labels: int) -> None:
    assert features(label_entropy=math.log(labels))["concentration"] == pytest.approx(1 / labels)
    assert features(label_entropy=0.0)["concentration"] == 1.0


def looks(**signals: float) -> dict[str, float]:
    """The features of version 2 beyond those of version 1."""
    evidence = Signals(parse_status=ParseStatus.OK, **signals)
    table = SignalTable.of([("awe", "", evidence)])
    row = design(table, 2)[0]
    assert np.array_equal(row[: len(FEATURES)], design(table)[0])
    assert design_row(evidence) == pytest.approx(row.tolist(), abs=1e-12)
    names = [feature.name for feature in VERSIONS[2]]
    return dict(zip(names[len(FEATURES) :], row[len(FEATURES) :].tolist(), strict=True))


def test_a_second_look_counts_by_what_it_adds_to_the_first() -> None:
    assert looks(verbal_confidence=0.8, label_probability=0.6) == {"look_shift": 0.0, "looked": 0.0}
    agreeing = looks(verbal_confidence=0.8, label_probability=0.6, agreement=0.6)
    assert agreeing == pytest.approx({"look_shift": 0.0, "looked": 1.0})
    surer = looks(verbal_confidence=0.8, label_probability=0.6, agreement=0.75)
    assert surer["look_shift"] == pytest.approx(math.log(3) - math.log(1.5))
    by_words = looks(verbal_confidence=0.8, agreement=0.75)  # where the engine tells no probability of the label
    assert by_words["look_shift"] == pytest.approx(math.log(3) - math.log(4))
    assert looks(agreement=0.75)["look_shift"] == pytest.approx(math.log(3))
    assert looks(label_probability=0.5, agreement=0.0)["look_shift"] == pytest.approx(-math.log(99))


def test_the_second_version_is_for_those_who_need_it() -> None:
    once, twice = (
        SignalTable.of([("awe", "", Signals(parse_status=ParseStatus.OK, agreement=agreement))] * 3)
        for agreement in (None, 0.5)
    )
    assert (version_for(once), version_for(twice)) == (1, 2)
    assert version_for(twice.take(slice(0))) == 1


def test_without_outcomes_the_written_confidence_is_believed() -> None:
    assert {each.name: each.prior_mean for each in FEATURES if each.prior_mean} == {"verbal_logit": 1.0}
    assert np.all(np.array([each.prior_sd for each in FEATURES]) > 0)
