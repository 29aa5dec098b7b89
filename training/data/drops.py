"""What a reader gives, and what it left out: every record ends as an item or as a drop with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from calibration.contract import Contract
from training.data.item import Item
from worker.reading.taxonomy import Taxonomy


class DropReason(StrEnum):
    """Why a record became no item, or an item no part of the data."""

    BAD_JSON = "bad_json"  # truncated, or not one JSON object
    BAD_RECORD = "bad_record"  # a field is missing or of another kind
    IMAGE_COUNT = "image_count"  # the record names no image, or several
    BAD_ANSWER = "bad_answer"  # the assistant's turn is not in the response format
    BAD_CONFIDENCE = "bad_confidence"  # not a number from 0 to 1
    EMPTY_SECTION = "empty_section"  # a section of the reasoning says nothing
    BAD_CANDIDATES = "bad_candidates"  # the candidates make no label set
    CANDIDATES_DIFFER = "candidates_differ"  # from those of the task's other records
    BAD_PROBABILITIES = "bad_probabilities"  # not one for each label, or they do not sum to 1
    UNKNOWN_TAXONOMY = "unknown_taxonomy"
    UNKNOWN_LABEL = "unknown_label"  # not in the taxonomy
    IMAGE_MISSING = "image_missing"  # no such file
    IMAGE_UNUSABLE = "image_unusable"  # the worker refuses it: broken, another format, beyond a limit
    IMAGE_BLANK = "image_blank"  # nothing to see, so the worker never asks the model about it
    IMAGE_TINY = "image_tiny"  # too small to be read, likewise
    IMAGE_UNREACHABLE = "image_unreachable"  # could not be fetched
    IMAGE_CHANGED = "image_changed"  # what is fetched now is not what was reviewed
    DECISION_GONE = "decision_gone"  # older than its topic's retention: nothing says where the image is
    CANNOT_TELL = "cannot_tell"  # the moderator's verdict
    DISPUTED = "disputed"  # several verdicts that differ
    DUPLICATE = "duplicate"  # the same pixels with the same label once more

    @property
    def fault(self) -> bool:
        """Whether something is wrong with the data, rather than that it was sorted out on purpose."""
        return self not in {DropReason.CANNOT_TELL, DropReason.DISPUTED, DropReason.DUPLICATE}


class Dropped(Contract):
    """One record or item that was left out."""

    reason: DropReason
    where: str
    """The file and line, or the event."""
    what: str
    """What was found there."""


class DataError(Exception):
    """The data cannot be used at all; the message names the file and says what to do."""


class UnusableRecordError(Exception):
    """One record cannot be used. Readers raise it within themselves and count it as a drop."""

    def __init__(self, reason: DropReason, what: str) -> None:
        super().__init__(f"{reason.value}: {what}")
        self.reason = reason
        self.what = what

    def at(self, where: str) -> Dropped:
        """The drop that this makes of the record there."""
        return Dropped(reason=self.reason, where=where, what=self.what)


@dataclass(frozen=True, slots=True)
class ReadOut:
    """All that a reader found in one source."""

    items: tuple[Item, ...]
    """Not yet checked: their images have not been opened."""
    dropped: tuple[Dropped, ...] = ()
    taxonomies: Mapping[str, Taxonomy] = field(default_factory=dict)
    """Label sets that the records themselves state, by name."""


def counted(dropped: Iterable[Dropped]) -> dict[DropReason, int]:
    """How many were left out for each reason, the most frequent first."""
    return dict(Counter(drop.reason for drop in dropped).most_common())


def refuse_too_many(kept: int, dropped: Sequence[Dropped], share: float) -> None:
    """Refuse data of which more than this share is faulty; what was sorted out on purpose does not count.

    Raises:
        DataError: it is, or nothing is left.
    """
    faults = [drop for drop in dropped if drop.reason.fault]
    records = kept + len(faults)
    if kept and len(faults) <= share * records:
        return
    examples: dict[DropReason, Dropped] = {}
    for drop in faults or dropped:
        examples.setdefault(drop.reason, drop)
    counts = counted(faults or dropped)
    lines = "".join(
        f"\n  {count:,} {reason.value}, as {examples[reason].where}: {examples[reason].what}"
        for reason, count in counts.items()
    )
    if not kept:
        raise DataError(f"no item is left to train on.{lines or ' The sources are empty.'}")
    raise DataError(
        f"{len(faults):,} of {records:,} records cannot be used, more than the {share:.0%} that --max-dropped allows:"
        f"{lines}\nMend the data, or allow more with --max-dropped."
    )
