"""The gate passes only what it was told to pass."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from calibration.gate import Gate, Reason, Route, UncertifiedThreshold, closed_gate
from calibration.outcome import ParseStatus, Signals

NOW = datetime(2026, 1, 1, tzinfo=UTC)

probabilities = st.none() | st.floats(0, 1)
signals = st.builds(
    Signals,
    parse_status=st.sampled_from(ParseStatus),
    verbal_confidence=probabilities,
    label_probability=probabilities,
    label_margin=st.none() | st.floats(-1, 1),
    label_entropy=st.none() | st.floats(0, 5),
    label_mass=probabilities,
)
labels = st.none() | st.sampled_from(["awe", "fear"])
thresholds = st.builds(
    UncertifiedThreshold, signal=st.sampled_from(["verbal_confidence", "label_probability"]), threshold=st.floats(0, 1)
)


@given(labels, signals)
def test_without_a_certificate_nothing_passes(label: str | None, evidence: Signals) -> None:
    assert closed_gate(NOW).route(label, evidence).route is Route.REVIEW


@given(labels, signals, thresholds)
def test_a_threshold_passes_only_what_was_read_and_reaches_it(
    label: str | None, evidence: Signals, rule: UncertifiedThreshold
) -> None:
    gate = Gate(gate_id="g", created_at=NOW, rule=rule, severe_labels=frozenset({"fear"}))
    routing = gate.route(label, evidence)
    if routing.route is Route.AUTO_ACCEPT:
        score = getattr(evidence, rule.signal)
        assert evidence.parse_status is ParseStatus.OK
        assert label == "awe"
        assert score is not None
        assert score >= rule.threshold
        assert routing.reason is Reason.UNCERTIFIED
        assert routing.probability == score


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
def test_every_reason_is_given(label: str | None, evidence: Signals, reason: Reason) -> None:
    rule = UncertifiedThreshold(threshold=0.8)
    assert (
        Gate(gate_id="g", created_at=NOW, rule=rule, severe_labels=frozenset({"fear"})).route(label, evidence).reason
        is reason
    )


def test_a_gate_is_a_document_a_person_can_read_back() -> None:
    gate = Gate(gate_id="g", created_at=NOW, rule=UncertifiedThreshold(threshold=0.8))
    assert Gate.model_validate_json(gate.model_dump_json(indent=2)) == gate


@pytest.mark.parametrize(
    "document", ["{}", '{"gate_id": "g", "created_at": "2026-01-01T00:00:00Z", "schema_version": 2}']
)
def test_a_document_of_another_shape_is_refused(document: str) -> None:
    with pytest.raises(ValidationError):
        Gate.model_validate_json(document)
