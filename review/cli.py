"""`tidegate review`: claim tasks and give verdicts in the terminal.

Exit codes: 0 done, 1 nothing to do or failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from calibration.settings import KafkaSettings
from review import agreement_cli, erasure_cli, golden_cli, topics_cli
from review.access import cli as access_cli
from review.blind import listed, visible
from review.inline import InlineImageError, inline_image
from review.lease import Claim, Entry, NotHeldError
from review.panel import claim_panel, entries_table, figures_table
from review.queue import ReviewQueue
from review.task import RecordReference, ReviewTask, UrlReference, Verdict
from review.terminal import print_json, settings_of, user_name, with_queue
from review.verdicts import Copied, VerdictWriter, copy_verdict, give_verdict, take_back

app = typer.Typer(no_args_is_help=True)

app.command("rebuild")(topics_cli.rebuild)
app.command("check")(topics_cli.check)
app.command("force")(topics_cli.force)
app.command("agreement")(agreement_cli.agreement_command)
app.command("erase")(erasure_cli.erase)
app.add_typer(access_cli.app, name="users", help="Who may use the console and the API.")
app.add_typer(golden_cli.app, name="golden", help="Images with known answers, among the others.")

_SIMILAR = 1_000
"""Near-duplicates that one verdict is given on, at most."""

EventId = Annotated[str, typer.Argument(help="the task's event id", metavar="EVENT_ID")]
Reviewer = Annotated[str | None, typer.Option(help="who you are; default: your user name here", metavar="NAME")]
Token = Annotated[int | None, typer.Option(help="the claim's token; default: that of your claim of this task")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document, for scripts")]


@app.command("next")
def next_task(
    reviewer: Reviewer = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="what has waited longest, not the most urgent")] = False,
    label: Annotated[str | None, typer.Option(help="only what the model called this; never blind ones")] = None,
    reason: Annotated[str | None, typer.Option(help="only what is here for this reason; never blind ones")] = None,
    taxonomy: Annotated[str | None, typer.Option(help="only of this taxonomy")] = None,
    lead: Annotated[
        bool, typer.Option("--lead", help="you decide what is escalated and where reviewers differ")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Claim the most urgent task and show it. What the model said is hidden where the review is blind.

    What was handed to you comes first, and what you skipped or answered before is passed over.
    """
    name = user_name(reviewer)
    if sum([oldest, label is not None, reason is not None, taxonomy is not None]) > 1:
        raise typer.BadParameter("give one of --oldest, --label, --reason, --taxonomy")
    by: Literal["oldest", "priority"] = "oldest" if oldest else "priority"
    claim = with_queue(lambda queue: queue.claim(name, by=by, label=label, reason=reason, taxonomy=taxonomy, lead=lead))
    if claim is None:
        typer.echo("null" if as_json else "Nothing waits for review.")
        raise typer.Exit(1)
    if as_json:
        entry = claim.entry
        print_json(
            {
                "task": visible(claim.task),
                "expired_leases": entry.expiries,
                "lease": claim.lease,
                "version": entry.version,
                "note": entry.note,
                "answers": entry.disagreement,
            }
        )
    else:
        Console().print(claim_panel(claim))


@app.command()
def decide(
    event_id: EventId,
    label: Annotated[str | None, typer.Option(help="one of the task's labels, or its number")] = None,
    cannot_tell: Annotated[bool, typer.Option("--cannot-tell", help="the image does not say")] = False,
    token: Token = None,
    reviewer: Reviewer = None,
    note: Annotated[str | None, typer.Option(help="for whoever reads the verdict")] = None,
    similar: Annotated[bool, typer.Option("--similar", help="and on its near-duplicates; audits are left out")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a verdict on a task that you claimed. It is on the verdicts topic before the task leaves the queue."""
    if (label is None) is not cannot_tell:
        raise typer.BadParameter("give either --label or --cannot-tell")
    name = user_name(reviewer)
    kafka = settings_of(KafkaSettings)

    async def give(queue: ReviewQueue) -> tuple[Verdict, Copied]:
        task, held = await _held(queue, event_id, name, token)
        chosen = None if label is None else _label(task, label)
        writer = VerdictWriter(kafka)
        try:
            alike = [name for name, _ in await queue.similar(event_id, _SIMILAR)] if similar else []
            verdict = await give_verdict(queue, writer, event_id, held, chosen, note)
            return verdict, await copy_verdict(queue, writer, verdict, alike)
        finally:
            await asyncio.to_thread(writer.close)

    verdict, copied = with_queue(give)
    if as_json:
        print_json(verdict.model_dump(mode="json") | {"copied_to": copied.given, "left": copied.left})
        return
    typer.echo(f"{event_id}: {verdict.label or 'cannot tell'}, after {verdict.seconds_spent:.0f} s.")
    if similar:
        typer.echo(f"{len(copied.given)} near-duplicates have the same verdict.")
        for why in copied.left.values():
            typer.echo(f"Left: {why}")


@app.command("similar")
def similar_tasks(event_id: EventId, as_json: AsJson = False) -> None:
    """Waiting tasks whose images are near-duplicates of this one's, nearest first."""
    found = with_queue(lambda queue: queue.similar(event_id, _SIMILAR))
    if as_json:
        print_json([{"event_id": name, "distance": distance} for name, distance in found])
    elif found:
        for name, distance in found:
            typer.echo(f"{name}  {distance} of 256 bits differ")
    else:
        typer.echo("No task that waits looks like it.")


@app.command("image")
def save_image(
    event_id: EventId, to: Annotated[Path, typer.Argument(help="file that the image is written to", metavar="FILE")]
) -> None:
    """Write the image of a task to a file, where it travelled inside its event; else say where it is."""
    task, _ = with_queue(lambda queue: queue.find(event_id))
    if isinstance(task.image, RecordReference):
        try:
            content = inline_image(settings_of(KafkaSettings), task.image.record)
            to.write_bytes(content)
        except (InlineImageError, OSError) as error:
            typer.echo(f"{event_id}: {error}", err=True)
            raise typer.Exit(1) from error
        typer.echo(f"{event_id}: {len(content):,} bytes in {to}")
    else:
        where = task.image.url if isinstance(task.image, UrlReference) else f"object {task.image.key}"
        typer.echo(f"{event_id}: not in the event, but at {where}", err=True)
        raise typer.Exit(1)


@app.command()
def release(event_id: EventId, token: Token = None, reviewer: Reviewer = None) -> None:
    """Give a task that you claimed back, undecided."""
    _with_held(event_id, reviewer, token, lambda queue, held: queue.release(event_id, held))
    typer.echo(f"{event_id}: released.")


@app.command()
def skip(event_id: EventId, token: Token = None, reviewer: Reviewer = None) -> None:
    """Give a task that you claimed back, and never be shown it again."""
    _with_held(event_id, reviewer, token, lambda queue, held: queue.skip(event_id, held))
    typer.echo(f"{event_id}: skipped; somebody else will see it.")


@app.command()
def hold(
    event_id: EventId,
    note: Annotated[str, typer.Option(help="why, for those who look after the queue")],
    hours: Annotated[float, typer.Option(min=0.01, help="for how long")] = 1.0,
    token: Token = None,
    reviewer: Reviewer = None,
) -> None:
    """Put a task that you claimed aside. It stays yours; when the time is over it returns to the front."""
    _with_held(event_id, reviewer, token, lambda queue, held: queue.hold(event_id, held, hours * 3600, note))
    typer.echo(f"{event_id}: on hold for {hours:g} h; decide it with `tidegate review decide`.")


@app.command()
def transfer(
    event_id: EventId,
    to: Annotated[str, typer.Option(help="whose next task it is to be", metavar="NAME")],
    note: Annotated[str, typer.Option(help="why, for them")] = "",
    token: Token = None,
    reviewer: Reviewer = None,
) -> None:
    """Hand a task that you claimed to another reviewer."""
    colleague = user_name(to)
    _with_held(event_id, reviewer, token, lambda queue, held: queue.transfer(event_id, held, colleague, note))
    typer.echo(f"{event_id}: {colleague}'s next task.")


@app.command()
def escalate(
    event_id: EventId,
    note: Annotated[str, typer.Option(help="what a lead should know")],
    token: Token = None,
    reviewer: Reviewer = None,
) -> None:
    """Leave a task that you claimed to a lead, who finds it with `tidegate review next --lead`."""
    _with_held(event_id, reviewer, token, lambda queue, held: queue.escalate(event_id, held, note))
    typer.echo(f"{event_id}: escalated.")


@app.command()
def undo(
    event_id: EventId,
    reviewer: Reviewer = None,
    lead: Annotated[bool, typer.Option("--lead", help="take back somebody else's verdict")] = False,
) -> None:
    """Take your verdict back, soon after you gave it: you hold the task again."""
    name = user_name(reviewer)
    kafka = settings_of(KafkaSettings)

    async def back(queue: ReviewQueue) -> Claim:
        writer = VerdictWriter(kafka)
        try:
            return await take_back(queue, writer, event_id, name, lead=lead)
        finally:
            await asyncio.to_thread(writer.close)

    claim = with_queue(back)
    typer.echo(f"{event_id}: the verdict is withdrawn, and {claim.lease.holder} holds the task again.")


@app.command("list")
def list_tasks(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="of each: claimed, for leads, waiting")] = 20,
    as_json: AsJson = False,
) -> None:
    """Who holds what, what waits for a lead, and what is claimed next."""

    async def all_of(queue: ReviewQueue) -> tuple[list[Entry], list[Entry], list[Entry]]:
        return await queue.claimed(limit), await queue.for_leads(limit), await queue.waiting(limit)

    claimed, for_leads, waiting = with_queue(all_of)
    if as_json:
        lists = {"claimed": claimed, "for_leads": for_leads, "waiting": waiting}
        print_json({name: [listed(entry) for entry in entries] for name, entries in lists.items()})
    elif claimed or for_leads or waiting:
        Console().print(entries_table([*claimed, *for_leads, *waiting]))
    else:
        typer.echo("The review queue is empty.")


@app.command()
def stats(as_json: AsJson = False) -> None:
    """The queue in numbers: depth, age, reasons, leases that ran out, Valkey's memory."""
    figures = with_queue(lambda queue: queue.figures())
    if as_json:
        print_json(figures)
    else:
        Console().print(figures_table(figures))


def _with_held(
    event_id: str, reviewer: str | None, token: int | None, act: Callable[[ReviewQueue, int], Awaitable[None]]
) -> None:
    """Do something with a task that the reviewer holds."""
    name = user_name(reviewer)

    async def acting(queue: ReviewQueue) -> None:
        _, held = await _held(queue, event_id, name, token)
        await act(queue, held)

    with_queue(acting)


async def _held(queue: ReviewQueue, event_id: str, reviewer: str, token: int | None) -> tuple[ReviewTask, int]:
    """The task and the token of the reviewer's lease, which may have run out if nobody else took the task."""
    task, entry = await queue.find(event_id)
    if entry.lease is None or entry.lease.holder != reviewer:
        who = f"{entry.lease.holder} holds it now" if entry.lease and entry.held else "nobody holds it now"
        raise NotHeldError(
            f"{event_id}: {reviewer} does not hold it, {who}. Claim a task with `tidegate review next`, "
            "or say under which name you did with --reviewer"
        )
    return task, entry.lease.token if token is None else token


def _label(task: ReviewTask, text: str) -> str:
    """The label that a moderator named, or numbered as the panel does."""
    if text not in task.labels and text.isdecimal() and 1 <= int(text) <= len(task.labels):
        return task.labels[int(text) - 1]
    return text
