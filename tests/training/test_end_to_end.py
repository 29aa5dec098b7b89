"""The whole recipe of the checkpoint that ships, from nothing, held to what it is for. A quarter of an hour."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.heavy
@pytest.mark.timeout(3600)
def test_three_stages_reach_their_goals(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.cli", "train", "all", str(tmp_path / "run"), "--config", "tiny"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    first, second, third = (said[name] for name in ("reasoning", "confidence", "calibration"))
    assert min(stage["accuracy"] for stage in (first, second, third)) > third["best_accuracy"] - 0.03
    assert third["brier_skill"] > second["brier_skill"]
    assert third["brier_skill"] > third["best_brier_skill"] / 2
    assert third["ece"] < min(second["ece"], 0.05)
    assert third["parse_failures"] < 0.01 * third["scenes"]
