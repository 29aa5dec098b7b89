"""Golden items: nobody can tell them from others, and what is said of them becomes no outcome."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner, Result

from calibration.settings import KafkaSettings
from review.blind import listed, visible
from review.cli import app
from review.golden import GoldenError, lookalike, mix
from review.queue import ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from review.task import Golden, ReviewTask, Verdict
from tests.review.tasks import LABELS, blind_task, make_task
from tests.review.test_cli import document, fill, review


@pytest.fixture(autouse=True)
def _environment(
    monkeypatch: pytest.MonkeyPatch, valkey_settings: ValkeySettings, kafka_settings: KafkaSettings, written: object
) -> None:
    monkeypatch.setenv("TIDEGATE_VALKEY_URL", valkey_settings.url)
    monkeypatch.setenv("TIDEGATE_KAFKA_BOOTSTRAP_SERVERS", kafka_settings.bootstrap_servers)
    monkeypatch.setenv("TIDEGATE_KAFKA_TOPIC_PREFIX", kafka_settings.topic_prefix)
    monkeypatch.setenv("LOGNAME", "ada")


def item(name: str, label: str | None = "awe", **changes: Any) -> str:
    fields = {"golden_id": name, "image": {"key": f"{name}.jpg"}, "taxonomy": "emoset-8", "labels": LABELS}
    return json.dumps(fields | {"label": label} | changes)


def add(folder: Path, *lines: str, code: int = 0) -> Result:
    file = folder / "items.jsonl"
    file.write_text("\n".join(lines))
    return review("golden", "add", str(file), code=code)


def test_what_is_said_of_golden_items_is_checked_and_no_verdict(
    tmp_path: Path, valkey_settings: ValkeySettings, written: Callable[[], list[Verdict]]
) -> None:
    assert "2 golden items added" in add(tmp_path, item("known"), "", item("unclear", None)).stdout
    assert "unclear" in review("golden", "list").stdout
    assert {each["golden_id"] for each in document("golden", "list")} == {"known", "unclear"}
    assert "stand alone" in review("golden", "mix", "--count", "2", code=1).stderr
    fill(valkey_settings, *(make_task(uuid4().hex, priority=number) for number in range(3)))
    assert "2 golden items are among" in review("golden", "mix", "--count", "9").stdout
    for _ in range(5):
        review("decide", document("next")["task"]["event_id"], "--label", "awe")
    found = document("agreement")["emoset-8"]["reviewers"]
    assert [(each["answers"], each["checked"], each["right"]["value"]) for each in found] == [(3, 2, 0.5)]
    assert len(written()) == 3


def test_a_check_can_be_taken_back(
    tmp_path: Path, valkey_settings: ValkeySettings, written: Callable[[], list[Verdict]]
) -> None:
    add(tmp_path, item("known"))
    fill(valkey_settings, blind_task(uuid4().hex))
    review("golden", "mix", "--count", "1")
    ids = [document("next")["task"]["event_id"] for _ in range(2)]
    for event_id in ids:
        review("decide", event_id, "--label", "fear")
        review("undo", event_id)
        review("decide", event_id, "--label", "awe")
    found = document("agreement")["emoset-8"]["reviewers"]
    assert [(each["checked"], each["right"]["value"]) for each in found] == [(1, 1.0)]
    assert [verdict.withdrawn for verdict in written()] == [False, True, False]


def test_nothing_is_added_unless_every_line_is_right(tmp_path: Path) -> None:
    said = add(tmp_path, item("fine"), item("odd", "joy"), "{", "[]", item("x" * 200), code=2).stderr
    for word in ("line 2: item: Value error, label: 'joy'", "line 3", "line 4", "line 5", "4 of 5 lines are wrong"):
        assert word in said
    assert document("golden", "list") == []
    assert "no such golden item" in review("golden", "remove", "fine", code=1).stderr
    add(tmp_path, item("fine"))
    review("golden", "remove", "fine")
    assert document("golden", "list") == []
    assert "no golden items" in review("golden", "mix", "--count", "1", code=1).stderr


async def test_a_golden_task_shows_what_an_audit_shows_and_no_more(queue: ReviewQueue, tmp_path: Path) -> None:
    from review.golden import GoldenItem

    audit = blind_task(uuid4().hex).model_copy(update={"uploader_id": None})
    await queue.put(audit)
    known = GoldenItem.model_validate(json.loads(item("known")) | {"added_at": audit.created_at})
    assert await mix(queue, [known], 1, random.Random(1)) == 1
    shown = []
    for _ in range(2):
        claim = await queue.claim("ada")
        assert claim is not None
        shown.append((claim.task.golden is not None, visible(claim.task), listed(claim.entry)))
    (_, one, entry), (_, other, other_entry) = sorted(shown, key=lambda each: each[0])
    different = {name for name in one if one[name] != other[name]}
    assert one.keys() == other.keys()
    assert different <= {"event_id", "image", "content_sha256"}
    assert {name for name in entry if entry[name] != other_entry[name]} <= {"event_id", "lease", "at"}
    assert "known" not in json.dumps(other | {"image": None}, default=str)


async def test_an_empty_queue_takes_none(valkey_settings: ValkeySettings) -> None:
    queue = ReviewQueue(valkey_settings, ReviewSettings())
    with pytest.raises(GoldenError, match="stand alone"):
        await mix(queue, [], 1, random.Random(1))
    await queue.close()


def test_only_a_blind_task_is_golden() -> None:
    with pytest.raises(ValidationError, match="blind"):
        ReviewTask.model_validate(make_task().model_dump() | {"golden": Golden(golden_id="g", label="awe")})


@given(st.from_regex(r"[\x21-\x7e]{1,128}", fullmatch=True), st.randoms(use_true_random=False))
def test_ids_are_imitated_where_that_is_safe(event_id: str, draw: random.Random) -> None:
    drawn = lookalike(event_id, draw)
    if len(drawn) != len(event_id):
        assert (len(drawn), drawn.isalnum()) == (32, True)
    assert sum(one != other for one, other in zip(drawn, event_id, strict=False)) > 3 or len(event_id) < 16


@pytest.mark.parametrize(
    "event_id",
    [
        "f391d65296374ead841f3cc68f552f46",
        "bccff029-7023-4336-8efe-de7b4f91ab85",
        "2026-11-25/" + "7" * 16,
        "upload-0123456789012345678",
    ],
)
def test_usual_ids_keep_their_shape(event_id: str) -> None:
    drawn = lookalike(event_id, random.Random(3))
    assert [each.isalnum() for each in drawn] == [each.isalnum() for each in event_id]
    assert drawn != event_id


def test_its_help_names_the_fields() -> None:
    assert "golden_id" in CliRunner().invoke(app, ["golden", "add", "--help"]).stdout
