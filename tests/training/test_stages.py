"""The two stages learn, the same way every time, and the metrics say what they should."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import training
from training import structured_reasoning, verbalized_confidence
from training.checkpoint import load
from training.cli import app
from training.data import SceneExamples, batches
from training.dialogue import Dialogue
from training.evaluate import auroc, brier, brier_skill, expected_calibration_error
from training.tiny import make_model, make_processor
from worker.reading.prompt import build_prompt
from worker.reading.taxonomy import load_taxonomies

TAXONOMY = load_taxonomies()["scenes"]
CHECKPOINT = Path(training.__file__).parent / "checkpoint"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def dialogue() -> Dialogue:
    return Dialogue(make_processor(build_prompt(TAXONOMY)), TAXONOMY)


def stage_one(dialogue: Dialogue) -> tuple[list[float], list[torch.Tensor]]:
    losses: list[float] = []
    model = make_model(dialogue.processor, seed=0)
    structured_reasoning.train(
        model,
        dialogue,
        batches(SceneExamples(0, 64), 8),
        report=lambda _, loss: losses.append(loss),
    )
    return losses, [weight.detach() for weight in model.parameters()]


def test_stage_one_learns_and_repeats_itself(dialogue: Dialogue) -> None:
    losses, weights = stage_one(dialogue)
    again, same = stage_one(dialogue)
    assert losses[-1] < losses[0] - 0.5
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))


def test_stage_two_learns_from_the_models_own_readings() -> None:
    model, dialogue = load(CHECKPOINT)
    readings = verbalized_confidence.read(model, dialogue, batches(SceneExamples(3, 32), 16))
    assert len(readings) == 32
    assert all(reading.text.endswith("</answer>") for reading in readings)
    losses: list[float] = []
    verbalized_confidence.train(model, dialogue, readings, size=8, report=lambda _, loss: losses.append(loss))
    assert len(losses) == 4
    assert np.isfinite(losses).all()


def test_stage_two_refuses_a_model_that_names_no_labels(dialogue: Dialogue) -> None:
    untrained = make_model(dialogue.processor, seed=0)
    with pytest.raises(ValueError, match="0 of 4 answers name a label: train stage 1 for longer"):
        verbalized_confidence.read(untrained, dialogue, batches(SceneExamples(3, 4), 4))


def test_batches_do_not_depend_on_the_processes_that_draw_them() -> None:
    examples = SceneExamples(4, 10)
    here, there = (list(batches(examples, 4, loaders)) for loaders in (0, 2))
    assert [len(batch) for batch in here] == [4, 4, 2]
    for mine, theirs in zip(chain(*here), chain(*there), strict=True):
        assert np.array_equal(mine.image, theirs.image)
        assert (mine.label, mine.reasoning) == (theirs.label, theirs.reasoning)


probabilities = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.99)), min_size=1, max_size=50)


@given(probabilities)
def test_metrics_stay_in_their_ranges(pairs: list[tuple[float, float]]) -> None:
    confidence, right = np.array(pairs).T
    assert 0 <= expected_calibration_error(confidence, right) <= 1
    assert 0 <= brier(confidence, right) <= 1
    assert 0 <= auroc(confidence, right) <= 1
    assert brier_skill(confidence, right) <= brier_skill(right, right) + 1e-9


def test_metrics_of_known_answers() -> None:
    right = np.array([1.0, 1.0, 0.0, 0.0])
    assert auroc(np.array([0.9, 0.8, 0.2, 0.1]), right) == 1
    assert auroc(np.full(4, 0.5), right) == 0.5
    assert brier_skill(right, right) == 1
    assert brier_skill(np.full(4, 0.5), right) == 0
    assert expected_calibration_error(np.ones(4), right) == 0.5
    assert expected_calibration_error(np.array([0.85, 0.85, 0.15, 0.15]), right) == pytest.approx(0.15)


def test_scenes_are_written_with_their_truth(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["scenes", "--count", "3", "--out", str(tmp_path), "--seed", "5"])
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in (tmp_path / "scenes.jsonl").read_text().splitlines()]
    assert [(tmp_path / record["file"]).read_bytes()[:4] for record in records] == [b"\x89PNG"] * 3
    assert all(sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-4) for record in records)
    assert all(record["label"] in record["probabilities"] for record in records)
