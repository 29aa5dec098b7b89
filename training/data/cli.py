"""`tidegate train prepare`: from other people's files, or the ledger, to the folder that the stages read.

Exit codes: 0 done, 2 wrong usage, or data that cannot be used. One JSON line for a program stands on standard output,
what is meant for a person on standard error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.data.prepared import Report
    from training.data.preparing import Progress
    from training.data.splitting import SplitRules

_GIANT = 0.05
"""Share of the images in one group from which on the shares of the stages are hardly kept."""


def prepare(
    out: Annotated[Path, typer.Option(help="the new folder", metavar="DIR")],
    vec_cot: Annotated[
        list[Path] | None,
        typer.Option(help="VEC-CoT: JSON Lines with reasoning, and with confidence or without", metavar="FILE"),
    ] = None,
    vecbench: Annotated[
        list[Path] | None, typer.Option(help="VECBench: JSON Lines with ground_truth and candidates", metavar="FILE")
    ] = None,
    folder: Annotated[list[Path] | None, typer.Option(help="images as DIR/label/file.jpg", metavar="DIR")] = None,
    listing: Annotated[
        list[Path] | None, typer.Option(help=".csv or .jsonl with file and label", metavar="FILE")
    ] = None,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="what moderators said; TIDEGATE_LEDGER_*, _KAFKA_* and _INTAKE_* apply")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="where image paths in files start; else beside each file", metavar="DIR")
    ] = None,
    taxonomy: Annotated[
        str | None, typer.Option(help="label set of sources that name none, as emoset-8", metavar="NAME")
    ] = None,
    taxonomies: Annotated[
        Path | None,
        typer.Option(help="folder of further label sets; else TIDEGATE_WORKER_TAXONOMIES", metavar="DIR"),
    ] = None,
    shares: Annotated[
        str, typer.Option(help="of reasoning, confidence and calibration, in what is not held out")
    ] = "0.6,0.3,0.1",
    held_out: Annotated[float, typer.Option(help="share of all that no stage sees, for measuring")] = 0.05,
    seed: Annotated[int, typer.Option(help="of the split: the same seed gives the same split")] = 0,
    near_duplicates: Annotated[
        int, typer.Option(help="images whose PDQ hashes differ in at most so many of 256 bits stay together")
    ] = 31,
    max_dropped: Annotated[
        float, typer.Option(min=0, max=1, help="refuse if a larger share of the records is faulty")
    ] = 0.1,
    processes: Annotated[int | None, typer.Option(min=1, help="that decode images; else one a core")] = None,
) -> None:
    """Read, check and split training data, and write it as one folder for all stages.

    Every record ends in the folder, or in its dropped.jsonl with a reason.
    Images that are or look the same go to one stage. Sources can be combined
    and repeated.

    tidegate train prepare --out data --vec-cot stage1_86k.jsonl
    --images EmoSet --taxonomy emoset-8
    """
    rules = _rules(shares, held_out, seed, near_duplicates)
    if not (vec_cot or vecbench or folder or listing or ledger):
        raise typer.BadParameter("give at least one of --vec-cot, --vecbench, --folder, --listing and --ledger")
    from calibration.settings import KafkaSettings, LedgerSettings  # noqa: PLC0415
    from training.data.drops import DataError  # noqa: PLC0415
    from training.data.preparing import Reviewed, Sources, prepare_data  # noqa: PLC0415
    from worker.settings import IntakeSettings, ServingSettings  # noqa: PLC0415

    sources = Sources(
        vec_cot=tuple(vec_cot or ()),
        vecbench=tuple(vecbench or ()),
        folders=tuple(folder or ()),
        listings=tuple(listing or ()),
        reviewed=Reviewed(LedgerSettings(), KafkaSettings()) if ledger else None,
        images=images,
        taxonomies=taxonomies or ServingSettings().taxonomies,
        taxonomy=taxonomy,
    )
    try:
        with _progress() as progress:
            report = prepare_data(
                out,
                sources,
                rules,
                IntakeSettings(),
                made_at=datetime.now(UTC),
                max_dropped=max_dropped,
                processes=processes or os.cpu_count() or 1,
                progress=progress,
            )
    except DataError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    _show(report)
    summary = {
        "out": str(out),
        "fingerprint": report.fingerprint,
        "kept": report.items,
        "stages": {name: stage.items for name, stage in report.stages.items()},
        "dropped": report.dropped,
    }
    typer.echo(json.dumps(summary))


def _rules(shares: str, held_out: float, seed: int, near_duplicates: int) -> SplitRules:
    from training.data.splitting import SplitRules  # noqa: PLC0415

    try:
        reasoning, confidence, calibration = (float(share) for share in shares.split(","))
    except ValueError as error:
        raise typer.BadParameter("three numbers, as 0.6,0.3,0.1", param_hint="--shares") from error
    try:
        return SplitRules(reasoning, confidence, calibration, held_out, seed, near_duplicates)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on standard error for each thing that takes long."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import MofNCompleteColumn, TaskID, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415

    columns = (*Bars.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        known: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in known:
                known[what] = bars.add_task(what)
            bars.update(known[what], completed=done, total=total)

        yield show


def _show(report: Report) -> None:
    """The report for a person."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    table = Table("stage", box=None)
    for name in ("items", "share", "with reasoning", "with confidence"):
        table.add_column(name, justify="right")
    for stage, part in report.stages.items():
        counts = f"{part.items:,}", f"{part.share:.1%}", f"{part.with_reasoning:,}", f"{part.with_confidence:,}"
        table.add_row(stage, *counts)
    console.print(table)
    for reason, count in report.dropped.items():
        first = report.examples[reason][0]
        console.print(f"dropped {count:,} {reason.value}, as {first.where}: {first.what}", markup=False)
    for remark in _remarks(report):
        console.print(remark, markup=False)


def _remarks(report: Report) -> Iterator[str]:
    """What a person should know before training on this."""
    for name, stage in report.stages.items():
        if stage.items == 0 and name != "held_out":
            yield f"stage {name} has no items"
    first = report.stages["reasoning"]
    if without := first.items - first.with_reasoning:
        yield f"{without:,} of {first.items:,} items of stage reasoning have no reasoning to learn from"
    if report.contradicting:
        yield f"{report.contradicting:,} images have several labels of one taxonomy; all are kept"
    if report.label_in_reasoning:
        yield f"{report.label_in_reasoning:,} items say their label before the reasoning concludes"
    if report.largest_group > max(10.0, _GIANT * report.items):
        yield (
            f"{report.largest_group:,} images form one chain of look-alikes and go to one stage: "
            f"look at them, or lower --near-duplicates from {report.rules['near_duplicates']:g}"
        )
