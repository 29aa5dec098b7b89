"""What is deleted is gone: from every byte below the ledger's folder, and for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from calibration.ledger.erasure import Receipt, erase, expire
from calibration.ledger.place import LedgerError
from calibration.ledger.rebuild import rebuild
from calibration.ledger.tombstones import TombstoneKind
from calibration.settings import LedgerSettings
from tests.calibration.ledger.records import START, audited, decision, reviewed, verdict
from tests.calibration.ledger.topics import Topics, files_holding, raw_rows

NOW = START + timedelta(days=30)
KEPT = {"decisions": timedelta(days=30), "verdicts": timedelta(days=90)}


def delete(topics: Topics, settings: LedgerSettings, kind: TombstoneKind, given: str) -> Receipt:
    names = {name: topics.kafka.topic(name) for name in KEPT}  # type: ignore[arg-type]
    return erase(settings, kind, given, NOW, topics=names, retentions=KEPT)  # type: ignore[arg-type]


def test_the_search_of_these_tests_finds_what_is_there(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(reviewed(7), verdict(7))
    topics.sync(settings)
    held = files_holding(settings, "event-000007")
    assert {Path(path).parts[-3] for path in held} == {"decisions", "verdicts"}


def test_an_event_is_deleted_from_every_file(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(*(reviewed(number) for number in range(40)), *(verdict(number) for number in range(40)))
    topics.put_bytes("verdicts", b'{"event_id": "event-000007", "label"', b"event-000007")
    topics.put_bytes("verdicts", b'{"event_id": "event-000008", "label"', b"event-000008")
    topics.sync(settings)
    topics.put(reviewed(7, label="fear"), verdict(7, "fear", hours=9))
    topics.sync(settings)
    receipt = delete(topics, settings, "event", "event-000007")
    assert files_holding(settings, "event-000007") == []
    left = [reviewed(number).event_id for number in range(40) if number != 7]
    assert [row["event_id"] for row in raw_rows(settings, "decisions")] == left
    assert [row["event_id"] for row in raw_rows(settings, "verdicts")] == left
    assert [row["key"] for row in raw_rows(settings, "rejected")] == [b"event-000008"]
    assert {name: done.rows for name, done in receipt.tables.items()} == {"decisions": 1, "verdicts": 2, "rejected": 1}
    assert all(done.files_removed and done.log_entries_removed for done in receipt.tables.values())
    assert all(done.files_left == 0 for done in receipt.tables.values())
    assert (receipt.kind, receipt.events, receipt.deleted_at) == ("event", 1, NOW)
    assert "event-000007" not in receipt.model_dump_json()
    assert [(each.topic, each.records, each.until) for each in receipt.in_kafka] == [
        (topics.kafka.topic("decisions"), 1, reviewed(7).decided_at + timedelta(days=30)),
        (topics.kafka.topic("verdicts"), 2, reviewed(7).decided_at + timedelta(days=90, hours=9)),
    ]


def test_what_was_deleted_does_not_come_back(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(reviewed(7), verdict(7), reviewed(8), verdict(8))
    topics.sync(settings)
    delete(topics, settings, "event", "event-000007")
    topics.put(reviewed(7, label="fear"), verdict(7, "fear"))
    topics.put_bytes("decisions", b'{"event_id": "event-000007", "lab', b"event-000007")
    report = topics.sync(settings)
    assert (report.decisions.deleted, report.decisions.rejected, report.verdicts.deleted) == (1, 1, 1)
    rebuild(topics.kafka, settings)
    assert files_holding(settings, "event-000007") == []
    assert [row["event_id"] for row in raw_rows(settings, "decisions")] == ["event-000008"]
    assert [row["event_id"] for row in raw_rows(settings, "verdicts")] == ["event-000008"]
    assert [row["value"] for row in raw_rows(settings, "rejected")] == [None]


def test_an_event_that_is_not_there_yet_is_kept_away(topics: Topics, settings: LedgerSettings) -> None:
    topics.sync(settings)
    receipt = delete(topics, settings, "event", "event-000007")
    assert sum(done.rows for done in receipt.tables.values()) == 0
    assert receipt.in_kafka == ()
    topics.put(reviewed(7), verdict(7))
    topics.sync(settings)
    assert files_holding(settings, "event-000007") == []


def test_a_person_is_deleted_with_all_their_events(topics: Topics, settings: LedgerSettings) -> None:
    theirs = [reviewed(number, uploader_id="uploader-77") for number in range(5)]
    late = reviewed(5, uploader_id="uploader-77")
    others = [reviewed(number, uploader_id="uploader-8") for number in range(10, 15)]
    topics.put(*theirs, *others, *(verdict(each) for each in (*theirs, *others, late)))
    topics.sync(settings)
    receipt = delete(topics, settings, "uploader", "uploader-77")
    assert (receipt.events, receipt.tables["decisions"].rows, receipt.tables["verdicts"].rows) == (5, 5, 5)
    assert files_holding(settings, "uploader-77") == []
    assert all(files_holding(settings, each.event_id) == [] for each in theirs)

    # The verdict on `late` is there, since it does not say whose event it is; the decision does.
    assert files_holding(settings, late.event_id)
    topics.put(late, *theirs)
    report = topics.sync(settings)
    assert report.decisions.deleted == 6
    assert all(files_holding(settings, each) == [] for each in ("uploader-77", late.event_id))
    rebuild(topics.kafka, settings)
    assert all(files_holding(settings, each) == [] for each in ("uploader-77", late.event_id, theirs[0].event_id))
    assert [row["event_id"] for row in raw_rows(settings, "verdicts")] == [each.event_id for each in others]


def test_what_a_person_uploads_after_their_deletion_is_new(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(decision(1, uploader_id="u"))
    topics.sync(settings)
    delete(topics, settings, "uploader", "u")
    later = NOW + timedelta(seconds=1)
    topics.put(decision(2, uploader_id="u", created_at=later, decided_at=later))
    topics.put(decision(3, uploader_id="u", created_at=NOW, decided_at=later))
    topics.sync(settings)
    assert [row["event_id"] for row in raw_rows(settings, "decisions")] == ["event-000002"]


def test_files_that_a_crash_left_go_as_well(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(reviewed(7), verdict(7))
    topics.sync(settings)
    [held, *_] = files_holding(settings, "event-000007")
    orphan = Path(held).with_name("part-00000-left-by-a-crash-c000.zstd.parquet")
    orphan.write_bytes(Path(held).read_bytes())
    half_built = Path(settings.path) / "tables-left-half-way" / "decisions" / "day=2026-11-01" / orphan.name
    half_built.parent.mkdir(parents=True)
    half_built.write_bytes(Path(held).read_bytes())
    delete(topics, settings, "event", "event-000007")
    assert files_holding(settings, "event-000007") == []


def test_a_deletion_that_is_killed_in_between_is_finished_by_the_next(
    topics: Topics, settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.put(reviewed(7), verdict(7))
    topics.sync(settings)

    class KilledError(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("calibration.ledger.store.DeltaStore.purge", killed)
        with pytest.raises(KilledError):
            delete(topics, settings, "event", "event-000007")
    assert files_holding(settings, "event-000007")
    topics.put(reviewed(7))
    topics.sync(settings)
    assert raw_rows(settings, "decisions") == []
    delete(topics, settings, "event", "event-000007")
    assert files_holding(settings, "event-000007") == []


def test_with_another_key_nothing_goes_on(topics: Topics, settings: LedgerSettings) -> None:
    keyed = settings.model_copy(update={"deletion_key": SecretStr("one")})
    topics.put(reviewed(7))
    topics.sync(keyed)
    first = delete(topics, keyed, "event", "event-000007")
    assert "one" not in Path(settings.path, "ledger.json").read_text()
    for other in (settings, settings.model_copy(update={"deletion_key": SecretStr("two")})):
        with pytest.raises(LedgerError, match="TIDEGATE_LEDGER_DELETION_KEY"):
            topics.sync(other)
        with pytest.raises(LedgerError, match="TIDEGATE_LEDGER_DELETION_KEY"):
            delete(topics, other, "event", "event-000008")
    assert delete(topics, keyed, "event", "event-000007").hash == first.hash


def test_hashes_of_two_ledgers_have_nothing_in_common(topics: Topics, tmp_path: Path) -> None:
    hashes = set()
    for name in ("one", "two"):
        ledger = LedgerSettings(path=str(tmp_path / name))
        topics.sync(ledger)
        hashes.add(delete(topics, ledger, "event", "event-000007").hash)
        hashes.add(delete(topics, ledger, "uploader", "event-000007").hash)
    assert len(hashes) == 4


def test_without_a_ledger_there_is_nothing_to_delete_from(topics: Topics, settings: LedgerSettings) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        delete(topics, settings, "event", "event-000007")
    assert not Path(settings.path, "ledger.json").exists()


def test_what_is_too_old_is_let_go_and_stays_away(topics: Topics, settings: LedgerSettings) -> None:
    old, new = audited(0), audited(1, decided_at=START + timedelta(days=25))
    topics.put(old, verdict(old), verdict(old, "fear", hours=24 * 20), new, verdict(new))
    topics.sync(settings)
    done = expire(settings, days=20, now=NOW)
    assert done.before == (NOW - timedelta(days=20)).date()
    assert done.rows == {"decisions": 1, "verdicts": 1, "rejected": 0}
    assert [row["event_id"] for row in raw_rows(settings, "decisions")] == [new.event_id]
    assert len(raw_rows(settings, "verdicts")) == 2
    assert expire(settings, days=20, now=NOW).rows["decisions"] == 0
    topics.put(old)
    assert topics.sync(settings).decisions.expired == 1
    rebuild(topics.kafka, settings)
    assert [row["event_id"] for row in raw_rows(settings, "decisions")] == [new.event_id]
    assert expire(settings, days=400, now=datetime(2026, 12, 1, tzinfo=UTC)).rows["decisions"] == 0
    topics.put(old)
    assert topics.sync(settings).decisions.expired == 1
