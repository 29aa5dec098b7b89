"""VECBench: label sets come from the records, and a record that contradicts them is a drop."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.data.files import MIKELS, bench, write_lines
from training.data.drops import DropReason
from training.data.vecbench import read_vecbench, task_name


def test_each_task_brings_its_taxonomy(tmp_path: Path) -> None:
    sentiment = bench("b.jpg", "Positive", "FI_2", ("Positive", "Negative"))
    sentiment["conversations"][0]["content"][1]["text"] = (
        "Which sentiment might this image evoke? Choose the most likely one from ['Positive', 'Negative']."
    )
    out = read_vecbench(write_lines(tmp_path / "test.jsonl", bench("a.jpg", "awe"), sentiment), tmp_path)
    assert [(item.taxonomy, item.label) for item in out.items] == [("emoset-8", "awe"), ("fi-2", "positive")]
    assert out.taxonomies["emoset-8"].labels == MIKELS
    assert out.taxonomies["fi-2"].labels == ("positive", "negative")
    assert out.taxonomies["fi-2"].question == "Which sentiment might this image evoke?"
    assert out.dropped == ()


def test_most_records_decide_what_the_candidates_are_and_their_order_does_not_matter(tmp_path: Path) -> None:
    odd = bench("odd.jpg", "awe", candidates=("awe", "boredom"))
    shuffled = bench("c.jpg", "fear", candidates=MIKELS[::-1])
    out = read_vecbench(write_lines(tmp_path / "t.jsonl", odd, bench("a.jpg", "awe"), shuffled), tmp_path)
    assert [item.label for item in out.items] == ["awe", "fear"]
    assert out.taxonomies["emoset-8"].labels == MIKELS
    [drop] = out.dropped
    assert (drop.reason, drop.where) == (DropReason.CANDIDATES_DIFFER, f"{tmp_path / 't.jsonl'}:1")
    assert "candidates awe, boredom, but other records of emoset-8 have amusement, anger" in drop.what


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ground_truth": "boredom"}, DropReason.UNKNOWN_LABEL),
        ({"ground_truth": None}, DropReason.BAD_RECORD),
        ({"task": ""}, DropReason.BAD_RECORD),
        ({"candidates": "awe, fear"}, DropReason.BAD_CANDIDATES),
        ({"candidates": ["awe"]}, DropReason.BAD_CANDIDATES),
        ({"candidates": ["awe", "no emotion"]}, DropReason.BAD_CANDIDATES),
        ({"candidates": ["awe", "Awe"]}, DropReason.BAD_CANDIDATES),
        ({"conversations": []}, DropReason.IMAGE_COUNT),
    ],
)
def test_what_cannot_be_used_is_dropped(tmp_path: Path, fields: dict[str, object], reason: DropReason) -> None:
    record = bench("b.jpg", "awe") | fields
    out = read_vecbench(write_lines(tmp_path / "t.jsonl", bench("a.jpg", "awe"), record), tmp_path)
    assert len(out.items) == 1
    assert [drop.reason for drop in out.dropped] == [reason]


def test_tasks_are_named_as_taxonomies_are() -> None:
    assert {task_name(task) for task in ("EmoSet-8", "emoset 8", "EmoSet_8 ")} == {"emoset-8"}
