"""Which verdict counts, and what an outcome is: the rules in `calibration.ledger.views`, one test each.

Every test has events of its own; all of them stand in one ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from calibration.audit import Audit
from calibration.routing import Reason
from calibration.settings import KafkaSettings, LedgerSettings
from deploy.local import EmbeddedBroker
from review.task import Verdict
from tests.calibration.ledger.records import START, VERSIONS, audited, decision, reviewed, verdict
from tests.calibration.ledger.topics import Topics, ask
from worker.events import Decision

_all: list[Decision | Verdict] = []


def told(*records: Decision | Verdict) -> str:
    """Put these into the ledger; the id of their event."""
    _all.extend(records)
    return records[0].event_id


@dataclass
class Views:
    topics: Topics
    settings: LedgerSettings

    def outcome(self, event_id: str) -> dict[str, Any]:
        [row] = self.rows("outcomes", event_id)
        return row

    def rows(self, view: str, event_id: str) -> list[dict[str, Any]]:
        return ask(self.settings, f"SELECT * FROM {view} WHERE event_id = '{event_id}'")


@pytest.fixture(scope="module")
def views(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Views]:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=f"{uuid4().hex[:8]}.")
    settings = LedgerSettings(path=str(tmp_path_factory.mktemp("views") / "ledger"))
    with Topics(kafka) as topics:
        topics.put(*_all)
        topics.sync(settings)
        yield Views(topics, settings)


_right, _wrong = reviewed(0, label="awe"), reviewed(1, label="fear", uploader_id="u")
RIGHT = told(_right, verdict(_right, "awe"))
WRONG = told(_wrong, verdict(_wrong, "awe"))


def test_an_outcome_is_a_reading_and_its_truth(views: Views) -> None:
    right, wrong = views.outcome(RIGHT), views.outcome(WRONG)
    assert (right["correct"], right["label"], right["verdict_label"]) == (True, "awe", "awe")
    assert (wrong["correct"], wrong["label"], wrong["verdict_label"]) == (False, "fear", "awe")
    assert (right["cannot_tell"], wrong["cannot_tell"]) == (False, False)
    assert wrong["verbal_confidence"] == _wrong.signals.verbal_confidence
    assert (wrong["probability"], wrong["low"], wrong["uploader_id"]) == (0.9, 0.8, "u")
    assert (wrong["gate"], wrong["model"], wrong["taxonomy"]) == ("g1", "m1", "emoset-8")
    assert (wrong["decided_at"], wrong["given_at"]) == (_wrong.decided_at, _wrong.decided_at + timedelta(hours=2))


_task = reviewed(10, label="awe")
THREE = told(
    _task,
    verdict(_task, "fear", hours=9.0, reviewer="late"),
    verdict(_task, "awe", hours=5.0, reviewer="early"),
    verdict(_task, "awe", hours=1.0, reviewer="first"),
)


def test_the_last_verdict_counts_and_the_others_are_kept(views: Views) -> None:
    row = views.outcome(THREE)
    assert (row["verdict_label"], row["reviewer"], row["given"], row["contradicted"]) == ("fear", "late", 3, True)
    assert len(views.rows("all_verdicts", THREE)) == 3


SAME_MOMENT = told(verdict(11, "fear"), verdict(11, "awe"))


def test_of_two_verdicts_of_one_moment_the_later_on_the_topic_counts(views: Views) -> None:
    assert views.outcome(SAME_MOMENT)["verdict_label"] == "awe"


TWICE = told(verdict(12, "awe"), verdict(12, "awe"))


def test_a_verdict_that_comes_twice_contradicts_nothing(views: Views) -> None:
    row = views.outcome(TWICE)
    assert (row["given"], row["contradicted"]) == (2, False)


_doubted = reviewed(13, label="awe")
DOUBTED = told(verdict(_doubted, "awe", hours=1.0), verdict(_doubted, None, hours=2.0))


def test_cannot_tell_after_a_label_is_a_contradiction_and_counts(views: Views) -> None:
    row = views.outcome(DOUBTED)
    assert (row["cannot_tell"], row["correct"], row["contradicted"]) == (True, False, True)


_regretted, _mended = reviewed(115, label="awe"), reviewed(116, label="awe")
_back: dict[str, Any] = {"withdrawn": True, "hours": 3.0}
REGRETTED = told(verdict(_regretted, "fear"), verdict(_regretted, "fear", **_back))
MENDED = told(verdict(_mended, "fear"), verdict(_mended, "fear", **_back), verdict(_mended, "awe", hours=4.0))


def test_a_withdrawn_verdict_is_none(views: Views) -> None:
    assert views.rows("outcomes", REGRETTED) == []
    assert len(views.rows("all_verdicts", REGRETTED)) == 2
    row = views.outcome(MENDED)
    assert (row["correct"], row["given"]) == (True, 2)


NOTHING_SAID = told(verdict(reviewed(14, label=None), None))


def test_cannot_tell_of_an_unparsed_answer_is_not_right(views: Views) -> None:
    row = views.outcome(NOTHING_SAID)
    assert (row["label"], row["verdict_label"], row["correct"]) == (None, None, False)


LATE = told(verdict(15, hours=24 * 40))


def test_a_verdict_weeks_later_counts_under_the_time_of_its_decision(views: Views) -> None:
    assert views.outcome(LATE)["decided_at"] == reviewed(15).decided_at


_shown = reviewed(16, label="awe")
_again = decision(
    16, label="fear", decided_at=START + timedelta(hours=5), versions=VERSIONS.model_copy(update={"gate": "g2"})
)
DECIDED_AGAIN = told(_shown, verdict(_shown, "awe"), _again)


def test_an_outcome_is_of_the_decision_that_was_before_the_person(views: Views) -> None:
    row = views.outcome(DECIDED_AGAIN)
    assert (row["label"], row["correct"], row["gate"], row["decided_at"]) == ("awe", True, "g1", _shown.decided_at)
    assert (row["propensity"], row["probability"]) == (1.0, None)
    [effective] = views.rows("decisions", DECIDED_AGAIN)
    assert (effective["label"], effective["gate"]) == ("fear", "g2")


def judged(number: int, audit: Audit | None) -> str:
    reason = Reason.AUDIT if audit is not None and audit.selected else Reason.BELOW_THRESHOLD
    return told(verdict(reviewed(number, audit=audit, reason=reason), "awe"))


@pytest.mark.parametrize(
    ("event_id", "propensity", "audit_propensity", "would_pass", "blind"),
    [
        (judged(20, None), 1.0, None, False, False),
        (judged(21, Audit(selected=True, propensity=0.05)), 0.05, 0.05, True, True),
        (judged(22, Audit(selected=True, propensity=0.5, would_pass=False)), 1.0, 0.5, False, True),
        (judged(23, Audit(selected=False, propensity=0.5, would_pass=False)), 1.0, None, False, False),
        (judged(24, Audit(selected=False, propensity=0.05)), None, None, True, False),
    ],
)
def test_the_propensity_is_that_of_coming_before_a_person(
    views: Views,
    event_id: str,
    propensity: float | None,
    audit_propensity: float | None,
    would_pass: bool,
    blind: bool,
) -> None:
    row = views.outcome(event_id)
    assert (row["propensity"], row["audit_propensity"]) == (propensity, audit_propensity)
    assert (row["would_pass"], row["blind"]) == (would_pass, blind)


_audits = [audited(number, label="awe") for number in range(30, 35)]
AUDIT_RIGHT = told(_audits[0], verdict(_audits[0], "awe"))
AUDIT_WRONG = told(_audits[1], verdict(_audits[1], "fear"))
AUDIT_UNSURE = told(_audits[2], verdict(_audits[2], None))
AUDIT_OPEN = told(_audits[3])
_taken_back = audited(135, label="awe")
AUDIT_TAKEN_BACK = told(_taken_back, verdict(_taken_back, "awe"), verdict(_taken_back, "awe", **_back))
AUDIT_WITHOUT_DECISION = told(verdict(_audits[4], "awe"))


@pytest.mark.parametrize(
    ("event_id", "answered", "wrong", "cannot_tell"),
    [
        (AUDIT_RIGHT, True, False, False),
        (AUDIT_WRONG, True, True, False),
        (AUDIT_UNSURE, True, True, True),
        (AUDIT_OPEN, False, None, None),
        (AUDIT_TAKEN_BACK, False, None, None),
        (AUDIT_WITHOUT_DECISION, True, False, False),
    ],
)
def test_drawn_audits_stand_in_their_view_with_or_without_a_verdict(
    views: Views, event_id: str, answered: bool, wrong: bool | None, cannot_tell: bool | None
) -> None:
    [row] = views.rows("audits", event_id)
    assert (row["answered"], row["wrong"], row["cannot_tell"]) == (answered, wrong, cannot_tell)
    assert (row["propensity"], row["would_pass"]) == (0.02, True)


PASSED = told(decision(40))
_before = reviewed(41)
DRAWN_TOO_LATE = told(_before, verdict(_before), audited(41, decided_at=START + timedelta(hours=3)))


@pytest.mark.parametrize("event_id", [PASSED, RIGHT, DRAWN_TOO_LATE])
def test_what_was_not_drawn_is_no_audit(views: Views, event_id: str) -> None:
    """Nor what a later gate drew, when a person had judged it already."""
    assert views.rows("decisions", event_id)
    assert views.rows("audits", event_id) == []


_early = audited(50)
BEFORE_ITS_DECISION = told(verdict(_early, "awe"))


def test_a_verdict_without_its_decision_counts_and_the_decision_joins_it_later(views: Views) -> None:
    alone = views.outcome(BEFORE_ITS_DECISION)
    assert (alone["propensity"], alone["label_probability"]) == (0.02, _early.signals.label_probability)
    assert (alone["probability"], alone["route"]) == (None, None)
    views.topics.put(_early)
    views.topics.sync(views.settings)
    joined = views.outcome(BEFORE_ITS_DECISION)
    assert (joined["probability"], joined["route"]) == (0.9, "review")
    of_the_decision = {"probability", "low", "high", "route", "constrained", "uploader_id"}
    assert all(alone[name] == joined[name] for name in alone.keys() - of_the_decision)
