"""How tasks look in the terminal. Texts of strangers and of the model lose their control characters first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from review.lease import Claim, Entry
from review.queue import Figures
from review.task import ImageReference, KeyReference, ReviewTask, UrlReference


def claim_panel(claim: Claim) -> Panel:
    """One claimed task with all that its reviewer may know, and how to answer."""
    task, entry, lease = claim.task, claim.entry, claim.lease
    facts = _facts()
    facts.add_row("image", plain(_image(task.image)))
    if task.image_flags:
        facts.add_row("", plain(", ".join(task.image_flags)))
    facts.add_row("labels", plain("  ".join(f"{number}:{label}" for number, label in enumerate(task.labels, 1))))
    facts.add_row("why", "blind review" if task.blind else task.reason.value)
    facts.add_row("priority", str(task.priority))
    facts.add_row("waiting for", _duration(entry.age_s))
    if entry.expiries:
        facts.add_row("leases that ran out", str(entry.expiries))
    if entry.note is not None:
        facts.add_row("note", plain(f"{entry.note.by}: {entry.note.text}"))
    for number, answer in enumerate(entry.disagreement):
        facts.add_row("" if number else "reviewers said", plain(f"{answer.reviewer}: {answer.label or 'cannot tell'}"))
    facts.add_row("yours until", plain(f"{_clock(lease.deadline)} as {lease.holder}, token {lease.token}"))
    how = Text(f"tidegate review decide {task.event_id} --label LABEL  (or --cannot-tell)", style="dim")
    parts: list[RenderableType] = [facts, how] if task.blind else [facts, *_reading(task), how]
    return Panel(Group(*parts), title=plain(f"{task.event_id}  {task.taxonomy}"), title_align="left")


def entries_table(entries: Iterable[Entry]) -> Table:
    """Tasks of the queue, one a row."""
    table = Table("event", "why", "waiting for", "held by", "until", "leases that ran out", "note")
    for entry in entries:
        holder, until = ("leads" if entry.lead else "", "")
        if entry.lease and entry.held:
            kind = {"hold": " (on hold)", "reserved": " (handed to)", None: ""}[entry.lease.kind]
            holder, until = entry.lease.holder + kind, _clock(entry.lease.deadline)
        note = f"{entry.note.by}: {entry.note.text}" if entry.note else ""
        row = (entry.event_id, entry.reason, _duration(entry.age_s), holder, until, str(entry.expiries or ""), note)
        table.add_row(*map(plain, row))
    return table


def figures_table(figures: Figures) -> Table:
    """The queue in numbers."""
    table = _facts()
    table.add_row("waiting for a verdict", f"{figures.depth}, {figures.claimed} of them claimed")
    table.add_row("oldest", _duration(figures.oldest_s))
    for reason, count in sorted(figures.by_reason.items()):
        table.add_row(f"  {reason}", str(count))
    table.add_row("for leads", str(figures.for_leads))
    table.add_row("handed over, not claimed", str(figures.reserved))
    table.add_row("leases that ran out", str(figures.expired_leases))
    table.add_row("skipped", str(figures.skips))
    table.add_row("damaged", str(figures.damaged))
    table.add_row("decided", str(figures.decided))
    table.add_row("Valkey's memory", f"{figures.memory_ratio:.0%}" if figures.memory_ratio else "no limit")
    return table


def _reading(task: ReviewTask) -> list[RenderableType]:
    """What the model said."""
    facts = _facts()
    signals = task.signals
    facts.add_row("model says", plain(task.label or f"nothing usable: {signals.parse_status.value}"))
    if signals.verbal_confidence is not None:
        facts.add_row("and is sure", f"{signals.verbal_confidence:.0%}")
    if task.probability is not None:
        facts.add_row("score", f"{task.probability:.3f}")
    for number, alternative in enumerate(task.alternatives):
        facts.add_row("" if number else "alternatives", plain(f"{alternative.probability:6.1%}  {alternative.label}"))
    if task.reasoning is not None:
        for section, text in task.reasoning:
            facts.add_row(section, plain(text))
    return [Rule(style="dim"), facts]


def _facts() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _image(image: ImageReference) -> str:
    match image:
        case UrlReference(url=url):
            return url
        case KeyReference(key=key):
            return f"object {key}"
        case _:
            at = image.record
            return f"in the event: {at.topic}, partition {at.partition}, offset {at.offset}"


def plain(text: str) -> Text:
    """Text as it is: no markup, and no control characters that would speak to the terminal."""
    return Text("".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text))


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
