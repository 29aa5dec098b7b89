"""Reader of VEC-CoT: JSON Lines of images with a written chain of thought, in the files of EmoCaliber's three stages.

The assistant's turn is an answer in the response format; those of stage 1 say no confidence, those of stage 3 may be
absent, the label then standing in `ground_truth`, `solution` or `label`. Where both are there the truth is the label,
and reasoning and confidence are kept only if the answer names the same: else they argue for a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from calibration.outcome import ParseStatus
from review.task import Reasoning
from training.data.drops import DropReason, ReadOut, UnusableRecordError
from training.data.item import Item, place
from training.data.records import Record, image_of, read_records, said
from training.data.vecbench import task_name
from worker.engine.finish import Finish
from worker.reading.response import Parsed, parse_response
from worker.reading.taxonomy import Taxonomy

_ANSWER = re.compile(r"\s*<answer>(.*)</answer>\s*", re.DOTALL | re.IGNORECASE)
_REASONS = {
    ParseStatus.UNKNOWN_LABEL: DropReason.UNKNOWN_LABEL,
    ParseStatus.BAD_CONFIDENCE: DropReason.BAD_CONFIDENCE,
}


def read_vec_cot(path: Path, images: Path, taxonomies: Mapping[str, Taxonomy], default: str | None = None) -> ReadOut:
    """Items with reasoning where it was written, and with the confidence that was said where one was.

    Args:
        images: where relative paths of images start.
        taxonomies: the label sets that are known, by name.
        default: name of the taxonomy of records whose `task` or `dataset` names none that is known.

    Raises:
        DataError: the file cannot be read, or holds nothing.
    """

    def item(record: Record) -> Item:
        taxonomy = _taxonomy(record, taxonomies, default)
        truth = record.text("ground_truth", "solution", "label")
        answer = said(record, "assistant")
        if truth is None and answer is None:
            what = "neither an answer of the assistant nor a ground_truth, solution or label"
            raise UnusableRecordError(DropReason.BAD_RECORD, what)
        label = None if truth is None else _bare(truth)
        reasoning: Reasoning | None = None
        confidence: float | None = None
        if answer is not None:
            parsed, sure = _parsed(answer, taxonomy)
            label = parsed.label if label is None else label
            if parsed.label == label:
                reasoning, confidence = parsed.reasoning, sure
        image = image_of(record, images)
        assert label is not None
        return Item(
            item_id=record.where,
            image=image,
            content=place(image.path),
            taxonomy=taxonomy.name,
            label=label,
            reasoning=reasoning,
            confidence=confidence,
        )

    return read_records(path, item)


def _taxonomy(record: Record, taxonomies: Mapping[str, Taxonomy], default: str | None) -> Taxonomy:
    named = [name for name in (record.text("task"), record.text("dataset")) if name is not None]
    for name in (*(task_name(each) for each in named), *filter(None, [default])):
        if name in taxonomies:
            return taxonomies[name]
    says = f"names {' and '.join(named)}" if named else "names no task or dataset"
    raise UnusableRecordError(
        DropReason.UNKNOWN_TAXONOMY, f"the record {says}, and no taxonomy is known for it: give --taxonomy"
    )


def _parsed(answer: str, taxonomy: Taxonomy) -> tuple[Parsed, float | None]:
    """The answer as the worker reads it, and its confidence where it says one."""
    unsaid = "<confidence>" not in answer.lower()
    response = parse_response(answer + "<confidence>1</confidence>" * unsaid, Finish.STOP, taxonomy)
    if isinstance(response, Parsed):
        return response, None if unsaid else response.confidence
    raise UnusableRecordError(_REASONS.get(response.status, DropReason.BAD_ANSWER), response.why)


def _bare(truth: str) -> str:
    """A label without the answer tags that reward functions expect around it."""
    tagged = _ANSWER.fullmatch(truth)
    return (tagged[1] if tagged else truth).strip().lower()
