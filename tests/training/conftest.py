"""Small runs on drawn scenes, each with the shipped checkpoint in the place of a finished stage 1."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import training
from training.config import RunConfig, load_config
from training.run import Run

CHECKPOINT = Path(training.__file__).parent / "checkpoint"

Begin = Callable[..., Run]


def small(**changes: Any) -> RunConfig:
    """The tiny configuration with a few items a stage; `changes` by section, or of a whole one."""
    given = load_config("tiny").model_dump(mode="json")
    given |= {"loaders": 0, "data": {"kind": "scenes", "seed": 5, "reasoning": 64, "confidence": 24, "calibration": 16}}
    given["reasoning"] |= {"batch": 16, "per_device": 16, "checkpoints": 2}
    given["confidence"] |= {"batch": 8, "per_device": 8, "epochs": 1, "answers": 2, "checkpoints": 2}
    given["calibration"] |= {"batch": 4, "mini_batch": 2, "answers": 4, "per_device": 8, "checkpoints": 2}
    for name, change in changes.items():
        whole = not isinstance(change, dict) or "kind" in change or "method" in change
        given[name] = change if whole else given[name] | change
    return RunConfig.model_validate(given)


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Begins a run; of stages named in `finished`, the shipped checkpoint is what they ended in."""

    def begin(*finished: str, **changes: Any) -> Run:
        run = Run.begin(tmp_path / "run", small(**changes))
        for name in finished:
            folder = run.folder / name
            shutil.copytree(CHECKPOINT, folder / "model")
            (folder / "done.json").write_text(json.dumps({"steps": 0}))
        return run

    return begin
