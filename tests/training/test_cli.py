"""`tidegate train` as its users meet it: what it prints, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from deploy.local import free_port
from tests.training.conftest import CHECKPOINT, small
from training.cli import app
from training.config import STAGES

RUNNER = CliRunner()
QUIET: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 170}


def configured(tmp_path: Path) -> str:
    """A run from the shipped checkpoint on, which names labels from its first step."""
    path = tmp_path / "config.yaml"
    config = small(model={"kind": "pretrained", "name": str(CHECKPOINT)}, name="short")
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return str(path)


def test_all_stages_end_in_a_checkpoint(tmp_path: Path) -> None:
    """In a process of its own, as people run it: one line of JSON on standard output, progress beside it."""
    command = [sys.executable, "-m", "deploy.cli", "train", "all", str(tmp_path / "run"), "--scenes", "40"]
    done = subprocess.run([*command, "--config", configured(tmp_path)], check=False, **QUIET)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = done.stdout.splitlines()
    said = json.loads(line)
    assert said["model_version"].startswith("short-")
    assert said.keys() >= {"reasoning", "confidence", "calibration"}
    assert said["calibration"]["scenes"] == 40
    assert (tmp_path / "run" / "model" / "tidegate.json").exists()
    assert "stage 3, calibrated confidence: 8 of 8" in done.stderr
    assert "Warning" not in done.stderr
    again = subprocess.run([*command, "--config", configured(tmp_path)], check=True, **QUIET)
    assert json.loads(again.stdout)["model_version"] == said["model_version"]
    assert "stage 3, calibrated confidence" not in again.stderr, "a finished stage ran again"


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_all_stages_run_as_accelerate_launches_them(tmp_path: Path) -> None:
    launched = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_CPU", "mixed_precision": "no",
                "num_machines": 1, "num_processes": 2, "machine_rank": 0, "main_process_port": free_port(),
                "rdzv_backend": "static", "same_network": True, "use_cpu": True}  # fmt: skip
    (tmp_path / "accelerate.yaml").write_text(yaml.safe_dump(launched))
    path = Path(configured(tmp_path))
    config = yaml.safe_load(path.read_text())
    for stage, at_once in (("reasoning", 8), ("confidence", 4), ("calibration", 4)):
        config[stage]["per_device"] = at_once
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "deploy.cli", "train", "all", str(tmp_path / "run"), "--scenes", "40"]
    command += ["--config", str(path), "--accelerate", str(tmp_path / "accelerate.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["calibration"]["scenes"] == 40
    steps = {name: json.loads((tmp_path / "run" / name / "done.json").read_text())["steps"] for name in STAGES}
    assert steps == {"reasoning": 4, "confidence": 3, "calibration": 8}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["all", "RUN", "--config", "tinny"], "tinny is neither a file nor one of"),
        (["stage", "thinking", "RUN"], "'thinking' is none of the stages reasoning, confidence, calibration"),
        (["stage", "reasoning", "RUN"], "RUN holds no run that can be read"),
        (["sample", "RUN"], "RUN holds no run that can be read"),
        (["handover", "RUN", "--out", "OUT"], "RUN holds no run that can be read"),
        (["all", "RUN", "--config", "emocaliber", "--data", "NONE"], "is no prepared folder"),
    ],
)
def test_what_can_be_mended_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_check_says_what_stands_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    path = tmp_path / "config.yaml"
    config = small(model={"kind": "pretrained", "name": str(tmp_path)})
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    result = RUNNER.invoke(app, ["check", "--config", str(path)])
    assert result.exit_code == 2
    assert "is a llama" in result.stderr
    assert RUNNER.invoke(app, ["check", "--config", "tiny"]).exit_code == 0


def test_scenes_are_written_with_their_truth(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["scenes", "--count", "3", "--out", str(tmp_path), "--seed", "5"])
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in (tmp_path / "scenes.jsonl").read_text().splitlines()]
    assert [(tmp_path / record["file"]).read_bytes()[:4] for record in records] == [b"\x89PNG"] * 3
    assert all(sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-4) for record in records)
    assert all(record["label"] in record["probabilities"] for record in records)
