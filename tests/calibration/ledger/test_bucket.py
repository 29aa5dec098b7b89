"""The same ledger in an object store, where nothing but the transaction log keeps two writers apart."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from datetime import timedelta

import pyarrow.parquet as pq
import pytest

from calibration.ledger.erasure import Receipt, erase
from calibration.ledger.place import LedgerUnavailableError, Place
from calibration.ledger.reading import Ledger
from calibration.ledger.rebuild import rebuild
from calibration.ledger.tables import compact
from calibration.settings import LedgerSettings
from tests.calibration.ledger.bucket import Bucket
from tests.calibration.ledger.records import START, decision, reviewed, verdict
from tests.calibration.ledger.topics import Topics


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with Bucket() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def settings(bucket: Bucket) -> LedgerSettings:
    return LedgerSettings(path="s3://bucket/some/prefix")


def events(settings: LedgerSettings, view: str = "all_decisions") -> list[str]:
    found = Ledger.open(settings).query(f"SELECT event_id FROM {view} ORDER BY event_id")
    return [str(each) for each in found.column("event_id").to_pylist()]


def holding(bucket: Bucket, text: str) -> list[str]:
    return [
        key
        for key, (content, _) in bucket.objects.items()
        if text.encode() in content
        or (key.endswith(".parquet") and text in repr(pq.read_table(io.BytesIO(content)).to_pylist()))
    ]


def delete(settings: LedgerSettings, event_id: str) -> Receipt:
    topics = {"decisions": "decisions", "verdicts": "verdicts"}
    return erase(settings, "event", event_id, START, topics=topics, retentions={})  # type: ignore[arg-type]


def test_a_ledger_is_kept_asked_deleted_from_and_rebuilt(
    topics: Topics, settings: LedgerSettings, bucket: Bucket
) -> None:
    topics.put(*(reviewed(number) for number in range(30)), *(verdict(number) for number in range(30)))
    topics.sync(settings)
    topics.put(reviewed(3, label="fear"), reviewed(30))
    report = topics.sync(settings)
    assert (report.decisions.added, report.decisions.replaced) == (2, 1)
    assert events(settings) == [reviewed(number).event_id for number in range(31)]
    assert all(key.startswith("some/prefix/") for key in bucket.objects)

    held = holding(bucket, "event-000007")
    assert {key.split("/")[3] for key in held} == {"decisions", "verdicts"}
    receipt = delete(settings, "event-000007")
    assert (receipt.tables["decisions"].rows, receipt.tables["verdicts"].rows) == (1, 1)
    assert holding(bucket, "event-000007") == []
    topics.put(reviewed(7))
    assert topics.sync(settings).decisions.deleted == 1

    rebuild(topics.kafka, settings)
    assert len(events(settings)) == 30
    assert len({key.split("/")[2] for key in bucket.keys("tables-")}) == 1
    assert holding(bucket, "event-000007") == []


def test_two_that_write_at_once_double_nothing(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(*(decision(number) for number in range(120)), *(verdict(number) for number in range(120)))
    topics.put(*(decision(number, label="fear") for number in range(0, 120, 10)))
    small = settings.model_copy(update={"batch_records": 25})
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
    wanted = [decision(number).event_id for number in range(120)]
    assert events(settings) == wanted
    assert events(settings, "all_verdicts") == wanted


def test_what_a_crash_left_waits_for_its_hour(topics: Topics, settings: LedgerSettings, bucket: Bucket) -> None:
    topics.put(reviewed(7), verdict(7))
    topics.sync(settings)
    [held, *_] = holding(bucket, "event-000007")
    orphan = held.rsplit("/", 1)[0] + "/part-00000-left-by-a-crash-c000.zstd.parquet"
    bucket.objects[orphan] = bucket.objects[held]
    receipt = delete(settings, "event-000007")
    assert holding(bucket, "event-000007") == [orphan]
    assert sum(done.files_left for done in receipt.tables.values()) == 1
    compact(settings)
    assert holding(bucket, "event-000007") == [orphan]
    bucket.make_older(timedelta(hours=2))
    compact(settings)
    assert holding(bucket, "event-000007") == []


def test_two_that_change_the_state_at_once_are_told(settings: LedgerSettings, bucket: Bucket, topics: Topics) -> None:
    topics.sync(settings)
    place = Place(settings)
    seen = place.state()
    assert seen is not None
    place.change(seen.model_copy(update={"rebuilding": "tables-a"}), seen)
    with pytest.raises(Exception, match="somebody else has just changed"):
        place.change(seen.model_copy(update={"rebuilding": "tables-b"}), seen)


def test_a_store_that_is_away_is_an_outage(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port}")
    for name, value in (("AWS_ALLOW_HTTP", "true"), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with pytest.raises(LedgerUnavailableError, match="s3://bucket/ledger cannot be used"):
        Place(LedgerSettings(path="s3://bucket/ledger")).check()
