"""The items in disjoint parts, one a stage: no image of one stage is, or looks like, an image of another.

Items are split by group: those with the same content, or with PDQ hashes that differ in few bits, or linked by a chain
of such items. The smallest content of a group, hashed with a seed, decides where all of it goes. So the split is the
same whatever the order of the items, and further items move none that are there, unless they join a group with a
smaller content or link two groups.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from training.data.checking import Checked
from training.data.drops import Dropped, DropReason
from training.data.item import Item, Stage

MAX_DISTANCE = 63
LEAST_QUALITY = 50
"""PDQ hashes of images with a lower quality are of noise, and near to nothing."""
_BANDS, _BAND_BITS = 16, 16
_CHUNK = 2_000_000
"""Pairs that are looked at together: bounds the memory."""

Groups = NDArray[np.int64]
"""(n,): the number of each item's group."""


@dataclass(frozen=True, slots=True)
class SplitRules:
    """How items are split.

    Raises:
        ValueError: the shares do not sum to 1, or something is out of its range.
    """

    reasoning: float = 0.6
    confidence: float = 0.3
    calibration: float = 0.1
    """Shares of what is not held out."""
    held_out: float = 0.05
    """Share of all."""
    seed: int = 0
    near_duplicates: int = 31
    """PDQ hashes that differ in at most so many of their 256 bits are of images that look alike."""

    def __post_init__(self) -> None:
        shares = (self.reasoning, self.confidence, self.calibration)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"the shares of the three stages must not be negative and sum to 1, not {shares}")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"the held-out share must be at least 0 and below 1, not {self.held_out}")
        if not 0 <= self.near_duplicates <= MAX_DISTANCE:
            raise ValueError(f"near duplicates differ in 0 to {MAX_DISTANCE} bits, not {self.near_duplicates}")

    def stage(self, content: str) -> Stage:
        """Where the group with this smallest content goes."""
        # Two draws, so that another held-out share moves no item from one stage to another.
        if _draw(self.seed, "held_out", content) < self.held_out:
            return "held_out"
        draw = _draw(self.seed, "stage", content)
        if draw < self.reasoning:
            return "reasoning"
        return "confidence" if draw < self.reasoning + self.confidence or self.calibration == 0 else "calibration"


@dataclass(frozen=True, slots=True)
class SplitOut:
    """The items with their stages, and what splitting found out about them."""

    items: tuple[Item, ...]
    """In the order in which they came."""
    dropped: tuple[Dropped, ...]
    """Duplicates."""
    groups: int
    largest_group: int
    """Distinct contents in it."""
    contradicting: int
    """Contents that have several labels of one taxonomy."""


def split(checked: Sequence[Checked], rules: SplitRules) -> SplitOut:
    """Drop what is there twice with the same label, and give the rest their stages.

    Of duplicates one that has reasoning is kept, before one that has none, else the first. Items with the same content
    and different labels are all kept: people differ, and a label is one person's.
    """
    kept, dropped = _without_duplicates(checked)
    contents = sorted({each.item.content for each in kept})
    if not contents:
        return SplitOut((), dropped, 0, 0, 0)
    place = {content: number for number, content in enumerate(contents)}
    looks, usable = np.zeros((len(contents), 4), np.uint64), np.zeros(len(contents), np.bool_)
    for each in kept:
        number = place[each.item.content]
        looks[number], usable[number] = each.look, each.quality >= LEAST_QUALITY
    groups = np.arange(len(contents))
    groups[usable] = np.flatnonzero(usable)[near_groups(looks[usable], rules.near_duplicates)]

    smallest: dict[int, str] = {}
    for content, group in zip(contents, groups.tolist(), strict=True):  # sorted: the first of a group is its smallest
        smallest.setdefault(group, content)
    stages = {group: rules.stage(content) for group, content in smallest.items()}
    labels: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for each in kept:
        labels[each.item.content, each.item.taxonomy].add(each.item.label)
    return SplitOut(
        items=tuple(
            each.item.model_copy(update={"stage": stages[int(groups[place[each.item.content]])]}) for each in kept
        ),
        dropped=dropped,
        groups=len(smallest),
        largest_group=max(Counter(groups.tolist()).values()),
        contradicting=len({content for (content, _), given in labels.items() if len(given) > 1}),
    )


def near_groups(hashes: NDArray[np.uint64], distance: int) -> Groups:
    """The connected components of hashes (n, 4) that differ in at most `distance` of their 256 bits.

    Exact, by multi-index hashing (Norouzi, Punjani, Fleet, CVPR 2012): where 16 bands of 16 bits differ in at most
    `distance` bits, one band differs in at most `distance // 16`. So each hash is compared with those only that share
    a band up to so many flipped bits. Of n hashes without structure these are n^2 / 512 pairs for each of the bands'
    flips, 17 of them for 16 to 31 bits: some 80 million for 200,000 hashes, seconds. Bands that many hashes
    share make it slower, up to n^2; equal hashes are joined beforehand.

    Returns:
        For each hash the smallest row of its component.
    """
    distinct, first, places = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    groups: Groups = np.arange(len(distinct))
    for some, others in _candidates(distinct, distance // _BANDS):
        apart = groups[some] != groups[others]
        left, right = some[apart], others[apart]
        near = np.bitwise_count(distinct[left] ^ distinct[right]).sum(axis=1, dtype=np.int64) <= distance
        if near.any():
            groups = _joined(groups, left[near], right[near])
    # Numbered by the smallest row of each component, in the order of the rows that came.
    rows = np.full(len(distinct), len(hashes))
    np.minimum.at(rows, groups, first)
    return rows[groups][places.reshape(-1)]


def _candidates(hashes: NDArray[np.uint64], flips: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of rows, and some of them repeatedly, that have a band that differs in at most so many bits."""
    bands = np.ascontiguousarray(hashes).view(np.uint16).reshape(len(hashes), _BANDS)
    masks = [sum(1 << bit for bit in bits) for n in range(flips + 1) for bits in combinations(range(_BAND_BITS), n)]
    for band in range(_BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        keys = bands[order, band].astype(np.int64)
        starts = np.searchsorted(keys, np.arange((1 << _BAND_BITS) + 1))
        for mask in masks:
            partners = keys ^ mask
            begin, end = starts[partners], starts[partners + 1]
            if mask == 0:
                begin = np.arange(len(keys)) + 1  # of one bucket, each pair once
            else:
                end = np.where(keys < partners, end, begin)
            yield from _pairs(order, begin, end)


def _pairs(
    order: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Row `order[i]` with each of `order[begin[i]:end[i]]`, about _CHUNK pairs at a time."""
    has = np.flatnonzero(end > begin)
    counts = (end - begin)[has]
    total = np.cumsum(counts)
    for chunk in np.split(np.arange(len(has)), np.flatnonzero(np.diff(total // _CHUNK)) + 1):
        if len(chunk) == 0:
            continue
        sizes = counts[chunk]
        before = np.cumsum(sizes) - sizes
        offsets = np.arange(int(sizes.sum())) - np.repeat(before, sizes)
        rows = np.repeat(has[chunk], sizes)
        yield order[rows], order[begin[rows] + offsets]


def _joined(groups: Groups, left: NDArray[np.int64], right: NDArray[np.int64]) -> Groups:
    """The groups after each pair of rows was linked."""
    size = len(groups)
    links = coo_array((np.ones(len(left), np.bool_), (groups[left], groups[right])), shape=(size, size))
    found: Groups = connected_components(links, directed=False)[1].astype(np.int64)[groups]
    return found


def _without_duplicates(checked: Sequence[Checked]) -> tuple[list[Checked], tuple[Dropped, ...]]:
    best: dict[tuple[str, str, str], Checked] = {}
    for each in checked:
        key = each.item.content, each.item.taxonomy, each.item.label
        if key not in best or (best[key].item.reasoning is None and each.item.reasoning is not None):
            best[key] = each
    kept, dropped = [], []
    for each in checked:
        same = best[each.item.content, each.item.taxonomy, each.item.label]
        if same is each:
            kept.append(each)
        else:
            what = f"the image and label of {same.item.item_id}"
            dropped.append(Dropped(reason=DropReason.DUPLICATE, where=each.item.item_id, what=what))
    return kept, tuple(dropped)


def _draw(seed: int, purpose: str, content: str) -> float:
    """A number from 0 to 1 that only these three decide."""
    digest = hashlib.sha256(f"{seed}:{purpose}:{content}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
