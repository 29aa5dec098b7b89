"""The figures agree with other people's code, with the room below, and with what they promise of unreadable answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from calibration.metrics import evaluate
from calibration.table import Floats
from tests.training.evaluation.made import TAXONOMIES, reading
from training.evaluation import scenes
from training.evaluation.figures import Judged, resampled, values

LABELS = ("positive", "negative")

rows = st.lists(
    st.tuples(
        st.sampled_from(LABELS),
        st.sampled_from((*LABELS, *LABELS, None)),
        st.sampled_from([number / 20 for number in range(21)]),
    ),
    min_size=2,
    max_size=40,
)
Row = tuple[str, str | None, float]


def judged(given: list[Row]) -> Judged:
    return Judged.of(
        [reading(str(number), truth, label, score, score) for number, (truth, label, score) in enumerate(given)],
        TAXONOMIES,
    )


@given(rows)
def test_accuracy_and_f1_are_those_of_scikit_learn_with_unreadable_answers_as_errors(given: list[Row]) -> None:
    truths, said = [truth for truth, _, _ in given], [label or "unreadable" for _, label, _ in given]
    found = values(judged(given))
    assert found["accuracy"] == pytest.approx(accuracy_score(truths, said))
    assert found["parse_failures"] == pytest.approx(said.count("unreadable") / len(given))
    weighted = f1_score(truths, said, average="weighted", zero_division=0)
    assert found["f1_weighted"] == pytest.approx(weighted)
    macro = f1_score(truths, said, average="macro", labels=sorted(set(truths)), zero_division=0)
    assert found["f1_macro"] == pytest.approx(macro)


@given(rows)
def test_without_unreadable_answers_a_signal_has_the_figures_of_the_calibration_room(given: list[Row]) -> None:
    whole = judged([row for row in given if row[1] is not None] or [("positive", "positive", 0.5)])
    metrics = evaluate(whole.verbal, whole.right > 0, resamples=0)
    found = values(whole)
    expected = {name: getattr(metrics, name).value for name in ("ece", "smooth_ece", "brier", "brier_skill", "auroc")}
    expected |= {"aurc": metrics.aurc.value}
    expected |= {f"coverage_at.{error}": figure.value for error, figure in metrics.coverage_at.items()}
    for name, value in expected.items():
        assert found[f"verbal.{name}"] == pytest.approx(np.nan if value is None else value, nan_ok=True)
        assert found[f"label.{name}"] == found[f"verbal.{name}"] or value is None


@given(rows, st.data())
def test_not_to_answer_never_pays_against_a_wrong_answer(given: list[Row], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(given) - 1))
    truth, _, score = given[at]
    wrong = LABELS[1 - LABELS.index(truth)]
    answered, silent = (
        values(judged([*given[:at], (truth, label, score), *given[at + 1 :]])) for label in (wrong, None)
    )
    assert silent["accuracy"] == answered["accuracy"]
    assert silent["verbal.brier"] >= answered["verbal.brier"] - 1e-12
    assert not silent["verbal.auroc"] > answered["verbal.auroc"] + 1e-12


def test_unreadable_answers_by_hand() -> None:
    four: list[Row] = [
        ("positive", "positive", 0.9),
        ("positive", "positive", 0.8),
        ("negative", "positive", 0.3),
        ("negative", None, 0.0),
    ]
    found = values(judged(four))
    assert found["accuracy"] == 0.5
    assert found["parse_failures"] == 0.25
    # One wrong answer said with full confidence: (.01 + .04 + .09 + 1) / 4.
    assert found["verbal.brier"] == pytest.approx(0.285)
    # It outranks both right ones; the other wrong one is outranked by them.
    assert found["verbal.auroc"] == pytest.approx(0.5)
    # Ranked last: errors of 0, 0, 1/3 and 1/2 as coverage grows.
    assert found["verbal.aurc"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    # It never passes, so that at most half of all can without an error.
    assert found["verbal.coverage_at.0.01"] == 0.5
    assert values(judged([row for row in four if row[1]]))["verbal.coverage_at.0.01"] == pytest.approx(2 / 3)


def test_a_reading_without_a_signal_is_left_out_of_that_signal_alone() -> None:
    of = Judged.of(
        [reading("a", "positive", "positive", 0.7, 0.6), reading("b", "negative", "positive", 0.7)], TAXONOMIES
    )
    found = values(of)
    assert found["verbal.brier"] == pytest.approx((0.09 + 0.49) / 2)
    assert found["label.brier"] == pytest.approx(0.16)
    assert np.isnan(values(replace(of, label=np.full(2, np.nan)))["label.brier"])


def uncertain(n: int, seed: int) -> Judged:
    """n readings of items of which only label probabilities are known."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.ones(3), n)
    said = np.where(rng.random(n) < 0.1, -1, rng.integers(0, 3, n))
    score: Floats = np.where(said < 0, np.nan, np.round(rng.random(n), 1))
    return Judged(("a", "b", "c"), truth, said, score, score)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_figures_of_probable_truths_are_those_of_scenes(seed: int) -> None:
    of = uncertain(50, seed)
    found = values(of)
    confidence = np.where(of.parsed, of.verbal, scenes.NO_ANSWER)
    assert found["accuracy"] == pytest.approx(of.right.mean())
    assert found["verbal.ece"] == pytest.approx(scenes.expected_calibration_error(confidence, of.right))
    assert found["verbal.brier"] == pytest.approx(scenes.brier(confidence, of.right))
    assert found["verbal.brier_skill"] == pytest.approx(scenes.brier_skill(confidence, of.right))
    assert found["verbal.auroc"] == pytest.approx(scenes.auroc(confidence, of.right))


def test_figures_of_probable_truths_are_expectations_over_drawn_labels() -> None:
    of = uncertain(400, 1)
    rng = np.random.default_rng(2)
    drawn = []
    for _ in range(200):
        labels = [rng.choice(3, p=row) for row in of.truth]
        drawn.append(values(replace(of, truth=np.eye(3)[labels])))
    found = values(of)
    for name in ("accuracy", "f1_macro", "verbal.brier", "verbal.auroc", "verbal.aurc"):
        samples = np.array([each[name] for each in drawn])
        assert found[name] == pytest.approx(samples.mean(), abs=max(5e-3, 4 * samples.std() / np.sqrt(200)))


def test_the_same_seed_resamples_the_same_readings() -> None:
    of = uncertain(60, 3)
    silent = replace(of, said=np.full(60, -1))
    first, again = resampled(of, 20, seed=5), resampled(of, 20, seed=5)
    assert all(np.array_equal(first[name], again[name], equal_nan=True) for name in first)
    assert not np.array_equal(first["accuracy"], resampled(of, 20, seed=6)["accuracy"])
    assert not resampled(silent, 20, seed=5)["accuracy"].any()


def test_auroc_is_that_of_scikit_learn() -> None:
    given: list[Row] = [("positive", "positive", 0.9), ("negative", "positive", 0.9), ("positive", "positive", 0.4)]
    assert values(judged(given))["verbal.auroc"] == pytest.approx(roc_auc_score([1, 0, 1], [0.9, 0.9, 0.4]))
