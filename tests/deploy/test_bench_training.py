"""The benchmark of training runs, and prints one line."""

from __future__ import annotations

import json
import subprocess
import sys


def test_it_prints_one_line_of_ratios() -> None:
    command = [sys.executable, "-m", "deploy.cli", "bench", "training", "--steps", "1", "--rollouts", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = done.stdout.splitlines()
    said = json.loads(line)
    for stage in ("reasoning", "confidence", "calibration"):
        assert said[f"ratio_{stage}"] > 0
        assert 0 < said[f"stage_{stage}"]["accuracy"] <= said[f"stage_{stage}"]["best_accuracy"]
    assert "brier_skill" not in said["stage_reasoning"]
