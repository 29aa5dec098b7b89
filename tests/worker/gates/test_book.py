"""Which gate routes an event, what is drawn, and what is said of a gate to come."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from calibration.audit import draw_audit
from calibration.gate import Gate, Reason, Route, UncertifiedThreshold
from calibration.outcome import ParseStatus, Signals
from calibration.policy import Stage
from calibration.rollout import Rollout, StepKind
from tests.calibration.gates import NOW, READER, certified, certified_gate, make_policy, make_rollout
from worker import telemetry
from worker.gates.book import GateBook, Routed
from worker.gates.configured import configured_taxonomies
from worker.settings import ServingSettings

KEY = b"a secret of all workers"
TAXONOMIES = configured_taxonomies(ServingSettings())
SURE = Signals(parse_status=ParseStatus.OK, verbal_confidence=0.97, label_probability=0.95)
UNSURE = Signals(parse_status=ParseStatus.OK, verbal_confidence=0.3, label_probability=0.3)
UNREAD = Signals(parse_status=ParseStatus.TRUNCATED)


@pytest.fixture(autouse=True)
def _gauges_of_its_own() -> Iterator[None]:
    yield
    for gauge in (telemetry.GATE, telemetry.GATE_CERTIFIED, telemetry.GATE_SEQUENCE):
        gauge.clear()


def book_of(*rollouts: Rollout, key: bytes | None = KEY, **reader: str) -> GateBook:
    book = GateBook(READER.model_copy(update=reader), key, TAXONOMIES)
    book.publish({rollout.taxonomy: rollout for rollout in rollouts})
    return book


def route(book: GateBook, event: str = "event-1", signals: Signals = SURE, now: datetime = NOW, **at: Any) -> Routed:
    return book.route(at.get("taxonomy", "scenes"), event, at.get("label", "awe"), signals, "feed", now)


def metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_before_anything_is_published_nothing_passes_and_nothing_is_drawn() -> None:
    routed = route(GateBook(READER, None, TAXONOMIES))
    assert (routed.routing.route, routed.routing.reason) == (Route.REVIEW, Reason.NO_CERTIFICATE)
    assert (routed.gate.gate_id, routed.audit, routed.shadow) == ("closed", None, None)


def test_each_taxonomy_has_its_own_gate() -> None:
    book = book_of(make_rollout(certified_gate(audit_rate=0.0)))
    assert route(book).routing.reason is Reason.CERTIFIED
    assert route(book, taxonomy="emoset-8").routing.reason is Reason.NO_CERTIFICATE


def test_a_configured_gate_stands_for_the_taxonomies_of_which_it_speaks() -> None:
    anywhere = Gate(gate_id="g", created_at=NOW, rule=UncertifiedThreshold(threshold=0.5), audit_rate=0.0)
    book = book_of()
    book.fix(anywhere)
    assert [route(book, taxonomy=name).routing.reason for name in TAXONOMIES] == [Reason.UNCERTIFIED] * len(TAXONOMIES)
    book.fix(certified_gate(audit_rate=0.0))
    assert route(book).routing.reason is Reason.CERTIFIED
    assert route(book, taxonomy="emoset-8").routing.reason is Reason.NO_CERTIFICATE


@pytest.mark.parametrize(("signals", "passes"), [(SURE, True), (UNSURE, False)])
def test_would_be_accepts_and_others_are_drawn_at_the_same_rate(signals: Signals, passes: bool) -> None:
    book = book_of(make_rollout(certified_gate(audit_rate=0.1)))
    n = 5000
    drawn = 0
    for number in range(n):
        routed = route(book, f"event-{number}", signals)
        assert routed.audit == draw_audit(KEY, f"event-{number}", 0.1, would_pass=passes)
        if routed.audit.selected:
            drawn += 1
            assert (routed.routing.route, routed.routing.reason) == (Route.REVIEW, Reason.AUDIT)
        else:
            assert routed.routing.reason is (Reason.CERTIFIED if passes else Reason.BELOW_THRESHOLD)
        assert routed.routing.probability is not None
    assert abs(drawn - 0.1 * n) < 5 * math.sqrt(0.09 * n)


def test_a_closed_gate_draws_for_the_first_certificate() -> None:
    closed = Gate(gate_id="closed-1", created_at=NOW, taxonomy="scenes", policy=make_policy(), audit_rate=1.0)
    routed = route(book_of(make_rollout(closed)))
    assert routed.routing.reason is Reason.AUDIT
    assert routed.audit is not None
    assert (routed.audit.selected, routed.audit.would_pass) == (True, False)


@pytest.mark.parametrize(
    ("signals", "label", "changes"),
    [
        (UNREAD, "awe", {}),
        (SURE, None, {}),
        (SURE, "awe", {"severe_labels": frozenset({"awe"})}),
        (UNSURE, "awe", {"audit_floor": 0.8}),
        (SURE, "awe", {"audit_rate": 0.0}),
    ],
)
def test_what_is_not_auditable_is_not_drawn(signals: Signals, label: str | None, changes: dict[str, Any]) -> None:
    book = book_of(make_rollout(certified_gate(**{"audit_rate": 1.0, **changes})))
    routed = route(book, signals=signals, label=label)
    assert routed.audit is None
    assert routed.routing.reason is not Reason.AUDIT


def test_a_gate_in_shadow_says_what_it_would_have_done_and_does_nothing() -> None:
    candidate = certified_gate("gate-2", certified(1.0, "awe"), stage=Stage.SHADOW, audit_rate=1.0)
    book = book_of(make_rollout(certified_gate(audit_rate=0.0), candidate=candidate))
    routed = route(book)
    assert (routed.gate.gate_id, routed.routing.reason, routed.audit) == ("gate-1", Reason.CERTIFIED, None)
    assert routed.shadow is not None
    assert (routed.shadow.gate, routed.shadow.route) == ("gate-2", Route.REVIEW)
    assert (routed.shadow.reason, routed.shadow.probability) == (Reason.BELOW_THRESHOLD, routed.routing.probability)


def test_a_canary_routes_its_share_and_says_of_the_rest_what_it_would_have_done() -> None:
    policy = make_policy(canary_share=0.2)
    candidate = certified_gate("gate-2", stage=Stage.CANARY, policy=policy, audit_rate=0.05)
    rollout = make_rollout(certified_gate(), candidate=candidate)
    book = book_of(rollout)
    n = 3000
    by_canary = 0
    for number in range(n):
        event = f"event-{number}"
        routed = route(book, event)
        canary = rollout.gate_of(KEY, event) is rollout.candidate
        by_canary += canary
        assert routed.gate.gate_id == ("gate-2" if canary else "gate-1")
        assert (routed.shadow is None) == canary
        assert routed.audit is not None
        assert routed.audit.propensity == (0.05 if canary else 0.02)
        assert routed.shadow is None or routed.shadow.gate == "gate-2"
    assert abs(by_canary - 0.2 * n) < 5 * math.sqrt(0.16 * n)


def test_at_its_time_a_gate_shuts_by_itself() -> None:
    until = NOW + timedelta(days=7)
    book = book_of(make_rollout(certified_gate(expires_at=until, audit_rate=0.0)))
    assert route(book, now=until - timedelta(microseconds=1)).routing.reason is Reason.CERTIFIED
    late = route(book, "event-1", now=until)
    assert late.routing.route is Route.REVIEW
    assert (late.gate.gate_id, late.audit and late.audit.propensity) == ("gate-1/expired", 0.5)


def test_a_canary_expires_as_well() -> None:
    policy = make_policy(canary_share=1.0)
    candidate = certified_gate("gate-2", stage=Stage.CANARY, policy=policy, expires_at=NOW)
    routed = route(book_of(make_rollout(candidate=candidate)))
    assert (routed.gate.gate_id, routed.routing.route) == ("gate-2/expired", Route.REVIEW)


def test_for_another_reader_nothing_passes_and_the_reasons_are_logged() -> None:
    with capture_logs() as logs:
        routed = route(book_of(make_rollout(), model="m-2"))
    assert (routed.gate.gate_id, routed.routing.route) == ("gate-1/other-reader", Route.REVIEW)
    assert (routed.routing.probability, routed.gate.calibrator_version) == (None, "none")
    (line,) = [each for each in logs if each["event"] == "gate of another reader"]
    assert (line["speaks_of"]["model"], line["here"]["model"]) == ("m-1", "m-2")


def test_every_change_is_one_line_with_its_reasons() -> None:
    first = make_rollout()
    shut = first.step(NOW, StepKind.SHUT, "gate-1", "9 of 60 audits were wrong", live=first.live.closed("shut"))
    with capture_logs() as logs:
        book = book_of(first)
        book.publish({"scenes": first})
        book.publish({"scenes": shut})
        book.publish({})
    told = [(line["event"], line["log_level"], line.get("step"), line.get("reasons")) for line in logs]
    assert told == [
        ("gate", "info", "full", ["400 audits with 12 errors"]),
        ("gate", "warning", "shut", ["9 of 60 audits were wrong"]),
        ("gate withdrawn", "warning", None, None),
    ]
    assert route(book).gate.gate_id == "closed"


def test_the_gauges_tell_what_is_in_force() -> None:
    until = NOW + timedelta(days=7)
    first = make_rollout(certified_gate(expires_at=until))
    book = book_of(first)
    book.observe(NOW)
    names = {"policy": "policy-1", "calibrator": first.live.calibrator_version}
    assert metric("tidegate_gate_certified", taxonomy="scenes") == 1
    assert metric("tidegate_gate_certified", taxonomy="emoset-8") == 0
    assert metric("tidegate_gate_sequence", taxonomy="scenes") == 1
    assert metric("tidegate_gate", taxonomy="scenes", gate="gate-1", **names) == 1
    with capture_logs() as logs:
        book.observe(until - timedelta(seconds=1))
        assert not logs
        book.observe(until)
    assert [(line["event"], line["gate"]) for line in logs] == [("gate expired", "gate-1/expired")]
    assert metric("tidegate_gate_certified", taxonomy="scenes") == 0
    assert metric("tidegate_gate", taxonomy="scenes", gate="gate-1", **names) is None
    assert metric("tidegate_gate", taxonomy="scenes", gate="gate-1/expired", **names) == 1
    second = first.step(NOW, StepKind.RENEWED, "gate-1", live=certified_gate(expires_at=until + timedelta(days=7)))
    book.publish({"scenes": second})
    book.observe(until)
    assert metric("tidegate_gate_certified", taxonomy="scenes") == 1
    assert metric("tidegate_gate_sequence", taxonomy="scenes") == 2
    book.publish({})
    book.observe(until)
    assert metric("tidegate_gate_certified", taxonomy="scenes") == 0
    assert metric("tidegate_gate", taxonomy="scenes", gate="closed", policy="none", calibrator="none") == 1


def test_a_plain_threshold_is_never_called_certified() -> None:
    book = book_of()
    book.fix(Gate(gate_id="g", created_at=NOW, rule=UncertifiedThreshold(threshold=0.5), audit_rate=0.0))
    book.observe(NOW)
    assert metric("tidegate_gate_certified", taxonomy="scenes") == 0
