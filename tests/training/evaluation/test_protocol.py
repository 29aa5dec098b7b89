"""Figures by task, pooled and as macro means, with intervals; the table beside the published ones; the plots."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from calibration.metrics import evaluate
from tests.training.evaluation.made import TAXONOMIES, reading
from training.evaluation.compat import compat_result
from training.evaluation.plots import write_plots
from training.evaluation.protocol import VecbenchResult, vecbench_result
from training.evaluation.published import published
from training.evaluation.readings import ItemReading
from training.evaluation.table import compat_terminal, markdown, rows, terminal


def readings_of(taxonomy: str, n: int, accuracy: float, unread: int = 0, seed: int = 0) -> list[ItemReading]:
    """n readings whose confidence is that of their being right, but for a third that is always .6."""
    rng = np.random.default_rng(seed)
    labels = TAXONOMIES[taxonomy].labels
    found = []
    for number in range(n):
        truth = str(rng.choice(labels))
        chance = float(np.clip(rng.normal(accuracy, 0.15), 0.05, 0.95))
        wrong = next(label for label in labels if label != truth)
        label = truth if rng.random() < chance else wrong
        verbal = 0.6 if number % 3 == 0 else round(chance, 2)
        read = None if number < unread else label
        found.append(reading(f"{taxonomy} {number}", truth, read, verbal, chance, taxonomy=taxonomy))
    return found


@pytest.fixture(scope="module")
def readings() -> list[ItemReading]:
    return [
        *readings_of("webemo-2", 120, 0.8, seed=1),
        *readings_of("fi-2", 60, 0.9, unread=6, seed=2),
        *readings_of("abstract-8", 90, 0.4, seed=3),
    ]


@pytest.fixture(scope="module")
def result(readings: list[ItemReading]) -> VecbenchResult:
    return vecbench_result(readings, TAXONOMIES, resamples=200)


def accuracy(readings: list[ItemReading]) -> float:
    return float(np.mean([each.label == each.truth for each in readings]))


def test_pooled_and_macro_are_told_apart(readings: list[ItemReading], result: VecbenchResult) -> None:
    web, fi = readings[:120], readings[120:180]
    group = result.groups["ID VSA"]
    assert group.tasks == ("fi-2", "webemo-2")
    assert group.pooled.accuracy.value == pytest.approx(accuracy(web + fi))
    assert group.macro.accuracy.value == pytest.approx((accuracy(web) + accuracy(fi)) / 2)
    assert group.macro.verbal.brier.value == pytest.approx(
        sum(result.tasks[name].verbal.brier.value or 0.0 for name in group.tasks) / 2
    )
    assert list(result.tasks) == ["fi-2", "webemo-2", "abstract-8"]
    assert list(result.groups) == ["ID VSA", "OOD VER"]
    assert result.overall.pooled.accuracy.value == pytest.approx(accuracy(readings))
    assert (result.overall.pooled.n, result.overall.pooled.parse_failures) == (270, 6)


def test_figures_have_intervals_that_hold_them(result: VecbenchResult) -> None:
    for figures in (*result.tasks.values(), result.overall.pooled, result.overall.macro):
        for figure in (figures.accuracy, figures.f1_weighted, figures.verbal.brier, figures.verbal.auroc):
            assert figure.value is not None
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low < figure.value < figure.high
    low, high = result.tasks["abstract-8"].accuracy.low, result.tasks["abstract-8"].accuracy.high
    assert low is not None
    assert high is not None
    assert 0.15 < high - low < 0.25  # 4 * sqrt(.4 * .6 / 90) = .21


def test_a_task_has_the_figures_and_nearly_the_intervals_of_the_calibration_room(
    readings: list[ItemReading], result: VecbenchResult
) -> None:
    web = readings[:120]
    score = np.array([each.signals.verbal_confidence for each in web], np.float64)
    theirs = evaluate(score, np.array([each.label == each.truth for each in web]), resamples=200)
    ours = result.tasks["webemo-2"].verbal
    for name in ("brier", "brier_skill", "ece", "smooth_ece", "auroc", "aurc"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.value == pytest.approx(other.value)
        assert mine.low == pytest.approx(other.low, abs=0.05)
        assert mine.high == pytest.approx(other.high, abs=0.05)


def test_the_labels_own_probability_is_judged_where_the_engine_gives_it(result: VecbenchResult) -> None:
    label = result.tasks["abstract-8"].label
    assert label is not None
    assert label.n == 90
    alone = vecbench_result([reading("a", "positive", "positive", 0.9)], TAXONOMIES, resamples=5)
    assert alone.tasks["fi-2"].label is None
    assert alone.tasks["fi-2"].verbal.auroc.value is None


def test_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no readings"):
        vecbench_result([], TAXONOMIES)


def test_a_result_is_a_document(result: VecbenchResult) -> None:
    assert VecbenchResult.model_validate_json(result.model_dump_json()) == result


def test_published_numbers_stand_only_beside_the_same_tasks(result: VecbenchResult) -> None:
    found = {row.name: row for row in rows(result)}
    assert list(found) == [
        *("FI-2", "WebEmo-2", "Abstract-8"),
        *("ID VSA, pooled", "ID VSA, macro", "OOD VER (in part), pooled"),
        *("all, pooled", "all, macro"),
    ]
    pooled = published().groups["ID VSA"]
    assert [cell.published for cell in found["ID VSA, pooled"].cells[:6]] == [
        *(pooled.accuracy, pooled.f1, pooled.ece, pooled.brier, None, pooled.auroc)
    ]
    assert found["ID VSA, macro"].cells[0].published == pooled.macro_accuracy
    assert all(cell.published is None for cell in found["OOD VER (in part), pooled"].cells)
    assert found["FI-2"].n == "60 / 1000"
    assert str(found["FI-2"].cells[-1]) == "10.0"


def test_the_table_reads_in_a_terminal_and_as_markdown(readings: list[ItemReading], result: VecbenchResult) -> None:
    compat = compat_result(readings, TAXONOMIES)
    console = Console(file=StringIO(), width=240)
    console.print(terminal(result), compat_terminal(compat))
    assert isinstance(console.file, StringIO)
    printed = console.file.getvalue()
    assert "/ 88.10" in printed
    assert "not to be trusted" in " ".join(printed.split())
    text = markdown(result, compat, "m-1")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table[:10]}) == 1
    assert "# m-1" in text
    assert "Left out as there: 6 at the end of the data" in text


@pytest.mark.filterwarnings("error")
def test_plots_are_drawn_for_every_group(tmp_path: Path, readings: list[ItemReading]) -> None:
    written = write_plots(tmp_path, {"ID VSA": readings[:180], "silent": readings[120:126]}, TAXONOMIES)
    assert {path.name for path in written} == {
        f"{kind}-{group}.{suffix}"
        for kind in ("reliability", "risk-coverage")
        for group in ("id-vsa", "silent")
        for suffix in ("png", "svg")
    }
    with Image.open(tmp_path / "reliability-id-vsa.png") as image:
        assert image.width > 600
        assert image.convert("RGB").getpixel((3, 3)) == (255, 255, 255)
    drawing = (tmp_path / "risk-coverage-id-vsa.svg").read_text()
    assert drawing.startswith("<?xml")
    again = write_plots(tmp_path, {"ID VSA": readings[:180]}, TAXONOMIES)
    assert (tmp_path / "reliability-id-vsa.png") in again
