"""The gate passes only what it was told to pass."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from calibration.gate import (
    REASONS,
    CertifiedThresholds,
    Gate,
    Reason,
    ReviewEverything,
    Route,
    UncertifiedThreshold,
    closed_gate,
)
from calibration.outcome import ParseStatus, Reader, Signals
from calibration.policy import AuditRates, Stage
from calibration.table import SignalTable
from tests.calibration.gates import (
    NOW,
    READER,
    certified,
    certified_gate,
    make_calibrator,
    make_policy,
    refused,
)

GOLDEN = Path(__file__).parent / "golden"
LABELS = ("awe", "fear", "joy", "anger")
CALIBRATOR = make_calibrator(LABELS[:3])

probabilities = st.none() | st.floats(0, 1)
signals = st.builds(
    Signals,
    parse_status=st.just(ParseStatus.OK) | st.sampled_from(ParseStatus),
    verbal_confidence=probabilities,
    label_probability=probabilities,
    label_margin=st.none() | st.floats(-1, 1),
    label_entropy=st.none() | st.floats(0, 5),
    label_mass=probabilities,
)
labels = st.none() | st.sampled_from(["", *LABELS, "not in any promise"])
sources = st.sampled_from(["", "feed", "never seen"])
readings = st.tuples(labels, sources, signals)
uncertified = st.builds(
    UncertifiedThreshold, signal=st.sampled_from(["verbal_confidence", "label_probability"]), threshold=st.floats(0, 1)
)


def score(label: str | None, source: str, evidence: Signals) -> float:
    """Of a reading, or 0 where there is none."""
    found = CALIBRATOR.score_one(label or "", source, evidence)[0]
    return 0.0 if math.isnan(found) else found


@st.composite
def tables(draw: st.DrawFn) -> tuple[Gate, list[tuple[str | None, str, Signals]]]:
    """Any gate, and readings of which some stand exactly at its thresholds."""
    rows = draw(st.lists(readings, min_size=1, max_size=12))
    at_a_row = st.sampled_from([score(*row) for row in rows])
    thresholds = st.floats(0, 1) | at_a_row
    severe = st.frozensets(st.sampled_from(LABELS), max_size=1)
    costs = st.floats(0, 50)
    certificates = st.builds(
        lambda first, second, capped: CertifiedThresholds(
            promises=(certified(first, "awe", "fear", capped=capped), certified(second, "joy"), refused("anger"))
        ),
        thresholds,
        thresholds,
        st.sampled_from([(), ("fear",)]),
    )
    calibrator = draw(st.none() | st.just(CALIBRATOR))
    rule = draw(st.just(ReviewEverything()) | uncertified | (certificates if calibrator else st.nothing()))
    gate = Gate(
        gate_id="g",
        created_at=NOW,
        rule=rule,
        calibrator=calibrator,
        policy=make_policy(
            severe_labels=draw(severe),
            error_cost=draw(costs),
            label_error_costs={"awe": draw(costs)},
            reviewer_scarcity=draw(st.floats(0, 2)),
        ),
        severe_labels=draw(severe),
        audit_floor=draw(st.just(0.0) | (thresholds if calibrator else st.just(0.0))),
    )
    return gate, rows


@given(readings)
def test_without_a_certificate_nothing_passes(reading: tuple[str | None, str, Signals]) -> None:
    label, source, evidence = reading
    assert closed_gate(NOW).route(label, evidence, source).route is Route.REVIEW


@settings(deadline=None)
@given(tables())
def test_a_table_is_routed_as_its_rows_are(case: tuple[Gate, list[tuple[str | None, str, Signals]]]) -> None:
    gate, rows = case
    table = gate.route_table(SignalTable.of(rows))
    for at, (label, source, evidence) in enumerate(rows):
        alone = gate.route(label, evidence, source)
        reason = Reason.UNPARSED if alone.reason is Reason.UNSURE_IMAGE else alone.reason
        assert REASONS[table.reason[at]] is reason
        assert table.passes[at] == (alone.route is Route.AUTO_ACCEPT)
        assert table.auditable[at] == alone.auditable
        assert np.isnan(table.score[at]) == (alone.probability is None)
        assert alone.probability is None or table.score[at] == pytest.approx(alone.probability, abs=1e-12)


@settings(deadline=None)
@given(tables())
def test_what_passes_was_read_is_certified_is_worth_it_and_is_not_severe(
    case: tuple[Gate, list[tuple[str | None, str, Signals]]],
) -> None:
    gate, rows = case
    policy = gate.policy
    assert policy is not None
    for label, source, evidence in rows:
        routing = gate.route(label, evidence, source)
        allowed = evidence.parse_status is ParseStatus.OK and bool(label)
        allowed = allowed and label not in gate.severe_labels | policy.severe_labels
        match gate.rule:
            case ReviewEverything():
                allowed = False
            case UncertifiedThreshold(signal=signal, threshold=threshold):
                raw = getattr(evidence, signal)
                allowed = allowed and raw is not None and raw >= threshold
            case CertifiedThresholds(promises=(first, second, _)):
                promise = {"awe": first, "fear": first, "joy": second}.get(label or "")
                allowed = allowed and promise is not None and label not in promise.capped
                found = score(label, source, evidence) + 1e-12
                allowed = allowed and promise is not None and found >= getattr(promise.certificate, "threshold")  # noqa: B009
                cost = policy.label_error_costs.get(label or "", policy.error_cost)
                allowed = allowed and (1.0 - found) * cost <= policy.review_cost + policy.reviewer_scarcity + 1e-12
        assert (routing.route is Route.AUTO_ACCEPT) == allowed
        assert allowed == (routing.reason in {Reason.CERTIFIED, Reason.UNCERTIFIED})
        assert not allowed or gate.passes_anything


@settings(deadline=None)
@given(tables())
def test_audits_are_drawn_above_the_floor_and_wherever_something_passes_above_it(
    case: tuple[Gate, list[tuple[str | None, str, Signals]]],
) -> None:
    gate, rows = case
    assert gate.policy is not None
    for label, source, evidence in rows:
        routing = gate.route(label, evidence, source)
        read = evidence.parse_status is ParseStatus.OK and bool(label)
        severe = label in gate.severe_labels | gate.policy.severe_labels
        in_region = gate.audit_floor == 0.0 or score(label, source, evidence) + 1e-12 >= gate.audit_floor
        assert routing.auditable == (read and not severe and in_region)


@pytest.mark.parametrize(
    ("label", "evidence", "reason"),
    [
        (None, Signals(parse_status=ParseStatus.NOT_READ), Reason.UNSURE_IMAGE),
        (None, Signals(parse_status=ParseStatus.TRUNCATED, label_probability=1.0), Reason.UNPARSED),
        ("fear", Signals(parse_status=ParseStatus.OK, label_probability=1.0), Reason.ALWAYS_REVIEW),
        ("awe", Signals(parse_status=ParseStatus.OK, label_probability=0.79), Reason.BELOW_THRESHOLD),
        ("awe", Signals(parse_status=ParseStatus.OK), Reason.BELOW_THRESHOLD),
        ("awe", Signals(parse_status=ParseStatus.OK, label_probability=0.8), Reason.UNCERTIFIED),
    ],
)
def test_a_plain_threshold_gives_every_reason(label: str | None, evidence: Signals, reason: Reason) -> None:
    rule = UncertifiedThreshold(threshold=0.8)
    gate = Gate(gate_id="g", created_at=NOW, rule=rule, severe_labels=frozenset({"fear"}))
    assert gate.route(label, evidence).reason is reason


def test_a_certified_gate_gives_every_reason() -> None:
    promises = (certified(0.8, "awe", "fear", "joy", capped=("joy",)), refused("anger"))
    policy = make_policy(severe_labels=frozenset({"fear"}), error_cost=10.0)  # worth it from 0.9 on
    gate = certified_gate("g", *promises, policy=policy)

    def reason(label: str, confidence: float) -> Reason:
        evidence = Signals(parse_status=ParseStatus.OK, verbal_confidence=confidence, label_probability=0.5)
        return gate.route(label, evidence).reason

    assert reason("awe", 0.5) is Reason.BELOW_THRESHOLD
    assert reason("awe", 0.88) is Reason.TOO_COSTLY
    assert reason("awe", 0.99) is Reason.CERTIFIED
    assert reason("fear", 0.99) is Reason.ALWAYS_REVIEW
    assert {reason(label, 0.99) for label in ("joy", "anger", "new")} == {Reason.NO_CERTIFICATE}
    unsure = Signals(parse_status=ParseStatus.OK)
    assert gate.route("awe", unsure).reason is Reason.BELOW_THRESHOLD  # nothing is known of it, and nothing assumed


def test_the_decision_says_what_was_held_against_the_threshold() -> None:
    evidence = Signals(parse_status=ParseStatus.OK, verbal_confidence=0.97, label_probability=0.9)
    routing = certified_gate().route("awe", evidence, "feed")
    score, low, high = make_calibrator().score_one("awe", "feed", evidence)
    assert (routing.probability, routing.interval) == (score, (low, high))
    assert low < score < high


@given(st.floats(0, 20), st.floats(0, 5), st.floats(0, 5), st.floats(0, 1))
@example(2.0, 1.0, 0.0, 0.5)
def test_an_image_passes_only_where_its_expected_error_costs_no_more_than_its_review(
    error: float, review: float, scarcity: float, p: float
) -> None:
    policy = make_policy(error_cost=error, review_cost=review, reviewer_scarcity=scarcity)
    least = policy.least_score("awe")
    if p >= least:
        assert (1.0 - p) * error <= review + scarcity + 1e-9
    else:
        assert (1.0 - p) * error > review + scarcity - 1e-9


def test_a_scarcity_of_reviewers_never_lowers_a_certified_threshold() -> None:
    evidence = Signals(parse_status=ParseStatus.OK, verbal_confidence=0.7, label_probability=0.5)
    gate = certified_gate(policy=make_policy(error_cost=10.0, reviewer_scarcity=1e9))
    assert gate.route("awe", evidence).reason is Reason.BELOW_THRESHOLD


@settings(deadline=None)
@given(signals, labels)
def test_after_its_time_a_gate_is_shut_even_where_it_has_routed_before(evidence: Signals, label: str | None) -> None:
    gate = certified_gate(expires_at=NOW)
    gate.route(label, evidence)
    assert gate.in_force(READER, NOW - timedelta(microseconds=1)) is gate
    shut = gate.in_force(READER, NOW)
    assert shut.route(label, evidence).route is Route.REVIEW
    assert not shut.passes_anything
    assert shut.route(label, evidence).probability == gate.route(label, evidence).probability
    assert (shut.gate_id, shut.audit_rate) == ("gate-1/expired", 0.5)


@pytest.mark.parametrize("part", ["model", "prompt", "decoder"])
def test_for_another_reader_a_gate_is_shut_and_scores_nothing(part: str) -> None:
    policy = make_policy(audit_rates=AuditRates(closed=0.25))
    gate = certified_gate(policy=policy, audit_floor=0.7, stage=Stage.CANARY)
    other = gate.in_force(Reader.model_validate(READER.model_dump() | {part: "new"}), NOW)
    routing = other.route("awe", Signals(parse_status=ParseStatus.OK, verbal_confidence=0.99, label_probability=0.99))
    assert (routing.route, routing.reason, routing.probability) == (Route.REVIEW, Reason.NO_CERTIFICATE, None)
    assert routing.auditable  # all of it: these audits will certify the new reader
    assert (other.gate_id, other.audit_rate, other.calibrator_version) == ("gate-1/other-reader", 0.25, "none")
    assert Gate.model_validate_json(other.model_dump_json()) == other


def test_a_name_that_is_long_still_says_why_it_is_shut() -> None:
    gate = certified_gate("g" * 128, expires_at=NOW)
    assert gate.in_force(READER, NOW).gate_id.endswith("/expired")


def test_a_gate_whose_only_labels_are_severe_passes_nothing() -> None:
    assert certified_gate().passes_anything
    assert not certified_gate(severe_labels=frozenset({"awe", "fear"})).passes_anything
    assert not certified_gate("g", refused("awe")).passes_anything


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"calibrator": None}, "certified thresholds need the calibrator and the policy"),
        ({"policy": None}, "certified thresholds need the calibrator and the policy"),
        ({"rule": ReviewEverything(), "calibrator": None, "audit_floor": 0.5}, "without a calibrator"),
        ({"policy": make_policy(taxonomy="emoset-8")}, "the policy speaks of emoset-8, the gate of scenes"),
        ({"gate_id": ""}, "gate_id"),
    ],
)
def test_a_gate_that_contradicts_itself_cannot_be_made(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        certified_gate(**changes)  # type: ignore[arg-type]


def test_no_label_stands_in_two_promises() -> None:
    with pytest.raises(ValidationError, match="in more than one: awe"):
        CertifiedThresholds(promises=(certified(0.9, "awe"), certified(0.1, "awe", "fear")))


def test_a_gate_is_a_document_a_person_can_read_back() -> None:
    for gate in (certified_gate(), Gate(gate_id="g", created_at=NOW, rule=UncertifiedThreshold(threshold=0.8))):
        assert Gate.model_validate_json(gate.model_dump_json(indent=2)) == gate


def test_a_gate_of_version_1_is_read_for_ever_and_routes_as_it_did() -> None:
    """The file is never changed: it stands for all that was written in the years before."""
    gate = Gate.model_validate_json((GOLDEN / "gate-1.json").read_bytes())
    evidence = Signals(
        parse_status=ParseStatus.OK,
        verbal_confidence=0.9,
        label_probability=0.85,
        label_margin=0.75,
        label_entropy=0.5,
    )
    routings = {label: gate.route(label, evidence, "feed") for label in ("awe", "fear", "joy", "anger")}
    assert {label: routing.reason for label, routing in routings.items()} == {
        "awe": Reason.CERTIFIED,
        "fear": Reason.ALWAYS_REVIEW,
        "joy": Reason.BELOW_THRESHOLD,
        "anger": Reason.NO_CERTIFICATE,
    }
    assert routings["awe"].probability == pytest.approx(0.9509455129283618, abs=1e-12)
    assert routings["awe"].interval == pytest.approx((0.8890451342698732, 0.9791233375050911), abs=1e-12)
    assert gate.policy is not None
    assert (gate.gate_id, gate.audit_rate, gate.audit_floor, gate.policy.max_error) == ("gate-7", 0.02, 0.6, 0.05)


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ('"schema_version": 1', '"schema_version": 2'),
        ('"schema_version": 1', '"schema_version": 0'),
        ('"threshold": 0.9', '"threshold": 1.9'),
        ('"kind": "certified_thresholds"', '"kind": "thresholds"'),
        ('"value": 1.0', '"value": 1.5'),  # of a coefficient: the calibrator's id is that of its content
        ('"gate_id": "gate-7"', '"gate_name": "gate-7"'),
        ("}", ""),
    ],
)
def test_a_document_of_another_version_or_a_damaged_one_is_refused(found: str, put: str) -> None:
    document = (GOLDEN / "gate-1.json").read_text()
    assert found in document
    with pytest.raises(ValidationError):
        Gate.model_validate_json(document.replace(found, put, 1))
    assert Gate.model_validate_json(document.replace('"gate_id"', '"new": 1, "gate_id"', 1))  # readers ignore more
