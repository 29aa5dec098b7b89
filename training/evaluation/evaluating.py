"""One evaluation from start to end: read every item, work out the figures, write what an evaluation leaves behind."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

from calibration.contract import Versioned
from calibration.metrics.contracts import Count, Figure
from calibration.offline.documents import write_document, write_text
from training.data.drawn import TAXONOMY
from training.data.drops import DropReason, counted
from training.evaluation.answering import Asking, pixel_budget, read_items
from training.evaluation.compat import CompatResult, compat_result
from training.evaluation.protocol import TaskFigures, VecbenchResult, vecbench_result
from training.evaluation.readings import RESULT, EvaluationError, ItemReading, Setup
from training.evaluation.scenes import from_readings, summary
from training.evaluation.sources import Kind, Source
from training.evaluation.table import markdown
from worker.settings import EngineSettings

Progress: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[int, str], None]]]
"""A bar with a title and a total; what it yields takes how much is done, and a word."""


class Evaluation(Versioned):
    """What an evaluation found: result.json."""

    kind: Kind
    source: str
    """What was asked about, in words."""
    setup: Setup
    n: Count
    dropped: dict[DropReason, Count]
    """Records that are no items."""
    refused: Count
    """Items whose image the worker or the engine refuses: counted as errors like other parse failures."""
    scenes: dict[str, int | float | list[float]] | None = None
    """Against the true probabilities."""
    protocol: VecbenchResult | None = None
    """Against labels."""
    compat: CompatResult | None = None


def read_source(
    source: Source, settings: EngineSettings, asking: Asking, folder: Path | None, progress: Progress
) -> tuple[Setup, list[ItemReading]]:
    """The readings of all its items, in their order.

    Raises:
        EvaluationError, EngineDeadError, FileError: as `read_items`.
    """
    pixels = source.pixels(pixel_budget(settings))
    with progress(f"asking {settings.model}", len(source.items)) as report:
        return asyncio.run(
            read_items(source.items, source.taxonomies, pixels, settings, asking=asking, folder=folder, report=report)
        )


def evaluate_source(
    source: Source,
    settings: EngineSettings,
    asking: Asking,
    *,
    folder: Path | None,
    gpus: int | None,
    progress: Progress,
) -> Evaluation:
    """Read all items and work out the figures; with a folder, leave readings, result, table and plots there.

    Args:
        source: what is asked about.
        settings: of the engine, the model and the temperature among them.
        asking: how many at a time.
        folder: where readings are kept, so that a killed evaluation goes on.
        gpus: also give the published figures, as of so many GPUs; None: do not.
        progress: shows how it goes.

    Raises:
        EvaluationError, EngineDeadError, FileError: as `read_items`.
    """
    if gpus is not None and len(source.items) < gpus:
        raise EvaluationError(f"{len(source.items)} items cannot be split over {gpus} GPUs: lower --compat-gpus")
    if folder is not None:
        (folder / RESULT).unlink(missing_ok=True)  # it would vouch for readings that are still to come
    setup, readings = read_source(source, settings, asking, folder, progress)
    result = Evaluation(
        kind=source.kind,
        source=source.name,
        setup=setup,
        n=len(readings),
        dropped=counted(source.dropped),
        refused=sum(reading.refused is not None for reading in readings),
        scenes=_scenes(readings, setup) if source.kind == "scenes" else None,
        protocol=None if source.kind == "scenes" else vecbench_result(readings, setup.taxonomies),
        compat=None if gpus is None else compat_result(readings, setup.taxonomies, gpus=gpus),
    )
    if folder is not None:
        _leave(folder, result, readings)
    return result


def json_summary(result: Evaluation) -> dict[str, Any]:
    """What the command prints: of scenes the metrics, else figures of every group by name."""
    of: dict[str, Any] = {"model_version": result.setup.reader.model, "source": result.source}
    if result.scenes is not None:
        return {name: _defined(value) for name, value in result.scenes.items()} | of
    assert result.protocol is not None, "an evaluation that is not of scenes has the protocol's figures"
    of |= {"n": result.n, "parse_failures": result.protocol.overall.pooled.parse_failures, "refused": result.refused}
    of["dropped"] = dict(result.dropped)
    groups = {**result.protocol.groups, "all": result.protocol.overall}
    of["tasks"] = {name: _flat(figures) for name, figures in result.protocol.tasks.items()}
    of["pooled"] = {title: _flat(group.pooled) for title, group in groups.items()}
    of["macro"] = {title: _flat(group.macro) for title, group in groups.items()}
    if result.compat is not None:
        of["compat"] = result.compat.model_dump(mode="json")
    return of


def _scenes(readings: Sequence[ItemReading], setup: Setup) -> dict[str, int | float | list[float]]:
    return dict(summary(from_readings(readings, setup.taxonomies[TAXONOMY])))


def _leave(folder: Path, result: Evaluation, readings: Sequence[ItemReading]) -> None:
    from training.evaluation.plots import write_plots  # noqa: PLC0415 - matplotlib takes a second

    groups: dict[str, Sequence[ItemReading]] = {"all" if result.protocol else "scenes": readings}
    if result.protocol is not None:
        write_text(folder / "table.md", markdown(result.protocol, result.compat, result.setup.reader.model))
        for title, group in result.protocol.groups.items():
            groups[title] = [reading for reading in readings if reading.taxonomy in group.tasks]
    write_plots(folder, groups, result.setup.taxonomies)
    write_document(folder / RESULT, result)


def _flat(figures: TaskFigures) -> dict[str, float | list[float | None] | None]:
    """The said confidence's figures under their plain names, those of the label's probability as `label_*`."""
    found: dict[str, float | list[float | None] | None] = {"n": figures.n, "parse_failures": figures.parse_failures}

    def add(name: str, figure: Figure) -> None:
        found[name] = _rounded(figure.value)
        if figure.low is not None:
            found[f"{name}_interval"] = [_rounded(figure.low), _rounded(figure.high)]

    for name in ("accuracy", "f1_weighted", "f1_macro"):
        add(name, getattr(figures, name))
    for prefix, signal in (("", figures.verbal), ("label_", figures.label)):
        if signal is not None:
            for name in ("ece", "smooth_ece", "brier", "brier_skill", "auroc", "aurc"):
                add(f"{prefix}{name}", getattr(signal, name))
            for error, figure in signal.coverage_at.items():
                add(f"{prefix}coverage_at_{error}", figure)
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _defined(value: float | list[float]) -> float | list[float | None] | None:
    """nan is no JSON."""
    if isinstance(value, list):
        return [None if math.isnan(each) else each for each in value]
    return None if math.isnan(value) else value
