"""Stages in two processes over gloo, as `torchrun` and `accelerate launch` start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from transformers import AutoModelForImageTextToText
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

import deploy
from tests.training.conftest import Begin
from training.run import Run
from training.sampling import sample

ACCELERATE = Path(deploy.__file__).parent / "accelerate"


def train(run: Run, stage: str, *, expected: int = 0) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    command += ["--rdzv_endpoint", "127.0.0.1:0", "-m", "deploy.cli", "train", "stage", stage, str(run.folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, env=environment)
    assert (done.returncode != 0) == (expected != 0), done.stderr[-3000:]
    return done.stderr


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).state_dict())


@pytest.mark.parametrize(
    ("stage", "finished"),
    [
        pytest.param("reasoning", (), marks=pytest.mark.heavy),
        ("calibration", ("reasoning", "confidence")),
    ],
)
def test_two_processes_train_one_model(begin: Begin, stage: str, finished: Sequence[str]) -> None:
    run = begin(*finished, reasoning={"per_device": 8}, calibration={"per_device": 4})
    train(run, stage)
    done = json.loads((run.folder / stage / "done.json").read_text())
    steps = [json.loads(line)["step"] for line in (run.folder / stage / "metrics.jsonl").read_text().splitlines()]
    assert done["steps"] == max(steps) == (4 if stage == "reasoning" else 8)
    assert steps == sorted(steps), "both processes wrote"
    assert weights(run.folder / stage / "model")


@pytest.mark.heavy
def test_two_processes_take_the_steps_of_one(begin: Begin, tmp_path: Path) -> None:
    """The batch is spread, not doubled: the same gradient, up to rounding."""
    run = begin("reasoning", confidence={"per_device": 4})
    sample(run)
    train(run, "confidence")
    two = weights(run.folder / "confidence" / "model")
    (run.folder / "confidence" / "done.json").unlink()
    alone = [sys.executable, "-m", "deploy.cli", "train", "stage", "confidence", str(run.folder)]
    subprocess.run(alone, check=True, timeout=170, capture_output=True)
    one = weights(run.folder / "confidence" / "model")
    before = weights(run.folder / "reasoning" / "model")
    moved = sum(float((one[name] - before[name]).norm()) for name in one)
    apart = sum(float((one[name] - two[name]).norm()) for name in one)
    assert apart < 0.2 * moved


@pytest.mark.parametrize("path", sorted(ACCELERATE.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_takes_the_shipped_configurations(path: Path) -> None:
    config = load_config_from_file(str(path))
    assert config.num_processes >= 1
    wrapped = (yaml.safe_load(path.read_text()).get("fsdp_config") or {}).get("fsdp_transformer_layer_cls_to_wrap", "")
    for name in filter(None, wrapped.split(",")):
        assert hasattr(modeling_qwen2_5_vl, name)
