"""The published figures exactly as the public code of arXiv 2512.15528 computes them, defects and all.

Facts of github.com/wdqqdw/EmoCaliber, `inference/` (nothing of it is copied here). Not to be trusted; only for numbers
that are to be laid beside published ones:

- The data are split into as many equal parts as there are GPUs; what is left over at the end is never asked about (the
  published 8,032 of 8,035 items fit the script's 8).
- A label is the first candidate, in their order, that occurs anywhere inside `<answer>`: "not sad" is sad, and of two
  labels the first in the list counts. Without an answer, or with an empty one, the whole text is searched.
- "Overall" searches the whole text always, the reasoning included.
- An item whose `<confidence>` is there and no number is dropped whole from all but the plain table; one without any
  is left out of accuracy, ECE, Brier score and AUROC of its group. Only template braces are stripped, and "85" is 1.
- ECE has ten bins [low, high), so that a confidence of 1 is in none of them while it still counts in the total.
- F1 is weighted by how often a label occurs; an answer without a label is a label of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from calibration.contract import Contract
from calibration.metrics.contracts import Count
from training.evaluation.published import published
from training.evaluation.readings import ItemReading
from worker.reading.taxonomy import Taxonomy

GPUS = 8
WARNING = "the published definitions, which overlook failures: to be laid beside published numbers, not to be trusted"
_NO_LABEL = "unknown"
_BINS = 10
_ANSWER = re.compile(r"<answer>(.*?)</answer>")
_CONFIDENCE = re.compile(r"<confidence>(.*?)</confidence>")


class CompatTask(Contract):
    """One task, or all of them."""

    n: Count
    accuracy: float
    f1: float


class CompatGroup(Contract):
    """One published group, pooled."""

    n: Count
    with_confidence: Count
    """Those that accuracy, ECE, Brier score and AUROC are of."""
    accuracy: float | None
    f1: float
    ece: float | None
    brier: float | None
    auroc: float | None


class CompatResult(Contract):
    """What the public scripts would print, as shares of 1."""

    warning: str = WARNING
    tasks: dict[str, CompatTask]
    groups: dict[str, CompatGroup]
    overall: CompatTask
    tail_left_out: Count
    """Items at the end of the data that no GPU would have been given."""
    failed_left_out: Count
    """Items without any answer, which the public scripts drop."""
    confidence_left_out: Count
    """Items whose confidence is no number, dropped from the groups."""


@dataclass(frozen=True)
class _Row:
    task: str
    truth: str
    said: str
    scanned: str
    """The label as "Overall" finds it."""
    confidence: float | None


def compat_result(
    readings: Sequence[ItemReading], taxonomies: Mapping[str, Taxonomy], *, gpus: int = GPUS
) -> CompatResult:
    """The published figures of readings in the order of the data file.

    Raises:
        ValueError: there are fewer readings than GPUs.
    """
    asked = readings[: len(readings) // gpus * gpus]
    if not asked:
        raise ValueError(f"{len(readings)} items cannot be split over {gpus} GPUs: lower --compat-gpus")
    answered = [reading for reading in asked if reading.refused is None]
    rows: list[_Row] = []
    unreadable = 0
    plain: list[_Row] = []
    for reading in answered:
        candidates = taxonomies[reading.taxonomy].labels
        said, scanned = said_label(reading.text, candidates), found_in(reading.text.lower(), candidates)
        try:
            confidence = said_confidence(reading.text)
        except ValueError:
            unreadable += 1
            plain.append(_Row(reading.taxonomy, reading.truth, said, scanned, None))
            continue
        rows.append(_Row(reading.taxonomy, reading.truth, said, scanned, confidence))
        plain.append(rows[-1])
    tasks = {name: [row for row in plain if row.task == name] for name in dict.fromkeys(row.task for row in plain)}
    groups = {name: [row for row in rows if row.task in group.tasks] for name, group in published().groups.items()}
    return CompatResult(
        tasks={name: _task(of, lambda row: row.said) for name, of in tasks.items()},
        groups={name: _group(of) for name, of in groups.items() if of},
        overall=_task(plain, lambda row: row.scanned),
        tail_left_out=len(readings) - len(asked),
        failed_left_out=len(asked) - len(answered),
        confidence_left_out=unreadable,
    )


def said_label(text: str, candidates: Sequence[str]) -> str:
    """The first candidate inside the first answer; inside the whole text where there is no answer."""
    answer = _ANSWER.search(text.lower())
    return found_in(answer[1] if answer and answer[1] else text.lower(), candidates)


def found_in(text: str, candidates: Sequence[str]) -> str:
    """The first candidate, in their order, that occurs in the text."""
    return next((candidate for candidate in candidates if candidate in text), _NO_LABEL)


def said_confidence(text: str) -> float | None:
    """What stands between the tags, clipped to [0, 1]; None without tags.

    Raises:
        ValueError: it is no number.
    """
    said = _CONFIDENCE.search(text)
    return None if said is None else min(max(float(said[1].replace("{", "").replace("}", "")), 0.0), 1.0)


def published_ece(confidence: Sequence[float], right: Sequence[bool]) -> float:
    """Ten bins open above: a confidence of 1 is in none, and adds nothing but its weight."""
    score, truth = np.array(confidence), np.array(right, np.float64)
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    total = 0.0
    for low, high in pairwise(edges.tolist()):
        inside = (score >= low) & (score < high)
        if inside.any():
            total += abs(float(truth[inside].mean()) - float(score[inside].mean())) * float(inside.mean())
    return total


def _task(rows: Sequence[_Row], said: Callable[[_Row], str]) -> CompatTask:
    if not rows:
        return CompatTask(n=0, accuracy=0.0, f1=0.0)
    hits = [said(row) == row.truth for row in rows]
    return CompatTask(n=len(rows), accuracy=float(np.mean(hits)), f1=_f1(rows, said))


def _group(rows: Sequence[_Row]) -> CompatGroup:
    known = [(row.confidence, row.said == row.truth) for row in rows if row.confidence is not None]
    confidence, right = [score for score, _ in known], [hit for _, hit in known]
    both = len(set(right)) == 2 and not np.isnan(confidence).any()
    return CompatGroup(
        n=len(rows),
        with_confidence=len(known),
        accuracy=float(np.mean(right)) if known else None,
        f1=_f1(rows, lambda row: row.said),
        ece=published_ece(confidence, right) if known else None,
        brier=float(np.mean((np.array(confidence) - np.array(right)) ** 2)) if known else None,
        auroc=float(roc_auc_score(right, confidence)) if both else None,
    )


def _f1(rows: Sequence[_Row], said: Callable[[_Row], str]) -> float:
    truths, labels = [row.truth for row in rows], [said(row) for row in rows]
    return float(f1_score(truths, labels, average="weighted", zero_division=0.0))
