"""VEC-CoT: both spellings, all three stages, and what is wrong with a record is a counted drop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.data.files import answer, cot, write_lines
from training.data.drops import DataError, DropReason, ReadOut
from training.data.item import ImageFile, Item
from training.data.vec_cot import read_vec_cot
from worker.reading.taxonomy import load_taxonomies

KNOWN = load_taxonomies()


def read(tmp_path: Path, *records: dict[str, Any] | bytes, default: str | None = "emoset-8") -> ReadOut:
    return read_vec_cot(write_lines(tmp_path / "cot.jsonl", *records), tmp_path / "photos", KNOWN, default)


def only(out: ReadOut) -> Item:
    assert out.dropped == ()
    [item] = out.items
    return item


def test_a_stage_one_record_has_reasoning_and_no_confidence(tmp_path: Path) -> None:
    item = only(read(tmp_path, cot("a.jpg", answer("Awe", element="a storm"))))
    assert (item.label, item.taxonomy, item.confidence) == ("awe", "emoset-8", None)
    assert item.reasoning is not None
    assert item.reasoning.element == "a storm"
    assert item.image == ImageFile(path=tmp_path / "photos" / "a.jpg")
    assert item.item_id == f"{tmp_path / 'cot.jsonl'}:1"


def test_a_stage_two_record_has_its_confidence(tmp_path: Path) -> None:
    assert only(read(tmp_path, cot("a.jpg", answer("awe", "{0.85}")))).confidence == 0.85


def test_a_stage_three_record_needs_no_answer(tmp_path: Path) -> None:
    item = only(read(tmp_path, cot("a.jpg", None, solution="<answer> Fear </answer>")))
    assert (item.label, item.reasoning, item.confidence) == ("fear", None, None)


def test_the_spelling_with_conversations_says_the_same(tmp_path: Path) -> None:
    record = {
        "image": "a.jpg",
        "conversations": [
            {"from": "human", "value": "<image>\nWhich emotion?"},
            {"from": "gpt", "value": answer("awe", "0.7")},
        ],
    }
    item = only(read(tmp_path, record))
    assert item == only(read(tmp_path, cot("a.jpg", answer("awe", "0.7"))))


def test_an_image_may_stand_in_the_conversation_and_have_an_absolute_path(tmp_path: Path) -> None:
    part = {"type": "image_url", "image_url": {"url": "file:///data/a.jpg"}}
    record = {
        "messages": [
            {"role": "user", "content": [part, {"type": "text", "text": "Which?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": answer("awe")}]},
        ]
    }
    assert only(read(tmp_path, record)).image == ImageFile(path=Path("/data/a.jpg"))


def test_reasoning_that_argues_for_another_label_than_the_truth_is_left_out(tmp_path: Path) -> None:
    item = only(read(tmp_path, cot("a.jpg", answer("awe", "0.2"), ground_truth="fear")))
    assert (item.label, item.reasoning, item.confidence) == ("fear", None, None)


def test_the_task_of_a_record_says_its_taxonomy_before_the_default_does(tmp_path: Path) -> None:
    out = read(
        tmp_path,
        cot("a.jpg", answer("positive"), task="FI-2"),
        cot("a.jpg", answer("joy"), task="VER", dataset="UnbiasedEmo_6"),
        cot("a.jpg", answer("awe"), task="VER"),
    )
    assert [item.taxonomy for item in out.items] == ["fi-2", "unbiasedemo-6", "emoset-8"]


@pytest.mark.parametrize(
    ("record", "reason", "words"),
    [
        (b'{"messages": [{"role"', DropReason.BAD_JSON, "it ends after 21 characters"),
        (b'{"messages": nothing}', DropReason.BAD_JSON, "Expecting value at character 14"),
        (b"\xff\xfe", DropReason.BAD_JSON, "not UTF-8"),
        (b"[" * 100_000, DropReason.BAD_JSON, "nested too deeply"),
        (b'"text"', DropReason.BAD_JSON, "not a JSON object"),
        (cot("a.jpg", None), DropReason.BAD_RECORD, "neither an answer"),
        (cot("a.jpg", "It feels like awe."), DropReason.BAD_ANSWER, "<think> is expected"),
        (cot("a.jpg", answer("awe")[:-3]), DropReason.BAD_ANSWER, "</answer> is expected"),
        (cot("a.jpg", answer("nostalgia")), DropReason.UNKNOWN_LABEL, "'nostalgia' is no label of emoset-8"),
        (cot("a.jpg", answer("awe", "85")), DropReason.BAD_CONFIDENCE, "'85'"),
        (cot("a.jpg", answer("awe"), images=[]), DropReason.IMAGE_COUNT, "no image"),
        (cot("a.jpg", answer("awe"), image="b.jpg"), DropReason.IMAGE_COUNT, "2 images, a.jpg, b.jpg"),
        (cot("a.jpg", answer("awe"), ground_truth=3), DropReason.BAD_RECORD, "ground_truth must be text, not 3"),
        ({"messages": "awe", "image": "a.jpg"}, DropReason.BAD_RECORD, "the conversation must be a list"),
        ({"messages": [{"role": "assistant"}], "image": "a"}, DropReason.BAD_RECORD, "has no text but None"),
    ],
)
def test_what_cannot_be_used_is_dropped_with_its_line(
    tmp_path: Path, record: dict[str, Any] | bytes, reason: DropReason, words: str
) -> None:
    out = read(tmp_path, cot("a.jpg", answer("awe")), b"", record)
    assert len(out.items) == 1
    [drop] = out.dropped
    assert (drop.reason, drop.where) == (reason, f"{tmp_path / 'cot.jsonl'}:3")
    assert words in drop.what


def test_without_a_taxonomy_the_record_says_what_to_give(tmp_path: Path) -> None:
    [drop] = read(tmp_path, cot("a.jpg", answer("awe"), task="VER"), default=None).dropped
    assert drop.reason is DropReason.UNKNOWN_TAXONOMY
    assert drop.what == "the record names VER, and no taxonomy is known for it: give --taxonomy"


def test_a_file_that_is_not_there_or_empty_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl cannot be read \(No such file"):
        read_vec_cot(tmp_path / "none.jsonl", tmp_path, KNOWN)
    with pytest.raises(DataError, match="is empty"):
        read_vec_cot(write_lines(tmp_path / "empty.jsonl", b""), tmp_path, KNOWN)
