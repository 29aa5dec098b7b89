"""Golden items: images whose answer is known, put among the others so that it shows how reviewers do.

They are kept on the compacted topic `golden`. A task made of one looks like the tasks beside it: blind, of their
priority and age, under an id of their shape.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterable, Sequence
from typing import Annotated, Self
from uuid import UUID

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from calibration.contract import Versioned
from calibration.gate import Reason
from calibration.ledger.topic import publish, read_latest
from calibration.settings import KafkaSettings
from review.lease import NotWaitingError
from review.queue import PutResult, ReviewQueue
from review.task import EventId, Golden, ImageReference, ReviewTask

_HEX = string.digits + "abcdef"
_LEAST_DRAWN = 16
"""Characters of an id that must be free to draw, so that it is never a real event's."""
_BESIDE = 200


class GoldenItem(Versioned):
    """An image and what is to be said of it."""

    golden_id: EventId
    image: ImageReference
    taxonomy: Annotated[str, Field(min_length=1, max_length=128)]
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    label: str | None
    """The right one; None: "cannot tell" is right."""
    note: Annotated[str, Field(max_length=2000)] = ""
    author: Annotated[str, Field(max_length=128)] = ""
    added_at: AwareDatetime

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.label is not None and self.label not in self.labels:
            raise ValueError(f"label: {self.label!r} is not one of its labels: {', '.join(self.labels)}")
        return self


class GoldenError(Exception):
    """Golden items cannot be had or mixed in; the message says why."""


def read_items(kafka: KafkaSettings) -> dict[str, GoldenItem]:
    """All items by id. Blocks.

    Raises:
        GoldenError: one cannot be read.
        kafka.errors.KafkaError: the topic cannot be read.
    """
    found = {}
    for key, (offset, value) in read_latest(kafka, "golden").items():
        try:
            item = GoldenItem.model_validate_json(value)
        except ValidationError as error:
            raise GoldenError(f"the golden item {key} at offset {offset} cannot be read: {error}") from error
        found[item.golden_id] = item
    return found


def write_items(kafka: KafkaSettings, items: Iterable[GoldenItem]) -> None:
    """Add items, or replace those of the same id. Blocks; repeating it is harmless.

    Raises:
        kafka.errors.KafkaError: one may not be durable.
    """
    for item in items:
        publish(kafka, "golden", item.golden_id, item.model_dump_json().encode())


def lookalike(event_id: str, draw: random.Random) -> str:
    """An id of the same shape, where enough of it is free to draw; else a random UUID, hexadecimal."""
    hexadecimal = all(each in _HEX or not each.isalnum() for each in event_id)
    alphabet = _HEX if hexadecimal and not event_id.isdecimal() else string.digits
    if sum(each in alphabet for each in event_id) < _LEAST_DRAWN:
        return UUID(int=draw.getrandbits(128), version=4).hex
    return "".join(draw.choice(alphabet) if each in alphabet else each for each in event_id)


def golden_task(item: GoldenItem, beside: ReviewTask, draw: random.Random) -> ReviewTask:
    """A task of a golden item that looks like the one beside it."""
    return beside.model_copy(
        update={
            "event_id": lookalike(beside.event_id, draw),
            "image": item.image,
            "content_sha256": None,
            "pdq": None,
            "taxonomy": item.taxonomy,
            "labels": item.labels,
            "reason": Reason.AUDIT,
            "blind": True,
            "label": None,
            "alternatives": (),
            "reasoning": None,
            "image_flags": (),
            "probability": None,
            "audit": None,
            "golden": Golden(golden_id=item.golden_id, label=item.label),
            "uploader_id": None,
        }
    )


async def mix(queue: ReviewQueue, items: Sequence[GoldenItem], count: int, draw: random.Random) -> int:
    """Put tasks of golden items among those that wait; how many were put. None is drawn twice in one call.

    Raises:
        GoldenError: nothing waits, so that there is nothing to be among.
    """
    neighbours = await queue.waiting(_BESIDE)
    if not neighbours:
        raise GoldenError("nothing waits for review, so golden items would stand alone: mix them in later")
    put = 0
    for item in draw.sample(items, min(count, len(items))):
        try:
            beside, _ = await queue.find(draw.choice(neighbours).event_id)
        except NotWaitingError:
            continue  # decided meanwhile
        put += await queue.put(golden_task(item, beside, draw)) is PutResult.ADDED
    return put
