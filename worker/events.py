"""The worker's contracts: an ImageEvent in, a Decision or a DeadLetter out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field, Tag, ValidationError
from pydantic_core import from_json

from calibration.audit import Audit
from calibration.contract import Contract, Versioned
from calibration.gate import Reason, Route, ShadowRouting
from calibration.outcome import Probability, Signals
from review.task import (
    Alternative,
    EventId,
    ImageReference,
    KeyReference,
    Pdq,
    Priority,
    Reasoning,
    RecordPosition,
    Source,
    UrlReference,
    Versions,
    sole_key,
)

MAX_EVENT_BYTES = 1_000_000
"""The largest event a worker takes; larger images travel by URL or object key."""


class InlineImage(Contract):
    """An image whose bytes are in the event, base64 in JSON."""

    data: Annotated[bytes, Field(min_length=1)]


ImageSource = Annotated[
    Annotated[UrlReference, Tag("url")] | Annotated[KeyReference, Tag("key")] | Annotated[InlineImage, Tag("data")],
    sole_key("url", "key", "data"),
]


class ImageEvent(Versioned):
    """One uploaded image, as the platform announces it on the `images` topic."""

    event_id: EventId
    image: ImageSource
    taxonomy: Annotated[str, Field(min_length=1, max_length=128)]
    created_at: AwareDatetime
    source: Source = ""
    """Calibration keeps sources apart, since a model may be surer of images from one than of those from another."""
    priority: Priority = 50
    uploader_id: Annotated[str, Field(max_length=256)] | None = None
    metadata: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def from_record(cls, value: bytes) -> ImageEvent:
        """Read an event from the bytes of its record.

        Raises:
            UnusableEventError: too large, not JSON, of another schema version, or incomplete.
        """
        if len(value) > MAX_EVENT_BYTES:
            raise UnusableEventError(
                DeadLetterReason.EVENT_TOO_LARGE,
                f"{len(value):,} bytes; at most {MAX_EVENT_BYTES:,} are taken: send a URL or an object key instead",
            )
        try:
            return cls.model_validate_json(value)
        except ValidationError as error:
            raise UnusableEventError(*_diagnose(error), event_id=_event_id(value)) from error


def _diagnose(error: ValidationError) -> tuple[DeadLetterReason, str]:
    """The reason code and a sentence for an event that does not fit the contract; no input is quoted."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    detail = "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'event'}: {problem['msg']}" for problem in problems[:8])
    if problems[0]["type"] == "json_invalid":
        return DeadLetterReason.BAD_JSON, detail
    if any(problem["loc"] == ("schema_version",) for problem in problems):
        return DeadLetterReason.UNKNOWN_SCHEMA_VERSION, detail
    return DeadLetterReason.INVALID_EVENT, detail


def _event_id(value: bytes) -> str | None:
    """The event id of a record that is otherwise unusable, so that its sender can be told."""
    try:
        event = from_json(value, allow_partial=True)
    except ValueError:
        return None
    event_id = event.get("event_id") if isinstance(event, dict) else None
    return event_id[:128] if isinstance(event_id, str) else None


class UnusableEventError(Exception):
    """This event can never become a decision; it becomes a dead letter with this reason."""

    def __init__(self, reason: DeadLetterReason, detail: str, event_id: str | None = None) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.event_id = event_id


class Timings(Contract):
    """Seconds spent in each part of the trip; None where a part was not needed."""

    queued: float | None = None
    """From the event's creation to its arrival at the worker."""
    fetch: float | None = None
    prepare: float | None = None
    read: float | None = None
    total: float
    """From arrival at the worker to the decision."""


class Decision(Versioned):
    """What became of one event. Keyed by event_id; the last one per (event_id, versions.gate) counts.

    It has every field of a `ReviewTask` but `blind`, so that the queue can be rebuilt from decisions alone.
    """

    event_id: EventId
    position: RecordPosition
    image: ImageReference
    content_sha256: str | None
    taxonomy: str
    source: Source = ""
    priority: Priority
    uploader_id: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    labels: tuple[str, ...] = ()
    """The taxonomy's, in its order."""
    label: str | None
    alternatives: tuple[Alternative, ...] = ()
    reasoning: Reasoning | None = None
    raw_answer: str | None = None
    """What the model wrote, where it could not be parsed."""
    image_flags: tuple[str, ...] = ()
    """What a person should know of the image: animated (only its first frame was read), blank, tiny."""
    pdq: Pdq | None = None
    """Perceptual hash of the image; None where it has too little structure, or was not read."""
    signals: Signals
    probability: Probability | None = None
    interval: tuple[Probability, Probability] | None = None
    route: Route
    reason: Reason
    audit: Audit | None = None
    """The draw, drawn or not, where the gate draws among readings like this."""
    shadow: ShadowRouting | None = None
    """What a gate that is to come, and did not route this event, would have done."""
    cached: bool = False
    """The reading was made for an identical image before."""
    constrained: bool = False
    """The reading comes from the second try, under a grammar: its signals are not those of a free answer."""
    versions: Versions
    timings: Timings
    created_at: AwareDatetime
    decided_at: AwareDatetime


class DeadLetterReason(StrEnum):
    """Why an event could not become a decision."""

    EVENT_TOO_LARGE = "event_too_large"
    BAD_JSON = "bad_json"
    UNKNOWN_SCHEMA_VERSION = "unknown_schema_version"
    INVALID_EVENT = "invalid_event"
    UNKNOWN_TAXONOMY = "unknown_taxonomy"
    ADDRESS_FORBIDDEN = "address_forbidden"  # the URL, or the address behind it, is not allowed
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_UNREACHABLE = "image_unreachable"  # after all retries
    IMAGE_TOO_LARGE = "image_too_large"  # bytes
    IMAGE_UNSUPPORTED = "image_unsupported"  # not one of the allowed formats
    IMAGE_UNDECODABLE = "image_undecodable"  # broken or truncated
    IMAGE_LIMITS = "image_limits"  # pixels, aspect ratio or frames
    DECODE_TIMEOUT = "decode_timeout"  # killed: too slow or too much memory
    ENGINE_REJECTED = "engine_rejected"  # the engine refused this request for good
    PROCESSING_FAILED = "processing_failed"  # an unexpected error, repeated for this event alone


class DeadLetter(Versioned):
    """An event that could not be used. On the topic its original bytes are the record's value, the rest its headers."""

    reason: DeadLetterReason
    detail: str
    position: RecordPosition
    event_id: str | None = None
    failed_at: AwareDatetime
    original: bytes

    def headers(self) -> list[tuple[str, bytes]]:
        """The record headers that carry everything but the original bytes."""
        fields = {
            "schema_version": str(self.schema_version),
            "reason": self.reason.value,
            "detail": self.detail[:2000],
            "topic": self.position.topic,
            "partition": str(self.position.partition),
            "offset": str(self.position.offset),
            "failed_at": self.failed_at.isoformat(),
        }
        if self.event_id is not None:
            fields["event_id"] = self.event_id
        return [(f"tidegate.{name}", text.encode()) for name, text in fields.items()]

    def key(self) -> bytes:
        """The position, so that a redelivered event gives the same key again."""
        return f"{self.position.topic}/{self.position.partition}/{self.position.offset}".encode()

    @classmethod
    def from_record(cls, value: bytes, headers: list[tuple[str, bytes]]) -> DeadLetter:
        """Read a dead letter back from its record.

        Raises:
            pydantic.ValidationError: the headers are not those of a dead letter.
        """
        ours = [(name.removeprefix("tidegate."), text) for name, text in headers if name.startswith("tidegate.")]
        fields = {name: text.decode() for name, text in ours}
        position = {name: fields.pop(name, None) for name in ("topic", "partition", "offset")}
        version = fields.pop("schema_version", "1")
        return cls.model_validate({**fields, "schema_version": int(version), "position": position, "original": value})
