"""`tidegate review golden`: images with known answers, among the others.

Exit codes: 0 done, 1 nothing to do or failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from kafka.errors import KafkaError
from pydantic import ValidationError
from pydantic_core import from_json
from rich.console import Console
from rich.table import Table

from calibration.ledger.topic import TopicGapError, publish
from calibration.settings import KafkaSettings
from review.golden import GoldenError, GoldenItem, mix, read_items, write_items
from review.panel import plain
from review.terminal import failure, print_json, settings_of, user_name, with_queue

app = typer.Typer(no_args_is_help=True)
_Answer = TypeVar("_Answer")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="one JSON object a line", metavar="FILE")],
    author: Annotated[str | None, typer.Option(help="who says so; default: your user name here")] = None,
) -> None:
    """Add items, or replace those of the same id: {"golden_id", "image", "taxonomy", "labels", "label", "note"}.

    `image` has a `url` or a `key`, as in an event; `label` null means that "cannot tell" is right. Nothing is written
    unless every line is right.
    """
    name = user_name(author)
    defaults = {"author": name, "added_at": datetime.now(UTC)}
    items, wrong = [], []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            fields: Any = from_json(line)
            items.append(GoldenItem.model_validate(defaults | fields if isinstance(fields, dict) else fields))
        except ValidationError as error:
            first = error.errors()[0]
            wrong.append(f"line {number}: {'.'.join(map(str, first['loc'])) or 'item'}: {first['msg']}")
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        wrong = [*wrong[:20], f"{len(wrong)} of {len(wrong) + len(items)} lines are wrong: none was added."]
        raise failure("\n".join(wrong), 2)
    _kafka(lambda kafka: write_items(kafka, items))
    typer.echo(f"{len(items)} golden items added.")


@app.command("list")
def list_items(
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document, for scripts")] = False,
) -> None:
    """All golden items. Show it to nobody who reviews."""
    items = _kafka(read_items)
    if as_json:
        print_json(list(items.values()))
        return
    table = Table("id", "taxonomy", "label", "author", "note")
    for item in items.values():
        row = (item.golden_id, item.taxonomy, item.label or "cannot tell", item.author, item.note)
        table.add_row(*map(plain, row))
    Console().print(table)


@app.command()
def remove(golden_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Remove an item. Tasks made of it that wait stay, and are still checks."""
    if golden_id not in _kafka(read_items):
        raise failure(f"{golden_id}: there is no such golden item", 1)
    _kafka(lambda kafka: publish(kafka, "golden", golden_id, None))
    typer.echo(f"{golden_id}: removed.")


@app.command("mix")
def mix_in(
    count: Annotated[int, typer.Option(min=1, help="how many, each of another item")],
    taxonomy: Annotated[str | None, typer.Option(help="of this taxonomy only")] = None,
) -> None:
    """Put golden items among the tasks that wait. Nothing in them tells a reviewer which they are."""
    items = [item for item in _kafka(read_items).values() if taxonomy is None or item.taxonomy == taxonomy]
    if not items:
        raise failure("There are no golden items: `tidegate review golden add`.", 1)
    try:
        put = with_queue(lambda queue: mix(queue, items, count, random.SystemRandom()))
    except GoldenError as error:
        raise failure(str(error), 1) from error
    typer.echo(f"{put} golden items are among the tasks.")


def _kafka(act: Callable[[KafkaSettings], _Answer]) -> _Answer:
    kafka = settings_of(KafkaSettings)
    try:
        return act(kafka)
    except GoldenError as error:
        raise failure(str(error), 1) from error
    except (KafkaError, TopicGapError) as error:
        raise failure(f"the golden items at {kafka.bootstrap_servers} cannot be reached: {error}", 1) from error
