"""What the review room takes in: tasks from the workers, verdicts from moderators."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, Discriminator, Field, Tag, model_validator

from calibration.audit import Audit
from calibration.contract import Contract, Versioned
from calibration.gate import Reason
from calibration.outcome import Probability, Signals

EventId = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,128}$")]
"""Chosen by the platform: 1 to 128 printable ASCII characters without spaces."""
Source = Annotated[str, Field(max_length=128)]
"""The platform's own word for where images come from; empty where it says none."""
Pdq = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Priority = Annotated[int, Field(ge=0, le=100)]


class RecordPosition(Contract):
    """Where a record stands in Kafka."""

    topic: str
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]


class UrlReference(Contract):
    """An image at a public address."""

    url: Annotated[str, Field(min_length=1, max_length=8192)]


class KeyReference(Contract):
    """An image in the platform's object store."""

    key: Annotated[str, Field(min_length=1, max_length=1024)]


class RecordReference(Contract):
    """An image whose bytes travelled inside its event: read them from the event's own record."""

    record: RecordPosition


def sole_key(*known: str) -> Discriminator:
    """Tell the members of a union apart by the one of the `known` fields that is there; two or none match nothing."""

    def present(value: object) -> str | None:
        has = value.__contains__ if isinstance(value, dict) else lambda name: hasattr(value, name)
        found = [name for name in known if has(name)]
        return found[0] if len(found) == 1 else None

    return Discriminator(
        present,
        custom_error_type="exactly_one",
        custom_error_message=f"must have exactly one of: {', '.join(known)}",
    )


ImageReference = Annotated[
    Annotated[UrlReference, Tag("url")]
    | Annotated[KeyReference, Tag("key")]
    | Annotated[RecordReference, Tag("record")],
    sole_key("url", "key", "record"),
]


class Reasoning(Contract):
    """The five sections of the model's structured reasoning."""

    element: str
    human: str
    context: str
    interaction: str
    analysis: str


class Alternative(Contract):
    """One candidate label with the model's own (uncalibrated) probability of it."""

    label: str
    probability: Probability


class Versions(Contract):
    """Everything that made a decision what it is."""

    model: str
    prompt: str
    decoder: str
    calibrator: str
    policy: str
    gate: str


class Golden(Contract):
    """What is known of a golden item."""

    golden_id: EventId
    label: str | None
    """The right answer; None: nobody can tell."""


class ReviewTask(Versioned):
    """One image that waits for a person, with all that a console needs to show of it."""

    event_id: EventId
    image: ImageReference
    content_sha256: str | None
    taxonomy: str
    source: Source = ""
    labels: tuple[str, ...]
    """The taxonomy's labels, in the order in which the console shows them."""
    priority: Priority
    reason: Reason
    blind: bool
    """The model's answer must not be shown before the verdict: drawn for an audit."""
    label: str | None
    alternatives: tuple[Alternative, ...] = ()
    reasoning: Reasoning | None = None
    image_flags: tuple[str, ...] = ()
    """What to know of the image: animated (the model saw its first frame only), blank, tiny."""
    pdq: Pdq | None = None
    """Perceptual hash of the image; None where it has too little structure, or was not read."""
    signals: Signals
    probability: Probability | None = None
    audit: Audit | None = None
    golden: Golden | None = None
    """Of a task that was put among the others to see how reviewers do. Nobody is shown it."""
    versions: Versions
    uploader_id: str | None = None
    created_at: AwareDatetime
    decided_at: AwareDatetime

    @model_validator(mode="after")
    def _golden_is_blind(self) -> Self:
        if self.golden is not None and not self.blind:
            raise ValueError("golden: only a blind task may be one, else its answer would show")
        return self


class Round(StrEnum):
    """Of the verdicts on one event. The last one given is what counts; the others say how far reviewers agree."""

    FIRST = "first"
    SECOND = "second"  # by another reviewer, who does not see the first
    ADJUDICATION = "adjudication"  # by a lead, who sees both


class Verdict(Versioned):
    """What a moderator said of one event: self-contained, so that calibration needs nothing else."""

    event_id: EventId
    reviewer: Annotated[str, Field(min_length=1, max_length=128)]
    label: str | None
    """The moderator's label; None means "cannot tell"."""
    note: str | None = None
    round: Round = Round.FIRST
    withdrawn: bool = False
    """The reviewer took their verdict back: the event has none until the next one."""
    copied_from: EventId | None = None
    """The reviewer saw the image of this event, and said that it holds for its near-duplicate, too."""
    seconds_spent: Annotated[float, Field(ge=0)]
    blind: bool
    decided_label: str | None
    """What the model had said."""
    reason: Reason
    taxonomy: str
    source: Source = ""
    signals: Signals
    audit: Audit | None
    versions: Versions
    decided_at: AwareDatetime
    given_at: AwareDatetime


class Check(Versioned):
    """What a moderator said of a golden item. A record of the topic `checks`; the last one of an event counts."""

    event_id: EventId
    """Of the task, which looked like any other."""
    golden_id: EventId
    taxonomy: str
    reviewer: Annotated[str, Field(min_length=1, max_length=128)]
    label: str | None
    known: str | None
    seconds_spent: Annotated[float, Field(ge=0)]
    given_at: AwareDatetime

    @property
    def right(self) -> bool:
        """Whether the moderator said what is known."""
        return self.label == self.known
