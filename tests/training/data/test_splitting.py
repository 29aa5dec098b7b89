"""The stages are disjoint, by content and by looks, whatever the order; the search for near duplicates is exact."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from review.task import Reasoning
from training.data.checking import Checked
from training.data.drops import DropReason
from training.data.item import ImageFile, Item
from training.data.splitting import MAX_DISTANCE, SplitRules, near_groups, split


def checked(content: str, look: int = 0, quality: int = 100, **changes: Any) -> Checked:
    """An item that looks like the 256 bits of a number."""
    fields: dict[str, Any] = {
        "item_id": f"of {content}",
        "image": ImageFile(path=Path(content)),
        "content": content,
        "taxonomy": "emoset-8",
        "label": "awe",
    }
    bits = np.frombuffer(look.to_bytes(32, "little"), np.uint64)
    return Checked(Item.model_validate(fields | changes), bits, quality)


def distinct(count: int, seed: int = 0) -> list[Checked]:
    source = random.Random(seed)
    return [checked(f"{source.getrandbits(256):064x}", source.getrandbits(256)) for _ in range(count)]


def flipped(look: int, bits: int, seed: int = 0) -> int:
    for bit in random.Random(seed).sample(range(256), bits):
        look ^= 1 << bit
    return look


def stages(items: list[Checked], **rules: Any) -> dict[str, str | None]:
    return {item.content: item.stage for item in split(items, SplitRules(**rules)).items}


def brute_force(hashes: NDArray[np.uint64], distance: int) -> list[int]:
    """The smallest row of each hash's component, by looking at every pair until nothing changes."""
    near = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2) <= distance
    groups = np.arange(len(hashes))
    while True:
        joined = np.where(near, groups[None], len(hashes)).min(axis=1)
        if np.array_equal(joined, groups):
            return [int(row) for row in groups]
        groups = joined


@st.composite
def hash_sets(draw: st.DrawFn) -> tuple[NDArray[np.uint64], int]:
    """Hashes around a few centres, at distances around the threshold, so that near pairs, chains and misses abound."""
    source = random.Random(draw(st.integers(0, 2**32)))
    distance = draw(st.integers(0, MAX_DISTANCE))
    values = [source.getrandbits(256) for _ in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(0, 40))):
        steps = max(0, min(256, distance + source.choice((-2, -1, 0, 0, 1, 2))))
        kind = source.choice(("spread", "spread", "in one place"))
        base = source.choice(values)
        if kind == "spread":
            values.append(flipped(base, steps, source.getrandbits(32)))
        else:  # all in neighbouring bits, hence in few bands
            start = source.randrange(256)
            for bit in range(start, start + steps):
                base ^= 1 << bit % 256
            values.append(base)
    rows = np.array([np.frombuffer(value.to_bytes(32, "little"), np.uint64) for value in values])
    return rows, distance


@settings(max_examples=60, deadline=None)
@given(hash_sets())
def test_near_groups_are_those_of_brute_force(case: tuple[NDArray[np.uint64], int]) -> None:
    hashes, distance = case
    assert near_groups(hashes, distance).tolist() == brute_force(hashes, distance)


def test_many_hashes_of_one_image_are_no_trouble() -> None:
    centre = random.Random(0).getrandbits(256)
    values = [flipped(centre, 3, seed) for seed in range(3000)]
    hashes = np.array([np.frombuffer(value.to_bytes(32, "little"), np.uint64) for value in values])
    assert set(near_groups(hashes, 31).tolist()) == {0}


items_with_copies = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5), st.sampled_from(["awe", "fear"])))


@settings(max_examples=60, deadline=None)
@given(items_with_copies, st.integers(0, 3), st.randoms(use_true_random=False))
def test_no_stage_shows_what_another_shows(
    drawn: list[tuple[int, int, str]], seed: int, shuffle: random.Random
) -> None:
    looks = [random.Random(number).getrandbits(256) for number in range(13)]
    items = [
        checked(f"{image}-{variant}", flipped(looks[image], variant * 3, variant), label=label)
        for image, variant, label in drawn
    ]
    found = split(items, SplitRules(seed=seed))
    where = {(item.content, item.stage) for item in found.items}
    assert len({content for content, _ in where}) == len(where)
    assert all(len({stage for content, stage in where if content.startswith(f"{n}-")}) <= 1 for n in range(13))
    assert len(found.items) + len(found.dropped) == len(items)
    shuffled = items[:]
    shuffle.shuffle(shuffled)
    assert {(item.content, item.label, item.stage) for item in split(shuffled, SplitRules(seed=seed)).items} == {
        (item.content, item.label, item.stage) for item in found.items
    }


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60), st.integers(0, 60))
def test_further_images_move_none_that_are_there(seed: int, before: int, more: int) -> None:
    items = distinct(before + more, seed)
    old, new = stages(items[:before]), stages(items)
    assert old.items() <= new.items()


def test_shares_are_kept_and_the_held_out_share_moves_nothing_between_stages() -> None:
    items = distinct(4000)
    counts = Counter(stages(items).values())
    assert counts["held_out"] / 4000 == pytest.approx(0.05, abs=0.015)
    rest = 4000 - counts["held_out"]
    assert [counts[name] / rest for name in ("reasoning", "confidence", "calibration")] == pytest.approx(
        [0.6, 0.3, 0.1], abs=0.03
    )
    without = stages(items, held_out=0.0)
    assert all(without[content] == stage for content, stage in stages(items).items() if stage != "held_out")
    assert stages(items, seed=1) != stages(items)


def test_a_stage_with_no_share_gets_nothing() -> None:
    given = stages(distinct(500), reasoning=0.5, confidence=0.5, calibration=0.0, held_out=0.0)
    assert set(given.values()) == {"reasoning", "confidence"}


def test_hashes_of_next_to_nothing_join_nothing() -> None:
    look = random.Random(0).getrandbits(256)
    found = split([checked("a", look), checked("b", look, quality=49), checked("c", look, quality=50)], SplitRules())
    assert (found.groups, found.largest_group) == (2, 2)


def test_the_distance_is_a_rule() -> None:
    look = random.Random(1).getrandbits(256)
    pair = [checked("a", look), checked("b", flipped(look, 31))]
    assert split(pair, SplitRules(near_duplicates=31)).groups == 1
    assert split(pair, SplitRules(near_duplicates=30)).groups == 2


def test_duplicates_are_dropped_and_contradictions_are_kept() -> None:
    reasoning = Reasoning(element="a", human="b", context="c", interaction="d", analysis="e")
    items = [
        checked("same", item_id="first"),
        checked("same", item_id="argued", reasoning=reasoning),
        checked("same", item_id="again", reasoning=reasoning),
        checked("same", item_id="differs", label="fear"),
        checked("same", item_id="sentiment", taxonomy="fi-2", label="positive"),
    ]
    found = split(items, SplitRules())
    assert [item.item_id for item in found.items] == ["argued", "differs", "sentiment"]
    assert len({item.stage for item in found.items}) == 1
    assert found.contradicting == 1
    assert [(drop.where, drop.reason) for drop in found.dropped] == [
        ("first", DropReason.DUPLICATE),
        ("again", DropReason.DUPLICATE),
    ]
    assert found.dropped[0].what == "the image and label of argued"


@pytest.mark.parametrize(
    "rules",
    [
        {"reasoning": 0.7},
        {"reasoning": 1.2, "confidence": -0.3},
        {"held_out": 1.0},
        {"held_out": -0.1},
        {"near_duplicates": 64},
        {"near_duplicates": -1},
    ],
)
def test_rules_that_make_no_sense_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"shares|share|bits"):
        SplitRules(**rules)


def test_nothing_is_split_into_nothing() -> None:
    assert split([], SplitRules()).items == ()
