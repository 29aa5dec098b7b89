"""Steps by hand on a real broker, beside others who write the same record: none is lost unsaid."""

from __future__ import annotations

from datetime import timedelta

import pytest

from calibration.ledger.topic import publish
from calibration.loop import by_hand, service
from calibration.loop.by_hand import ByHandRefusedError, act, roll_back, shut
from calibration.loop.service import (
    CalibrationService,
    GatesChangedError,
    UnreadableRecordError,
    documents,
    publish_rollout,
)
from calibration.policy import Stage
from calibration.rollout import Rollout, StepKind
from calibration.settings import KafkaSettings, LedgerSettings
from tests.calibration.gates import NOW, certified_gate, make_policy, make_rollout
from tests.calibration.loop.platforms import SETTINGS

LATER = NOW + timedelta(hours=1)


def in_the_record(kafka: KafkaSettings) -> Rollout:
    found = documents(kafka, "gates", Rollout)["scenes"]
    assert isinstance(found, Rollout)
    return found


def shutting(rollout: Rollout) -> Rollout:
    return shut(rollout, LATER, "complaints")


def renewed(rollout: Rollout) -> Rollout:
    """A step that the loop takes meanwhile."""
    return rollout.step(LATER, StepKind.RENEWED, rollout.live.gate_id, "0 of 60 audits were wrong")


def test_a_step_is_read_taken_and_written(cluster: KafkaSettings) -> None:
    publish_rollout(cluster, make_rollout())
    after = act(cluster, "scenes", shutting)
    assert after == in_the_record(cluster) == shutting(make_rollout())
    with pytest.raises(ByHandRefusedError, match="closed already"):
        act(cluster, "scenes", shutting)
    assert in_the_record(cluster) == after


def test_where_there_is_no_record_or_none_that_can_be_read_nothing_is_written(cluster: KafkaSettings) -> None:
    with pytest.raises(ByHandRefusedError, match="scenes: it has no gates"):
        act(cluster, "scenes", shutting)
    publish(cluster, "gates", "scenes", b'{"schema_version": 2}')
    with pytest.raises(UnreadableRecordError, match="'scenes'"):
        act(cluster, "scenes", shutting)
    assert isinstance(documents(cluster, "gates", Rollout)["scenes"], UnreadableRecordError)


def test_what_somebody_else_wrote_meanwhile_stays(cluster: KafkaSettings) -> None:
    publish_rollout(cluster, make_rollout())

    def slowly(rollout: Rollout) -> Rollout:
        publish_rollout(cluster, renewed(rollout))
        return shutting(rollout)

    with pytest.raises(GatesChangedError, match="somebody else has changed its gates"):
        act(cluster, "scenes", slowly)
    assert in_the_record(cluster).steps[-1].kind is StepKind.RENEWED
    assert act(cluster, "scenes", shutting).sequence == 3


def test_a_step_by_hand_while_the_loop_looks_stays(cluster: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(cluster, "policies", "scenes", make_policy().model_dump_json().encode())
    candidate = certified_gate("gate-2", stage=Stage.SHADOW)
    publish_rollout(cluster, make_rollout(candidate=candidate))

    def advance(rollout: Rollout, *rest: object) -> Rollout | None:
        if rollout.candidate is None:
            return None
        act(cluster, "scenes", lambda rollout: roll_back(rollout, LATER, "looks odd", SETTINGS))
        return renewed(rollout)

    monkeypatch.setattr(service, "advance", advance)
    loop = CalibrationService(cluster, LedgerSettings(), SETTINGS, now=lambda: LATER)
    assert loop.look().rollouts == {}  # it looks again, from what is there then
    assert in_the_record(cluster).steps[-1].reasons == ("by hand: looks odd",)
    assert loop.look().rollouts == {"scenes": in_the_record(cluster)}
    assert in_the_record(cluster).sequence == 2


def test_who_is_written_over_at_the_same_moment_is_told(
    cluster: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_rollout(cluster, make_rollout())
    publish_step = service.publish_step

    def overtaken(kafka: KafkaSettings, before: Rollout | None, after: Rollout) -> None:
        publish_step(kafka, before, after)
        publish_rollout(kafka, renewed(make_rollout()))  # checked before our step was there, and written after it

    monkeypatch.setattr(by_hand, "publish_step", overtaken)
    with pytest.raises(GatesChangedError, match="the step by hand is lost; do it again"):
        act(cluster, "scenes", shutting)

    def followed(kafka: KafkaSettings, before: Rollout | None, after: Rollout) -> None:
        publish_step(kafka, before, after)
        publish_rollout(kafka, after.step(LATER, StepKind.COLLECTING, after.live.gate_id, "another policy"))

    monkeypatch.setattr(by_hand, "publish_step", followed)
    assert act(cluster, "scenes", shutting).steps[-1].kind is StepKind.SHUT  # the loop went on from it
