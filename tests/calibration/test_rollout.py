"""How far the gates of a taxonomy have come: one record, one step at a time."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from calibration.audit import draw_audit
from calibration.gate import Gate, ReviewEverything
from calibration.policy import Stage
from calibration.rollout import Rollout, StepKind
from tests.calibration.gates import NOW, certified_gate, make_policy, make_rollout

GOLDEN = Path(__file__).parent / "golden"
KEY = b"a key that stays"


def with_candidate(stage: Stage, share: float = 0.1) -> Rollout:
    candidate = certified_gate("gate-2", stage=stage, policy=make_policy(canary_share=share))
    return make_rollout(candidate=candidate)


def test_a_step_counts_and_says_why() -> None:
    first = make_rollout()
    later = NOW + timedelta(hours=1)
    second = first.step(later, StepKind.SHUT, "gate-1", "9 of 60 audits were wrong", live=first.live.closed("shut"))
    assert (first.sequence, second.sequence, len(second.steps)) == (1, 2, 2)
    assert second.steps[-1].reasons == ("9 of 60 audits were wrong",)
    assert (second.steps[-1].at, second.steps[-1].kind) == (later, StepKind.SHUT)
    assert not second.live.passes_anything
    assert second.attempts == first.attempts
    assert Rollout.model_validate_json(second.model_dump_json()) == second


def test_a_record_does_not_grow_without_end() -> None:
    rollout = make_rollout()
    for number in range(200):
        rollout = rollout.step(NOW, StepKind.RENEWED, "gate-1", f"renewal {number}")
    assert rollout.sequence == 201
    assert len(rollout.steps) == 50
    assert rollout.steps[-1].reasons == ("renewal 199",)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"live": certified_gate(taxonomy=None)}, "speaks of None, not of scenes"),
        (
            {"candidate": certified_gate(taxonomy=None, stage=Stage.SHADOW)},
            "gate gate-1 speaks of None, not of scenes",
        ),
        ({"candidate": certified_gate("gate-2")}, "a candidate is in shadow or canary"),
        ({"live": certified_gate(stage=Stage.CANARY)}, "the live gate is in full force"),
        ({"sequence": 0}, "sequence"),
        ({"steps": ()}, "steps"),
    ],
)
def test_a_record_that_contradicts_itself_cannot_be_made(changes: dict[str, Any], complaint: str) -> None:
    good = make_rollout()
    fields = {name: getattr(good, name) for name in Rollout.model_fields}
    with pytest.raises(ValidationError, match=complaint):
        Rollout(**fields | changes)


def test_a_step_to_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError, match="in full force"):
        make_rollout().step(NOW, StepKind.CANARY, "gate-2", live=certified_gate("gate-2", stage=Stage.CANARY))


@settings(deadline=None)
@given(st.text(min_size=1), st.binary(min_size=16, max_size=16))
def test_in_shadow_or_without_a_candidate_the_live_gate_routes(event_id: str, key: bytes) -> None:
    for rollout in (make_rollout(), with_candidate(Stage.SHADOW, share=1.0)):
        assert rollout.gate_of(key, event_id) is rollout.live


@settings(deadline=None)
@given(st.text(min_size=1), st.binary(min_size=16, max_size=16), st.floats(0.001, 1))
def test_an_event_stays_with_its_gate(event_id: str, key: bytes, share: float) -> None:
    rollout = with_candidate(Stage.CANARY, share)
    assert rollout.gate_of(key, event_id).gate_id == rollout.gate_of(key, event_id).gate_id
    assert with_candidate(Stage.CANARY, 1.0).gate_of(key, event_id).gate_id == "gate-2"


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_canary_has_its_share_and_audits_are_drawn_independently_of_it(share: float) -> None:
    rollout, n, rate = with_candidate(Stage.CANARY, share), 20_000, 0.2
    events = [f"event-{number}" for number in range(n)]
    canary = {event for event in events if rollout.gate_of(KEY, event) is rollout.candidate}
    audited = {event for event in events if draw_audit(KEY, event, rate).selected}
    assert abs(len(canary) - n * share) < 5 * math.sqrt(n * share * (1 - share))
    assert abs(len(canary & audited) - n * share * rate) < 5 * math.sqrt(n * share * rate)


def test_a_rollout_of_version_1_is_read_for_ever() -> None:
    """The file is never changed: it stands for all that was written in the years before."""
    rollout = Rollout.model_validate_json((GOLDEN / "rollout-1.json").read_bytes())
    assert (rollout.taxonomy, rollout.sequence, rollout.live.gate_id) == ("scenes", 4, "closed-1")
    assert isinstance(rollout.live.rule, ReviewEverything)
    assert rollout.candidate is not None
    assert (rollout.candidate.gate_id, rollout.candidate.stage) == ("gate-7", Stage.CANARY)
    assert rollout.candidate == Gate.model_validate_json((GOLDEN / "gate-1.json").read_bytes()).model_copy(
        update={"stage": Stage.CANARY, "audit_rate": 0.05}
    )
    assert [step.kind for step in rollout.steps] == [
        StepKind.COLLECTING,
        StepKind.REFUSED,
        StepKind.SHADOW,
        StepKind.CANARY,
    ]
    assert (rollout.attempts.made, rollout.attempts.labels) == (2, 1400)
