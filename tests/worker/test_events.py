"""What is taken for an event, and what becomes of the rest."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.gate import Route
from review.task import KeyReference, RecordPosition, ReviewTask, UrlReference
from review.truth import task_of
from worker.events import (
    MAX_EVENT_BYTES,
    DeadLetter,
    DeadLetterReason,
    Decision,
    ImageEvent,
    InlineImage,
    UnusableEventError,
)
from worker.pipeline import review_task

GOOD: dict[str, Any] = {
    "event_id": "upload-1",
    "image": {"url": "https://cdn.example.com/1.jpg"},
    "taxonomy": "emoset-8",
    "created_at": "2026-01-01T00:00:00Z",
}


def record(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in (GOOD | changes).items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ({"url": "https://cdn.example.com/1.jpg"}, UrlReference),
        ({"key": "2026/1.jpg"}, KeyReference),
        ({"data": base64.b64encode(b"\xff\xd8").decode()}, InlineImage),
        ({"data": base64.urlsafe_b64encode(b"\xff\xfe\xfb").decode()}, InlineImage),
    ],
)
def test_an_image_comes_in_one_of_three_ways(image: dict[str, str], kind: type) -> None:
    event = ImageEvent.from_record(record(image=image))
    assert isinstance(event.image, kind)
    assert ImageEvent.from_record(event.model_dump_json().encode()) == event


def test_an_event_may_say_where_it_comes_from() -> None:
    assert ImageEvent.from_record(record()).source == ""
    assert ImageEvent.from_record(record(source="stories")).source == "stories"


def test_records_of_before_sources_and_shadows_are_still_read() -> None:
    decision = {
        "schema_version": 1,
        "event_id": "upload-1",
        "position": {"topic": "images", "partition": 0, "offset": 7},
        "image": {"key": "1.jpg"},
        "content_sha256": "0" * 64,
        "taxonomy": "emoset-8",
        "priority": 50,
        "labels": ["awe", "fear"],
        "label": "awe",
        "signals": {"parse_status": "ok", "label_probability": 0.9},
        "route": "review",
        "reason": "audit",
        "audit": {"selected": True, "propensity": 0.02},
        "versions": {"model": "m", "prompt": "p", "decoder": "d", "calibrator": "none", "policy": "none", "gate": "g"},
        "timings": {"total": 1.0},
        "created_at": "2026-01-01T00:00:00Z",
        "decided_at": "2026-01-01T00:00:01Z",
    }
    read = Decision.model_validate_json(json.dumps(decision))
    assert (read.source, read.shadow) == ("", None)
    assert read.audit is not None
    assert read.audit.would_pass
    task = review_task(read)
    assert task.blind
    assert task == task_of(read.model_dump_json().encode())
    assert task_of(read.model_copy(update={"route": Route.AUTO_ACCEPT}).model_dump_json().encode()) is None
    assert ReviewTask.model_validate(task.model_dump(exclude={"source"})) == task
    named = review_task(read.model_copy(update={"source": "stories"}))
    assert named.source == "stories"


def test_fields_of_a_later_version_are_ignored() -> None:
    assert ImageEvent.from_record(record(colour="red")).event_id == "upload-1"


@pytest.mark.parametrize(
    ("value", "reason", "event_id"),
    [
        (b"", DeadLetterReason.BAD_JSON, None),
        (b"\xff\xfe", DeadLetterReason.BAD_JSON, None),
        (b'{"event_id": "cut", "ima', DeadLetterReason.BAD_JSON, "cut"),
        (b"[]", DeadLetterReason.INVALID_EVENT, None),
        (b"null", DeadLetterReason.INVALID_EVENT, None),
        (record(schema_version=2), DeadLetterReason.UNKNOWN_SCHEMA_VERSION, "upload-1"),
        (record(event_id=...), DeadLetterReason.INVALID_EVENT, None),
        (record(event_id="a b"), DeadLetterReason.INVALID_EVENT, "a b"),
        (record(event_id="x" * 129), DeadLetterReason.INVALID_EVENT, "x" * 128),
        (record(image={}), DeadLetterReason.INVALID_EVENT, "upload-1"),
        (record(image={"url": "http://a", "key": "b"}), DeadLetterReason.INVALID_EVENT, "upload-1"),
        (record(image={"data": "***"}), DeadLetterReason.INVALID_EVENT, "upload-1"),
        (record(image={"data": ""}), DeadLetterReason.INVALID_EVENT, "upload-1"),
        (record(priority=101), DeadLetterReason.INVALID_EVENT, "upload-1"),
        (record(source="s" * 129), DeadLetterReason.INVALID_EVENT, "upload-1"),
        (record(created_at="2026-01-01T00:00:00"), DeadLetterReason.INVALID_EVENT, "upload-1"),
        (record(image={"data": "A" * MAX_EVENT_BYTES}), DeadLetterReason.EVENT_TOO_LARGE, None),
    ],
)
def test_what_is_unusable_says_why(value: bytes, reason: DeadLetterReason, event_id: str | None) -> None:
    with pytest.raises(UnusableEventError) as caught:
        ImageEvent.from_record(value)
    assert caught.value.reason is reason
    assert caught.value.event_id == event_id
    assert caught.value.detail


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_no_bytes_make_anything_but_an_event_or_a_refusal(value: bytes) -> None:
    try:
        ImageEvent.from_record(value)
    except UnusableEventError as error:
        assert error.detail


@given(
    st.sampled_from(DeadLetterReason),
    st.text(max_size=50),
    st.none() | st.from_regex(r"[!-~]{1,128}", fullmatch=True),
    st.binary(),
)
def test_a_dead_letter_survives_its_record(
    reason: DeadLetterReason, detail: str, event_id: str | None, original: bytes
) -> None:
    letter = DeadLetter(
        reason=reason,
        detail=detail,
        position=RecordPosition(topic="tidegate.images", partition=3, offset=7),
        event_id=event_id,
        failed_at=datetime(2026, 1, 1, tzinfo=UTC),
        original=original,
    )
    assert DeadLetter.from_record(original, [("other", b"\xff"), *letter.headers()]) == letter
    assert letter.key() == b"tidegate.images/3/7"
