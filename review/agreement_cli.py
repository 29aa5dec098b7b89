"""`tidegate review agreement`: how far reviewers agree, from the verdicts on their topic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import numpy as np
import structlog
import typer
from kafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from calibration.ledger.topic import TopicGapError
from calibration.settings import KafkaSettings, TopicName
from review.agreement import CANNOT_TELL, Agreement, Interval, Reviewer, Said, agreement, reviewers
from review.panel import plain
from review.task import Check, Round, Verdict
from review.terminal import failure, print_json, settings_of
from review.truth import records

log = structlog.get_logger()

_MOST_CONFUSED = 10
_Given = TypeVar("_Given", Verdict, Check)


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


def agreement_command(
    days: Annotated[
        float | None, typer.Option(min=0, help="of verdicts; default: all that the topic still has")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document, for scripts")] = False,
) -> None:
    """How far reviewers agree: Krippendorff's alpha by taxonomy, what they confuse, and each beside the others.

    From events that two people answered without knowing of each other (TIDEGATE_REVIEW_SECOND_ANSWER_SHARE), and from
    what leads said where they differed; and how they do on golden items. Copied and withdrawn verdicts are left out.
    """
    kafka = settings_of(KafkaSettings)
    since = None if days is None else datetime.now(UTC) - timedelta(days=days)
    found: dict[str, _Answers] = defaultdict(_Answers)
    try:
        for verdict in _read(kafka, "verdicts", Verdict, since):
            found[verdict.taxonomy].take(verdict)
        for check in _read(kafka, "checks", Check, since):
            found[check.taxonomy].checks[check.event_id] = check
    except (KafkaError, TopicGapError) as error:
        raise failure(f"the verdicts at {kafka.bootstrap_servers} cannot be read: {error}", 1) from error
    if not found:
        raise failure("There is no verdict yet.", 1)
    rng = np.random.default_rng(0)
    results = {
        name: (
            agreement([{who: each.label for who, each in said.items()} for said in answers.said.values()], rng),
            reviewers(
                {event: list(said.values()) for event, said in answers.said.items()},
                answers.adjudications,
                answers.right(),
            ),
        )
        for name, answers in sorted(found.items())
    }
    if as_json:
        print_json(
            {
                name: {"agreement": asdict(alike), "reviewers": [asdict(each) for each in people]}
                for name, (alike, people) in results.items()
            }
        )
        return
    console = Console()
    for name, (alike, people) in results.items():
        console.print(plain(f"{name}: {_alpha(alike)}"))
        for one, other, count in alike.confused[:_MOST_CONFUSED]:
            console.print(plain(f"  {count:,} times {one} against {other}"))
        console.print(_table(people))


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


def _alpha(found: Agreement) -> str:
    if found.alpha is None:
        return (
            f"alpha is undefined on {found.events:,} events that two people answered"
            if found.events
            else "no event was answered by two people; TIDEGATE_REVIEW_SECOND_ANSWER_SHARE has some drawn"
        )
    alpha = found.alpha
    return f"alpha {alpha.value:.3f} ({alpha.low:.3f} to {alpha.high:.3f}) on {found.events:,} events answered twice"


def _table(people: tuple[Reviewer, ...]) -> Table:
    columns = "reviewer", "answers", "answered twice", "same as the other", "judged", "upheld", "checks", "right"
    table = Table(*columns, "cannot tell", "median")
    for each in people:
        row = (
            each.name,
            f"{each.answers:,}",
            f"{each.shared:,}",
            _share(each.agreeing),
            f"{each.adjudicated:,}",
            _share(each.upheld),
            f"{each.checked:,}",
            _share(each.right),
            f"{each.cannot_tell:.1%}",
            f"{each.median_s:.1f} s",
        )
        table.add_row(*map(plain, row))
    return table


def _share(found: Interval | None) -> str:
    return "" if found is None else f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})"
