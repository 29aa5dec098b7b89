"""`tidegate bench signals`: one line of JSON; signals that tell more rank better, those that tell nothing do not."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from calibration.table import Floats, SignalTable
from deploy.bench.signals import SETS, Readings, compare


def known(rng: np.random.Generator, n: int = 3000) -> Readings:
    """Readings whose second look knows the truth but for a little noise, and whose first answer knows much less."""
    logit = rng.normal(0.8, 1.6, n)
    noise: Floats = rng.normal(0.0, 1.0, (4, n))
    token, second = sigmoid(logit + 1.2 * noise[0]), sigmoid(logit + 0.2 * noise[1])
    table = SignalTable(
        label=np.full(n, "awe", np.object_),
        source=np.full(n, "", np.object_),
        parsed=np.ones(n, np.bool_),
        verbal_confidence=np.round(sigmoid(logit + 3.0 * noise[2]), 1),
        label_probability=token,
        label_margin=2.0 * token - 1.0,
        label_entropy=-np.log(token),
        agreement=second,
    )
    in_zone = (token > 0.3) & (token < 0.9)
    return Readings(table, rng.binomial(4, second) / 4.0, in_zone, sigmoid(logit))


def sigmoid(eta: Floats) -> Floats:
    values: Floats = 1.0 / (1.0 + np.exp(-eta))
    return values


def test_what_tells_more_ranks_better() -> None:
    found = compare(known(np.random.default_rng(1)), draws=4, seed=0)
    results: Any = found["results"]
    rows = {row["signals"]: row for row in results}
    assert rows.keys() == SETS.keys()
    order = ("verbal", "label_probability", "second_look", "second_look_everywhere")
    for figure in ("auroc", "brier_skill", "coverage_10"):
        values = [rows[name][figure] for name in order]
        assert values == sorted(values), figure
    assert rows["verbal"]["ratio_brier_skill"] == rows["verbal"]["ratio_auroc"] == 1.0
    assert abs(rows["label_probability"]["gain_auroc"]) < 0.01  # margin and entropy say the same again
    assert rows["second_look"]["gain_auroc"] > 10 * rows["second_look"]["gain_auroc_error"] > 0.0
    assert rows["second_look_by_share"]["auroc"] < rows["second_look"]["auroc"]
    assert rows["agreement"]["auroc"] > rows["share"]["auroc"]
    assert found == compare(known(np.random.default_rng(1)), draws=4, seed=0)


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_prints_one_line_of_what_the_real_model_says() -> None:
    command = [sys.executable, "-m", "deploy.cli", "bench", "signals", "--scenes", "200", "--draws", "2", "--low", "0"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stderr[-3000:]
    (line,) = run.stdout.splitlines()
    document = json.loads(line)
    assert document["second_look"].endswith("+look4@0.7[0,0.98]")
    assert document["readings"] + document["unread"] == 200
    assert 0.5 < document["looked_share"] < 1.0
    assert document["ratio_tokens"] == pytest.approx(1 + 4 * document["looked_share"], rel=0.05)
    assert document["ms_second_look"] > document["ms"] > 0.0
    rows = {row["signals"]: row for row in document["results"]}
    assert rows["label_probability"]["auroc"] > rows["verbal"]["auroc"]
