"""`tidegate review agreement`: how far reviewers agree, from the verdicts on their topic."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from kafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from calibration.ledger.topic import TopicGapError
from calibration.settings import KafkaSettings
from review.agreement import Agreement, Interval, Reviewer
from review.comparing import agreement_report
from review.panel import plain
from review.terminal import failure, print_json, settings_of

_MOST_CONFUSED = 10


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
    try:
        found = agreement_report(kafka, since)
    except (KafkaError, TopicGapError) as error:
        raise failure(f"the verdicts at {kafka.bootstrap_servers} cannot be read: {error}", 1) from error
    if not found:
        raise failure("There is no verdict yet.", 1)
    if as_json:
        print_json({name: asdict(report) for name, report in found.items()})
        return
    console = Console()
    for name, report in found.items():
        console.print(plain(f"{name}: {_alpha(report.agreement)}"))
        for one, other, count in report.agreement.confused[:_MOST_CONFUSED]:
            console.print(plain(f"  {count:,} times {one} against {other}"))
        console.print(_table(report.reviewers))


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
