"""`tidegate bench calibration`: one line of JSON, whose figures are what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.bench.calibration import METHODS, SIZES, World, expected_figures
from deploy.bench.cli import app


def test_prints_one_line_with_every_method_at_every_size() -> None:
    result = CliRunner().invoke(app, ["calibration", "--worlds", "2", "--many", "10000"])
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    assert len(result.stdout.splitlines()) == 1
    found = {(row["n"], row["method"]): row for row in document["results"]}
    assert found.keys() == {(n, name) for n in SIZES for name in (*METHODS, "truth")}
    for n in SIZES:
        best = found[n, "truth"]
        for name in METHODS:
            assert found[n, name]["brier"] > best["brier"], (n, name)
            assert found[n, name]["log_loss"] > best["log_loss"], (n, name)
            assert found[n, name]["auroc"] < best["auroc"], (n, name)
        assert document[f"ratio_skill_{n}"] > 1.0
    assert found[2000, "hierarchical"]["brier"] < found[50, "hierarchical"]["brier"]
    assert document["fit_1m_outcomes"] == 10_000
    assert document["fit_1m_seconds"] > 0


def test_figures_are_what_truths_drawn_at_random_come_to() -> None:
    rng = np.random.default_rng(1)
    signals, truth = World.drawn(rng).readings(rng, 400_000)
    drawn = rng.random(400_000) < truth
    expected = expected_figures(signals.label_probability, truth)
    found = expected_figures(signals.label_probability, drawn.astype(np.float64))
    assert found == pytest.approx(expected, abs=0.005)
