"""`tidegate train`: data, the three stages, evaluation, hand-over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from training.data.cli import prepare
from training.evaluation.cli import compare, evaluate
from training.scenes import LABELS, encode, scene

if TYPE_CHECKING:
    from training.run import Run

app = typer.Typer(no_args_is_help=True, help="Teach a model to say how sure it is.")
app.command("prepare")(prepare)
app.command("evaluate")(evaluate)
app.command("compare")(compare)

Seed = Annotated[int, typer.Option(help="of everything random: the same seed gives the same result")]
Config = Annotated[str, typer.Option(help="a shipped configuration (emocaliber, emocaliber-lora, tiny) or a YAML file")]
RunFolder = Annotated[
    Path, typer.Argument(help="folder of the run; one that a kill left behind goes on", metavar="RUN")
]


@app.command("all")
def every_stage(
    run: RunFolder,
    config: Config,
    data: Annotated[Path | None, typer.Option(help="a prepared folder, in the place of the configuration's")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the finished checkpoint; default: RUN/model")] = None,
    scenes: Annotated[int, typer.Option(help="of drawn data: fresh scenes that each stage is measured on")] = 4000,
    accelerate: Annotated[
        Path | None,
        typer.Option(help="an accelerate configuration: each stage runs as `accelerate launch` with it", exists=True),
    ] = None,
) -> None:
    """Run all three stages and hand the model over; prints what each stage did as one JSON line."""
    from training.config import STAGES, ScenesData  # noqa: PLC0415 - torch and TRL take seconds to load

    with _refusals():
        begun = _begin(run, config, data, accelerate)
        for name in STAGES:
            if begun.stage(name).done:
                continue
            if name == "confidence":
                _sample(begun)
            if accelerate is None:
                _train(begun, name)
            else:
                _launch(accelerate, name, run)
        from training.handover import hand_over  # noqa: PLC0415
        from training.measuring import measure_stages  # noqa: PLC0415

        source = begun.config.data
        measured = measure_stages(begun, source, scenes) if isinstance(source, ScenesData) else {}
        card = hand_over(begun, out or run / "model", measured)
    typer.echo(json.dumps({"model_version": card["model_version"], "out": str(out or run / "model"), **measured}))


@app.command("stage")
def one_stage(
    name: Annotated[str, typer.Argument(help="reasoning, confidence or calibration", metavar="STAGE")],
    run: RunFolder,
    config: Annotated[str | None, typer.Option(help="to begin a run; one that was begun knows its own")] = None,
    data: Annotated[Path | None, typer.Option(help="a prepared folder, in the place of the configuration's")] = None,
) -> None:
    """Run one stage, in one process or as many as `accelerate launch` or `torchrun` start."""
    from training.config import STAGES  # noqa: PLC0415
    from training.run import Run, RunError  # noqa: PLC0415

    with _refusals():
        if name not in STAGES:
            raise RunError(f"{name!r} is none of the stages {', '.join(STAGES)}")
        begun = Run.open(run) if config is None else _begin(run, config, data)
        if begun.stage(name).done:
            typer.echo(f"stage {name} is done already: {begun.stage(name).model}", err=True)
            return
        _train(begun, name)


@app.command("sample")
def sample_answers(run: RunFolder) -> None:
    """Sample the answers that stage 2 learns from, through vLLM where there is a GPU; goes on where it was killed."""
    from training.run import Run  # noqa: PLC0415

    with _refusals():
        _sample(Run.open(run))


@app.command("check")
def check(
    config: Config,
    data: Annotated[Path | None, typer.Option(help="a prepared folder, in the place of the configuration's")] = None,
    accelerate: Annotated[
        Path | None, typer.Option(help="the accelerate configuration that will be trained with", exists=True)
    ] = None,
) -> None:
    """Say what would keep a run from succeeding, before hours are spent on it; exit code 2 if anything would."""
    from training.config import load_config  # noqa: PLC0415
    from training.preflight import Processes, problems  # noqa: PLC0415

    with _refusals():
        processes = None if accelerate is None else Processes.of(accelerate)
        found = problems(load_config(config, data), processes=processes)
    for problem in found:
        typer.echo(problem, err=True)
    if found:
        raise typer.Exit(2)
    typer.echo("nothing stands in the way", err=True)


@app.command("handover")
def hand_over_command(run: RunFolder, out: Annotated[Path, typer.Option(help="folder of the checkpoint")]) -> None:
    """Write the last finished stage of a run as a checkpoint that serves, with its card."""
    from training.handover import hand_over  # noqa: PLC0415
    from training.run import Run  # noqa: PLC0415

    with _refusals():
        measured = run / "stages.json"
        metrics = json.loads(measured.read_text(encoding="utf-8")) if measured.exists() else None
        card = hand_over(Run.open(run), out, metrics)
    typer.echo(json.dumps({"model_version": card["model_version"], "out": str(out)}))


@app.command("scenes")
def draw(
    count: Annotated[int, typer.Option(min=1, help="how many")],
    out: Annotated[Path, typer.Option(help="folder of the PNG files and of scenes.jsonl")],
    seed: Seed = 0,
) -> None:
    """Draw scenes as PNG files, with their labels and true label probabilities in scenes.jsonl."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "scenes.jsonl").open("w", encoding="utf-8") as lines:
        for number in track(range(count), "drawing", console=Console(stderr=True)):
            drawn = scene(seed, number)
            name = f"scene-{seed}-{number:06d}.png"
            (out / name).write_bytes(encode(drawn.image, "PNG"))
            probabilities = dict(zip(LABELS, drawn.probabilities.round(6).tolist(), strict=True))
            record = {"file": name, "label": LABELS[drawn.label], "probabilities": probabilities}
            lines.write(json.dumps(record) + "\n")


def _begin(folder: Path, config: str, data: Path | None, accelerate: Path | None = None) -> Run:
    """Begin or go on with a run whose way is clear."""
    from training.config import load_config  # noqa: PLC0415
    from training.preflight import Processes, problems  # noqa: PLC0415
    from training.run import Run, RunError  # noqa: PLC0415

    asked = load_config(config, data)
    if found := problems(asked, processes=None if accelerate is None else Processes.of(accelerate)):
        raise RunError("\n".join(found))
    return Run.begin(folder, asked, primary=os.environ.get("RANK", "0") == "0")


def _train(run: Run, name: str) -> None:
    from training import calibrated_confidence, structured_reasoning, verbalized_confidence  # noqa: PLC0415

    {
        "reasoning": structured_reasoning.train,
        "confidence": verbalized_confidence.train,
        "calibration": calibrated_confidence.train,
    }[name](run)


def _sample(run: Run) -> None:
    from training.sampling import sample  # noqa: PLC0415

    sample(run)


def _launch(accelerate: Path, name: str, run: Path) -> None:
    from training.run import RunError  # noqa: PLC0415

    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(accelerate), "-m", "deploy.cli"]
    code = subprocess.run([*command, "train", "stage", name, str(run)], check=False).returncode  # noqa: S603
    if code:
        raise RunError(f"stage {name} ended with exit code {code}; the lines above say why. Run it again to go on")


@contextmanager
def _refusals() -> Iterator[None]:
    """What people can mend is said in a sentence, without a traceback; exit code 2."""
    from training.config import ConfigError  # noqa: PLC0415
    from training.data.drops import DataError  # noqa: PLC0415
    from training.run import RunError  # noqa: PLC0415
    from worker.engine.protocol import EngineError  # noqa: PLC0415

    try:
        yield
    except (ConfigError, DataError, EngineError, RunError) as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(2) from refused
