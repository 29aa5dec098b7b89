"""What the ledger keeps of decisions and verdicts, as columns.

Only what calibration needs: no image, no reasoning, no metadata, no moderator's note. A value that is missing is null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, Literal

import pyarrow as pa

from calibration.audit import Audit
from calibration.ledger.topic import Record
from calibration.outcome import Signals
from calibration.records import DecisionRecord, GateVersions, VerdictRecord

TopicKind = Literal["decisions", "verdicts"]

_TEXT, _NUMBER, _FLAG = pa.string(), pa.float64(), pa.bool_()
_TIME = pa.timestamp("us", "UTC")

_READING: Final = [
    ("taxonomy", _TEXT),
    ("source", _TEXT),
    ("parse_status", _TEXT),
    ("verbal_confidence", _NUMBER),
    ("label_probability", _NUMBER),
    ("label_margin", _NUMBER),
    ("label_entropy", _NUMBER),
    ("label_mass", _NUMBER),
    ("reason", _TEXT),
    ("audit_drawn", _FLAG),
    ("audit_rate", _NUMBER),
    ("audit_floor", _NUMBER),
    ("would_pass", _FLAG),
    ("model", _TEXT),
    ("prompt", _TEXT),
    ("decoder", _TEXT),
    ("calibrator", _TEXT),
    ("policy", _TEXT),
    ("gate", _TEXT),
    ("decided_at", _TIME),
]
_PLACE: Final = [("topic_id", _TEXT), ("partition", pa.int32()), ("offset", pa.int64())]
_ADDED: Final = [("agreement", _NUMBER)]
_ADDED_TO_VERDICTS: Final = [*_ADDED, ("withdrawn", _FLAG)]
"""At the ends of the tables, since older ledgers get them there; rows that lay in them then are null."""
ADDED_COLUMNS = frozenset(name for name, _ in _ADDED_TO_VERDICTS)

DECISIONS = pa.schema(
    [
        ("day", pa.date32()),
        ("event_id", _TEXT),
        ("label", _TEXT),
        *_READING,
        ("uploader_id", _TEXT),
        ("content_sha256", _TEXT),
        ("constrained", _FLAG),
        ("probability", _NUMBER),
        ("low", _NUMBER),
        ("high", _NUMBER),
        ("route", _TEXT),
        ("shadow_gate", _TEXT),
        ("shadow_route", _TEXT),
        ("shadow_reason", _TEXT),
        ("shadow_probability", _NUMBER),
        ("created_at", _TIME),
        *_PLACE,
        *_ADDED,
    ]
)
VERDICTS = pa.schema(
    [
        ("day", pa.date32()),
        ("event_id", _TEXT),
        ("decided_label", _TEXT),
        *_READING,
        ("label", _TEXT),
        ("reviewer", _TEXT),
        ("seconds_spent", _NUMBER),
        ("blind", _FLAG),
        ("given_at", _TIME),
        *_PLACE,
        *_ADDED_TO_VERDICTS,
    ]
)
REJECTED = pa.schema(
    [
        ("day", pa.date32()),
        ("topic", _TEXT),
        *_PLACE,
        ("appended_at", _TIME),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("error", _TEXT),
    ]
)
TOMBSTONES = pa.schema([("kind", _TEXT), ("hash", pa.binary()), ("deleted_at", _TIME)])

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Kind:
    """One of the two topics: how its records are read, and become rows."""

    name: TopicKind
    record: type[DecisionRecord] | type[VerdictRecord]
    schema: pa.Schema
    row: Callable[[Any, Record, str], Row]
    time: str
    """The column whose UTC day is the partition."""


def table(schema: pa.Schema, rows: Sequence[Row]) -> pa.Table:
    """Rows as a table."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    return pa.table([pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema)


def rejected_row(topic: str, topic_id: str, record: Record, error: str) -> Row:
    """A record that could not be read, kept as it is."""
    at = datetime.fromtimestamp(max(record.timestamp_ms, 0) / 1000, UTC)
    return (at.date(), topic, topic_id, record.partition, record.offset, at, record.key, record.value, error)


def _decision_row(said: DecisionRecord, where: Record, topic_id: str) -> Row:
    low, high = said.interval or (None, None)
    shadow = said.shadow
    shadow_columns = (
        (None, None, None, None)
        if shadow is None
        else (shadow.gate, shadow.route.value, shadow.reason.value, shadow.probability)
    )
    return (
        _day(said.decided_at),
        said.event_id,
        said.label,
        said.taxonomy,
        said.source,
        *_reading(said.signals, said.reason, said.audit, said.versions),
        said.decided_at,
        said.uploader_id,
        said.content_sha256,
        said.constrained,
        said.probability,
        low,
        high,
        said.route.value,
        *shadow_columns,
        said.created_at,
        topic_id,
        where.partition,
        where.offset,
        said.signals.agreement,
    )


def _verdict_row(said: VerdictRecord, where: Record, topic_id: str) -> Row:
    return (
        _day(said.given_at),
        said.event_id,
        said.decided_label,
        said.taxonomy,
        said.source,
        *_reading(said.signals, said.reason, said.audit, said.versions),
        said.decided_at,
        said.label,
        said.reviewer,
        said.seconds_spent,
        said.blind,
        said.given_at,
        topic_id,
        where.partition,
        where.offset,
        said.signals.agreement,
        said.withdrawn,
    )


def _reading(signals: Signals, reason: str, audit: Audit | None, versions: GateVersions) -> Row:
    return (
        signals.parse_status.value,
        signals.verbal_confidence,
        signals.label_probability,
        signals.label_margin,
        signals.label_entropy,
        signals.label_mass,
        reason,
        *(
            (None, None, None, None)
            if audit is None
            else (audit.selected, audit.propensity, audit.floor, audit.would_pass)
        ),
        versions.model,
        versions.prompt,
        versions.decoder,
        versions.calibrator,
        versions.policy,
        versions.gate,
    )


def _day(at: datetime) -> date:
    """Its partition. A wrong clock must not make one that nobody looks at."""
    if not 2000 <= at.year < 2200:
        raise ValueError(f"the year {at.year} cannot be right")
    return at.astimezone(UTC).date()


KINDS: dict[TopicKind, Kind] = {
    "decisions": Kind("decisions", DecisionRecord, DECISIONS, _decision_row, "decided_at"),
    "verdicts": Kind("verdicts", VerdictRecord, VERDICTS, _verdict_row, "given_at"),
}
