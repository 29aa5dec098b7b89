"""Which verdict counts, and what an outcome is: the rules in `calibration.ledger.views`, one test each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from calibration.audit import Audit
from calibration.routing import Reason
from calibration.settings import LedgerSettings
from tests.calibration.ledger.records import START, VERSIONS, audited, decision, reviewed, verdict
from tests.calibration.ledger.topics import Topics, ask


@pytest.fixture
def outcomes(topics: Topics, settings: LedgerSettings) -> Any:
    def after(*records: Any) -> list[dict[str, Any]]:
        topics.put(*records)
        topics.sync(settings)
        return ask(settings, "SELECT * FROM outcomes ORDER BY event_id")

    return after


def test_an_outcome_is_a_reading_and_its_truth(outcomes: Any) -> None:
    right, wrong = reviewed(0, label="awe"), reviewed(1, label="fear", uploader_id="u")
    rows = outcomes(right, wrong, verdict(right, "awe"), verdict(wrong, "awe"))
    assert [row["correct"] for row in rows] == [True, False]
    assert [(row["label"], row["verdict_label"], row["cannot_tell"]) for row in rows] == [
        ("awe", "awe", False),
        ("fear", "awe", False),
    ]
    assert rows[1]["verbal_confidence"] == wrong.signals.verbal_confidence
    assert (rows[1]["probability"], rows[1]["low"], rows[1]["uploader_id"]) == (0.9, 0.8, "u")
    assert (rows[1]["gate"], rows[1]["model"], rows[1]["taxonomy"]) == ("g1", "m1", "emoset-8")
    assert (rows[1]["decided_at"], rows[1]["given_at"]) == (wrong.decided_at, wrong.decided_at + timedelta(hours=2))


def test_the_last_verdict_counts_and_the_others_are_kept(outcomes: Any, settings: LedgerSettings) -> None:
    task = reviewed(1, label="awe")
    [row] = outcomes(
        task,
        verdict(task, "fear", hours=9.0, reviewer="late"),
        verdict(task, "awe", hours=5.0, reviewer="early"),
        verdict(task, "awe", hours=1.0, reviewer="first"),
    )
    assert (row["verdict_label"], row["reviewer"], row["given"], row["contradicted"]) == ("fear", "late", 3, True)
    assert len(ask(settings, "SELECT * FROM all_verdicts")) == 3


def test_of_two_verdicts_of_one_moment_the_later_on_the_topic_counts(outcomes: Any) -> None:
    task = reviewed(1, label="awe")
    [row] = outcomes(task, verdict(task, "fear"), verdict(task, "awe"))
    assert row["verdict_label"] == "awe"


def test_a_verdict_that_comes_twice_contradicts_nothing(outcomes: Any) -> None:
    task = reviewed(1)
    [row] = outcomes(task, verdict(task, "awe"), verdict(task, "awe"))
    assert (row["given"], row["contradicted"]) == (2, False)


def test_cannot_tell_after_a_label_is_a_contradiction_and_counts(outcomes: Any) -> None:
    task = reviewed(1, label="awe")
    [row] = outcomes(task, verdict(task, "awe", hours=1.0), verdict(task, None, hours=2.0))
    assert (row["cannot_tell"], row["correct"], row["contradicted"]) == (True, False, True)


def test_cannot_tell_of_an_unparsed_answer_is_not_right(outcomes: Any) -> None:
    task = reviewed(1, label=None)
    [row] = outcomes(task, verdict(task, None))
    assert (row["label"], row["verdict_label"], row["correct"]) == (None, None, False)


def test_a_verdict_days_later_counts_under_the_time_of_its_decision(outcomes: Any) -> None:
    task = reviewed(1)
    [row] = outcomes(task, verdict(task, hours=24 * 40))
    assert row["decided_at"] == task.decided_at


def test_a_verdict_without_its_decision_counts_and_the_decision_joins_it_later(outcomes: Any) -> None:
    task = audited(1)
    [alone] = outcomes(verdict(task, "awe"))
    assert (alone["propensity"], alone["label_probability"]) == (0.02, task.signals.label_probability)
    assert (alone["probability"], alone["route"]) == (None, None)
    [joined] = outcomes(task)
    assert (joined["probability"], joined["route"]) == (0.9, "review")
    assert all(
        alone[name] == joined[name] for name in alone.keys() - {"probability", "low", "high", "route"} - {"constrained"}
    )


def test_an_outcome_is_of_the_decision_that_was_before_the_person(outcomes: Any) -> None:
    shown = reviewed(1, label="awe")
    again = decision(
        1,
        label="fear",
        decided_at=START + timedelta(hours=5),
        versions=VERSIONS.model_copy(update={"gate": "g2"}),
    )
    [row] = outcomes(shown, verdict(shown, "awe"), again)
    assert (row["label"], row["correct"], row["gate"], row["decided_at"]) == ("awe", True, "g1", shown.decided_at)
    assert (row["propensity"], row["probability"]) == (1.0, None)


@pytest.mark.parametrize(
    ("audit", "propensity", "audit_propensity", "would_pass"),
    [
        (None, 1.0, None, False),
        (Audit(selected=True, propensity=0.05), 0.05, 0.05, True),
        (Audit(selected=True, propensity=0.5, would_pass=False), 1.0, 0.5, False),
        (Audit(selected=False, propensity=0.5, would_pass=False), 1.0, None, False),
        (Audit(selected=False, propensity=0.05), None, None, True),
    ],
)
def test_the_propensity_is_that_of_coming_before_a_person(
    outcomes: Any, audit: Audit | None, propensity: float | None, audit_propensity: float | None, would_pass: bool
) -> None:
    reason = Reason.AUDIT if audit is not None and audit.selected else Reason.BELOW_THRESHOLD
    task = reviewed(1, audit=audit, reason=reason)
    [row] = outcomes(task, verdict(task, "awe"))
    assert (row["propensity"], row["audit_propensity"]) == (propensity, audit_propensity)
    assert row["would_pass"] is would_pass
    assert row["blind"] is (reason is Reason.AUDIT)


def test_drawn_audits_stand_in_the_view_with_or_without_a_verdict(topics: Topics, settings: LedgerSettings) -> None:
    right, wrong, unsure, open_, gone = (audited(number, label="awe") for number in range(5))
    passed, below = decision(5), reviewed(6)
    topics.put(right, wrong, unsure, open_, passed, below)
    topics.put(
        verdict(right, "awe"), verdict(wrong, "fear"), verdict(unsure, None), verdict(below), verdict(gone, "awe")
    )
    topics.sync(settings)
    rows = ask(settings, "SELECT event_id, answered, wrong, cannot_tell, propensity FROM audits ORDER BY event_id")
    assert [(row["answered"], row["wrong"], row["cannot_tell"]) for row in rows] == [
        (True, False, False),
        (True, True, False),
        (True, True, True),
        (False, None, None),
        (True, False, False),
    ]
    assert {row["propensity"] for row in rows} == {0.02}


def test_an_event_that_was_drawn_by_a_later_gate_and_judged_under_an_earlier_is_no_open_audit(
    topics: Topics, settings: LedgerSettings
) -> None:
    first, second = reviewed(1), audited(1, decided_at=START + timedelta(hours=3))
    topics.put(first, verdict(first), second)
    topics.sync(settings)
    assert ask(settings, "SELECT * FROM audits") == []
