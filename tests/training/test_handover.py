"""What is handed over loads as it is, says what it is, and goes by another name as soon as it says anything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from tests.training.conftest import CHECKPOINT, Begin
from training.handover import fingerprint, hand_over
from training.run import RunError
from worker.engine.weights import folder_version
from worker.reading.resize import load_pixel_budget
from worker.settings import EngineSettings

METRICS = json.loads((CHECKPOINT / "tidegate.json").read_text())["metrics"]


def test_a_finished_run_is_handed_over(begin: Begin, tmp_path: Path) -> None:
    run = begin("reasoning", "confidence")
    out = tmp_path / "out"
    card = hand_over(run, out, METRICS)
    assert {path.name for path in out.iterdir()} == {path.name for path in CHECKPOINT.iterdir()}
    assert card == json.loads((out / "tidegate.json").read_text())
    assert card["model_version"] == folder_version(out)
    assert card["stages"] == ["reasoning", "confidence"]
    assert card["config"]["calibration"]["objective"]["objective"] == "decoupled"
    model = AutoModelForImageTextToText.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    assert AutoProcessor.from_pretrained(out).image_processor.size["longest_edge"] == 56 * 56
    budget = load_pixel_budget(EngineSettings(model=str(out)))
    assert (budget.min_pixels, budget.max_pixels) == (56 * 56, 56 * 56)
    text = (out / "README.md").read_text()
    for said in (card["model_version"], "objective `decoupled`", "scenes of seed 5", "best possible"):
        assert said in text


def test_a_run_without_a_finished_stage_is_refused(begin: Begin, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no stage has been finished"):
        hand_over(begin(), tmp_path / "out")


def test_without_metrics_the_card_says_how_to_get_them(begin: Begin, tmp_path: Path) -> None:
    hand_over(begin("reasoning"), tmp_path / "out")
    assert "has not been measured yet" in (tmp_path / "out" / "README.md").read_text()


def test_the_version_changes_with_what_decides_an_answer(begin: Begin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hand_over(begin("reasoning"), out)
    before = fingerprint(out)
    (out / "README.md").write_text("other words")
    assert fingerprint(out) == before
    (out / "generation_config.json").write_text('{"do_sample": true}')
    assert fingerprint(out) != before
