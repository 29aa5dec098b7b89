"""Who may replace whom: equals may, worse ones must not, and few items leave it open."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.evaluation.made import TAXONOMIES, reading, setup
from training.evaluation.comparing import Comparison, Evaluated, Margins
from training.evaluation.comparing import compare as compare_with
from training.evaluation.criteria import criterion
from training.evaluation.readings import EvaluationError, ItemReading, Setup

compare = partial(compare_with, resamples=200)
LABELS = TAXONOMIES["scenes"].labels
Change = Callable[[np.random.Generator, np.ndarray, int, float], tuple[int | None, float]]


def evaluated(
    n: int, change: Change | None = None, *, seed: int = 0, model: str = "m-1", known: bool = True
) -> Evaluated:
    """A model that says the likeliest label and how likely it is; `change` makes another one of it."""
    rng, other = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    readings = []
    for number in range(n):
        truth = rng.dirichlet(np.full(len(LABELS), 0.3))
        label = LABELS[int(rng.choice(len(LABELS), p=truth))]
        said, score = int(truth.argmax()), float(truth.max())
        answer: tuple[int | None, float] = (said, score) if change is None else change(other, truth, said, score)
        place, confidence = answer
        readings.append(
            reading(
                f"item {number}",
                label,
                None if place is None else LABELS[place],
                round(confidence, 2),
                confidence,
                taxonomy="scenes",
                probabilities=truth.tolist() if known else None,
            )
        )
    return Evaluated(model, setup(model, "scenes"), readings)


def flipped(share: float) -> Change:
    """Says the second likeliest label now and then."""

    def change(rng: np.random.Generator, truth: np.ndarray, said: int, score: float) -> tuple[int | None, float]:
        return (int(np.argsort(truth)[-2]), score) if rng.random() < share else (said, score)

    return change


def mute(share: float) -> Change:
    def change(rng: np.random.Generator, truth: np.ndarray, said: int, score: float) -> tuple[int | None, float]:
        return (None, score) if rng.random() < share else (said, score)

    return change


def shuffled(rng: np.random.Generator, truth: np.ndarray, said: int, score: float) -> tuple[int | None, float]:
    """As often right, and as often unsure, but of the wrong things."""
    return said, float(rng.uniform(0.3, 1.0))


def state(found: Comparison, name: str) -> str:
    return next(each.state for each in found.criteria if each.name == name)


def test_a_model_may_replace_itself_and_keeps_its_certificate() -> None:
    same = evaluated(600)
    found = compare(same, same)
    assert found.verdict == "may_replace"
    assert not found.voids_certificate
    assert (found.differences["accuracy"].low, found.differences["accuracy"].high) == (0.0, 0.0)
    assert found.n == 600
    assert found.signal == "label"


def test_a_new_model_that_is_as_good_may_replace_and_voids_the_certificate() -> None:
    found = compare(evaluated(1500), evaluated(1500, flipped(0.005), model="m-2"))
    assert found.verdict == "may_replace"
    assert found.voids_certificate
    assert "the gate begins in shadow again" in found.reasons[-1]
    assert found.differences["accuracy"].low != found.differences["accuracy"].high


def test_a_worse_model_must_not_replace() -> None:
    a, b = evaluated(1500), evaluated(1500, flipped(0.15), model="m-2")
    found = compare(a, b)
    assert found.verdict == "must_not_replace"
    assert state(found, "accuracy") == "broken"
    assert any("accuracy: B gains -" in reason for reason in found.reasons)
    assert compare(b, a).verdict == "may_replace"
    assert compare(a, b, Margins(0.5, 0.5, 1.0, 0.5)).verdict == "may_replace"


def test_a_model_that_ranks_worse_must_not_replace_though_it_is_as_often_right() -> None:
    found = compare(evaluated(1500), evaluated(1500, shuffled, model="m-2"))
    assert found.verdict == "must_not_replace"
    assert state(found, "accuracy") == "kept"
    assert state(found, "label.aurc") == "broken"


def test_a_model_that_often_cannot_be_read_must_not_replace() -> None:
    found = compare(evaluated(1500), evaluated(1500, mute(0.05), model="m-2"))
    assert state(found, "parse_failures") == "broken"
    assert found.verdict == "must_not_replace"


def test_few_items_leave_it_open_and_say_how_many_would_settle_it() -> None:
    found = compare(evaluated(300), evaluated(300, flipped(0.05), model="m-2"), Margins(0.03, 0.03))
    assert found.verdict == "undecided"
    assert found.more_items is not None
    assert any("more items would settle it" in reason for reason in found.reasons)
    same = evaluated(100)
    tiny = compare(same, same)
    assert tiny.verdict == "undecided"
    assert "100 items are too few" in tiny.reasons[0]
    assert tiny.more_items is not None
    assert tiny.more_items >= 100


def test_as_many_more_items_as_said_settle_it() -> None:
    # A gain of 0 with an interval of +-2 points must halve to fit a margin of 1: four times the items.
    found = criterion("accuracy", 0.0, -0.02, 0.02, 0.01, 500, True)
    assert (found.state, found.more_items) == ("open", 1500)
    worse = criterion("accuracy", -0.03, -0.07, 0.01, 0.01, 500, True)
    assert (worse.state, worse.more_items) == ("open", 1501)  # rounded up
    assert criterion("accuracy", -0.01, -0.02, 0.0, 0.01, 500, True).more_items is None


def test_no_unreadable_answer_among_few_items_does_not_prove_that_there_are_none() -> None:
    same = evaluated(300)
    assert state(compare(same, same), "parse_failures") == "open"
    assert state(compare(same, same, Margins(parse_failures=0.02)), "parse_failures") == "kept"


def test_true_probabilities_make_differences_sharper() -> None:
    widths = []
    for known in (True, False):
        a, b = evaluated(1000, known=known), evaluated(1000, flipped(0.1), model="m-2", known=known)
        accuracy = compare(a, b).differences["accuracy"]
        assert accuracy.low is not None
        assert accuracy.high is not None
        widths.append(accuracy.high - accuracy.low)
    assert widths[0] < 0.8 * widths[1]


def two_taxonomies(accuracy: float, model: str) -> Evaluated:
    """900 items in fi-2, always right; 100 in webemo-2, right as often as told."""
    readings = [reading(f"f {number}", "positive", "positive", 0.9, 0.9) for number in range(900)]
    for number in range(100):
        label = "positive" if number < 100 * accuracy else "negative"
        readings.append(reading(f"w {number}", "positive", label, 0.9, 0.9, taxonomy="webemo-2"))
    return Evaluated(model, setup(model, "fi-2", "webemo-2"), readings)


def test_one_taxonomy_that_is_lost_forbids_whatever_the_others_gain() -> None:
    a, b = two_taxonomies(0.9, "m-1"), two_taxonomies(0.7, "m-2")
    found = compare(a, b, Margins(accuracy=0.03, aurc=0.1, coverage=1.0))
    assert state(found, "accuracy") != "broken"
    assert state(found, "accuracy in webemo-2") == "broken"
    assert found.verdict == "must_not_replace"
    assert found.taxonomies["webemo-2"].difference == pytest.approx(-0.2)


def test_what_was_not_asked_alike_is_not_compared() -> None:
    a = evaluated(10)

    def with_setup(changed: Setup) -> Evaluated:
        return Evaluated("other", changed, a.readings)

    def with_readings(readings: list[ItemReading]) -> Evaluated:
        return Evaluated("other", a.setup, readings)

    prompt = a.setup.model_copy(update={"reader": a.setup.reader.model_copy(update={"prompt": "p-2"})})
    for other, words in (
        (with_setup(prompt), "prompt p-1 against p-2"),
        (with_setup(setup("m-1", "scenes", temperature=0.7)), r"temperature 0\.0 against 0\.7"),
        (with_setup(setup("m-1", "fi-8")), "taxonomy fi-8, scenes"),
        (with_readings(list(a.readings)[1:]), r"1 were read by one alone, as item 0 \(only m-1\)"),
        (with_readings([each.model_copy(update={"content": "x"}) for each in a.readings]), "is not the same item"),
    ):
        with pytest.raises(EvaluationError, match=words):
            compare(a, other)
    nothing = Evaluated("nothing", a.setup, [])
    with pytest.raises(EvaluationError, match="have read nothing"):
        compare(nothing, nothing)


def test_another_decoder_alone_is_compared_and_voids_the_certificate() -> None:
    a = evaluated(1000)
    reader = a.setup.reader.model_copy(update={"decoder": "d-2"})
    found = compare(a, Evaluated("b", a.setup.model_copy(update={"reader": reader}), a.readings))
    assert found.verdict == "may_replace"
    assert found.voids_certificate
    assert "Another decoder" in found.reasons[-1]


def test_without_label_probabilities_the_said_confidence_is_judged() -> None:
    a = evaluated(400)
    bare = [
        each.model_copy(update={"signals": each.signals.model_copy(update={"label_probability": None})})
        for each in a.readings
    ]
    b = Evaluated("b", a.setup, bare)
    assert compare(a, b).signal == "verbal"
    forced = compare(a, b, signal="label")
    assert forced.verdict == "undecided"
    assert any("not defined" in reason for reason in forced.reasons)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.0, 0.3), st.integers(0, 5))
def test_whoever_is_right_less_often_gains_nothing(share: float, seed: int) -> None:
    a, b = evaluated(200, seed=seed), evaluated(200, flipped(share), seed=seed, model="m-2")
    there, back = compare(a, b), compare(b, a)
    forth, home = there.differences["accuracy"], back.differences["accuracy"]
    assert forth.difference == pytest.approx(-(home.difference or 0.0))
    assert forth.difference is not None
    assert forth.difference <= 1e-12
    assert not (there.verdict == "must_not_replace" and back.verdict == "must_not_replace" and share == 0.0)


def test_a_comparison_is_a_document() -> None:
    found = compare(evaluated(50), evaluated(50, mute(1.0), model="m-2"))
    assert Comparison.model_validate_json(found.model_dump_json()) == found
    assert found.verdict == "must_not_replace"
