"""What moderators said, as training data: the ledger's verdicts, with the images they were about.

The ledger says which events have a verdict that counts, and where each one's decision stands in Kafka; the decision
says where the image is, and what the model wrote of it. So only events can be had whose decision the topic still keeps,
and, where the image travelled inside its event, whose event it does. What was erased from the ledger is not read.

The label is the verdict's. The model's reasoning goes with it only where it led to that label.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka.errors import KafkaError
from pydantic import ValidationError

from calibration.ledger.place import LedgerError
from calibration.ledger.reading import Ledger
from calibration.ledger.topic import identify
from calibration.settings import KafkaSettings, LedgerSettings
from review.task import KeyReference, Reasoning, RecordPosition, RecordReference, UrlReference
from training.data.drops import DataError, DropReason, ReadOut, UnusableRecordError
from training.data.item import ImageFile, Item
from training.data.positions import records_at
from worker.events import Decision, ImageEvent, InlineImage, UnusableEventError
from worker.intake.source import ImageRefusedError, ImageSources, IntakeError
from worker.settings import IntakeSettings

IMAGES = "images"
"""The folder, inside the one of the items, of images that were fetched."""
_AT_A_TIME = 16
_VERDICTS = """
    SELECT v.event_id, v.taxonomy, v.label, v.given, v.contradicted, v.decided_label, d.topic_id,
        d."partition", d."offset", d.content_sha256,
        coalesce(d.decided_at = v.decided_at AND d.gate = v.gate, FALSE) AS reviewed
    FROM verdicts v LEFT JOIN all_decisions d ON d.event_id = v.event_id
    QUALIFY row_number() OVER (
        PARTITION BY v.event_id ORDER BY reviewed DESC, d.decided_at DESC NULLS LAST, d."offset" DESC) = 1
    ORDER BY v.event_id"""


@dataclass(frozen=True, slots=True)
class _Event:
    """An event with a label, and what its decision says."""

    event_id: str
    taxonomy: str
    label: str
    image: UrlReference | KeyReference | RecordReference
    content_sha256: str | None
    """Of the bytes that were reviewed."""
    reasoning: Reasoning | None


def read_reviewed(
    ledger: LedgerSettings,
    kafka: KafkaSettings,
    intake: IntakeSettings,
    folder: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> ReadOut:
    """An item for each event with an undisputed label whose image can be had, by event id.

    Images are fetched as the worker fetches them, and kept as `folder/images/<sha256>.<suffix>`; the paths of the items
    start at `folder`.

    Args:
        report: gets how many images were fetched, and of how many.

    Raises:
        DataError: there is no ledger, Kafka does not answer, or the object store cannot be used.
    """
    dropped: dict[str, UnusableRecordError] = {}
    try:
        rows: list[dict[str, Any]] = Ledger.open(ledger).query(_VERDICTS).to_pylist()
        events = list(_events(kafka, rows, dropped))
        (folder / IMAGES).mkdir(exist_ok=True)
        images = _Images(folder, intake, len(events), report)
        images.take_inline(kafka, events, dropped)
        asyncio.run(images.fetch(events, dropped))
    except LedgerError as error:
        raise DataError(f"{error}. TIDEGATE_LEDGER_PATH says where the ledger lies") from error
    except KafkaError as error:
        raise DataError(
            f"{kafka.bootstrap_servers} does not give the decisions that say where reviewed images are ({error!r}): "
            "check TIDEGATE_KAFKA_BOOTSTRAP_SERVERS and TIDEGATE_KAFKA_TOPIC_PREFIX"
        ) from error
    except IntakeError as error:
        raise DataError(f"reviewed images cannot be fetched: {error}") from error
    items = [
        Item(
            item_id=_where(event.event_id),
            image=ImageFile(path=images.paths[event.event_id]),
            content=str(images.paths[event.event_id]),
            taxonomy=event.taxonomy,
            label=event.label,
            reasoning=event.reasoning,
        )
        for event in sorted(events, key=lambda event: event.event_id)
        if event.event_id in images.paths
    ]
    return ReadOut(tuple(items), tuple(error.at(_where(event_id)) for event_id, error in sorted(dropped.items())))


def _events(
    kafka: KafkaSettings, rows: Sequence[Mapping[str, Any]], dropped: dict[str, UnusableRecordError]
) -> Iterator[_Event]:
    """Those with one label whose decision is still there."""
    wanted: dict[RecordPosition, Mapping[str, Any]] = {}
    topic = kafka.topic("decisions")
    present = identify(kafka, "decisions").topic_id if rows else None
    for row in rows:
        if row["contradicted"]:
            what = f"{row['given']} verdicts that differ"
            dropped[row["event_id"]] = UnusableRecordError(DropReason.DISPUTED, what)
        elif row["label"] is None:
            what = "the moderator could not tell"
            dropped[row["event_id"]] = UnusableRecordError(DropReason.CANNOT_TELL, what)
        elif row["topic_id"] != present:
            dropped[row["event_id"]] = _gone(f"its decision is not on the topic {topic} as it is now")
        else:
            position = RecordPosition(topic=topic, partition=row["partition"], offset=row["offset"])
            wanted[position] = row
    for position, value in records_at(kafka, wanted):
        row = wanted.pop(position)
        try:
            said = Decision.model_validate_json(value)
        except ValidationError as error:
            dropped[row["event_id"]] = _gone(f"its decision has {error.error_count()} fields that cannot be read")
            continue
        if said.event_id != row["event_id"]:
            dropped[row["event_id"]] = _gone("another decision stands where the ledger saw its own")
            continue
        argued = row["reviewed"] and row["label"] == row["decided_label"] == said.label
        yield _Event(
            event_id=said.event_id,
            taxonomy=row["taxonomy"],
            label=row["label"],
            image=said.image,
            content_sha256=said.content_sha256,
            reasoning=said.reasoning if argued else None,
        )
    for row in wanted.values():
        dropped[row["event_id"]] = _gone("its decision is older than what the topic keeps")


class _Images:
    """The images of events, as files."""

    def __init__(self, folder: Path, intake: IntakeSettings, total: int, report: Callable[[int, int], None]) -> None:
        self.paths: dict[str, Path] = {}
        """By event, from the folder of the items."""
        self._folder = folder
        self._intake = intake
        self._total = total
        self._report = report

    def take_inline(
        self, kafka: KafkaSettings, events: Sequence[_Event], dropped: dict[str, UnusableRecordError]
    ) -> None:
        """Of events that have their image inside: out of their records. Blocks."""
        waiting = {event.image.record: event for event in events if isinstance(event.image, RecordReference)}
        for position, value in records_at(kafka, waiting):
            try:
                sent = ImageEvent.from_record(value)
            except UnusableEventError:
                continue
            event = waiting[position]
            if sent.event_id == event.event_id and isinstance(sent.image, InlineImage):
                del waiting[position]
                self._keep(event, sent.image.data, dropped)
        for event in waiting.values():
            what = "the image was inside its event, which the topic does not keep any more"
            dropped[event.event_id] = UnusableRecordError(DropReason.IMAGE_UNREACHABLE, what)

    async def fetch(self, events: Sequence[_Event], dropped: dict[str, UnusableRecordError]) -> None:
        """Of all other events: from where the worker had them, a few at a time."""
        waiting = iter([event for event in events if not isinstance(event.image, RecordReference)])
        sources = ImageSources(self._intake)

        async def fetch_some() -> None:
            for event in waiting:
                assert not isinstance(event.image, RecordReference)
                try:
                    original = await sources.fetch(event.image)
                except ImageRefusedError as error:
                    dropped[event.event_id] = UnusableRecordError(DropReason.IMAGE_UNREACHABLE, str(error))
                    continue
                self._keep(event, original.content, dropped)
                original.drop()

        try:
            await sources.start()
            await asyncio.gather(*(fetch_some() for _ in range(_AT_A_TIME)))
        finally:
            await sources.close()

    def _keep(self, event: _Event, data: bytes, dropped: dict[str, UnusableRecordError]) -> None:
        digest = hashlib.sha256(data).hexdigest()
        suffix = _suffix(data)
        if event.content_sha256 not in (None, digest):
            what = f"sha256 {digest[:12]}..., but {event.content_sha256[:12]}... was reviewed"
            dropped[event.event_id] = UnusableRecordError(DropReason.IMAGE_CHANGED, what)
        elif suffix is None:
            what = f"{len(data):,} bytes of none of the worker's formats"
            dropped[event.event_id] = UnusableRecordError(DropReason.IMAGE_UNUSABLE, what)
        else:
            path = Path(IMAGES, f"{digest}.{suffix}")
            (self._folder / path).write_bytes(data)
            self.paths[event.event_id] = path
        self._report(len(self.paths), self._total)


def _suffix(data: bytes) -> str | None:
    """What a file of this format is called; decoding goes by the content alone."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    starts = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF8", "gif"), (b"BM", "bmp"))
    return next((suffix for start, suffix in starts if data.startswith(start)), None)


def _gone(what: str) -> UnusableRecordError:
    return UnusableRecordError(DropReason.DECISION_GONE, what)


def _where(event_id: str) -> str:
    return f"event:{event_id}"
