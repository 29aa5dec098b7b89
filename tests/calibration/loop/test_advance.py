"""A gate's whole life, in simulated time: certified, promoted by stages, watched, renewed, shut."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest

from calibration.gate import CertifiedThresholds
from calibration.loop.advance import advance, looks_back_to
from calibration.outcome import Reader
from calibration.policy import AuditRates, Stage
from calibration.rollout import Attempts, Rollout, StepKind
from deploy.bench.simulation import READER, Moderators, Platform, World
from tests.calibration.loop.platforms import POLICY, SETTINGS, live, platform


def test_a_gate_comes_into_force_by_stages_and_keeps_its_promise(in_force: Platform) -> None:
    kinds = [step.kind for step in in_force.rollout.steps]
    order = [StepKind.COLLECTING, StepKind.SHADOW, StepKind.CANARY, StepKind.FULL]
    assert [kind for kind in kinds if kind in order][:4] == order
    gate = next(
        each for each in (in_force.rollout.live, in_force.rollout.candidate) if each and each.stage is Stage.FULL
    )
    assert isinstance(gate.rule, CertifiedThresholds)
    assert gate.reader == READER
    coverage, error = in_force.true_error()
    assert coverage > 0.1
    assert error <= POLICY.max_error
    assert all(step.reasons for step in in_force.rollout.steps)
    assert [in_force.rollout.sequence, len(kinds)] == [len(kinds), len(kinds)]


def test_a_rollout_is_a_document_that_can_be_read_back(in_force: Platform) -> None:
    document = in_force.rollout.model_dump_json()
    assert Rollout.model_validate_json(document) == in_force.rollout
    assert len(document) < 100_000


def test_the_provenance_says_what_the_certificate_stands_on(in_force: Platform) -> None:
    gate = in_force.rollout.live
    assert gate.provenance is not None
    assert gate.calibrator is not None
    assert gate.calibrator.decided_until is not None
    assert gate.calibrator.decided_until < gate.provenance.certifying_from <= gate.provenance.certifying_until
    assert gate.provenance.confidence > POLICY.confidence
    assert gate.provenance.certified_on >= SETTINGS.least_labels / 2


def test_nothing_passes_before_there_are_labels() -> None:
    found = platform(moderators=Moderators(answering=0.0))
    for _ in range(6):
        assert found.tick(500, timedelta(hours=1)) == []
    assert found.passed == 0


def test_a_hidden_drift_shuts_the_gate_and_nothing_passes_until_the_promise_holds_again(in_force: Platform) -> None:
    found = in_force
    found.drifted(0.25)
    live(found, StepKind.SHUT)
    step = next(step for step in reversed(found.rollout.steps) if step.kind is StepKind.SHUT)
    assert "audits were wrong" in " ".join(step.reasons)
    assert not found.rollout.live.passes_anything
    assert found.rollout.since == step.at  # what was learned before says nothing of the world after
    passed = found.passed
    found.tick(800)
    assert found.passed == passed


def test_without_audits_the_loop_never_notices(in_force: Platform) -> None:
    found = in_force
    found.audits = False
    found.drifted(0.25)
    kinds = [kind for _ in range(20) for kind in found.tick(800)]
    assert StepKind.SHUT not in kinds
    assert found.true_error()[1] > 2 * POLICY.max_error


def test_a_gate_whose_audits_nobody_answers_expires_and_goes_on_when_somebody_does(in_force: Platform) -> None:
    found = in_force
    found.moderators = Moderators(answering=0.0)
    kinds = live(found, StepKind.EXPIRED)
    for _ in range(40):
        kinds += found.tick(800)
    gates = [step.gate_id for step in found.rollout.steps if step.kind is StepKind.EXPIRED]
    assert len(set(gates)) == len(gates)  # once for each gate
    assert kinds[-1] is StepKind.EXPIRED
    passed = found.passed
    assert found.tick(800) == []
    assert found.passed == passed
    found.answer_everything()
    assert {StepKind.RENEWED, StepKind.FULL} & set(found.tick(800))
    found.tick(800)
    assert found.passed > passed


def test_another_reader_voids_the_certificate(in_force: Platform) -> None:
    found = in_force
    found.reader = Reader(model="another", prompt="1", decoder="1")
    passed = found.passed
    kinds = found.tick(800)
    assert StepKind.SHUT in kinds
    assert found.passed == passed  # the workers' own gate was void from the first event on
    assert "model simulated became another" in " ".join(
        reason for step in found.rollout.steps for reason in step.reasons
    )


def test_a_stricter_policy_shuts_and_a_looser_one_does_not(in_force: Platform) -> None:
    evidence = in_force.evidence(in_force.rollout.since)
    stricter = POLICY.model_copy(update={"policy_id": "p-2", "max_error": 0.03})
    after = advance(in_force.rollout, stricter, evidence, in_force.now, SETTINGS)
    assert after is not None
    assert after.steps[-1].kind is StepKind.SHUT
    assert not after.live.passes_anything
    looser = POLICY.model_copy(update={"policy_id": "p-3", "max_error": 0.1})
    after = advance(in_force.rollout, looser, evidence, in_force.now, SETTINGS)
    assert after is not None
    assert after.live.passes_anything
    assert "stays until the next is certified" in after.steps[-1].reasons[0]
    more_severe = POLICY.model_copy(update={"policy_id": "p-4", "severe_labels": frozenset({"fear"})})
    after = advance(in_force.rollout, more_severe, evidence, in_force.now, SETTINGS)
    assert after is not None
    assert not after.live.passes_anything


def test_a_candidate_is_rolled_back_when_the_traffic_is_another(in_shadow: Platform) -> None:
    found = in_shadow
    assert found.rollout.candidate is not None
    found.world = World(mean=0.0, spread=1.0)
    kinds = found.tick(800)
    assert kinds[0] is StepKind.ROLLED_BACK
    assert "traffic has changed" in " ".join(
        reason for step in found.rollout.steps if step.kind is StepKind.ROLLED_BACK for reason in step.reasons
    )


def test_a_candidate_waits_in_shadow_for_readings_however_slowly_they_come(in_shadow: Platform) -> None:
    """Expired it would score none of them any more, and nothing would ever come after it."""
    found = in_shadow
    candidate = found.rollout.candidate
    assert candidate is not None
    assert candidate.expires_at is not None
    kinds = [kind for _ in range(60) for kind in found.tick(3)]
    assert found.now > candidate.expires_at
    assert set(kinds) == {StepKind.RENEWED}
    assert found.rollout.candidate is not None
    assert found.rollout.candidate.gate_id == candidate.gate_id
    assert "in shadow it has seen" in found.rollout.steps[-1].reasons[0]
    assert live(found, StepKind.CANARY, ticks=3)[0] is StepKind.CANARY


def test_a_candidate_that_expired_in_shadow_while_the_loop_was_away_goes_on(in_shadow: Platform) -> None:
    found = in_shadow
    found.now += 3 * SETTINGS.valid_for
    assert found.advance() == [StepKind.RENEWED]
    assert live(found, StepKind.CANARY, ticks=3)[0] is StepKind.CANARY


def test_a_candidate_is_not_left_in_shadow_for_longer_than_its_labels_count(in_shadow: Platform) -> None:
    found = in_shadow
    before = found.rollout.candidate
    assert before is not None
    found.now += SETTINGS.window
    assert found.advance()[0] is StepKind.ROLLED_BACK
    assert "too old by now" in found.rollout.steps[-1].reasons[1]
    assert (found.rollout.candidate, found.rollout.since) == (None, before.created_at)
    live(found, StepKind.SHADOW)
    assert found.rollout.candidate is not None
    assert found.rollout.candidate.gate_id != before.gate_id


def test_a_canary_that_errs_is_rolled_back_and_the_live_gate_stays(in_canary: Platform) -> None:
    found = in_canary
    found.drifted(0.35)
    kinds = live(found, StepKind.ROLLED_BACK)
    assert StepKind.FULL not in kinds
    assert found.rollout.candidate is None
    assert not found.rollout.live.passes_anything


def test_moderators_who_err_cost_coverage_and_not_the_promise() -> None:
    found = platform(moderators=Moderators(error=0.02))
    live(found, StepKind.FULL, ticks=200)
    assert found.true_error()[1] <= POLICY.max_error


def test_a_severe_label_never_passes() -> None:
    policy = POLICY.model_copy(update={"severe_labels": frozenset({"fear", "anger"})})
    found = platform(policy=policy)
    live(found, StepKind.FULL)
    signals, _ = found.world.readings(np.random.default_rng(0), 5_000)
    passes = found.rollout.live.route_table(signals).passes
    assert passes.any()
    assert not set(signals.label[passes]) & policy.severe_labels


def test_attempts_share_out_what_the_confidence_leaves() -> None:
    from calibration.loop.attempt import attempt_confidence

    spent = [1 - attempt_confidence(POLICY, number) for number in range(1, 1000)]
    assert spent[0] == pytest.approx(0.05)
    assert sum(spent) < 1 - POLICY.confidence
    assert all(later < earlier for earlier, later in pairwise(spent))


def test_a_monitor_begins_where_its_gate_did_however_long_ago(in_force: Platform) -> None:
    """Its start must not move with the window, nor with evidence that may no longer certify."""
    gate = in_force.rollout.live
    much_later = in_force.now + 10 * SETTINGS.window
    assert looks_back_to(in_force.rollout, much_later, SETTINGS) == gate.created_at
    moved = in_force.rollout.model_copy(update={"since": in_force.now})
    assert looks_back_to(moved, in_force.now, SETTINGS) == gate.created_at
    closed = moved.model_copy(update={"live": gate.closed("x"), "candidate": None})
    assert looks_back_to(closed, much_later, SETTINGS) == much_later - SETTINGS.window


def test_what_may_not_certify_is_left_out_of_an_attempt_though_it_is_looked_at(in_force: Platform) -> None:
    found = in_force
    found.rollout = found.rollout.model_copy(update={"since": found.now, "candidate": None, "attempts": Attempts()})
    start = found.now
    live(found, StepKind.SHADOW, ticks=120)
    assert found.rollout.candidate is not None
    assert found.rollout.candidate.calibrator is not None
    assert found.rollout.candidate.provenance is not None
    assert found.rollout.candidate.provenance.certifying_from >= start


def test_another_policy_does_not_bring_back_what_was_spent(in_force: Platform) -> None:
    spent = in_force.rollout.attempts.made
    assert spent > 0
    evidence = in_force.evidence(in_force.rollout.since)
    for name, error in (("stricter", 0.03), ("looser", 0.1)):
        policy = POLICY.model_copy(update={"policy_id": name, "max_error": error})
        rollout = in_force.rollout.model_copy(update={"candidate": None})
        after = advance(rollout, policy, evidence, in_force.now, SETTINGS)
        assert after is not None
        assert (after.attempts.policy, after.attempts.made, after.attempts.labels) == (name, spent, 0)


def test_evidence_from_before_an_alarm_is_not_used_again(in_force: Platform) -> None:
    found = in_force
    found.drifted(0.3)
    live(found, StepKind.SHUT)
    found.world = replace(found.world, drift=0.0)
    live(found, StepKind.SHADOW, ticks=120)
    assert found.rollout.candidate is not None
    assert found.rollout.candidate.calibrator is not None
    assert found.rollout.candidate.calibrator.decided_from is not None
    assert found.rollout.candidate.calibrator.decided_from >= found.rollout.since


def test_where_moderators_are_few_audits_go_where_something_could_pass() -> None:
    few = POLICY.model_copy(update={"audit_rates": AuditRates(closed=0.1, canary=0.5, full=0.2), "max_error": 0.03})
    found = platform(policy=few)
    live(found, StepKind.REFUSED, ticks=120)
    closed = found.rollout.live
    assert not closed.passes_anything
    assert closed.audit_floor > 0.0
    assert closed.audit_rate > few.audit_rates.closed
    assert "reviewed blind, and none below" in found.rollout.steps[-1].reasons[-1]
    live(found, StepKind.FULL, ticks=160)
    assert found.true_error()[1] <= few.max_error


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_over_many_platforms_the_promise_is_broken_as_seldom_as_it_says() -> None:
    """Through all attempts, promotions and replacements: by the true error of every gate that came into full force."""
    broken, platforms = 0, 60
    for seed in range(100, 100 + platforms):
        found, errors = platform(seed=seed), []
        for _ in range(70):
            if StepKind.FULL in found.tick(800):
                errors.append(found.true_error(n=100_000)[1])
        assert errors, f"seed {seed}: no gate came into full force"
        broken += max(errors) > POLICY.max_error
    allowed = 1 - POLICY.confidence
    assert broken <= platforms * allowed + 2 * np.sqrt(platforms * allowed * (1 - allowed))
