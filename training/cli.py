"""`tidegate train`: make the tiny checkpoint, draw scenes, evaluate a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from training.scenes import LABELS, encode, scene

app = typer.Typer(no_args_is_help=True, help="Teach a model to say how sure it is.")

Seed = Annotated[int, typer.Option(help="of everything random: the same seed gives the same result")]


@app.command()
def tiny(
    out: Annotated[Path, typer.Option(help="folder of the new checkpoint")],
    seed: Seed = 0,
    reasoning_steps: Annotated[int, typer.Option(help="batches of 32 scenes in stage 1, structured reasoning")] = 1000,
    confidence_steps: Annotated[int, typer.Option(help="batches in stage 2, verbalised confidence")] = 800,
    scenes: Annotated[int, typer.Option(help="fresh scenes to measure the result on")] = 2000,
    threads: Annotated[int, typer.Option(help="of the training itself; another number rounds differently")] = 1,
    loaders: Annotated[int, typer.Option(help="processes that draw scenes ahead; 0 draws in between")] = 1,
) -> None:
    """Make the tiny checkpoint that ships, from nothing; prints its metrics as one JSON line."""
    from training.checkpoint import Recipe, make  # noqa: PLC0415 - torch takes seconds to load

    recipe = Recipe(seed, reasoning_steps, confidence_steps, scenes)
    typer.echo(json.dumps(make(out, recipe, threads=threads, loaders=loaders)))


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


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option(exists=True, file_okay=False, help="folder of a checkpoint")],
    scenes: Annotated[int, typer.Option(min=1, help="how many fresh scenes")] = 2000,
    seed: Seed = 1_000_000,
    threads: Annotated[int, typer.Option(help="of the model")] = 1,
) -> None:
    """Measure a model on fresh scenes against the truth; prints one JSON line."""
    from training.checkpoint import measure  # noqa: PLC0415

    typer.echo(json.dumps(measure(model, scenes, seed, threads=threads)))
