"""How a taxonomy stands after one morning."""

from __future__ import annotations

from datetime import timedelta

import pytest

from calibration.ledger.place import LedgerError
from calibration.ledger.reading import Ledger
from calibration.loop.advance import first_rollout
from calibration.loop.watching import drifts
from calibration.policy import Stage
from calibration.settings import LedgerSettings
from calibration.standing import counts
from calibration.standing.contracts import Standing
from calibration.standing.reading import standing
from calibration.watch.monitor import Monitor
from tests.calibration.ledger.records import START
from tests.calibration.standing.worlds import (
    AUDITS,
    NOW,
    POLICY,
    READER,
    SAME_BYTES,
    SETTINGS,
    TAXONOMY,
    gate,
    rollout,
)

_OVERDUE = AUDITS[-2]


@pytest.fixture(scope="module")
def found(ledger: LedgerSettings) -> Standing:
    return standing(ledger, rollout(), POLICY, SETTINGS, NOW, waiting=6, hours=12)


def test_it_says_of_what_it_speaks(found: Standing) -> None:
    assert (found.taxonomy, found.as_of, found.reader, found.policy) == (TAXONOMY, NOW, READER, POLICY)
    assert (found.live.gate_id, found.live.passes, found.live.max_error, found.live.confidence) == (
        "g1",
        True,
        0.05,
        0.9,
    )
    assert (found.candidate, found.candidate_error) == (None, None)
    assert Standing.model_validate_json(found.model_dump_json()) == found


def test_traffic_has_every_hour(found: Standing) -> None:
    hours = found.traffic.hours
    assert [each.start for each in hours] == [START + timedelta(hours=number) for number in range(-1, 11)]
    counts = [(each.readings, each.accepted, each.reviewed, each.audits) for each in hours]
    assert counts == [(0, 0, 0, 0), (60, 40, 20, 20), (13, 0, 13, 2), *[(0, 0, 0, 0)] * 9]


def test_totals_are_of_the_hours(found: Standing, ledger: LedgerSettings) -> None:
    total = found.traffic
    assert (total.readings, total.accepted, total.reviewed, total.audits) == (73, 40, 33, 22)
    assert total.accepted_share == pytest.approx(40 / 73)
    assert total.newest == SAME_BYTES.decided_at
    late = standing(ledger, rollout(), POLICY, SETTINGS, NOW, waiting=6, hours=3).traffic
    assert (len(late.hours), late.readings, late.accepted_share, late.newest) == (3, 0, None, None)


def test_the_error_is_of_what_passed_under_the_live_gate(found: Standing) -> None:
    error = found.error
    assert (error.gate_id, error.answered, error.wrong, error.error) == ("g1", 18, 4, 4 / 18)
    monitor = Monitor.start(0.05).add(4, 18)
    assert (error.low, error.high) == monitor.interval(SETTINGS.alarm_level)
    assert (error.waiting, error.overdue, error.overdue_share) == (2, 1, 1 / 19)
    assert [each.wrong for each in error.series] == [1] * 5 + [2] * 5 + [3] * 5 + [4] * 3
    assert error.series[0].at == AUDITS[0].decided_at + timedelta(hours=2)
    assert error.evidence is not None
    assert (error.evidence >= 1.0) == bool(error.alarms)


def test_audits_are_of_all_gates(found: Standing) -> None:
    audits = found.audits
    assert (audits.drawn, audits.done, audits.due, audits.overdue) == (22, 20, 2, 1)
    assert audits.oldest_due_hours == pytest.approx((NOW - _OVERDUE.decided_at) / timedelta(hours=1))


def test_the_forecast_is_of_what_was_seen(found: Standing) -> None:
    queue = found.forecast
    assert queue.arrivals_per_hour == pytest.approx(33 / 10.5)
    assert queue.capacity_per_hour == pytest.approx(27 / (8 * 5 / 60))
    assert queue.worked_hours_per_day == pytest.approx(24 * (8 * 5 / 60) / 10.5)
    assert queue.hours_to_clear == pytest.approx(6 / (40.5 - 33 / 10.5))


def test_drift_is_what_the_loop_sees(found: Standing, ledger: LedgerSettings) -> None:
    everything = Ledger.open(ledger).traffic(TAXONOMY, READER)
    assert found.drift == drifts(gate(), everything)
    assert found.drift[0].name == "score"


def test_of_much_traffic_the_newest_is_compared_with_a_sample(
    ledger: LedgerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "_REFERENCE", 20)
    monkeypatch.setattr(counts, "_NEWEST", 10)
    again = [standing(ledger, rollout(), POLICY, SETTINGS, NOW, waiting=6).drift for _ in range(2)]
    assert again[0] == again[1]
    assert "10 events against 20" in again[0][-1].words


def test_a_canary_has_an_error_of_its_own(ledger: LedgerSettings) -> None:
    old = gate(gate_id="g0", created_at=START - timedelta(hours=2))
    canary = gate(stage=Stage.CANARY)
    found = standing(ledger, rollout(old, candidate=canary), POLICY, SETTINGS, NOW, waiting=None)
    assert found.candidate is not None
    assert found.candidate_error is not None
    assert (found.candidate.gate_id, found.candidate_error.answered) == ("g1", 18)
    assert (found.error.gate_id, found.error.answered, found.error.wrong) == ("g0", 1, 1)
    shadow = gate(stage=Stage.SHADOW)
    found = standing(ledger, rollout(old, candidate=shadow), POLICY, SETTINGS, NOW, waiting=None)
    assert found.candidate_error is None


def test_other_readers_shut_a_gate(ledger: LedgerSettings) -> None:
    live = gate(reader=READER.model_copy(update={"prompt": "p2"}))
    found = standing(ledger, rollout(live), POLICY, SETTINGS, NOW, waiting=None)
    assert (found.live.passes, found.live.shut) == (False, "other_reader")


def test_an_empty_ledger_and_no_gate_yet_are_said_honestly(empty_ledger: LedgerSettings) -> None:
    found = standing(empty_ledger, first_rollout(POLICY, NOW), POLICY, SETTINGS, NOW, waiting=None)
    assert (found.reader, found.live.passes, found.live.shut, found.drift) == (None, False, "no_certificate", ())
    assert (len(found.traffic.hours), found.traffic.readings, found.traffic.accepted_share) == (48, 0, None)
    assert (found.error.answered, found.error.error, found.error.evidence) == (0, None, None)
    assert (found.audits.drawn, found.audits.oldest_due_hours) == (0, None)
    assert (found.forecast.arrivals_per_hour, found.forecast.capacity_per_hour) == (0.0, None)


def test_without_a_ledger_the_way_to_one_is_named(no_ledger: LedgerSettings) -> None:
    with pytest.raises(LedgerError, match="tidegate ledger sync"):
        standing(no_ledger, rollout(), POLICY, SETTINGS, NOW, waiting=None)


def test_a_policy_of_another_taxonomy_is_refused(ledger: LedgerSettings) -> None:
    other = POLICY.model_copy(update={"taxonomy": "fi-2"})
    with pytest.raises(ValueError, match=r"speaks of fi-2"):
        standing(ledger, rollout(), other, SETTINGS, NOW, waiting=None)
    with pytest.raises(ValueError, match="hours"):
        standing(ledger, rollout(), POLICY, SETTINGS, NOW, waiting=None, hours=0)
