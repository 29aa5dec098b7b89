"""`tidegate train evaluate` and `tidegate train compare`.

What is meant for a program stands on standard output as one JSON line, what is meant for a person on standard error.
Exit codes: 0 done, 2 wrong usage, data or folders, 4 the engine. Of `compare`: 0 B may replace A, 1 it must not, 3 that
is undecided.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

# vLLM, torch and matplotlib take seconds to load: only a command that needs them imports them.
if TYPE_CHECKING:
    from rich.table import Table

    from training.evaluation.answering import Asking
    from training.evaluation.comparing import Evaluated
    from training.evaluation.sources import Source
    from worker.settings import EngineSettings

_SCENES = 2000
_EXIT = {"may_replace": 0, "must_not_replace": 1, "undecided": 3}

Scenes = Annotated[int | None, typer.Option(min=1, help="ask about this many fresh scenes, whose truth is known")]
Seed = Annotated[int, typer.Option(help="of the scenes")]
Vecbench = Annotated[Path | None, typer.Option(help="ask about VECBench: JSON Lines", metavar="FILE")]
Images = Annotated[Path | None, typer.Option(help="where its image paths start; else beside the file", metavar="DIR")]
MaxDropped = Annotated[float, typer.Option(min=0, max=1, help="share of its records that may be unusable")]
Data = Annotated[Path | None, typer.Option(help="ask about what `tidegate train prepare` held out", metavar="DIR")]
Temperature = Annotated[
    float | None,
    typer.Option(
        min=0, help="0 is greedy; else TIDEGATE_ENGINE_TEMPERATURE, with which it serves; VECBench as published, 0.7"
    ),
]
InFlight = Annotated[int, typer.Option(min=1, help="items at a time")]
Retry = Annotated[
    bool, typer.Option("--retry", help="ask again under a grammar what did not parse, as the worker does")
]


def evaluate(
    model: Annotated[str, typer.Option(help="folder of a checkpoint, or a name that the engine knows")],
    scenes: Scenes = None,
    seed: Seed = 1_000_000,
    vecbench: Vecbench = None,
    images: Images = None,
    max_dropped: MaxDropped = 0.01,
    data: Data = None,
    out: Annotated[
        Path | None,
        typer.Option(help="keep readings, result, table and plots there; a killed evaluation goes on", metavar="DIR"),
    ] = None,
    compat: Annotated[
        bool, typer.Option("--compat", help="also the figures by the published definitions, defects and all")
    ] = False,
    compat_gpus: Annotated[
        int, typer.Option(min=1, help="--compat: GPUs among which the published scripts would split the data")
    ] = 8,
    temperature: Temperature = None,
    in_flight: InFlight = 256,
    retry: Retry = False,
) -> None:
    """Measure a model through the worker's engine (TIDEGATE_ENGINE_*): on fresh scenes, VECBench, or held-out data.

    Answers that cannot be read are errors. Prints one JSON line; with VECBench
    a table beside the published figures, too.

    tidegate train evaluate --model RUN/model --scenes 2000 --seed 5

    tidegate train evaluate --model wudq/EmoCaliber --vecbench test.jsonl
    --images VECBench --compat --out evaluations/emocaliber
    """
    from training.evaluation.answering import Asking  # noqa: PLC0415
    from training.evaluation.evaluating import evaluate_source, json_summary  # noqa: PLC0415
    from training.evaluation.published import published  # noqa: PLC0415
    from training.evaluation.table import compat_terminal, terminal  # noqa: PLC0415
    from training.progress import progress  # noqa: PLC0415

    if compat and vecbench is None:
        raise typer.BadParameter("published figures are of VECBench: give --vecbench", param_hint="--compat")
    with _refusals():
        if (scenes, vecbench, data) == (None, None, None):
            scenes = _SCENES
        source = _source(scenes, seed, vecbench, images, max_dropped, data)
        assert source is not None, "one of the three is given"
        if temperature is None and source.kind == "vecbench":
            temperature = published().temperature
        result = evaluate_source(
            source,
            _engine(model, temperature),
            Asking(in_flight, retry),
            folder=out,
            gpus=compat_gpus if compat else None,
            progress=progress,
        )
    if result.dropped:
        _say("left out: " + ", ".join(f"{count:,} {reason.value}" for reason, count in result.dropped.items()))
    if result.refused:
        _say(f"{result.refused:,} images could not be put to the model; they count as errors")
    if result.protocol is not None:
        _show(terminal(result.protocol))
    if result.compat is not None:
        _show(compat_terminal(result.compat))
    if out is not None:
        _say(f"{out}: {result.n:,} readings, the result and its plots")
    typer.echo(json.dumps(json_summary(result)))


def compare(
    a: Annotated[str, typer.Argument(help="the model in use: the folder of an evaluation, or a model to evaluate")],
    b: Annotated[str, typer.Argument(help="the model that may replace it, likewise")],
    scenes: Scenes = None,
    seed: Seed = 1_000_000,
    vecbench: Vecbench = None,
    images: Images = None,
    max_dropped: MaxDropped = 0.01,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="keep readings of models there, in a/ and b/, to go on", metavar="DIR")
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="by how much accuracy and AURC may be worse, as 0.01")
    ] = 0.01,
    coverage_margin: Annotated[
        float, typer.Option(min=0, max=1, help="more coverage than this clearly lost at 10 % error forbids")
    ] = 0.05,
    parse_margin: Annotated[
        float, typer.Option(min=0, max=1, help="by how much more answers may be unreadable")
    ] = 0.01,
    signal: Annotated[
        str | None,
        typer.Option(help="confidence to judge by: verbal, or label; else label where both have it", metavar="SIGNAL"),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="of models that are asked; else TIDEGATE_ENGINE_TEMPERATURE")
    ] = None,
    in_flight: InFlight = 256,
    retry: Retry = False,
) -> None:
    """Say whether model B may replace model A: paired on the same items, every difference with its interval.

    Prints one JSON line with the verdict may_replace, must_not_replace or
    undecided, and its reasons. Exit code 0, 1 or 3.

    tidegate train compare evaluations/old evaluations/new

    tidegate train compare OLD/model NEW/model --scenes 5000 --seed 5
    """
    from training.evaluation import comparing  # noqa: PLC0415
    from training.evaluation.answering import Asking  # noqa: PLC0415
    from training.evaluation.comparison_table import comparison_table  # noqa: PLC0415

    judged_by: Literal["verbal", "label"] | None
    match signal:
        case "verbal" | "label" | None:
            judged_by = signal
        case _:
            raise typer.BadParameter(f"{signal!r} is neither verbal nor label", param_hint="--signal")
    with _refusals():
        source = _source(scenes, seed, vecbench, images, max_dropped, data)
        sides = []
        for side, name in (("a", a), ("b", b)):
            folder = None if out is None else out / side
            sides.append(_evaluated(name, source, temperature, Asking(in_flight, retry), folder))
        margins = comparing.Margins(margin, margin, coverage_margin, parse_margin)
        found = comparing.compare(sides[0], sides[1], margins, signal=judged_by)
    _show(comparison_table(found))
    _say(found.verdict.replace("_", " "))
    for reason in found.reasons:
        _say(f"- {reason}")
    typer.echo(found.model_dump_json())
    raise typer.Exit(_EXIT[found.verdict])


def _source(
    scenes: int | None,
    seed: int,
    vecbench: Path | None,
    images: Path | None,
    max_dropped: float,
    data: Path | None,
) -> Source | None:
    """What is asked about; None where nothing is said of it."""
    from training.evaluation import sources  # noqa: PLC0415

    if sum(given is not None for given in (scenes, vecbench, data)) > 1:
        raise typer.BadParameter("choose one of --scenes, --vecbench and --data")
    if vecbench is not None:
        return sources.vecbench(vecbench, vecbench.parent if images is None else images, max_dropped)
    if data is not None:
        return sources.prepared(data)
    return None if scenes is None else sources.scenes(scenes, seed)


def _engine(model: str, temperature: float | None) -> EngineSettings:
    from worker.settings import EngineSettings  # noqa: PLC0415

    return EngineSettings(model=model) if temperature is None else EngineSettings(model=model, temperature=temperature)


def _evaluated(
    name: str, source: Source | None, temperature: float | None, asking: Asking, folder: Path | None
) -> Evaluated:
    """The readings of an evaluation's folder, or of a model that is asked now."""
    from training.evaluation.comparing import Evaluated  # noqa: PLC0415
    from training.evaluation.evaluating import read_source  # noqa: PLC0415
    from training.evaluation.readings import READINGS, EvaluationError, load_readings  # noqa: PLC0415
    from training.progress import progress  # noqa: PLC0415

    if (Path(name) / READINGS).exists():
        return Evaluated(name, *load_readings(Path(name)))
    if source is None:
        raise EvaluationError(
            f"{name} is no folder of an evaluation (it has no {READINGS}): to evaluate a model, say on what: --scenes, "
            "--vecbench or --data"
        )
    return Evaluated(name, *read_source(source, _engine(name, temperature), asking, folder, progress))


@contextmanager
def _refusals() -> Iterator[None]:
    """What is wrong is said to a person, without a traceback."""
    from calibration.offline.problems import FileError  # noqa: PLC0415
    from training.data.drops import DataError  # noqa: PLC0415
    from training.evaluation.readings import EvaluationError  # noqa: PLC0415
    from worker.engine.protocol import EngineDeadError  # noqa: PLC0415

    try:
        yield
    except (DataError, EvaluationError, FileError) as error:
        _say(str(error))
        raise typer.Exit(2) from error
    except EngineDeadError as error:
        _say(f"{error}; what has been read stays in --out")
        raise typer.Exit(4) from error


def _show(table: Table) -> None:
    from rich.console import Console  # noqa: PLC0415

    # Where no terminal says how wide it is, a table is better too wide than folded.
    console = Console(stderr=True)
    (console if console.is_terminal else Console(stderr=True, width=240)).print(table)


def _say(words: str) -> None:
    typer.echo(words, err=True)
