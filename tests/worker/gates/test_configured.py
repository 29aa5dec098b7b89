"""Which gate the settings ask for; a wrong one is named, and nothing passes or is drawn without a key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from calibration.gate import Gate, Reason, ReviewEverything, UncertifiedThreshold, closed_gate
from calibration.outcome import ParseStatus, Signals
from calibration.policy import AuditRates, Stage
from tests.calibration.gates import certified_gate, make_policy
from worker.gates.configured import ConfigurationError, audit_key, configured_gate, configured_taxonomies
from worker.settings import GateSettings, ServingSettings

TAXONOMIES = configured_taxonomies(ServingSettings())
KEY = SecretStr("a secret of all workers")


def file_of(folder: Path, gate: Gate) -> Path:
    path = folder / "gate.json"
    path.write_text(gate.model_dump_json())
    return path


def test_without_a_gate_the_topic_says() -> None:
    assert configured_gate(GateSettings(), TAXONOMIES) is None
    assert configured_gate(GateSettings(audit_key=KEY), TAXONOMIES) is None


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    gate = certified_gate(severe_labels=frozenset({"awe"}))
    assert configured_gate(GateSettings(file=file_of(tmp_path, gate), audit_key=KEY), TAXONOMIES) == gate


def test_a_threshold_makes_a_gate_that_says_uncertified() -> None:
    settings = GateSettings(uncertified_threshold=0.7, severe_labels=frozenset({"fear"}), audit_rate=0.1, audit_key=KEY)
    gate = configured_gate(settings, TAXONOMIES)
    assert gate is not None
    assert gate.rule == UncertifiedThreshold(threshold=0.7)
    assert (gate.audit_rate, gate.severe_labels) == (0.1, frozenset({"fear"}))
    sure = Signals(parse_status=ParseStatus.OK, label_probability=0.9)
    assert gate.route("awe", sure).reason is Reason.UNCERTIFIED
    assert gate.route("fear", sure).reason is Reason.ALWAYS_REVIEW
    again = configured_gate(settings, TAXONOMIES)
    assert again is not None
    assert again.gate_id == gate.gate_id  # of two workers with the same settings


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"file": Path("a.json"), "uncertified_threshold": 0.5}, "not both"),
        ({"file": Path("/nowhere.json")}, "TIDEGATE_GATE_FILE /nowhere.json is not a gate document"),
        ({"uncertified_threshold": 0.5}, "TIDEGATE_GATE_AUDIT_KEY is not set"),
        (
            {"uncertified_threshold": 0.5, "severe_labels": frozenset({"feer"}), "audit_key": KEY},
            "no taxonomy has: feer",
        ),
        ({"severe_labels": frozenset({"fear"})}, "goes with TIDEGATE_GATE_UNCERTIFIED_THRESHOLD only"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        configured_gate(GateSettings(**settings), TAXONOMIES)


@pytest.mark.parametrize(
    ("gate", "complaint"),
    [
        (certified_gate(stage=Stage.SHADOW), "is a gate in shadow: only one in full can stand alone"),
        (certified_gate(taxonomy="moods", policy=make_policy(taxonomy="moods")), "taxonomy moods, which is not"),
    ],
)
def test_a_file_that_cannot_stand_alone_is_refused(tmp_path: Path, gate: Gate, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        configured_gate(GateSettings(file=file_of(tmp_path, gate), audit_key=KEY), TAXONOMIES)


@pytest.mark.parametrize(
    ("gate", "needed"),
    [
        (closed_gate(datetime.now(UTC)), False),
        (closed_gate(datetime.now(UTC)).model_copy(update={"audit_rate": 0.1}), True),
        (certified_gate(), True),
        (certified_gate(rule=ReviewEverything(), audit_rate=0.0), True),  # it draws once it has shut for another reader
        (
            certified_gate(
                rule=ReviewEverything(), audit_rate=0.0, policy=make_policy(audit_rates=AuditRates(closed=0))
            ),
            False,
        ),
    ],
)
def test_a_key_is_needed_where_something_may_pass_or_be_drawn(tmp_path: Path, gate: Gate, needed: bool) -> None:
    settings = GateSettings(file=file_of(tmp_path, gate))
    if needed:
        with pytest.raises(ConfigurationError, match="AUDIT_KEY is not set"):
            configured_gate(settings, TAXONOMIES)
    else:
        assert configured_gate(settings, TAXONOMIES) == gate


def test_an_empty_key_is_no_key() -> None:
    assert audit_key(GateSettings()) is None
    assert audit_key(GateSettings(audit_key=KEY)) == b"a secret of all workers"
    with pytest.raises(ValueError, match="audit_key"):
        GateSettings(audit_key=SecretStr(""))
