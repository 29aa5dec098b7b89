"""The commands of the loop and of steps by hand as an analyst types them, on a real broker and a real ledger."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from calibration.cli import app
from calibration.ledger.topic import publish
from calibration.loop.service import UnreadableRecordError, documents, publish_rollout
from calibration.policy import Policy, Stage
from calibration.rollout import Rollout
from calibration.settings import KafkaSettings
from deploy.bench.simulation import Platform

TERMS = "taxonomy: scenes\nmax_error: 0.05\nsevere_labels: [fear]\naudit_rates: {closed: 0.4}\n"


def calibrate(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result


def look() -> dict[str, Any]:
    """One look; what stands before its one line are logs, which the `tidegate` command sends to standard error."""
    found: dict[str, Any] = json.loads(calibrate("run", "--once").stdout.splitlines()[-1])
    return found


def rollout(kafka: KafkaSettings) -> Rollout:
    found = documents(kafka, "gates", Rollout)["scenes"]
    assert isinstance(found, Rollout)
    return found


def test_a_policy_makes_a_closed_gate_that_draws_its_audits(cluster: KafkaSettings, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(TERMS)
    assert "is published" in calibrate("policy", tmp_path / "policy.yaml").stdout
    seen = look()
    assert seen["scenes"]["steps"] == 1
    assert seen["scenes"]["passes"] == "closed: everything goes to review"
    gate = rollout(cluster).live
    assert gate.policy is not None
    assert gate.policy.severe_labels == {"fear"}
    assert (gate.audit_rate, gate.passes_anything) == (0.4, False)
    assert look()["scenes"]["steps"] == 0  # nothing to do is nothing done
    assert rollout(cluster).sequence == 1
    shown = calibrate("status").stdout
    assert "collecting" in shown
    assert "40% of the readings are reviewed blind" in shown


def test_the_same_terms_are_the_same_policy(cluster: KafkaSettings, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(TERMS)
    calibrate("policy", tmp_path / "policy.yaml")
    first = documents(cluster, "policies", Policy)["scenes"]
    (tmp_path / "policy.json").write_text(
        json.dumps({"max_error": 0.05, "taxonomy": "scenes", "severe_labels": ["fear"], "audit_rates": {"closed": 0.4}})
    )
    calibrate("policy", tmp_path / "policy.json")
    second = documents(cluster, "policies", Policy)["scenes"]
    assert isinstance(first, Policy)
    assert isinstance(second, Policy)
    assert first.policy_id == second.policy_id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("taxonomy: scenes\nmax_eror: 0.05\n", "no such fields: max_eror"),
        ("taxonomy: scenes\nmax_error: 5\n", "max_error: Input should be less than 1"),
        ("max_error: 0.05\n", "taxonomy: Field required"),
        ("- a\n", "a policy is a mapping"),
        ("a: [", "cannot be read as YAML or JSON"),
    ],
)
def test_a_policy_that_is_none_is_refused(cluster: KafkaSettings, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    refused = calibrate("policy", tmp_path / "policy.yaml", code=2)
    assert message in refused.stderr
    assert documents(cluster, "policies", Policy) == {}


def test_without_a_policy_there_is_nothing_to_do(cluster: KafkaSettings) -> None:
    assert look() == {}
    assert "no taxonomy has gates" in calibrate("status", code=1).stderr
    assert "it has no gates" in calibrate("shut", "scenes", "--reason", "x", code=1).stderr


def test_a_gate_in_force_is_shut_by_hand_once(cluster: KafkaSettings, in_force: Platform) -> None:
    publish_rollout(cluster, in_force.rollout)
    assert "certified for" in calibrate("status", "scenes").stdout
    calibrate("shut", "scenes", "--reason", "complaints from the feed")
    found = rollout(cluster)
    assert not found.live.passes_anything
    assert found.candidate is None
    assert found.steps[-1].reasons == ("by hand: complaints from the feed",)
    assert found.since > in_force.rollout.since + timedelta(days=1)
    assert "closed already" in calibrate("shut", "scenes", "--reason", "again", code=1).stderr


def test_a_candidate_is_promoted_by_hand_to_full_force_and_the_gate_before_put_back(
    cluster: KafkaSettings, replaced: Platform
) -> None:
    first, second = replaced.rollout.previous, replaced.rollout.live
    assert first is not None
    shadow = second.model_copy(update={"stage": Stage.SHADOW})
    publish_rollout(cluster, replaced.rollout.model_copy(update={"live": first, "candidate": shadow}))
    assert f"{second.gate_id} is in canary" in calibrate("promote", "scenes", "--reason", "seen enough").stdout
    assert f"{second.gate_id} is in full force" in calibrate("promote", "scenes", "--reason", "a launch").stdout
    assert "no candidate to promote" in calibrate("promote", "scenes", "--reason", "more", code=1).stderr
    assert "by hand: a launch" in calibrate("status").stdout
    rolled = calibrate("rollback", "scenes", "--reason", "complaints").stdout
    assert f"{second.gate_id} is given up. Live: {first.gate_id}, certified for" in rolled
    assert rollout(cluster).live.gate_id == first.gate_id
    refused = calibrate("rollback", "scenes", "--reason", "more", code=1).stderr
    assert "`tidegate calibrate shut scenes` sends everything to review instead" in refused


def test_a_record_that_cannot_be_read_is_never_overwritten(cluster: KafkaSettings, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(TERMS)
    calibrate("policy", tmp_path / "policy.yaml")
    publish(cluster, "gates", "scenes", b'{"schema_version": 2}')
    assert "not advanced: scenes" in calibrate("run", "--once", code=1).stderr
    assert isinstance(documents(cluster, "gates", Rollout)["scenes"], UnreadableRecordError)
    assert "can read" in calibrate("status").stderr


def test_one_taxonomy_that_fails_leaves_the_others_watched(
    cluster: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fi-8", "scenes"):
        (tmp_path / "policy.yaml").write_text(TERMS.replace("scenes", name))
        calibrate("policy", tmp_path / "policy.yaml")

    def advance(rollout: Rollout, *rest: object) -> None:
        if rollout.taxonomy == "fi-8":
            raise ValueError("a defect that only its outcomes bring out")

    monkeypatch.setattr("calibration.loop.service.advance", advance)
    failed = CliRunner().invoke(app, ["run", "--once"])  # its log has a traceback, as it should
    assert failed.exit_code == 1
    assert "not advanced: fi-8" in failed.stderr
    assert json.loads(failed.stdout.splitlines()[-1]).keys() == {"scenes"}
    assert rollout(cluster).sequence == 1


def test_a_broker_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert "tidegate doctor" in calibrate("run", "--once", code=1).stderr
