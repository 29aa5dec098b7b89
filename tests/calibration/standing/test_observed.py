"""Error, evidence and forecast by hand: no ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.gate import Gate, ReviewEverything
from calibration.loop.evidence import AuditTable, moment
from calibration.loop.settings import LoopSettings
from calibration.standing.forecast import forecast
from calibration.standing.observed import error_standing, evidence_share, observed
from calibration.standing.reading import gate_standing
from calibration.table import Bools, SignalTable, Times
from calibration.watch.monitor import Monitor, first_alarm
from tests.calibration.gates import NOW, READER, certified, certified_gate, refused

SETTINGS = LoopSettings()


def audits(wrong: Bools, label: str | list[str] = "awe") -> AuditTable:
    """Answered audits of what gate-1 passed, one an hour, each verdict given a quarter of an hour later."""
    n = len(wrong)
    labels = np.full(n, label, np.object_) if isinstance(label, str) else np.array(label, np.object_)
    at: Times = moment(NOW) + np.arange(n) * np.timedelta64(1, "h")
    half = np.full(n, 0.5)
    signals = SignalTable(labels, np.full(n, "", np.object_), np.ones(n, np.bool_), half, half, half, half)
    return AuditTable(
        event_id=np.array([f"e{number}" for number in range(n)], np.object_),
        signals=signals,
        gate=np.full(n, "gate-1", np.object_),
        calibrator=np.full(n, "c", np.object_),
        would_pass=np.ones(n, np.bool_),
        rate=np.full(n, 0.02),
        floor=np.zeros(n),
        answered=np.ones(n, np.bool_),
        wrong=wrong,
        decided_at=at,
        given_at=at + np.timedelta64(15, "m"),
    )


def after(n: int) -> datetime:
    return NOW + timedelta(hours=n)


@given(st.integers(0, 400), st.floats(0.0, 0.4), st.floats(0.01, 0.2), st.integers(0, 99))
def test_evidence_is_whole_exactly_where_there_is_an_alarm(n: int, error: float, promise: float, seed: int) -> None:
    wrong = np.random.default_rng(seed).random(n) < error
    alarm = first_alarm(wrong, promise, 0.05)
    assert (evidence_share(wrong, promise, 0.05) >= 1.0) == (alarm is not None)


def test_nothing_is_known_before_the_first_audit() -> None:
    found = observed(np.zeros(0, np.bool_), np.zeros(0, "datetime64[us]"), 0.05, 0.05)
    assert (found.answered, found.error, found.low, found.high) == (0, None, 0.0, 1.0)
    assert (found.evidence, found.series) == (0.0, ())


def test_the_series_ends_with_the_figure_and_is_never_long() -> None:
    wrong = np.arange(1_000) % 25 == 0
    found = error_standing(certified_gate(), audits(wrong), after(1_000), SETTINGS)
    last = found.series[-1]
    assert len(found.series) == 200
    assert [each.audits for each in found.series] == sorted({each.audits for each in found.series})
    assert (last.audits, last.wrong, last.error) == (found.answered, found.wrong, found.error) == (1_000, 40, 0.04)
    assert (last.low, last.high) == (found.low, found.high) == Monitor.start(0.05).follow(wrong).interval(0.05)
    assert found.series[0].at == datetime(2026, 1, 1, 0, 15, tzinfo=UTC)


def test_a_short_series_has_every_audit() -> None:
    found = error_standing(certified_gate(), audits(np.arange(7) == 3), after(7), SETTINGS)
    assert [(each.audits, each.wrong) for each in found.series] == [(n, int(n > 3)) for n in range(1, 8)]


def test_one_promise_stands_for_itself() -> None:
    found = error_standing(certified_gate(), audits(np.arange(60) % 3 == 0), after(60), SETTINGS)
    assert found.promises == ()
    assert found.evidence is not None
    assert found.evidence > 1.0
    assert len(found.alarms) == 1


def test_each_of_several_promises_has_its_own_audits() -> None:
    gate = certified_gate("gate-1", certified(0.8, "awe"), certified(0.7, "fear"), refused("disgust"))
    wrong = np.arange(80) % 4 == 1
    labels = ["awe" if number % 2 else "fear" for number in range(80)]
    found = error_standing(gate, audits(wrong, labels), after(80), SETTINGS)
    awe, fear = found.promises
    assert ((awe.labels, awe.answered, awe.wrong), (fear.labels, fear.answered, fear.wrong)) == (
        (("awe",), 40, 20),
        (("fear",), 40, 0),
    )
    assert (awe.threshold, fear.threshold) == (0.8, 0.7)
    assert (found.answered, found.wrong, found.evidence) == (80, 20, awe.evidence)
    assert (len(found.series), len(awe.series)) == (80, 40)
    assert fear.evidence is not None
    assert fear.evidence < 0.5
    assert [each.startswith("awe") for each in found.alarms] == [True]
    assert (awe.low, awe.high) == Monitor.start(0.05).follow(wrong[1::2]).interval(SETTINGS.alarm_level / 2)


def test_without_a_promise_there_is_an_error_and_no_evidence() -> None:
    gate = certified_gate().closed("by hand").model_copy(update={"gate_id": "gate-1"})
    found = error_standing(gate, audits(np.arange(20) < 2), after(20), SETTINGS)
    assert (found.error, found.max_error, found.evidence, found.alarms) == (0.1, None, None, ())
    assert found.low < 0.1 < found.high


@pytest.mark.parametrize(
    ("gate", "shut"),
    [
        (certified_gate(), None),
        (certified_gate(expires_at=NOW), "expired"),
        (certified_gate(expires_at=NOW + timedelta(seconds=1)), None),
        (certified_gate(reader=READER.model_copy(update={"model": "m-2"})), "other_reader"),
        (certified_gate(rule=ReviewEverything()), "no_certificate"),
        (certified_gate("gate-1", refused("awe")), "no_certificate"),
    ],
)
def test_a_gate_says_why_it_is_shut(gate: Gate, shut: str | None) -> None:
    found = gate_standing(gate, READER, NOW)
    assert (found.passes, found.shut) == (shut is None, shut)


def test_only_a_certificate_promises() -> None:
    assert gate_standing(certified_gate(), None, NOW).max_error == 0.05
    assert gate_standing(certified_gate(rule=ReviewEverything()), None, NOW).max_error is None


def of(**changes: Any) -> dict[str, Any]:
    lately = {"arrivals": 240, "arrival_hours": 24.0, "verdicts": 700, "worked_hours": 35.0, "observed_hours": 168.0}
    return lately | {"waiting": 50} | changes


def test_a_queue_clears_by_what_is_done_beyond_what_comes() -> None:
    found = forecast(**of())
    assert (found.arrivals_per_hour, found.capacity_per_hour, found.worked_hours_per_day) == (10.0, 20.0, 5.0)
    assert (found.growth_per_hour, found.hours_to_clear) == (-10.0, 5.0)
    assert found.growth_per_day == pytest.approx(240 - 100)  # nights bring more than the days can do


def test_a_queue_that_grows_never_clears() -> None:
    found = forecast(**of(arrivals=480))
    assert (found.growth_per_hour, found.hours_to_clear) == (0.0, None)


def test_what_nobody_knows_is_not_guessed() -> None:
    assert forecast(**of(waiting=None)).hours_to_clear is None
    idle = forecast(**of(verdicts=0, worked_hours=0.0))
    assert (idle.capacity_per_hour, idle.growth_per_hour, idle.growth_per_day, idle.hours_to_clear) == (None,) * 4
    assert forecast(**of(verdicts=0, worked_hours=0.0, waiting=0)).hours_to_clear == 0.0
