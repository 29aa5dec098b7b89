"""The items behind a figure are those that it counted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from calibration.ledger.place import LedgerError
from calibration.settings import LedgerSettings
from calibration.standing.items import find, items, of_content
from tests.calibration.standing.worlds import (
    AUDITS,
    BELOW,
    DECISIONS,
    DOUBTFUL,
    EARLIER_GATE,
    PASSED,
    SAME_BYTES,
    TAXONOMY,
    VERDICTS,
)
from worker.events import Decision


def ids(*said: Decision) -> list[str]:
    """The newest first."""
    return [each.event_id for each in sorted(said, key=lambda each: each.decided_at, reverse=True)]


@pytest.mark.parametrize(
    ("asked", "behind"),
    [
        ({}, [each for each in DECISIONS if each.taxonomy == TAXONOMY]),
        ({"gate": "g0"}, [EARLIER_GATE]),
        ({"route": "auto_accept"}, PASSED),
        ({"reason": "below_threshold"}, [*DOUBTFUL, SAME_BYTES]),
        ({"label": "fear", "route": "auto_accept"}, PASSED[3::5]),
        ({"source": "app", "gate": "g1", "audited": True, "wrong": True}, [AUDITS[5], AUDITS[15]]),
        ({"wrong": True, "gate": "g1", "audited": True}, AUDITS[0:18:5]),
        ({"gate": "g1", "audited": True, "would_pass": True}, AUDITS),
        ({"audited": True, "would_pass": False}, [BELOW]),
        ({"wrong": True, "audited": False}, DOUBTFUL[5:7]),
        ({"wrong": False, "reason": "below_threshold"}, DOUBTFUL[:5]),
        ({"judged": True, "reason": "below_threshold"}, DOUBTFUL[:7]),
        ({"judged": False, "reason": "below_threshold"}, [*DOUBTFUL[7:], SAME_BYTES]),
        ({"low": 0.42, "high": 0.45}, DOUBTFUL[2:5]),
        ({"high": 0.5}, DOUBTFUL),
        ({"since": DOUBTFUL[8].decided_at, "until": EARLIER_GATE.decided_at}, DOUBTFUL[8:]),
        ({"since": DOUBTFUL[8].decided_at + timedelta(days=9)}, []),
        ({"label": "' OR 1 = 1 --"}, []),
    ],
)
def test_all_conditions_hold(ledger: LedgerSettings, asked: dict[str, Any], behind: list[Decision]) -> None:
    assert [each.event_id for each in items(ledger, TAXONOMY, **asked)] == ids(*behind)


def test_a_certain_score_is_in_the_last_bin(ledger: LedgerSettings) -> None:
    assert items(ledger, TAXONOMY, low=0.9, high=1.0)
    assert items(ledger, TAXONOMY, low=0.9, high=0.9) == ()


def test_the_newest_come_first_and_no_more_than_asked(ledger: LedgerSettings) -> None:
    assert [each.event_id for each in items(ledger, TAXONOMY, limit=2)] == ids(SAME_BYTES, EARLIER_GATE)
    with pytest.raises(ValueError, match="limit"):
        items(ledger, TAXONOMY, limit=0)


def test_an_item_says_where_its_record_lies_and_what_was_said_of_it(ledger: LedgerSettings) -> None:
    found = find(ledger, AUDITS[0].event_id)
    assert found is not None
    assert (found.partition, found.offset) == (0, DECISIONS.index(AUDITS[0]))
    assert (found.label, found.probability, found.audited, found.reason) == ("awe", 0.9, True, "audit")
    assert found.decided_at == AUDITS[0].decided_at
    assert found.verdict is not None
    assert (found.verdict.label, found.verdict.reviewer, found.verdict.wrong) == ("fear", "ada", True)
    assert (found.verdict.given_at, found.verdict.blind) == (VERDICTS[0].given_at, True)


def test_what_nobody_could_tell_is_wrong_and_has_no_label(ledger: LedgerSettings) -> None:
    found = find(ledger, DOUBTFUL[6].event_id)
    assert found is not None
    assert found.verdict is not None
    assert (found.verdict.label, found.verdict.wrong) == (None, True)


def test_an_item_without_a_verdict_has_none(ledger: LedgerSettings) -> None:
    found = find(ledger, AUDITS[-1].event_id)
    assert found is not None
    assert found.verdict is None


def test_what_was_said_of_the_same_bytes_is_found(ledger: LedgerSettings) -> None:
    assert SAME_BYTES.content_sha256 is not None
    found = of_content(ledger, SAME_BYTES.content_sha256)
    assert [each.event_id for each in found] == [DOUBTFUL[0].event_id]
    assert found[0].verdict is not None
    assert of_content(ledger, "f" * 64) == ()


def test_an_empty_ledger_has_no_items(empty_ledger: LedgerSettings) -> None:
    assert items(empty_ledger, TAXONOMY) == ()
    assert find(empty_ledger, "event-000001") is None
    assert of_content(empty_ledger, "0" * 64) == ()


def test_without_a_ledger_the_way_to_one_is_named(no_ledger: LedgerSettings) -> None:
    with pytest.raises(LedgerError, match="tidegate ledger sync"):
        items(no_ledger, TAXONOMY)
