"""Reads an image that travelled inside its event back from the event's own record."""

from __future__ import annotations

import base64
import binascii
import json

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from calibration.settings import KafkaSettings
from review.task import RecordPosition

_PATIENCE_MS = 10_000


class InlineImageError(Exception):
    """The image cannot be had from its record; the message says why."""


def inline_image(kafka: KafkaSettings, position: RecordPosition) -> bytes:
    """The original bytes of the image in the record at this position. Blocks for ten seconds at most.

    Raises:
        InlineImageError: Kafka does not answer, the record is gone (retention), or it holds no image.
    """
    where = f"{position.topic}, partition {position.partition}, offset {position.offset}"
    partition = TopicPartition(position.topic, position.partition)
    try:
        consumer = KafkaConsumer(
            **kafka.connection(), group_id=None, enable_auto_commit=False, auto_offset_reset="none"
        )
        try:
            consumer.assign([partition])
            consumer.seek(partition, position.offset)
            records = consumer.poll(_PATIENCE_MS, max_records=1).get(partition, [])
        finally:
            consumer.close()
    except KafkaError as error:
        raise InlineImageError(f"the record at {where} cannot be read: {error!r}") from error
    if not records or records[0].offset != position.offset:
        raise InlineImageError(f"the record at {where} is gone: it may be older than the topic's retention")
    try:
        data = json.loads(records[0].value)["image"]["data"]
        return base64.b64decode(data.replace("-", "+").replace("_", "/"), validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise InlineImageError(f"the record at {where} holds no image") from error
