"""A rebuilt ledger holds what the old one held; one that is interrupted has changed nothing."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from calibration.ledger.following import follow
from calibration.ledger.place import LedgerError, Place
from calibration.ledger.rebuild import rebuild
from calibration.settings import LedgerSettings
from tests.calibration.ledger.records import START, decision, reviewed, verdict
from tests.calibration.ledger.test_erasure import delete
from tests.calibration.ledger.topics import Topics, files_holding, raw_rows
from tests.waiting import eventually


def content(settings: LedgerSettings, table: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name != "day"} for row in raw_rows(settings, table)]


def sets(settings: LedgerSettings) -> list[str]:
    return sorted(path.name for path in Path(settings.path).glob("tables-*"))


def test_it_holds_the_same_as_before(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(*(reviewed(number) for number in range(30)), *(verdict(number) for number in range(30)))
    topics.put(reviewed(3, label="fear", decided_at=START + timedelta(days=2)), verdict(3, "fear", hours=50))
    topics.put_bytes("verdicts", b"{")
    topics.sync(settings)
    names = ("decisions", "verdicts", "rejected")
    before = {name: content(settings, name) for name in names}
    first = sets(settings)
    report = rebuild(topics.kafka, settings)
    assert {name: content(settings, name) for name in names} == before
    assert report.read == {"decisions": 31, "verdicts": 32}
    assert set(report.carried_over.values()) == {0}
    assert sets(settings) == [report.tables] != first
    assert topics.sync(settings).decisions.read == 0


def test_it_makes_a_ledger_where_there_is_none(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(reviewed(1))
    rebuild(topics.kafka, settings)
    assert len(raw_rows(settings, "decisions")) == 1


@pytest.mark.parametrize("discard_older", [False, True])
def test_rows_that_the_topics_have_no_more_are_carried_over(
    topics: Topics, settings: LedgerSettings, discard_older: bool
) -> None:
    topics.put(*(reviewed(number) for number in range(10)), *(verdict(number) for number in range(10)))
    topics.sync(settings)
    topics.recreate("decisions")
    topics.recreate("verdicts")
    topics.put(*(reviewed(number, label="fear") for number in range(8, 12)), verdict(11))
    report = rebuild(topics.kafka, settings, discard_older=discard_older)
    kept = range(8, 12) if discard_older else range(12)
    assert [row["event_id"] for row in raw_rows(settings, "decisions")] == [reviewed(n).event_id for n in kept]
    assert {row["label"] for row in raw_rows(settings, "decisions")[-4:]} == {"fear"}
    assert len(raw_rows(settings, "verdicts")) == (1 if discard_older else 11)
    assert report.carried_over == ({} if discard_older else {"decisions": 8, "verdicts": 10, "rejected": 0})
    assert rebuild(topics.kafka, settings).carried_over == report.carried_over or discard_older
    assert topics.sync(settings).decisions.read == 0


def test_records_that_come_while_it_runs_are_not_doubled(
    topics: Topics, settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower writes further verdicts into the old tables after the rebuild has read up."""
    topics.put(*(verdict(number) for number in range(10)))
    topics.sync(settings)
    stop = threading.Event()
    follower = threading.Thread(
        target=follow, args=(topics.kafka, settings.model_copy(update={"interval_s": 0.1}), stop), daemon=True
    )
    follower.start()
    real = Place.writing
    written = threading.Event()

    def writing(place: Place) -> Any:
        state = place.state()
        if threading.current_thread() is threading.main_thread() and state is not None and state.rebuilding:
            reading_done = len(list(Path(settings.path, state.rebuilding).rglob("*.parquet"))) > 0
            if reading_done and not written.is_set():
                written.set()
                topics.put(*(verdict(number) for number in range(10, 20)))
                eventually(lambda: len(raw_rows(settings, "verdicts")) == 20)
        return real(place)

    monkeypatch.setattr(Place, "writing", writing)
    rebuild(topics.kafka, settings)
    monkeypatch.undo()
    eventually(lambda: len(raw_rows(settings, "verdicts")) >= 20)
    topics.put(*(verdict(number) for number in range(20, 25)))
    eventually(lambda: len(raw_rows(settings, "verdicts")) >= 25)
    stop.set()
    follower.join(20)
    assert written.is_set()
    assert [row["event_id"] for row in raw_rows(settings, "verdicts")] == [reviewed(n).event_id for n in range(25)]


def test_one_that_is_killed_changes_nothing_and_is_cleared_away_by_the_next(
    topics: Topics, settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.put(*(reviewed(number) for number in range(10)), *(verdict(number) for number in range(10)))
    topics.sync(settings)
    before = sets(settings)

    class KilledError(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("calibration.ledger.rebuild._put_in_force", killed)
        with pytest.raises(KilledError):
            rebuild(topics.kafka, settings)
    assert len(sets(settings)) == 2
    assert len(raw_rows(settings, "decisions")) == 10
    delete(topics, settings, "event", "event-000003")
    assert files_holding(settings, "event-000003") == []
    topics.put(reviewed(10))
    assert topics.sync(settings).decisions.added == 1
    rebuild(topics.kafka, settings)
    assert len(sets(settings)) == 1
    assert sets(settings) != before
    assert len(raw_rows(settings, "decisions")) == 10


def test_a_deletion_in_the_middle_deletes_from_what_is_being_made(
    topics: Topics, settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.put(*(reviewed(number) for number in range(10)), *(verdict(number) for number in range(10)))
    topics.sync(settings)
    real = Place.writing
    deleted: list[bool] = []

    def writing(place: Place) -> Any:
        state = place.state()
        made = state is not None and state.rebuilding and list(Path(settings.path, state.rebuilding).rglob("*.parquet"))
        if made and not deleted:
            deleted.append(True)
            delete(topics, settings, "event", "event-000003")
        return real(place)

    with monkeypatch.context() as patch:
        patch.setattr(Place, "writing", writing)
        rebuild(topics.kafka, settings)
    assert deleted
    assert files_holding(settings, "event-000003") == []
    assert len(raw_rows(settings, "decisions")) == 9


def test_a_damaged_ledger_is_not_let_go_unasked(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(decision(1))
    topics.sync(settings)
    for file in Path(settings.path).rglob("*.parquet"):
        file.write_bytes(b"damaged")
    with pytest.raises(LedgerError, match="--discard-older"):
        rebuild(topics.kafka, settings)
    rebuild(topics.kafka, settings, discard_older=True)
    assert len(raw_rows(settings, "decisions")) == 1
