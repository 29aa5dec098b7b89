"""Reader of VECBench: JSON Lines with `conversations`, `ground_truth`, `task` and `candidates`.

The label set of a task is what its records say, never what this code knows.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.data.drops import Dropped, DropReason, ReadOut, UnusableRecordError
from training.data.item import Item, place
from training.data.records import Record, image_of, read_records, said
from worker.reading.taxonomy import Taxonomy

_QUESTION = re.compile(r"(.+?\?)\s+Choose the most likely", re.DOTALL)


def read_vecbench(path: Path, images: Path) -> ReadOut:
    """Items in the order of the file, and a taxonomy for each task, named as `task_name` spells it.

    A task's labels are the candidates of most of its records, in the order of the first of them; its question is what
    that record asks before "Choose the most likely". A record with other candidates, or with a truth that is none of
    them, is a drop.

    Args:
        images: where relative paths of images start.

    Raises:
        DataError: the file cannot be read, or holds nothing.
    """
    stated: dict[str, tuple[str, tuple[str, ...]]] = {}  # by item: task and candidates
    first: dict[tuple[str, frozenset[str]], Taxonomy] = {}
    votes: defaultdict[str, Counter[frozenset[str]]] = defaultdict(Counter)

    def item(record: Record) -> Item:
        taxonomy = _taxonomy(record)
        label = record.required("ground_truth").lower()
        if label not in taxonomy.labels:
            raise UnusableRecordError(
                DropReason.UNKNOWN_LABEL, f"ground_truth {label[:60]!r} is none of its candidates {_listed(taxonomy)}"
            )
        image = image_of(record, images)
        labels = frozenset(taxonomy.labels)
        first.setdefault((taxonomy.name, labels), taxonomy)
        votes[taxonomy.name][labels] += 1
        stated[record.where] = taxonomy.name, taxonomy.labels
        return Item(item_id=record.where, image=image, content=place(image.path), taxonomy=taxonomy.name, label=label)

    read = read_records(path, item)
    # Of two sets as frequent, the one that came first: counters keep that order.
    taxonomies = {task: first[task, sets.most_common(1)[0][0]] for task, sets in votes.items()}
    items: list[Item] = []
    dropped = list(read.dropped)
    for each in read.items:
        task, labels = stated[each.item_id]
        if set(labels) == set(taxonomies[task].labels):
            items.append(each)
        else:
            what = f"candidates {', '.join(labels)}, but other records of {task} have {_listed(taxonomies[task])}"
            dropped.append(Dropped(reason=DropReason.CANDIDATES_DIFFER, where=each.item_id, what=what))
    return ReadOut(tuple(items), tuple(dropped), taxonomies)


def task_name(task: str) -> str:
    """A task as the name of a taxonomy: `EmoSet-8` and `EmoSet 8` are both `emoset-8`."""
    return re.sub(r"[^a-z0-9]+", "-", task.lower()).strip("-")


def _taxonomy(record: Record) -> Taxonomy:
    name = task_name(record.required("task"))
    candidates: Any = record.fields.get("candidates")
    if not isinstance(candidates, list) or not all(isinstance(each, str) for each in candidates):
        raise UnusableRecordError(DropReason.BAD_CANDIDATES, "candidates must be a list of labels")
    asked = _QUESTION.search(said(record, "user") or "")
    fields: dict[str, Any] = {"name": name, "labels": tuple(each.strip().lower() for each in candidates)}
    if asked:
        fields["question"] = asked[1].strip()
    try:
        return Taxonomy.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise UnusableRecordError(DropReason.BAD_CANDIDATES, f"{where}: {problem['msg']}") from error


def _listed(taxonomy: Taxonomy) -> str:
    return ", ".join(taxonomy.labels)
