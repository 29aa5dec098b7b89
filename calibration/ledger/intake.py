"""From the bytes of records to rows: what is kept, what is kept away, and what nobody can read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import structlog
from pydantic import ValidationError
from pydantic_core import from_json

from calibration.ledger.columns import Kind, Row, rejected_row
from calibration.ledger.tombstones import Tombstones
from calibration.ledger.topic import Record
from calibration.records import DecisionRecord

log = structlog.get_logger()

_DETAILS = 4


@dataclass(frozen=True, slots=True)
class Topic:
    """Full name and id of the topic that records are from."""

    name: str
    topic_id: str


@dataclass
class Taken:
    """What became of a batch of records."""

    rows: list[Row] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    """Event ids of the rows."""
    rejected: list[Row] = field(default_factory=list)
    deleted: int = 0
    """Records of what was deleted before."""
    expired: int = 0
    newly_deleted: list[str] = field(default_factory=list)
    """Events that turn out to be a deleted uploader's."""


def take(kind: Kind, topic: Topic, records: list[Record], tombstones: Tombstones, expired_before: date | None) -> Taken:
    """Read a batch. None of its records stops it."""
    taken = Taken()
    validate = kind.record.model_validate_json
    for record in records:
        try:
            said: Any = validate(record.value or b"")
        except ValidationError as error:
            _reject(taken, topic, record, _what_is_wrong(error), tombstones)
            continue
        if isinstance(said, DecisionRecord) and tombstones.hides_uploader(said.uploader_id, said.created_at):
            taken.newly_deleted.append(said.event_id)
            taken.deleted += 1
        elif tombstones.hides_event(said.event_id):
            taken.deleted += 1
        else:
            try:
                row = kind.row(said, record, topic.topic_id)
            except (ValueError, OverflowError) as error:
                _reject(taken, topic, record, str(error), tombstones)
                continue
            if expired_before is not None and row[0] < expired_before:
                taken.expired += 1
            else:
                taken.rows.append(row)
                taken.ids.append(said.event_id)
    return taken


def _reject(taken: Taken, topic: Topic, record: Record, error: str, tombstones: Tombstones) -> None:
    where = f"{topic.name}/{record.partition}/{record.offset}"
    log.error("record not readable", position=where, error=error, note="kept in the table `rejected`")
    if tombstones and _is_deleted(record, tombstones):
        record = Record(record.partition, record.offset, record.timestamp_ms, None, None)
        error = f"{error}; its bytes were deleted"
    taken.rejected.append(rejected_row(topic.name, topic.topic_id, record, error))


def _is_deleted(record: Record, tombstones: Tombstones) -> bool:
    """Whether as much of it as can be read belongs to something deleted."""
    ids = [(record.key or b"").decode(errors="replace")]
    uploader: object = None
    try:
        said = from_json(record.value or b"", allow_partial=True)
    except ValueError:
        said = None
    if isinstance(said, dict):
        ids += [said["event_id"]] if isinstance(said.get("event_id"), str) else []
        uploader = said.get("uploader_id")
    known = isinstance(uploader, str) and tombstones.knows_uploader(uploader)
    return known or any(map(tombstones.hides_event, ids))


def _what_is_wrong(error: ValidationError) -> str:
    """A sentence that quotes nothing of the record."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    found = [f"{'.'.join(map(str, each['loc'])) or 'record'}: {each['msg']}" for each in problems[:_DETAILS]]
    more = len(problems) - len(found)
    return "; ".join(found) + (f"; and {more} more" if more > 0 else "")
