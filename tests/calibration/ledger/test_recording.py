"""Each decision is one row, each verdict one, whatever comes again, dies or cannot be read."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest

from calibration.audit import Audit
from calibration.ledger.following import follow
from calibration.ledger.store import DeltaStore, Offsets
from calibration.ledger.topic import TopicGapError
from calibration.routing import Reason, Route, ShadowRouting
from calibration.settings import LedgerSettings
from tests.calibration.ledger.records import START, audited, decision, reviewed, verdict
from tests.calibration.ledger.topics import PARTITIONS, Topics, ask, raw_rows
from tests.waiting import eventually


def test_a_decision_is_kept_with_what_calibration_needs_of_it(topics: Topics, settings: LedgerSettings) -> None:
    said = audited(
        1,
        uploader_id="uploader-7",
        metadata={"caption": "private words"},
        raw_answer="private words",
        audit=Audit(selected=True, propensity=0.05, would_pass=False),
        shadow=ShadowRouting(gate="g2", route=Route.AUTO_ACCEPT, reason=Reason.CERTIFIED, probability=0.97),
    )
    topics.put(said)
    report = topics.sync(settings)
    assert (report.decisions.read, report.decisions.added, report.verdicts.read) == (1, 1, 0)
    [row] = raw_rows(settings, "decisions")
    assert row["event_id"] == said.event_id
    assert row["day"] == said.decided_at.date()
    assert (row["decided_at"], row["created_at"]) == (said.decided_at, said.created_at)
    assert (row["label"], row["source"], row["taxonomy"]) == (said.label, "app", "emoset-8")
    assert (row["verbal_confidence"], row["label_mass"]) == (said.signals.verbal_confidence, 0.99)
    assert (row["probability"], row["low"], row["high"]) == (0.9, 0.8, 0.95)
    assert (row["route"], row["reason"]) == ("review", "audit")
    assert (row["audit_drawn"], row["audit_rate"], row["would_pass"]) == (True, 0.05, False)
    assert (row["model"], row["prompt"], row["decoder"], row["gate"]) == ("m1", "p1", "d1", "g1")
    assert (row["shadow_gate"], row["shadow_route"], row["shadow_probability"]) == ("g2", "auto_accept", 0.97)
    assert row["uploader_id"] == "uploader-7"
    assert "private words" not in repr(row)


def test_what_is_missing_stays_missing(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(decision(1, label=None, audit=None, probability=None, interval=None, content_sha256=None))
    topics.sync(settings)
    [row] = raw_rows(settings, "decisions")
    absent = {"label", "audit_drawn", "audit_rate", "would_pass", "probability", "low", "shadow_gate", "uploader_id"}
    assert all(row[name] is None for name in absent)


def test_a_second_sync_finds_nothing_new(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(*(decision(number) for number in range(20)), *(verdict(number) for number in range(20)))
    first, second = topics.sync(settings), topics.sync(settings)
    assert (first.decisions.added, first.verdicts.added) == (20, 20)
    assert (second.decisions.read, second.verdicts.read) == (0, 0)
    topics.put(decision(20))
    assert topics.sync(settings).decisions.added == 1
    assert len(raw_rows(settings, "decisions")) == 21


LATER = (timedelta(0), timedelta(minutes=1), timedelta(hours=25), timedelta(days=7))


@pytest.mark.parametrize("together", [True, False])
def test_a_decision_that_comes_again_replaces_its_row(topics: Topics, settings: LedgerSettings, together: bool) -> None:
    topics.put(*(decision(number, label="awe") for number in range(10)))
    if not together:
        topics.sync(settings)
    topics.put(*(decision(number, label="fear", decided_at=START + later) for number, later in enumerate(LATER)))
    report = topics.sync(settings)
    assert (report.decisions.repeated, report.decisions.replaced) == ((4, 0) if together else (0, 4))
    rows = sorted(raw_rows(settings, "decisions"), key=lambda row: str(row["event_id"]))
    assert [row["event_id"] for row in rows] == [decision(number).event_id for number in range(10)]
    assert [(row["label"], row["day"]) for row in rows[:4]] == [("fear", (START + each).date()) for each in LATER]
    assert {row["label"] for row in rows[4:]} == {"awe"}


def test_a_decision_by_a_worker_whose_clock_is_behind_counts_all_the_same(
    topics: Topics, settings: LedgerSettings
) -> None:
    topics.put(decision(1, label="awe", decided_at=START + timedelta(minutes=3)))
    topics.sync(settings)
    topics.put(decision(1, label="fear", decided_at=START - timedelta(minutes=3)))
    topics.sync(settings)
    assert [row["label"] for row in raw_rows(settings, "decisions")] == ["fear"]


def test_a_decision_that_comes_again_after_weeks_is_settled_by_the_view(
    topics: Topics, settings: LedgerSettings
) -> None:
    topics.put(decision(1, label="awe"))
    topics.sync(settings)
    topics.put(decision(1, label="fear", decided_at=START + timedelta(days=20)))
    topics.sync(settings)
    assert len(raw_rows(settings, "decisions")) == 2
    assert ask(settings, "SELECT label FROM decisions") == [{"label": "fear"}]


def test_every_verdict_is_kept(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(*(verdict(1, label, hours) for label, hours in (("awe", 1.0), ("fear", 2.0), ("awe", 1.0))))
    topics.sync(settings)
    assert [row["label"] for row in raw_rows(settings, "verdicts")] == ["awe", "fear", "awe"]


BROKEN = (
    b"{",
    b"",
    b"\xff\xfe",
    b'{"schema_version": 2, "event_id": "e"}',
    b"[1]",
    decision(1).model_copy(update={"event_id": "other"}).model_dump_json().replace('"label":', '"lable":').encode(),
    decision(1).model_dump_json().replace("2026-11-01T", "0001-01-01T").encode(),
    decision(1).model_dump_json().replace('"propensity":0.02', '"propensity":2.0').encode(),
)


def test_records_that_cannot_be_read_are_kept_and_stop_nothing(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(decision(1))
    for value in (*BROKEN, None):
        topics.put_bytes("decisions", value, b"a key")
    topics.put(decision(2))
    report = topics.sync(settings)
    assert (report.decisions.read, report.decisions.added, report.decisions.rejected) == (11, 2, 9)
    rows = raw_rows(settings, "rejected")
    assert [row["value"] for row in rows] == [*BROKEN, None]
    assert {(row["topic"], row["key"]) for row in rows} == {(topics.kafka.topic("decisions"), b"a key")}
    assert len({(row["partition"], row["offset"]) for row in rows}) == 9
    assert all(row["error"] and "event-" not in row["error"] for row in rows)
    assert topics.sync(settings).decisions.read == 0


def test_a_topic_of_nothing_readable_moves_on(topics: Topics, settings: LedgerSettings) -> None:
    for _ in range(5):
        topics.put_bytes("verdicts", b"{")
    assert topics.sync(settings).verdicts.rejected == 5
    assert topics.sync(settings).verdicts.read == 0


def test_unreadable_records_are_kept_once_though_the_storage_failed_after_them(
    topics: Topics, settings: LedgerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.put_bytes("decisions", b"{")
    topics.put(decision(1))
    append = DeltaStore.append

    def fails(store: DeltaStore, rows: object, topic_id: str = "", offsets: Offsets | None = None) -> None:
        if store.name == "decisions":
            raise OSError("the disk is full")
        append(store, rows, topic_id, offsets)

    with monkeypatch.context() as patch:
        patch.setattr(DeltaStore, "append", fails)
        with pytest.raises(OSError, match="the disk is full"):
            topics.sync(settings)
    assert len(raw_rows(settings, "rejected")) == 1
    assert raw_rows(settings, "decisions") == []
    topics.put_bytes("decisions", b"[")
    topics.sync(settings)
    assert [row["value"] for row in raw_rows(settings, "rejected")].count(b"{") == 1
    assert len(raw_rows(settings, "rejected")) == 2
    assert len(raw_rows(settings, "decisions")) == 1


def test_a_topic_that_was_made_anew_is_not_taken_for_the_old_one(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(*(decision(number) for number in range(30)))
    topics.sync(settings)
    topics.recreate("decisions")
    topics.put(*(decision(number, label="fear") for number in range(28, 32)))
    with pytest.raises(TopicGapError, match="made anew"):
        topics.sync(settings)
    report = topics.sync(settings, accept_gap=True)
    assert (report.decisions.read, report.decisions.replaced) == (4, 2)
    assert len(raw_rows(settings, "decisions")) == 32
    assert topics.sync(settings).decisions.read == 0


def test_two_that_sync_at_once_double_nothing(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(*(decision(number) for number in range(300)), *(verdict(number) for number in range(300)))
    small = settings.model_copy(update={"batch_records": 40})
    errors: list[BaseException] = []

    def work() -> None:
        try:
            topics.sync(small)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for name in ("decisions", "verdicts"):
        assert [row["event_id"] for row in raw_rows(settings, name)] == [decision(n).event_id for n in range(300)]


SYNC = """
import sys
from calibration.ledger.following import sync
from calibration.settings import KafkaSettings, LedgerSettings
print("ready", flush=True)
sync(KafkaSettings(bootstrap_servers=sys.argv[1], topic_prefix=sys.argv[2]),
     LedgerSettings(path=sys.argv[3], batch_records=7))
"""


def killed_and_restarted(topics: Topics, settings: LedgerSettings, kills: int, events: int, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(events):
        topics.put(decision(number, label="awe"), verdict(number))
        if number % 5 == 0:  # it comes again, and something unreadable with it
            topics.put(decision(number, label="fear", decided_at=START + timedelta(days=number % 7)))
            topics.put_bytes("decisions", b"{%d" % number)
    command = [sys.executable, "-c", SYNC, topics.kafka.bootstrap_servers, topics.kafka.topic_prefix, settings.path]
    killed = 0
    for _ in range(kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0.3, 1.2))  # somewhere between connecting and the end
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
    assert killed > 0
    topics.sync(settings)
    decisions, verdicts = raw_rows(settings, "decisions"), raw_rows(settings, "verdicts")
    wanted = [decision(number).event_id for number in range(events)]
    assert [row["event_id"] for row in decisions] == wanted
    assert [row["event_id"] for row in verdicts] == wanted
    assert [row["label"] for row in decisions] == ["fear" if n % 5 == 0 else "awe" for n in range(events)]
    assert sorted(row["value"] for row in raw_rows(settings, "rejected")) == sorted(
        b"{%d" % number for number in range(0, events, 5)
    )


def test_a_sync_that_is_killed_again_and_again_loses_and_doubles_nothing(
    topics: Topics, settings: LedgerSettings
) -> None:
    killed_and_restarted(topics, settings, kills=2, events=150, seed=1)


@pytest.mark.heavy
def test_a_sync_that_is_killed_twenty_times(topics: Topics, settings: LedgerSettings) -> None:
    killed_and_restarted(topics, settings, kills=20, events=2_000, seed=2)


def test_following_commits_while_it_runs_and_what_is_left_when_it_stops(
    topics: Topics, settings: LedgerSettings
) -> None:
    stop = threading.Event()
    follower = threading.Thread(
        target=follow, args=(topics.kafka, settings.model_copy(update={"interval_s": 0.2}), stop), daemon=True
    )
    topics.put(reviewed(0))
    follower.start()

    def rows() -> int:
        return len(raw_rows(settings, "decisions")) if (ready(settings)) else 0

    eventually(lambda: rows() == 1)
    topics.put(*(reviewed(number) for number in range(1, 10)))
    eventually(lambda: rows() == 10)
    stop.set()
    follower.join(10)
    assert not follower.is_alive()


def ready(settings: LedgerSettings) -> bool:
    from deltalake import DeltaTable

    from calibration.ledger.place import Place

    state = Place(settings).state()
    return state is not None and DeltaTable.is_deltatable(Place(settings).uri(state.tables, "decisions"))


def test_partitions_keep_their_own_offsets(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(*(decision(number) for number in range(60)))
    topics.sync(settings)
    partitions = {row["partition"] for row in raw_rows(settings, "decisions")}
    assert partitions == set(range(PARTITIONS))
