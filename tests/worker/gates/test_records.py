"""What is taken from the gates topic, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.calibrator import Calibrator
from calibration.gate import Gate, ReviewEverything
from calibration.policy import AuditRates, Stage
from calibration.rollout import Rollout, StepKind
from tests.calibration.gates import NOW, certified_gate, make_policy, make_rollout
from worker.gates.configured import configured_taxonomies
from worker.gates.records import Refusal, RefusedRolloutError, strangers, take
from worker.settings import ServingSettings

FIRST = make_rollout()
SECOND = FIRST.step(NOW, StepKind.RENEWED, "gate-1", "12 audits, all well")
CLOSED = Gate(gate_id="closed", created_at=NOW, taxonomy="scenes", policy=make_policy(), audit_rate=0.5)


def record(rollout: Rollout) -> bytes:
    return rollout.model_dump_json().encode()


def refusal(
    key: bytes | None, value: bytes | None, present: Mapping[str, Rollout] = {}, *, has_key: bool = True
) -> Refusal:
    with pytest.raises(RefusedRolloutError) as caught:
        take(key, value, present, has_key=has_key)
    assert str(caught.value)
    return caught.value.refusal


def test_a_first_record_and_those_after_it_are_taken() -> None:
    assert take(b"scenes", record(FIRST), {}, has_key=True).rollout == FIRST
    assert take(b"scenes", record(SECOND), {"scenes": FIRST}, has_key=True).rollout == SECOND
    assert take(b"scenes", record(FIRST), {"emoset-8": SECOND}, has_key=True).rollout == FIRST


def test_a_tombstone_withdraws() -> None:
    taken = take(b"scenes", None, {"scenes": SECOND}, has_key=True)
    assert (taken.taxonomy, taken.rollout) == ("scenes", None)
    assert take(b"scenes", record(FIRST), {}, has_key=True).rollout == FIRST  # and after it may come a new beginning


def test_the_same_record_again_changes_nothing() -> None:
    assert take(b"scenes", record(SECOND), {"scenes": SECOND}, has_key=True).rollout is SECOND


@pytest.mark.parametrize("present", [SECOND, SECOND.step(NOW, StepKind.RENEWED, "gate-1")])
def test_no_step_goes_back(present: Rollout) -> None:
    other = FIRST.step(NOW, StepKind.RENEWED, "gate-1", "of another writer")
    assert refusal(b"scenes", record(other), {"scenes": present}) is Refusal.EARLIER


def test_a_shut_is_taken_whatever_its_number() -> None:
    """Two writers at odds: the more careful one is right."""
    shut = FIRST.step(NOW, StepKind.SHUT, "gate-1", "alarm", live=CLOSED)
    ahead = SECOND.step(NOW, StepKind.RENEWED, "gate-1").step(NOW, StepKind.RENEWED, "gate-1")
    assert take(b"scenes", record(shut), {"scenes": ahead}, has_key=True).rollout == shut
    canary = certified_gate("gate-2", stage=Stage.CANARY)
    not_shut = FIRST.step(NOW, StepKind.CANARY, "gate-2", live=CLOSED, candidate=canary)
    assert refusal(b"scenes", record(not_shut), {"scenes": ahead}) is Refusal.EARLIER


def changed(rollout: Rollout, *path: str | int, to: object) -> bytes:
    document = json.loads(record(rollout))
    at = document
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = to
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (None, record(FIRST), Refusal.WRONG_KEY),
        (b"", record(FIRST), Refusal.WRONG_KEY),
        (None, None, Refusal.WRONG_KEY),
        (b"emoset-8", record(FIRST), Refusal.WRONG_KEY),
        (b"\xff", record(FIRST), Refusal.WRONG_KEY),
        (b"scenes", b"", Refusal.DAMAGED),
        (b"scenes", b"{}", Refusal.DAMAGED),
        (b"scenes", record(FIRST)[:-20], Refusal.DAMAGED),
        (b"scenes", changed(FIRST, "live", "calibrator", "coefficients", 1, "value", to=3.0), Refusal.DAMAGED),
        (b"scenes", changed(FIRST, "live", "stage", to="canary"), Refusal.DAMAGED),
        (b"scenes", changed(FIRST, "live", "audit_rate", to=float("nan")), Refusal.DAMAGED),
        (b"scenes", changed(FIRST, "schema_version", to=2), Refusal.OTHER_SCHEMA),
        (b"scenes", changed(FIRST, "schema_version", to=0), Refusal.OTHER_SCHEMA),
        (b"scenes", changed(FIRST, "live", "schema_version", to=2), Refusal.OTHER_SCHEMA),
        (b"scenes", changed(FIRST, "live", "calibrator", "schema_version", to=3), Refusal.OTHER_SCHEMA),
        # Version 2 is known, and has other features than these.
        (b"scenes", changed(FIRST, "live", "calibrator", "schema_version", to=2), Refusal.DAMAGED),
    ],
)
def test_what_is_damaged_or_of_another_version_is_refused(
    key: bytes | None, value: bytes | None, expected: Refusal
) -> None:
    assert refusal(key, value, {"scenes": FIRST}) is expected


def test_fields_of_a_later_version_are_ignored() -> None:
    assert take(b"scenes", changed(FIRST, "colour", to="red"), {}, has_key=True).rollout == FIRST


@given(st.binary(max_size=30) | st.none(), st.binary(max_size=200) | st.none())
def test_no_bytes_open_anything(key: bytes | None, value: bytes | None) -> None:
    try:
        taken = take(key, value, {"scenes": FIRST}, has_key=True)
    except RefusedRolloutError as error:
        assert str(error)
    else:
        assert value is None
        assert taken.rollout is None


def test_a_defect_that_a_record_brings_out_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after it on the topic may be a shut."""

    def broken(self: Calibrator) -> None:
        raise IndexError("no such row")

    monkeypatch.setattr(Calibrator, "_root", broken)
    assert refusal(b"scenes", record(FIRST)) is Refusal.DAMAGED


def test_without_a_key_only_what_never_draws_is_taken() -> None:
    assert refusal(b"scenes", record(FIRST), has_key=False) is Refusal.NO_AUDIT_KEY
    assert refusal(b"scenes", record(make_rollout(CLOSED)), has_key=False) is Refusal.NO_AUDIT_KEY
    silent = make_policy(audit_rates=AuditRates(closed=0))
    closed = certified_gate(rule=ReviewEverything(), audit_rate=0.0, policy=silent)
    shadow = make_rollout(closed, candidate=certified_gate("gate-2", stage=Stage.SHADOW))
    assert take(b"scenes", record(shadow), {}, has_key=False).rollout == shadow
    canary = make_rollout(closed, candidate=certified_gate("gate-2", stage=Stage.CANARY))
    assert refusal(b"scenes", record(canary), has_key=False) is Refusal.NO_AUDIT_KEY


def test_names_that_a_worker_does_not_know_are_told() -> None:
    taxonomies = configured_taxonomies(ServingSettings())
    known = taxonomies["scenes"].labels
    assert strangers(make_rollout(CLOSED), taxonomies) is None
    severe = make_policy(severe_labels=frozenset({known[0], "feer"}))
    found = strangers(make_rollout(certified_gate(policy=severe, rule=ReviewEverything())), taxonomies)
    assert found == "labels that scenes does not have here: feer; is one misspelt?"
    foreign = certified_gate(taxonomy="moods", policy=make_policy(taxonomy="moods"))
    assert "the taxonomy moods is not configured here" in (strangers(make_rollout(foreign), taxonomies) or "")
