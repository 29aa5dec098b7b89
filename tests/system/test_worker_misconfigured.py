"""A worker that is told nonsense names the setting, exits with the code that its page promises, and takes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deploy.local import EmbeddedValkey
from tests.system.plant import END_S, Plant
from worker.app import ExitCode

pytestmark = pytest.mark.system


async def test_a_wrong_setting_is_named_and_no_event_is_touched(
    plant: Plant, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    """All at once, since most of what such a worker does is to start Python."""
    await plant.feed(1)
    label_sets, nothing = tmp_path / "label-sets", tmp_path / "nothing"
    label_sets.mkdir()
    (label_sets / "moods.yaml").write_text("name: moods\nlabels: [joy, Joy]\n")
    gate = tmp_path / "gate.json"
    gate.write_text("{}")
    cases = [
        ({"STREAM_WINDOW_EVENTS": "many"}, "TIDEGATE_STREAM_WINDOW_EVENTS: Input should be a valid integer"),
        ({"INTAKE_ALLOWED_HOSTS": "cdn.example.com"}, "TIDEGATE_INTAKE_ALLOWED_HOSTS: not JSON"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "needs TIDEGATE_KAFKA_SASL_MECHANISM"),
        ({"GATE_FILE": str(gate)}, "TIDEGATE_GATE_FILE or TIDEGATE_GATE_UNCERTIFIED_THRESHOLD, not both"),
        ({"GATE_FILE": str(gate), "GATE_UNCERTIFIED_THRESHOLD": ""}, "gate.json is not a gate document"),
        ({"GATE_AUDIT_KEY": ""}, "TIDEGATE_GATE_AUDIT_KEY is not set"),
        ({"GATE_SEVERE_LABELS": '["anegr"]'}, "severe labels that no taxonomy has: anegr"),
        ({"WORKER_TAXONOMIES": str(label_sets)}, "moods.yaml: not a taxonomy"),
        ({"WORKER_TAXONOMIES": str(nothing)}, "nothing is not a folder"),
        ({"WORKER_PORT": str(valkey.port)}, "TIDEGATE_WORKER_HOST and TIDEGATE_WORKER_PORT cannot be used"),
        ({"VALKEY_URL": "127.0.0.1:6379"}, "TIDEGATE_VALKEY_URL is not the address of a server"),
        ({"ENGINE_MIN_PIXELS": "90000"}, "see TIDEGATE_ENGINE_MIN_PIXELS"),
        ({"INTAKE_OBJECT_STORE": nothing.as_uri()}, "check TIDEGATE_INTAKE_OBJECT_STORE"),
    ]
    for settings, _ in cases:
        await plant.start(settings=settings)
    no_script = await plant.start(settings={"ENGINE_SCRIPT": str(nothing)})
    codes = await asyncio.gather(*(worker.wait(2 * END_S) for worker in plant.workers))
    for (settings, words), code, worker in zip(cases, codes, plant.workers, strict=False):
        assert (settings, code) == (settings, ExitCode.CONFIGURATION)
        assert words in worker.text
    assert codes[-1] == ExitCode.ENGINE
    assert f"TIDEGATE_ENGINE_SCRIPT {nothing} is not a script" in no_script.text
    assert sum(plant.committed().values()) == 0
    assert not plant.account.outcomes
