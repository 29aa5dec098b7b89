"""The `tidegate` command as a whole."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("command", "setting", "value", "words"),
    [
        ("produce", "KAFKA_SECURITY_PROTOCOL", "SASL_SSL", "TIDEGATE_KAFKA_*: SASL_SSL needs TIDEGATE_KAFKA_SASL_MECH"),
        ("topics apply", "KAFKA_REQUEST_TIMEOUT_MS", "soon", "TIDEGATE_KAFKA_REQUEST_TIMEOUT_MS: Input should be"),
        ("worker", "SECOND_LOOK_LOW", "0.99", "TIDEGATE_SECOND_LOOK_*: the grey zone is empty: LOW is 0.99"),
        ("worker", "GATE_SEVERE_LABELS", "fear", "TIDEGATE_GATE_SEVERE_LABELS: not JSON"),
    ],
)
def test_a_wrong_setting_is_named_by_whichever_command_meets_it(
    command: str, setting: str, value: str, words: str
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "deploy.cli", *command.split()],
        env=os.environ | {f"TIDEGATE_{setting}": value},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert words in run.stderr
    assert "Traceback" not in run.stderr
