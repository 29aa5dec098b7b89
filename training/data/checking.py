"""Whether items can be trained on, found out before hours are spent: first what is said of them, then every image.

Images are decoded by the worker's own sandboxed processes, with its limits of size, time and memory: what hangs or
crashes a decoder is a drop, and the stages can decode the rest without a sandbox.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pdqhash  # a compiled extension without stubs
from numpy.typing import NDArray

from training.data.drops import DataError, Dropped, DropReason, UnusableRecordError
from training.data.item import ImageFile, Item
from worker.intake.decode import DecoderPool, Prepared
from worker.intake.refusal import ImageRefusedError, IntakeError
from worker.reading.resize import PixelBudget
from worker.reading.response import SECTIONS
from worker.reading.taxonomy import Taxonomy
from worker.settings import IntakeSettings

CONTENT_BUDGET = PixelBudget()
"""Of the pixels whose hashes identify an image, whatever the budget of the model that is trained later."""


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """An item that can be trained on, and what its image looks like."""

    item: Item
    """Its `content` is the sha256 of the image's size and pixels."""
    look: NDArray[np.uint64]
    """(4,): the 256 bits of the PDQ hash (Facebook, "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing
    algorithm", 2019); images that look alike differ in few of them."""
    quality: int
    """0 to 100: how much there is in the image to be told apart by."""


def check_words(
    items: Iterable[Item], taxonomies: Mapping[str, Taxonomy], root: Path
) -> tuple[list[Item], list[Dropped]]:
    """All that can be said of items without opening an image: takes seconds for a hundred thousand.

    The label is in its taxonomy, the sections of the reasoning say something, probabilities are as many as labels, the
    image file is there.

    Args:
        root: where relative paths of images start.
    """
    kept: list[Item] = []
    dropped: list[Dropped] = []
    for item in items:
        try:
            _check_words(item, taxonomies, root)
        except UnusableRecordError as error:
            dropped.append(error.at(item.item_id))
        else:
            kept.append(item)
    return kept, dropped


def check_images(
    items: Sequence[Item],
    root: Path,
    intake: IntakeSettings,
    processes: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Checked], list[Dropped]]:
    """Decode every image file, each once however many items show it; items keep their order.

    Args:
        root: where relative paths of images start.
        intake: the limits of the worker.
        processes: how many images are decoded at a time.
        report: gets how many files are done, and of how many.

    Raises:
        DataError: no decoding process can be started.
    """
    files = list(dict.fromkeys(root / item.image.path for item in items if isinstance(item.image, ImageFile)))
    seen: dict[Path, _Seen | UnusableRecordError] = {}

    async def check(waiting: Iterator[Path], pool: DecoderPool) -> None:
        for path in waiting:
            try:
                seen[path] = await _look(path, pool)
            except UnusableRecordError as error:
                seen[path] = error
            report(len(seen), len(files))

    async def check_all() -> None:
        pool = DecoderPool(intake.model_copy(update={"decode_processes": processes}), CONTENT_BUDGET)
        try:
            await pool.start()
            waiting = iter(files)
            async with asyncio.TaskGroup() as group:
                for _ in range(2 * processes):  # one is read and hashed while another is decoded
                    group.create_task(check(waiting, pool))
        finally:
            await pool.close()

    if files:
        try:
            asyncio.run(check_all())
        except* IntakeError as errors:
            raise DataError(f"the images cannot be checked: {errors.exceptions[0]}") from errors
    kept: list[Checked] = []
    dropped: list[Dropped] = []
    for item in items:
        found = seen[root / item.image.path] if isinstance(item.image, ImageFile) else _Seen.unseen(item)
        if isinstance(found, UnusableRecordError):
            dropped.append(found.at(item.item_id))
        else:
            kept.append(Checked(item.model_copy(update={"content": found.content}), found.look, found.quality))
    return kept, dropped


def names_label(item: Item) -> bool:
    """Whether a section before the analysis, which concludes, already says the label: then the answer is given away."""
    if item.reasoning is None:
        return False
    said = item.reasoning.model_dump()
    words = " ".join(said[section] for section in SECTIONS if section != "analysis").lower()
    return item.label in {word.strip(".,;:!?\"'()") for word in words.split()}


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    content: str
    look: NDArray[np.uint64]
    quality: int

    @classmethod
    def unseen(cls, item: Item) -> _Seen:
        """Of a drawn scene: its content is known, and it looks like no other."""
        return cls(item.content, np.zeros(4, np.uint64), 0)


async def _look(path: Path, pool: DecoderPool) -> _Seen:
    try:
        data = await asyncio.to_thread(path.read_bytes)
        prepared = await pool.prepare(data)
    except OSError as error:
        raise UnusableRecordError(DropReason.IMAGE_MISSING, f"{path} cannot be read: {error.strerror}") from error
    except ImageRefusedError as error:
        raise UnusableRecordError(DropReason.IMAGE_UNUSABLE, f"{path}: {error}") from error
    size = f"{prepared.width} x {prepared.height} pixels"
    if prepared.tiny:
        raise UnusableRecordError(DropReason.IMAGE_TINY, f"{path}: {size}")
    if prepared.blank:
        raise UnusableRecordError(DropReason.IMAGE_BLANK, f"{path}: {size} of one colour")
    return await asyncio.to_thread(_hashed, prepared)


def _hashed(prepared: Prepared) -> _Seen:
    pixels = np.ascontiguousarray(prepared.pixels)
    content = hashlib.sha256(repr(pixels.shape).encode())
    content.update(pixels.data)
    bits, quality = pdqhash.compute(pixels)
    return _Seen(content.hexdigest(), np.packbits(bits.astype(np.uint8)).view(np.uint64), int(quality))


def _check_words(item: Item, taxonomies: Mapping[str, Taxonomy], root: Path) -> None:
    taxonomy = taxonomies.get(item.taxonomy)
    if taxonomy is None:
        known = ", ".join(sorted(taxonomies))
        raise UnusableRecordError(DropReason.UNKNOWN_TAXONOMY, f"{item.taxonomy!r} is none of {known}")
    if item.label not in taxonomy.labels:
        what = f"{item.label[:60]!r} is no label of {taxonomy.name} ({', '.join(taxonomy.labels)})"
        raise UnusableRecordError(DropReason.UNKNOWN_LABEL, what)
    if item.reasoning is not None:
        empty = [section for section, text in item.reasoning.model_dump().items() if not text.strip()]
        if empty:
            raise UnusableRecordError(DropReason.EMPTY_SECTION, f"<{empty[0]}> is empty")
    if item.probabilities is not None and len(item.probabilities) != len(taxonomy.labels):
        what = f"{len(item.probabilities)} probabilities for the {len(taxonomy.labels)} labels of {taxonomy.name}"
        raise UnusableRecordError(DropReason.BAD_PROBABILITIES, what)
    if isinstance(item.image, ImageFile):
        path = root / item.image.path
        try:
            there = path.is_file()
        except (OSError, ValueError) as error:  # a name that is too long, or holds a null byte
            raise UnusableRecordError(DropReason.IMAGE_MISSING, f"{str(path)[:200]!r} is no path: {error}") from error
        if not there:
            raise UnusableRecordError(DropReason.IMAGE_MISSING, f"there is no file {path}")
