"""What strangers send: each event ends as documented, and its neighbours do not notice."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from PIL import Image

from calibration.gate import Reason
from calibration.outcome import ParseStatus
from review.task import KeyReference
from review.verdicts import VerdictWriter, give_verdict
from tests.system.plant import END_S, Plant, bitmap, image_event
from tests.worker.intake.pictures import encode, picture, png
from worker.app import ExitCode
from worker.engine.scripted import Card, Faults, Script
from worker.events import DeadLetter, DeadLetterReason, Decision

pytestmark = pytest.mark.system

ANY_SHARE = {"STREAM_DEAD_LETTER_SHARE": "1"}


def _event(**changes: Any) -> bytes:
    fields = image_event(0).model_dump(mode="json") | {"event_id": "odd"} | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


UNUSABLE: dict[str, tuple[bytes | None, DeadLetterReason]] = {
    "no JSON": (b"{", DeadLetterReason.BAD_JSON),
    "not text": (b"\xff\xfe\x00", DeadLetterReason.BAD_JSON),
    "a tombstone": (None, DeadLetterReason.BAD_JSON),
    "a list": (b"[]", DeadLetterReason.INVALID_EVENT),
    "another version": (_event(schema_version=2), DeadLetterReason.UNKNOWN_SCHEMA_VERSION),
    "no image": (_event(image=None), DeadLetterReason.INVALID_EVENT),
    "two images": (_event(image={"key": "a", "url": "https://example.com/a"}), DeadLetterReason.INVALID_EVENT),
    "an id with spaces": (_event(event_id="a b"), DeadLetterReason.INVALID_EVENT),
    "another taxonomy": (_event(taxonomy="moods"), DeadLetterReason.UNKNOWN_TAXONOMY),
    "over 1 MB": (_event(metadata={"note": "x" * 1_000_000}), DeadLetterReason.EVENT_TOO_LARGE),
    "a host that is not allowed": (_event(image={"url": "https://example.com/a"}), DeadLetterReason.ADDRESS_FORBIDDEN),
    "a key that is not there": (_event(image={"key": "none.png"}), DeadLetterReason.IMAGE_NOT_FOUND),
    "a key that climbs": (_event(image={"key": "../secret"}), DeadLetterReason.ADDRESS_FORBIDDEN),
    "text for an image": (
        image_event(0, b"hello").model_dump_json().encode(),
        DeadLetterReason.IMAGE_UNSUPPORTED,
    ),
    "half an image": (
        image_event(0, encode(picture(), "JPEG")[:500]).model_dump_json().encode(),
        DeadLetterReason.IMAGE_UNDECODABLE,
    ),
    "a long strip": (
        image_event(0, encode(Image.new("L", (2100, 10)), "PNG")).model_dump_json().encode(),
        DeadLetterReason.IMAGE_LIMITS,
    ),
}


async def test_unusable_events_become_dead_letters_as_they_were_sent(plant: Plant, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "here.png").write_bytes(encode(picture(), "PNG"))
    places = {}
    for name, (value, _) in UNUSABLE.items():
        places[name] = await asyncio.to_thread(plant.send, value, [("trace", name.encode())], b"key")
        await plant.feed(1)
    await plant.feed_events([image_event(900, image={"key": "here.png"})])
    worker = await plant.start(settings=ANY_SHARE | {"INTAKE_OBJECT_STORE": (tmp_path / "store").as_uri()})
    await plant.until_outcomes()
    assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)

    for name, (value, reason) in UNUSABLE.items():
        (letter,) = plant.account.outcomes[places[name]]
        assert isinstance(letter, DeadLetter)
        assert (name, letter.reason) == (name, reason)
        assert (letter.position.topic, letter.original) == (plant.kafka.topic("images"), value or b"")
    letters = [each for each in plant.account.all if isinstance(each, DeadLetter)]
    assert len(letters) == len(UNUSABLE), "a neighbour was unusable too"
    records = await asyncio.to_thread(_dead_letters, plant, len(letters))
    assert sorted(dict(record.headers)["trace"].decode() for record in records) == sorted(UNUSABLE)


def _dead_letters(plant: Plant, count: int) -> list[Any]:
    topic = plant.kafka.topic("dead-letters")
    consumer = KafkaConsumer(bootstrap_servers=plant.kafka.bootstrap_servers, auto_offset_reset="earliest")
    try:
        consumer.assign([TopicPartition(topic, each) for each in consumer.partitions_for_topic(topic)])
        records: list[Any] = []
        while len(records) < count:
            records += [record for batch in consumer.poll(100).values() for record in batch]
        return records
    finally:
        consumer.close()


@dataclass(frozen=True)
class Odd:
    """An image that is odd and usable."""

    data: bytes
    flags: tuple[str, ...] = ()
    read: bool = True
    """Whether the engine is asked at all."""


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(picture(), "JPEG", exif=exif)


ODD = {
    "cmyk": Odd(encode(picture(mode="CMYK"), "JPEG")),
    "animated": Odd(encode(picture(), "GIF", save_all=True, append_images=[picture(mode="L")]), ("animated",)),
    "sixteen-bits": Odd(png(28, 28, 16, 0, b"".join(b"\0" + bytes(range(200, 256)) for _ in range(28)))),
    "turned": Odd(_turned()),
    "transparent": Odd(encode(picture(mode="RGBA"), "WEBP")),
    "blank": Odd(encode(Image.new("RGB", (64, 64), "white"), "PNG"), ("blank",), read=False),
    "tiny": Odd(encode(picture(5, 5), "PNG"), ("tiny",), read=False),
}


async def test_odd_images_are_read_or_go_to_a_person(plant: Plant) -> None:
    await plant.feed_events([image_event(0, odd.data, event_id=name) for name, odd in ODD.items()])
    worker = await plant.start()
    await plant.until_outcomes()
    assert await worker.metric("tidegate_readings_total") == sum(odd.read for odd in ODD.values())
    assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)
    for name, odd in ODD.items():
        decision = plant.account.of(name)
        assert isinstance(decision, Decision), f"{name}: {decision}"
        assert (name, decision.image_flags) == (name, odd.flags)
        assert decision.signals.parse_status is (ParseStatus.OK if odd.read else ParseStatus.NOT_READ)
        assert (decision.reason is Reason.UNSURE_IMAGE) is not odd.read


async def test_images_of_an_object_store_pass_through_a_single_place_in_memory(plant: Plant, tmp_path: Path) -> None:
    """Whatever becomes of an image, it gives its place back: otherwise this worker would stand still."""
    store = tmp_path / "store"
    store.mkdir()
    for number in range(6):
        (store / f"{number}.bmp").write_bytes(bitmap(number))
    (store / "6.bmp").write_bytes(bitmap(0))  # a duplicate
    (store / "7.bmp").write_bytes(b"BM broken")
    keys = [KeyReference(key=f"{number % 9}.bmp") for number in range(36)]  # 8.bmp does not exist
    await plant.feed_events([image_event(number, image=key) for number, key in enumerate(keys)])
    worker = await plant.start(
        Script(card=Card(latency_s=0.3)),
        {"INTAKE_OBJECT_STORE": store.as_uri(), "INTAKE_FETCH_CONCURRENCY": "1", "INTAKE_DECODE_PROCESSES": "1"},
    )
    await plant.until_outcomes()
    assert await worker.metric("tidegate_readings_total") == 6
    assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)
    letters = [each.reason for each in plant.account.all if isinstance(each, DeadLetter)]
    assert sorted(letters) == [DeadLetterReason.IMAGE_NOT_FOUND] * 4 + [DeadLetterReason.IMAGE_UNDECODABLE] * 4


async def test_answers_that_do_not_parse_are_asked_for_once_more_and_refusals_are_dead_letters(plant: Plant) -> None:
    await plant.feed(100)
    worker = await plant.start(Script(faults=Faults(unparsable=0.3, rejected=0.2)))
    await plant.until_outcomes()
    decisions = [each for each in plant.account.all if isinstance(each, Decision)]
    letters = [each for each in plant.account.all if isinstance(each, DeadLetter)]
    constrained = sum(each.constrained for each in decisions)
    assert constrained
    assert await worker.metric("tidegate_readings_total", constrained="true") == constrained
    assert await worker.metric("tidegate_readings_total", status="missing_tag") == constrained
    assert await worker.metric("tidegate_dead_letters_total", reason="engine_rejected") == len(letters)
    assert {each.reason for each in letters} == {DeadLetterReason.ENGINE_REJECTED}
    assert all(each.signals.parse_status is ParseStatus.OK for each in decisions)
    assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)


@pytest.mark.apache
async def test_a_decision_that_its_topic_does_not_take_is_a_dead_letter(apache_plant: Plant) -> None:
    """As where topics were made with smaller limits than declared. It must not stop one worker after the other."""
    plant = apache_plant
    admin = KafkaAdminClient(bootstrap_servers=plant.kafka.bootstrap_servers)
    topics = [plant.kafka.topic(name) for name in ("decisions", "dead-letters")]
    small = {"max.message.bytes": "20000"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, small) for topic in topics])
    admin.close()
    await plant.feed(20)
    await plant.feed_events([image_event(100, metadata={"note": "x" * 50_000})])
    await plant.feed(20)
    worker = await plant.start(settings={"GATE_UNCERTIFIED_THRESHOLD": "0", "GATE_AUDIT_RATE": "0"})
    await plant.until_outcomes()
    assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=True)
    letter = plant.account.of("event-100")
    assert isinstance(letter, DeadLetter)
    assert letter.reason is DeadLetterReason.EVENT_TOO_LARGE
    assert "no room for its decision" in letter.detail
    assert "original left out" in letter.detail


async def test_a_stream_of_bad_events_stops_the_worker_before_the_topic_is_drained(plant: Plant) -> None:
    bad = 300
    await plant.feed(10)
    await plant.feed_events(image_event(number, taxonomy="moods") for number in range(10, 10 + bad))
    worker = await plant.start(settings={"STREAM_WINDOW_EVENTS": "32"})
    assert await worker.wait(END_S) == ExitCode.DEAD_LETTERS
    (last,) = worker.logged("stopped")
    assert last["meaning"] == "dead_letters"
    assert "mend the producer" in last["error"]
    assert sum((await plant.check_committed()).values()) == len(plant.account.outcomes) < bad / 2

    patient = await plant.start(settings=ANY_SHARE)
    await plant.until_outcomes()
    assert await patient.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)


async def test_identical_images_are_read_once(plant: Plant) -> None:
    """Also when they come at the same time: the second waits for the first."""
    await plant.feed_events(image_event(number, bitmap(0)) for number in range(40))
    worker = await plant.start(Script(card=Card(latency_s=0.5)))
    await plant.until_outcomes()
    assert await worker.metric("tidegate_readings_total") == 1
    assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)
    decisions = [each for each in plant.account.all if isinstance(each, Decision)]
    assert sorted(each.cached for each in decisions) == [False] + [True] * 39
    assert len({(each.label, each.content_sha256) for each in decisions}) == 1


async def test_an_event_that_is_sent_twice_has_one_task(plant: Plant) -> None:
    events = [image_event(number) for number in range(20)]
    await plant.feed_events(events * 2)
    worker = await plant.start(settings={"GATE_UNCERTIFIED_THRESHOLD": ""})
    await plant.until_outcomes()
    assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)
    assert (await plant.queue.figures()).depth == 20


async def test_an_event_that_comes_again_after_its_verdict_stays_decided(plant: Plant) -> None:
    to_review = {"GATE_UNCERTIFIED_THRESHOLD": ""}
    await plant.feed(10)
    first = await plant.start(settings=to_review)
    await plant.until_outcomes()
    assert await first.stop(END_S) == ExitCode.DRAINED
    writer = VerdictWriter(plant.kafka)
    decided = []
    for _ in range(4):
        claim = await plant.queue.claim("ada")
        assert claim is not None
        await give_verdict(plant.queue, writer, claim.task.event_id, claim.lease.token, claim.task.labels[0])
        decided.append(claim.task.event_id)
    writer.close()
    held = await plant.queue.claim("grace")
    assert held is not None

    await asyncio.to_thread(plant.rewind)
    second = await plant.start(settings=to_review)
    await plant.until(lambda: plant.account.repeats == 10)
    assert await second.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=True, decided=decided)
    (still,) = await plant.queue.claimed()
    assert (still.event_id, still.lease) == (held.task.event_id, held.lease)
