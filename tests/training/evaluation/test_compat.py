"""The published definitions, one by one, with the defects that make them no figures of ours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.evaluation.made import TAXONOMIES, reading
from training.evaluation.compat import (
    CompatResult,
    compat_result,
    found_in,
    published_ece,
    said_confidence,
    said_label,
)
from training.evaluation.protocol import vecbench_result
from training.evaluation.published import published
from training.evaluation.readings import ItemReading
from training.evaluation.scenes import expected_calibration_error

MIKELS = TAXONOMIES["fi-8"].labels


def said(truth: str, label: str | None, text: str, verbal: float = 0.5) -> ItemReading:
    return reading(f"{truth} {text}", truth, label, verbal, taxonomy="fi-8", text=text)


def test_a_label_is_the_first_candidate_anywhere_in_the_answer() -> None:
    assert said_label("<answer>not sadness but anger</answer>", MIKELS) == "anger"
    assert said_label("<answer>Awesome</answer>", MIKELS) == "awe"
    assert said_label("<answer>joy</answer> sadness", MIKELS) == "unknown"
    # Without an answer, or with an empty one, the reasoning counts.
    assert said_label("a scene of fear and awe", MIKELS) == "awe"
    assert said_label("fear <answer></answer>", MIKELS) == "fear"
    # An answer over two lines is none.
    assert said_label("anger <answer>\nsadness</answer>", MIKELS) == "anger"


def test_a_confidence_loses_its_braces_and_nothing_else() -> None:
    assert said_confidence("<confidence>{0.85}</confidence>") == 0.85
    assert said_confidence("<confidence>85</confidence>") == 1.0
    assert said_confidence("<confidence>-1</confidence>") == 0.0
    assert said_confidence("0.85") is None
    with pytest.raises(ValueError, match="85%"):
        said_confidence("<confidence>85%</confidence>")


def test_ece_forgets_confidences_of_one() -> None:
    assert published_ece([1.0, 1.0], [False, False]) == 0.0
    assert published_ece([1.0, 0.5], [False, False]) == 0.25
    assert expected_calibration_error(np.array([1.0, 0.5]), np.zeros(2)) == 0.75


@given(st.lists(st.tuples(st.floats(0, 1).filter(lambda c: round(c * 10) != c * 10), st.booleans()), min_size=1))
def test_elsewhere_ece_is_ours(pairs: list[tuple[float, bool]]) -> None:
    confidence, right = [score for score, _ in pairs], [hit for _, hit in pairs]
    ours = expected_calibration_error(np.array(confidence), np.array(right, np.float64))
    assert published_ece(confidence, right) == pytest.approx(ours)


def example() -> list[ItemReading]:
    """Nine items, each of which meets one defect, and one more at the end."""
    fine = "<think>a calm scene</think><answer>awe</answer><confidence>0.75</confidence>"
    return [
        said("awe", "awe", fine, 0.75),
        said("awe", "awe", fine.replace("calm", "anger-free"), 0.75),  # "Overall" reads anger in the reasoning
        said("anger", None, "<answer>sadness or anger</answer><confidence>0.75</confidence>"),  # and here it is anger
        said("fear", None, "a scene of fear<confidence>0.25</confidence>"),  # right without an answer
        said("fear", None, "<answer>fear</answer>"),  # no confidence: not in ECE, Brier, AUROC or the group's accuracy
        said("fear", None, "<answer>awe</answer><confidence>high</confidence>"),  # no number: in no group
        said("awe", "awe", fine.replace("0.75", "1.0"), 1.0),  # in no bin
        said("sadness", "awe", fine.replace("0.75", "1.0"), 1.0),  # nor this one, though it is wrong
        said("sadness", None, "").model_copy(update={"refused": "too long"}),  # dropped
        said("sadness", "awe", fine, 0.75),  # the tail that no GPU gets
    ]


def compat() -> CompatResult:
    return compat_result(example(), TAXONOMIES, gpus=3)


def test_each_defect_in_one_example() -> None:
    found = compat()
    assert (found.tail_left_out, found.failed_left_out, found.confidence_left_out) == (1, 1, 1)
    task, overall, group = found.tasks["fi-8"], found.overall, found.groups["ID VER"]
    # Of the eight that are left all are right but "awe" for fear and for sadness.
    assert (task.n, task.accuracy) == (8, 6 / 8)
    # Where the reasoning is read too, "anger-free" becomes anger.
    assert (overall.n, overall.accuracy) == (8, 5 / 8)
    # One has no number for a confidence, one none at all.
    assert (group.n, group.with_confidence, group.accuracy) == (7, 6, 5 / 6)
    # Three right at .75, one right at .25, and two at 1 that are in no bin.
    assert group.ece == pytest.approx(3 / 6 * 0.25 + 1 / 6 * 0.75)
    assert group.brier == pytest.approx((3 * 0.0625 + 0.5625 + 0 + 1) / 6)
    assert group.auroc == pytest.approx((0.5 + 0 * 4) / 5)


def test_ours_overlooks_none_of_it() -> None:
    readings = example()
    found = vecbench_result(readings, TAXONOMIES, resamples=20).tasks["fi-8"]
    assert found.n == 10
    assert found.parse_failures == 5
    assert found.accuracy.value == 0.3
    # Five wrong ones at 1 for want of an answer, one that said 1, one at .75; right are 1, .75 and .75.
    assert found.verbal.brier.value == pytest.approx((6 + 0.5625 + 0 + 2 * 0.0625) / 10)


def test_too_few_items_for_the_gpus_are_refused() -> None:
    with pytest.raises(ValueError, match="3 items cannot be split over 8 GPUs: lower --compat-gpus"):
        compat_result(example()[:3], TAXONOMIES)


def test_a_group_without_confidences_has_no_figures_of_them() -> None:
    plain = [said("awe", None, "<answer>awe</answer>")]
    group = compat_result(plain, TAXONOMIES, gpus=1).groups["ID VER"]
    assert (group.accuracy, group.ece, group.brier, group.auroc, group.f1) == (None, None, None, None, 1.0)


def test_first_candidates_win() -> None:
    assert found_in("fear, anger", MIKELS) == "anger"
    assert found_in("nothing", MIKELS) == "unknown"


def test_what_was_published_fits_together() -> None:
    known = published()
    for group in known.groups.values():
        tasks = [known.tasks[name] for name in group.tasks]
        n = sum(task.n for task in tasks)
        assert n == group.n
        hits = sum(round(task.n * task.accuracy / 100) for task in tasks)
        assert 100 * hits / n == pytest.approx(group.accuracy, abs=0.006)
        assert np.mean([task.accuracy for task in tasks]) == pytest.approx(group.macro_accuracy, abs=0.011)
    assert sum(task.n for task in known.tasks.values()) == known.overall.n == 8035 // 8 * 8
    # "Overall" scans the reasoning, and so differs from what the tasks add up to.
    total = sum(task.n * task.accuracy for task in known.tasks.values()) / known.overall.n
    assert total == pytest.approx(62.79, abs=0.01)
    assert known.overall.accuracy == 61.35
    assert set(known.tasks) <= set(TAXONOMIES)
