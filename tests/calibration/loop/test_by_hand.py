"""What people do to gates by hand, and that the loop's next looks neither undo it nor do it over and over."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from calibration.gate import CertifiedThresholds, Gate, ReviewEverything
from calibration.loop.advance import advance
from calibration.loop.by_hand import ByHandRefusedError, promote, roll_back, shut
from calibration.loop.evidence import moment
from calibration.outcome import Reader
from calibration.policy import Stage
from calibration.rollout import Attempts, Rollout, StepKind
from deploy.bench.simulation import Platform
from tests.calibration.gates import NOW, READER, certified_gate, make_policy, make_rollout, refused
from tests.calibration.loop.platforms import POLICY, SETTINGS, live
from tests.calibration.loop.test_certifying import audits

HOUR = timedelta(hours=1)
ENDS = {StepKind.SHUT, StepKind.ROLLED_BACK, StepKind.EXPIRED, StepKind.COLLECTING}


def looks(found: Platform, n: int = 10) -> list[StepKind]:
    """Let time pass for n looks; returns all the steps that were taken."""
    return [kind for _ in range(n) for kind in found.tick(800)]


def candidate_of(rollout: Rollout) -> Gate:
    assert rollout.candidate is not None
    return rollout.candidate


def two_gates(**previous: Any) -> Rollout:
    """The second gate is live, and the first was so before it."""
    attempts = Attempts(policy="policy-1", reader=READER, made=2, labels=700)
    before = certified_gate("gate-1", **{"expires_at": NOW + HOUR} | previous)
    return make_rollout(certified_gate("gate-2", created_at=NOW + HOUR), previous=before, attempts=attempts)


def test_what_is_in_shadow_goes_to_canary_and_the_loop_goes_on_from_there(in_shadow: Platform) -> None:
    found, before = in_shadow, in_shadow.rollout
    found.rollout = promote(before, found.now, "a launch", SETTINGS)
    expected = {"stage": Stage.CANARY, "expires_at": found.now + SETTINGS.valid_for}
    assert found.rollout.candidate == candidate_of(before).model_copy(update=expected)
    assert found.rollout.live == before.live
    assert (found.rollout.attempts, found.rollout.since) == (before.attempts, before.since)
    step = found.rollout.steps[-1]
    assert (step.kind, step.gate_id) == (StepKind.CANARY, candidate_of(before).gate_id)
    assert step.reasons == ("by hand: a launch",)
    assert found.advance() == []
    kinds = live(found, StepKind.FULL)
    assert StepKind.CANARY not in kinds[: kinds.index(StepKind.FULL)]
    assert not ENDS & set(kinds)


def test_what_is_in_canary_goes_to_full_and_is_watched_there(in_canary: Platform) -> None:
    found, before = in_canary, in_canary.rollout
    assert found.advance() == []  # the loop waits
    found.rollout = promote(before, found.now, "a launch", SETTINGS)
    gate, was = found.rollout.live, candidate_of(before)
    assert (gate.gate_id, gate.stage, gate.audit_rate) == (was.gate_id, Stage.FULL, POLICY.audit_rates.full)
    assert gate.expires_at == found.now + SETTINGS.valid_for
    assert (found.rollout.candidate, found.rollout.previous) == (None, before.live)
    assert found.rollout.steps[-1].kind is StepKind.FULL
    assert found.advance() == []
    assert not ENDS & set(looks(found))
    found.drifted(0.35)
    assert StepKind.SHUT in live(found, StepKind.SHUT)


def test_nothing_uncertified_is_promoted() -> None:
    with pytest.raises(ByHandRefusedError, match="scenes: there is no candidate to promote"):
        promote(make_rollout(), NOW, "x", SETTINGS)
    for rule in (ReviewEverything(), CertifiedThresholds(promises=(refused("awe", "fear"),))):
        for stage in (Stage.SHADOW, Stage.CANARY):
            rollout = make_rollout(candidate=certified_gate("gate-2", stage=stage, rule=rule))
            with pytest.raises(ByHandRefusedError, match="candidate gate-2 has no certificate"):
                promote(rollout, NOW, "x", SETTINGS)


def test_a_canary_that_expired_unwatched_is_not_let_on_to_everything() -> None:
    rollout = make_rollout(candidate=certified_gate("gate-2", stage=Stage.CANARY, expires_at=NOW + HOUR))
    assert promote(rollout, NOW, "x", SETTINGS).live.gate_id == "gate-2"
    with pytest.raises(ByHandRefusedError, match="gate-2 expired at 2026-01-01 01:00:00 UTC, since nobody answers"):
        promote(rollout, NOW + HOUR, "x", SETTINGS)


@pytest.mark.parametrize("stage", ["in_shadow", "in_canary"])
def test_a_candidate_given_up_does_not_come_back(stage: str, request: pytest.FixtureRequest) -> None:
    found: Platform = request.getfixturevalue(stage)
    before, now = found.rollout, found.now
    given_up = candidate_of(before)
    found.rollout = roll_back(before, now, "looks odd", SETTINGS)
    assert (found.rollout.candidate, found.rollout.live, found.rollout.since) == (None, before.live, now)
    assert found.rollout.attempts == Attempts(policy=POLICY.policy_id, reader=before.attempts.reader)
    step = found.rollout.steps[-1]
    assert (step.kind, step.gate_id) == (StepKind.ROLLED_BACK, given_up.gate_id)
    assert step.reasons == ("by hand: looks odd",)
    assert found.advance() == []
    kinds = live(found, StepKind.SHADOW)
    assert set(kinds) <= {StepKind.REFUSED, StepKind.SHADOW, StepKind.CANARY}
    after = candidate_of(found.rollout)
    assert after.gate_id != given_up.gate_id
    assert after.provenance is not None
    assert after.provenance.certifying_from >= now  # nothing of what certified the other


def test_the_gate_before_is_live_again_and_the_loop_leaves_it_so(replaced: Platform) -> None:
    found, before = replaced, replaced.rollout
    first = before.previous
    assert first is not None
    found.rollout = roll_back(before, found.now, "complaints", SETTINGS)
    rolled, at = found.rollout, found.now
    assert rolled.live == first.model_copy(update={"expires_at": at + SETTINGS.valid_for})
    assert (rolled.previous, rolled.since, rolled.attempts.made) == (before.live, at, 0)
    step = rolled.steps[-1]
    assert (step.kind, step.gate_id) == (StepKind.ROLLED_BACK, before.live.gate_id)
    assert step.reasons[0] == "by hand: complaints"
    assert f"gate {first.gate_id}" in step.reasons[1]
    assert found.advance() == []
    passed = found.passed
    assert found.tick(800) == []
    assert found.passed > passed
    kinds = live(found, StepKind.FULL, ticks=160)  # until another takes its place, by labels of its own
    assert not ENDS & set(kinds)
    newest = found.rollout.live
    assert newest.gate_id not in (first.gate_id, before.live.gate_id)
    assert newest.provenance is not None
    assert newest.provenance.certifying_from >= at


def test_the_gate_that_is_back_is_watched_renewed_and_shut_as_any(replaced: Platform) -> None:
    found = replaced
    found.rollout = roll_back(found.rollout, found.now, "complaints", SETTINGS)
    back = found.rollout.live
    found.rollout = found.rollout.model_copy(update={"live": back.model_copy(update={"expires_at": found.now + HOUR})})
    assert found.advance() == [StepKind.RENEWED]
    found.drifted(0.35)
    live(found, StepKind.SHUT)
    assert not found.rollout.live.passes_anything
    with pytest.raises(ByHandRefusedError, match="nothing passes now"):
        roll_back(found.rollout.model_copy(update={"candidate": None}), found.now, "x", SETTINGS)


def test_two_gates_are_never_rolled_back_to_in_turn(replaced: Platform) -> None:
    once = roll_back(replaced.rollout, replaced.now, "complaints", SETTINGS)
    with pytest.raises(ByHandRefusedError, match="does not count any more"):
        roll_back(once, replaced.now + HOUR, "no, the other", SETTINGS)


def test_under_a_looser_policy_the_gate_before_may_come_back_and_stays(replaced: Platform) -> None:
    found = replaced
    found.policy = POLICY.model_copy(update={"policy_id": "p-2", "max_error": 0.1})
    assert found.advance()[0] is StepKind.COLLECTING
    found.rollout = found.rollout.model_copy(update={"candidate": None})
    found.rollout = roll_back(found.rollout, found.now, "complaints", SETTINGS)
    back = found.rollout.live.gate_id
    assert found.rollout.attempts.policy == "p-2"
    assert found.advance() == []
    assert found.tick(800) == []
    assert found.rollout.live.gate_id == back


def test_a_stricter_policy_that_the_record_does_not_know_shuts_at_the_next_look(replaced: Platform) -> None:
    found = replaced
    found.policy = POLICY.model_copy(update={"policy_id": "p-2", "max_error": 0.03})
    found.rollout = roll_back(found.rollout, found.now, "complaints", SETTINGS)
    assert found.advance() == [StepKind.SHUT]
    assert found.advance() == []


@pytest.mark.parametrize(
    ("previous", "changes", "why"),
    [
        ({"rule": ReviewEverything()}, {}, "let nothing pass"),
        ({"rule": CertifiedThresholds(promises=(refused("awe"),))}, {}, "let nothing pass"),
        ({"severe_labels": frozenset({"awe", "fear"})}, {}, "let nothing pass"),
        ({}, {"since": NOW + timedelta(seconds=1)}, "what was decided before 2026-01-01 00:00:01 UTC does not count"),
        ({"reader": Reader(model="m-0", prompt="p-1", decoder="d-1")}, {}, "another model, prompt or decoder"),
        ({"reader": None}, {}, "another model, prompt or decoder"),
        ({"policy": make_policy(policy_id="loose", max_error=0.2)}, {}, "policy loose, which does not keep all"),
        ({}, {"previous": None}, "there was no gate before"),
    ],
)
def test_what_does_not_hold_any_more_is_not_rolled_back_to(
    previous: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    rollout = two_gates(**previous).model_copy(update=changes)
    with pytest.raises(ByHandRefusedError, match=f"scenes: there is nothing to roll back to: .*{why}") as refusal:
        roll_back(rollout, NOW + HOUR, "x", SETTINGS)
    assert "`tidegate calibrate shut scenes` sends everything to review instead" in str(refusal.value)


def test_a_gate_that_was_shut_comes_back_only_by_a_new_certificate(in_force: Platform) -> None:
    found = in_force
    found.rollout = shut(found.rollout, found.now, "complaints")
    assert found.rollout.steps[-1].reasons == ("by hand: complaints",)
    assert found.advance() == []
    with pytest.raises(ByHandRefusedError, match="a gate was shut or rolled back then"):
        roll_back(found.rollout, found.now + HOUR, "x", SETTINGS)
    with pytest.raises(ByHandRefusedError, match="closed already"):
        shut(found.rollout, found.now + HOUR, "x")
    live(found, StepKind.SHADOW, ticks=120)
    assert candidate_of(found.rollout).created_at > found.rollout.since


def test_a_gate_that_is_back_and_that_nobody_watches_expires_anew() -> None:
    """Also where it had expired before: the history says so of both times, and once of each."""
    rollout = two_gates().step(NOW + HOUR, StepKind.EXPIRED, "gate-1", "nobody answers its audits")
    rollout = roll_back(rollout, NOW + 2 * HOUR, "complaints", SETTINGS)
    later = NOW + 2 * HOUR + SETTINGS.valid_for
    n = 20
    overdue = replace(
        audits([0.0] * n, [False] * n),
        gate=np.full(n, "gate-1", np.object_),
        decided_at=np.full(n, moment(NOW + 3 * HOUR)),
    )
    simulated = Platform(make_policy())
    simulated.tick(1)
    evidence = replace(simulated.evidence(later), reader=READER, audits=overdue)
    after = advance(rollout, make_policy(), evidence, later, SETTINGS)
    assert after is not None
    assert (after.steps[-1].kind, after.steps[-1].gate_id) == (StepKind.EXPIRED, "gate-1")
    assert advance(after, make_policy(), evidence, later + HOUR, SETTINGS) is None
