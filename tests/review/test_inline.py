"""`tidegate review image`: what a moderator can look at without the console."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from calibration.settings import KafkaSettings
from review.cli import app
from review.queue import ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from review.task import KeyReference, RecordPosition, RecordReference
from tests.review.tasks import make_task

CONTENT = bytes(range(256))


@pytest.fixture
def position(kafka_settings: KafkaSettings) -> RecordPosition:
    """Of a record that holds an image; the one after it holds none."""
    producer = KafkaProducer(**kafka_settings.connection())
    topic = kafka_settings.topic("images")
    event = {"image": {"data": base64.urlsafe_b64encode(CONTENT).decode()}}
    sent = producer.send(topic, json.dumps(event).encode(), partition=0).get(10)
    producer.send(topic, b"not json", partition=0).get(10)
    producer.close()
    return RecordPosition(topic=topic, partition=0, offset=sent.offset)


def save(
    monkeypatch: pytest.MonkeyPatch,
    valkey: ValkeySettings,
    kafka: KafkaSettings,
    image: RecordReference | KeyReference,
    to: Path,
) -> tuple[int, str]:
    monkeypatch.setenv("TIDEGATE_VALKEY_URL", valkey.url)
    monkeypatch.setenv("TIDEGATE_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)

    async def put() -> None:
        queue = ReviewQueue(valkey, ReviewSettings())
        await queue.put(make_task("event-1").model_copy(update={"image": image}))
        await queue.close()

    asyncio.run(put())
    run = CliRunner().invoke(app, ["image", "event-1", str(to)])
    return run.exit_code, run.output


def test_an_image_inside_its_event_is_written_to_a_file(
    monkeypatch: pytest.MonkeyPatch,
    valkey_settings: ValkeySettings,
    kafka_settings: KafkaSettings,
    position: RecordPosition,
    tmp_path: Path,
) -> None:
    file = tmp_path / "event-1"
    code, _ = save(monkeypatch, valkey_settings, kafka_settings, RecordReference(record=position), file)
    assert code == 0
    assert file.read_bytes() == CONTENT


def test_a_record_without_an_image_and_an_image_elsewhere_are_said_so(
    monkeypatch: pytest.MonkeyPatch,
    valkey_settings: ValkeySettings,
    kafka_settings: KafkaSettings,
    position: RecordPosition,
    tmp_path: Path,
) -> None:
    file = tmp_path / "event-1"
    other = position.model_copy(update={"offset": position.offset + 1})
    code, said = save(monkeypatch, valkey_settings, kafka_settings, RecordReference(record=other), file)
    assert code == 1
    assert "holds no image" in said


def test_an_image_in_the_object_store_is_named(
    monkeypatch: pytest.MonkeyPatch, valkey_settings: ValkeySettings, kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    code, said = save(monkeypatch, valkey_settings, kafka_settings, KeyReference(key="2026/1.jpg"), tmp_path / "x")
    assert code == 1
    assert "object 2026/1.jpg" in said
