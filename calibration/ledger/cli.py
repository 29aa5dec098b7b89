"""`tidegate ledger`: decisions and verdicts in Parquet, kept up with Kafka, asked, and deleted from.

Exit codes: 0 done, 1 failed or cannot go on by itself, 2 wrong usage or settings. What is meant for a program stands on
standard output, what is meant for a person on standard error.
"""

from __future__ import annotations

import csv
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic_core import to_json

from calibration.settings import KafkaSettings, LedgerSettings

# DuckDB, Arrow and the Kafka client are imported by the commands that need them, not by every `tidegate --help`.
if TYPE_CHECKING:
    from calibration.ledger.columns import TopicKind

app = typer.Typer(no_args_is_help=True)

AcceptGap = Annotated[
    bool,
    typer.Option("--accept-gap", help="go on although a topic was made anew, or lost records that were not read"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, for scripts")]


@app.command()
def run() -> None:
    """Follow the topics decisions and verdicts until SIGTERM; what was read is committed then.

    Waits out outages of Kafka and of the storage. Joins small files every hour.
    """
    from calibration.ledger.following import follow  # noqa: PLC0415

    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _failures():
        follow(KafkaSettings(), LedgerSettings(), stop)


@app.command()
def sync(accept_gap: AcceptGap = False) -> None:
    """Bring the ledger up to the present ends of the topics, print what was done as JSON, and exit."""
    from calibration.ledger import following  # noqa: PLC0415

    with _failures():
        report = following.sync(KafkaSettings(), LedgerSettings(), accept_gap=accept_gap)
    typer.echo(json.dumps(asdict(report)))


@app.command()
def rebuild(
    discard_older: Annotated[
        bool, typer.Option("--discard-older", help="do not carry over rows that the topics have no more")
    ] = False,
) -> None:
    """Make the ledger anew from the starts of the topics, and put it in force when it is complete.

    Rows older than what the topics keep are carried over. What was deleted stays
    deleted. If it is interrupted, the old ledger is in force as before.
    """
    from calibration.ledger import rebuild as rebuilding  # noqa: PLC0415

    with _failures():
        report = rebuilding.rebuild(KafkaSettings(), LedgerSettings(), discard_older=discard_older)
    typer.echo(report.model_dump_json())


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="DuckDB's SQL", metavar="SQL")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a row")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a header")] = False,
) -> None:
    """Ask the ledger. Views: decisions, verdicts, outcomes, audits; tables: all_decisions, all_verdicts, rejected.

    tidegate ledger query "SELECT label, avg(correct::INT) AS accuracy, count(*)
    FROM outcomes GROUP BY label ORDER BY label"
    """
    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    from calibration.ledger.reading import Ledger  # noqa: PLC0415

    with _failures():
        answer = Ledger.open(LedgerSettings()).query(sql)
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(answer.column_names)
    for batch in answer.to_batches(max_chunksize=10_000):
        rows = batch.to_pylist()
        if as_csv:
            writer.writerows([["" if value is None else _plain(value) for value in row.values()] for row in rows])
        elif as_json:
            for row in rows:
                typer.echo(to_json(row, inf_nan_mode="null", bytes_mode="base64").decode())
    if not (as_json or as_csv):
        _print_table(answer)


@app.command()
def stats(as_json: AsJson = False) -> None:
    """How much lies in the ledger, and what is odd about it: contradictions, missing answers, unreadable records."""
    from calibration.ledger.reading import Ledger  # noqa: PLC0415

    with _failures():
        found = Ledger.open(LedgerSettings()).stats()
    if as_json:
        typer.echo(found.model_dump_json())
        return
    for name, value in found.model_dump(exclude={"tables", "by_taxonomy"}).items():
        typer.echo(f"{name.replace('_', ' '):28}{_plain(value)}")
    for taxonomy, count in found.by_taxonomy.items():
        typer.echo(f"  {taxonomy:26}{count:,}")
    for name, table in found.tables.items():
        typer.echo(f"table {name:22}{table.rows:,} rows, {table.files:,} files, {table.bytes:,} bytes")


@app.command()
def delete(
    event: Annotated[str | None, typer.Option("--event", help="id of one event", metavar="ID")] = None,
    uploader: Annotated[str | None, typer.Option("--uploader", help="id whose events all go", metavar="ID")] = None,
    receipt: Annotated[Path | None, typer.Option(help="write the receipt here as well", metavar="FILE")] = None,
) -> None:
    """Delete an event, or all events of an uploader: rows, files and log entries, at once. Prints a receipt as JSON.

    A keyed hash stays, so that no redelivery and no rebuild brings it back. The
    receipt says what waits in Kafka for the end of its retention.
    """
    if (event is None) is (uploader is None):
        raise typer.BadParameter("give --event or --uploader")
    from calibration.ledger.erasure import erase  # noqa: PLC0415

    kafka, settings = KafkaSettings(), LedgerSettings()
    with _failures():
        done = erase(
            settings,
            "event" if event is not None else "uploader",
            event or uploader or "",
            datetime.now(UTC),
            topics={"decisions": kafka.topic("decisions"), "verdicts": kafka.topic("verdicts")},
            retentions=_retentions(kafka),
        )
        text = done.model_dump_json(indent=2)
        if receipt is not None:
            receipt.write_text(text + "\n")
    typer.echo(text)


@app.command()
def expire(
    days: Annotated[int, typer.Option(min=1, help="keep so many days: a policy's retention_days", metavar="N")],
) -> None:
    """Let go what is older than so many days, and print how much as JSON. A rebuild does not bring it back."""
    from calibration.ledger import erasure  # noqa: PLC0415

    with _failures():
        typer.echo(erasure.expire(LedgerSettings(), days, datetime.now(UTC)).model_dump_json())


@app.command()
def compact() -> None:
    """Join small files, and remove those that nothing has needed for an hour. `tidegate ledger run` does so hourly."""
    from calibration.ledger import tables  # noqa: PLC0415

    with _failures():
        for name, (joined, made) in tables.compact(LedgerSettings()).items():
            typer.echo(f"{name}: {joined:,} files became {made:,}")


def _retentions(kafka: KafkaSettings) -> dict[TopicKind, timedelta | None]:
    """How long the topics keep records; deleting does not need Kafka."""
    from kafka.errors import KafkaError  # noqa: PLC0415

    from calibration.ledger.columns import KINDS  # noqa: PLC0415
    from calibration.ledger.topic import retention  # noqa: PLC0415

    try:
        return {name: retention(kafka, name) for name in KINDS}
    except KafkaError as error:
        typer.echo(f"{kafka.bootstrap_servers} does not answer ({error!r}): retentions are not known", err=True)
        return {}


@contextmanager
def _failures() -> Iterator[None]:
    """What goes wrong is said in a sentence, with an exit code."""
    import duckdb  # noqa: PLC0415
    from kafka.errors import KafkaError  # noqa: PLC0415

    from calibration.ledger.place import LedgerError  # noqa: PLC0415
    from calibration.ledger.recording import TablesReplacedError  # noqa: PLC0415
    from calibration.ledger.store import storage_failures  # noqa: PLC0415
    from calibration.ledger.topic import TopicGapError  # noqa: PLC0415

    try:
        yield
    except (LedgerError, TopicGapError, TablesReplacedError) as error:
        raise _failure(str(error), 1) from error
    except duckdb.Error as error:
        raise _failure(str(error), 2) from error
    except KafkaError as error:
        advice = "is Kafka there? TIDEGATE_KAFKA_BOOTSTRAP_SERVERS; `tidegate doctor` looks"
        raise _failure(f"{error!r}: {advice}", 1) from error
    except storage_failures() as error:
        raise _failure(f"the storage failed: {error}", 1) from error


def _failure(sentence: str, code: int) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(code)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return "" if value is None else str(value)


def _print_table(answer: Any) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    shown = Table(box=None)
    for name in answer.column_names:
        shown.add_column(escape(name), overflow="fold")
    for row in answer.to_pylist():
        shown.add_row(*(escape(_plain(value)) for value in row.values()))
    Console().print(shown)
