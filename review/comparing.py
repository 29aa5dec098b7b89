"""How far reviewers agree, counted from the verdicts and checks on their topics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import numpy as np
import structlog

from calibration.settings import KafkaSettings, TopicName
from review.agreement import CANNOT_TELL, Agreement, Reviewer, Said, agreement, reviewers
from review.task import Check, Round, Verdict
from review.truth import records

log = structlog.get_logger()

_Given = TypeVar("_Given", Verdict, Check)


@dataclass(frozen=True)
class AgreementReport:
    """Of one taxonomy."""

    agreement: Agreement
    reviewers: tuple[Reviewer, ...]


def agreement_report(kafka: KafkaSettings, since: datetime | None = None) -> dict[str, AgreementReport]:
    """Of each taxonomy that has verdicts, by name. Reads both topics whole; copied and withdrawn verdicts are left out.

    Args:
        since: what was given before does not count.

    Raises:
        kafka.errors.KafkaError, TopicGapError: they cannot be read.
    """
    found: dict[str, _Answers] = defaultdict(_Answers)
    for verdict in _read(kafka, "verdicts", Verdict, since):
        found[verdict.taxonomy].take(verdict)
    for check in _read(kafka, "checks", Check, since):
        found[check.taxonomy].checks[check.event_id] = check
    rng = np.random.default_rng(0)
    return {name: answers.report(rng) for name, answers in sorted(found.items())}


@dataclass
class _Answers:
    """Of one taxonomy: independent answers by event, and what leads decided."""

    said: dict[str, dict[str, Said]] = field(default_factory=lambda: defaultdict(dict))
    adjudications: dict[str, str] = field(default_factory=dict)
    checks: dict[str, Check] = field(default_factory=dict)

    def right(self) -> dict[str, list[bool]]:
        """Whether each reviewer was right on each golden item."""
        found: dict[str, list[bool]] = defaultdict(list)
        for check in self.checks.values():
            found[check.reviewer].append(check.right)
        return found

    def report(self, rng: np.random.Generator) -> AgreementReport:
        """What is to be said of them."""
        return AgreementReport(
            agreement([{who: each.label for who, each in said.items()} for said in self.said.values()], rng),
            reviewers(
                {event: list(said.values()) for event, said in self.said.items()}, self.adjudications, self.right()
            ),
        )

    def take(self, verdict: Verdict) -> None:
        if verdict.round is Round.ADJUDICATION:
            self.adjudications.pop(verdict.event_id, None)
        else:
            self.said[verdict.event_id].pop(verdict.reviewer, None)
        if verdict.withdrawn or verdict.copied_from is not None:
            return
        label = verdict.label or CANNOT_TELL
        if verdict.round is Round.ADJUDICATION:
            self.adjudications[verdict.event_id] = label
        else:
            self.said[verdict.event_id][verdict.reviewer] = Said(verdict.reviewer, label, verdict.seconds_spent)


def _read(kafka: KafkaSettings, name: TopicName, kind: type[_Given], since: datetime | None) -> Iterator[_Given]:
    for record in records(kafka, name, {}):
        try:
            given = kind.model_validate_json(record.value or b"")
        except ValueError as error:
            where = f"{kafka.topic(name)}/{record.partition}/{record.offset}"
            log.warning("record not readable", position=where, error=str(error)[:500])
            continue
        if since is None or given.given_at >= since:
            yield given
