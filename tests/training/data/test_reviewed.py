"""Verdicts in a real ledger, decisions and events on a real broker, images in a store and on the web: training data."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from calibration.settings import KafkaSettings, LedgerSettings
from review.task import KeyReference, Reasoning, RecordPosition, RecordReference, UrlReference
from tests.calibration.ledger.records import START, reviewed, verdict
from tests.calibration.ledger.topics import Topics
from tests.system.cluster import Cluster
from tests.training.data.files import photo
from training.data.cli import prepare
from training.data.drops import DataError, Dropped, DropReason
from training.data.item import ImageFile, Item
from training.data.positions import records_at
from training.data.prepared import read_prepared
from training.data.reviewed import read_reviewed
from worker.events import Decision
from worker.settings import IntakeSettings

REASONING = Reasoning(element="a hill", human="nobody", context="dusk", interaction="none", analysis="it is grand")


def jpeg(number: int) -> bytes:
    with io.BytesIO() as file:
        photo(number).save(file, "JPEG")
        return file.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Platform:
    """Where images are, and the topics and ledger that speak of them."""

    def __init__(self, topics: Topics, folder: Path) -> None:
        self.topics = topics
        self.kafka = topics.kafka
        self.ledger = LedgerSettings(path=str(folder / "ledger"))
        self.store = folder / "store"
        self.store.mkdir()
        handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
        self.web = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=str(self.store)))
        self.intake = IntakeSettings(
            object_store=f"file://{self.store}",
            allowed_hosts=("127.0.0.1",),
            allow_private_addresses=True,
            fetch_attempts=1,
        )

    def stored(self, number: int, **changes: Any) -> Decision:
        """A decision of label "awe" on an image in the object store."""
        (self.store / f"{number}.jpg").write_bytes(jpeg(number))
        fields = {
            "image": KeyReference(key=f"{number}.jpg"),
            "content_sha256": sha256(jpeg(number)),
            "label": "awe",
            "reasoning": REASONING,
        }
        return reviewed(number, **fields | changes)

    def event(self, event_id: str, image: bytes) -> RecordPosition:
        """Send an event with its image inside; where it stands."""
        topic = self.kafka.topic("images")
        event = {
            "event_id": event_id,
            "image": {"data": base64.b64encode(image).decode()},
            "taxonomy": "emoset-8",
            "created_at": START.isoformat(),
        }
        with Cluster(self.kafka.bootstrap_servers) as cluster:
            sent = cluster.producer().send(topic, json.dumps(event).encode(), partition=0).get(10)
        return RecordPosition(topic=topic, partition=0, offset=sent.offset)

    def read(self, folder: Path) -> tuple[dict[str, Item], dict[str, Dropped]]:
        """Items and drops by the number of their event."""
        self.topics.sync(self.ledger)
        folder.mkdir(exist_ok=True)
        out = read_reviewed(self.ledger, self.kafka, self.intake, folder)
        return (
            {str(int(item.item_id.removeprefix("event:event-"))): item for item in out.items},
            {str(int(drop.where.removeprefix("event:event-"))): drop for drop in out.dropped},
        )


@pytest.fixture
def platform(kafka_settings: KafkaSettings, tmp_path: Path) -> Iterator[Platform]:
    with Topics(kafka_settings) as topics:
        topics.create("images", 1)
        made = Platform(topics, tmp_path)
        thread = Thread(target=made.web.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        made.web.shutdown()
        thread.join()
        made.web.server_close()


def test_the_verdicts_label_counts_and_reasoning_goes_along_only_if_it_led_there(
    platform: Platform, tmp_path: Path
) -> None:
    agreed, corrected = platform.stored(1), platform.stored(2)
    # Decided once more, with another label: the ledger keeps both decisions only if the second one came much later.
    soon, late = platform.stored(3), platform.stored(4)
    redecided = [
        platform.stored(3, decided_at=soon.decided_at + timedelta(days=1), label="fear", reasoning=None),
        platform.stored(4, decided_at=late.decided_at + timedelta(days=20), label="fear", reasoning=None),
    ]
    platform.topics.put(agreed, corrected, soon, late)
    for decision in redecided:
        platform.topics.sync(platform.ledger)
        platform.topics.put(decision)
    platform.topics.put(verdict(agreed, "awe"), verdict(corrected, "fear"), verdict(soon, "awe"), verdict(late, "awe"))
    items, dropped = platform.read(tmp_path / "out")
    assert dropped == {}
    assert {number: (item.label, item.reasoning) for number, item in items.items()} == {
        "1": ("awe", REASONING),
        "2": ("fear", None),
        "3": ("awe", None),
        "4": ("awe", REASONING),
    }
    assert items["1"].image == ImageFile(path=Path("images") / f"{sha256(jpeg(1))}.jpg")
    assert (tmp_path / "out" / "images" / f"{sha256(jpeg(1))}.jpg").read_bytes() == jpeg(1)


def test_images_come_from_the_web_and_from_inside_events_too(platform: Platform, tmp_path: Path) -> None:
    (platform.store / "web.jpg").write_bytes(jpeg(1))
    port = platform.web.server_address[1]
    on_the_web = platform.stored(1, image=UrlReference(url=f"http://127.0.0.1:{port}/web.jpg"))
    inside = platform.stored(2, image=RecordReference(record=platform.event("event-000002", jpeg(2))))
    somebody_elses = platform.stored(3, image=RecordReference(record=platform.event("event-x", jpeg(3))))
    beyond = RecordPosition(topic=platform.kafka.topic("images"), partition=0, offset=99)
    gone = platform.stored(4, image=RecordReference(record=beyond))
    decisions = (on_the_web, inside, somebody_elses, gone)
    platform.topics.put(*decisions, *(verdict(each, "awe") for each in decisions))
    items, dropped = platform.read(tmp_path / "out")
    assert {number: (tmp_path / "out" / _path(item)).read_bytes() for number, item in items.items()} == {
        "1": jpeg(1),
        "2": jpeg(2),
    }
    assert {number: drop.reason for number, drop in dropped.items()} == {
        "3": DropReason.IMAGE_UNREACHABLE,
        "4": DropReason.IMAGE_UNREACHABLE,
    }


def _path(item: Item) -> Path:
    assert isinstance(item.image, ImageFile)
    return item.image.path


def test_what_is_no_clear_truth_or_not_to_be_had_is_dropped_with_a_reason(platform: Platform, tmp_path: Path) -> None:
    good, unsure, disputed, undecided, changed, missing = (platform.stored(number) for number in range(1, 7))
    (platform.store / "5.jpg").write_bytes(jpeg(99))
    (platform.store / "6.jpg").unlink()
    forbidden = platform.stored(7, image=UrlReference(url="http://example.com/7.jpg"))
    page_bytes = b"<html>not found</html>"
    (platform.store / "8.jpg").write_bytes(page_bytes)
    a_page = platform.stored(9, image=KeyReference(key="8.jpg"), content_sha256=sha256(page_bytes))
    platform.topics.put(good, unsure, disputed, undecided, changed, missing, forbidden, a_page)
    platform.topics.put(
        verdict(good, "awe"),
        verdict(unsure, None),
        verdict(disputed, "awe", 1),
        verdict(disputed, "fear", 2),
        verdict(undecided, None, 1),
        verdict(undecided, "fear", 2),
        verdict(changed, "awe"),
        verdict(missing, "awe"),
        verdict(forbidden, "awe"),
        verdict(a_page, "awe"),
        verdict(50, "awe"),  # its decision never came
    )
    items, dropped = platform.read(tmp_path / "out")
    assert list(items) == ["1"]
    assert {number: drop.reason for number, drop in dropped.items()} == {
        "2": DropReason.CANNOT_TELL,
        "3": DropReason.DISPUTED,
        "4": DropReason.DISPUTED,
        "5": DropReason.IMAGE_CHANGED,
        "6": DropReason.IMAGE_UNREACHABLE,
        "7": DropReason.IMAGE_UNREACHABLE,
        "9": DropReason.IMAGE_UNUSABLE,
        "50": DropReason.DECISION_GONE,
    }
    assert "the host example.com is not in TIDEGATE_INTAKE_ALLOWED_HOSTS" in dropped["7"].what


def test_decisions_of_a_topic_that_was_made_anew_are_gone(platform: Platform, tmp_path: Path) -> None:
    old = platform.stored(1)
    platform.topics.put(old, verdict(old, "awe"))
    platform.topics.sync(platform.ledger)
    platform.topics.recreate("decisions")
    platform.topics.put(platform.stored(2))
    out = read_reviewed(platform.ledger, platform.kafka, platform.intake, tmp_path)
    assert [drop.reason for drop in out.dropped] == [DropReason.DECISION_GONE]


def test_prepare_makes_a_folder_of_the_ledger(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = [platform.stored(number) for number in range(12)]
    platform.topics.put(*decisions, *(verdict(each, "awe") for each in decisions))
    platform.topics.sync(platform.ledger)
    for name, value in {
        "KAFKA_BOOTSTRAP_SERVERS": platform.kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": platform.kafka.topic_prefix,
        "LEDGER_PATH": platform.ledger.path,
        "INTAKE_OBJECT_STORE": f"file://{platform.store}",
    }.items():
        monkeypatch.setenv(f"TIDEGATE_{name}", value)
    app = typer.Typer()
    app.command()(prepare)
    done = CliRunner().invoke(app, ["--out", str(tmp_path / "data"), "--ledger", "--processes", "1"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kept"] == 12
    prepared = read_prepared(tmp_path / "data")
    items = [item for items in prepared.items.values() for item in items]
    assert {item.item_id for item in items} == {f"event:event-{number:06}" for number in range(12)}
    assert all((prepared.folder / _path(item)).is_file() for item in items)


def test_what_is_missing_altogether_is_said(platform: Platform, tmp_path: Path, free_port: int) -> None:
    with pytest.raises(DataError, match=r"there is no ledger at .*TIDEGATE_LEDGER_PATH"):
        read_reviewed(platform.ledger, platform.kafka, platform.intake, tmp_path)
    said = platform.stored(1)
    platform.topics.put(said, verdict(said, "awe"))
    platform.topics.sync(platform.ledger)
    lost = platform.intake.model_copy(update={"object_store": "file:///no/such/store"})
    with pytest.raises(DataError, match=r"cannot be fetched: the object store file:///no/such/store"):
        read_reviewed(platform.ledger, platform.kafka, lost, tmp_path)


def test_kafka_away_is_an_error_and_no_drop(
    platform: Platform, tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calibration.ledger.topic._BOOTSTRAP_MS", 500)
    said = platform.stored(1)
    platform.topics.put(said, verdict(said, "awe"))
    platform.topics.sync(platform.ledger)
    away = platform.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port}"})
    with pytest.raises(DataError, match="does not give the decisions that say where reviewed images are"):
        read_reviewed(platform.ledger, away, platform.intake, tmp_path)


def test_records_far_apart_and_close_together_are_found(kafka_settings: KafkaSettings) -> None:
    with Cluster(kafka_settings.bootstrap_servers) as cluster:
        topic = cluster.topic(2)
        values = cluster.fill(topic, 2000)
        cluster.fill(topic, 10, partition=1)
    wanted = [RecordPosition(topic=topic, partition=0, offset=n) for n in (0, 1, 400, 1999, 5000)]
    wanted += [RecordPosition(topic=topic, partition=1, offset=9)]
    wanted += [RecordPosition(topic=topic, partition=7, offset=0), RecordPosition(topic="none", partition=0, offset=0)]
    found = {(position.partition, position.offset): value for position, value in records_at(kafka_settings, wanted)}
    assert found == {(0, n): values[n] for n in (0, 1, 400, 1999)} | {(1, 9): b"9"}
