"""The strict parser of a model's answer: either a reading, or a named failure. It never raises.

The format is that of EmoCaliber (arXiv 2512.15528): five sections of reasoning, a label, a confidence. Nothing may
stand outside the tags, since text after a complete answer can take it back. What cannot change the meaning is forgiven:
case, white space, copied template braces, quotes and a full stop around the label, a per cent sign.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from calibration.outcome import ParseStatus
from review.task import Reasoning
from worker.engine.finish import Finish
from worker.reading.taxonomy import Taxonomy

SECTIONS = ("element", "human", "context", "interaction", "analysis")

_TAG = re.compile(rf"<(/?(?:think|{'|'.join(SECTIONS)}|answer|confidence))>", re.IGNORECASE | re.ASCII)
_ORDER = (
    "think",
    *(tag for section in SECTIONS for tag in (section, f"/{section}")),
    *("/think", "answer", "/answer", "confidence", "/confidence"),
)
_NUMBER = re.compile(r"(\d{1,3}(?:\.\d{0,17})?|\.\d{1,17})\s*(%?)", re.ASCII)
_AROUND_A_LABEL = " \t\r\n{}[]()'\"`*.,;:!"
_AROUND_A_NUMBER = " \t\r\n{}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """An answer in the format: a label of the taxonomy and a confidence from 0 to 1."""

    label: str
    confidence: float
    reasoning: Reasoning


@dataclass(frozen=True, slots=True)
class ParseFailure:
    """An answer that could not be read, and why."""

    status: ParseStatus
    why: str


Response: TypeAlias = Parsed | ParseFailure


def parse_response(text: str, finish: Finish, taxonomy: Taxonomy) -> Response:
    """Read an answer, in time linear in its length."""
    if finish is Finish.LENGTH:
        return ParseFailure(ParseStatus.TRUNCATED, "the answer reached the token limit")
    if finish is not Finish.STOP:
        return ParseFailure(ParseStatus.ABORTED, f"the engine gave the answer up ({finish.value})")
    parts = _TAG.split(text)  # text, tag, text, tag, ..., text
    tags = tuple(tag.lower() for tag in parts[1::2])
    if tags != _ORDER:
        return ParseFailure(ParseStatus.MISSING_TAG, _first_difference(tags))
    content = dict(zip(tags, (part.strip() for part in parts[2::2]), strict=True))
    # What follows a closing tag, or <think>, is outside of all content.
    outside = parts[0].strip() + content.pop("think") + "".join(content[tag] for tag in tags if tag.startswith("/"))
    if outside:
        return ParseFailure(ParseStatus.EXTRA_TEXT, f"{len(outside)} characters stand outside the tags")
    label = content["answer"].strip(_AROUND_A_LABEL).lower()
    if label not in taxonomy.labels:
        return ParseFailure(ParseStatus.UNKNOWN_LABEL, f"{label[:60]!r} is no label of {taxonomy.name}")
    confidence = parse_confidence(content["confidence"])
    if confidence is None:
        return ParseFailure(
            ParseStatus.BAD_CONFIDENCE, f"{content['confidence'][:60]!r} is not a number from 0 to 1 or a percentage"
        )
    return Parsed(label, confidence, Reasoning(**{section: content[section] for section in SECTIONS}))


def parse_confidence(text: str) -> float | None:
    """A confidence from 0 to 1, or None. "85%" can only mean .85; "85" could mean anything and is refused."""
    number = _NUMBER.fullmatch(text.strip(_AROUND_A_NUMBER))
    if number is None:
        return None
    value = float(number[1]) / (100.0 if number[2] else 1.0)
    return value if value <= 1.0 else None


def response_pattern(labels: tuple[str, ...]) -> str:
    """A regular expression for engines that can force one. All that matches it is `Parsed`, in that taxonomy."""
    text = r"[^<>]{1,400}"
    reasoning = "".join(f"<{section}>{text}</{section}>" for section in SECTIONS)
    choices = "|".join(labels)
    return f"<think>{reasoning}</think><answer>({choices})</answer><confidence>(0\\.[0-9][0-9]?|1\\.0)</confidence>"


def _first_difference(tags: tuple[str, ...]) -> str:
    for number, expected in enumerate(_ORDER):
        found = tags[number] if number < len(tags) else None
        if found != expected:
            instead = "the end of the answer" if found is None else f"<{found}>"
            return f"<{expected}> is expected where {instead} stands"
    return f"<{tags[len(_ORDER)]}> stands after the end of the answer"
