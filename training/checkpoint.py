"""The checkpoint that ships: made by both stages from nothing, measured, and written as a folder that serves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from training import structured_reasoning, verbalized_confidence
from training.data import SceneExamples, batches
from training.dialogue import Dialogue
from training.evaluate import answer, summary
from training.tiny import PIXELS, make_model, make_processor
from worker.reading.prompt import PROMPT_VERSION, build_prompt
from worker.reading.taxonomy import load_taxonomies

TAXONOMY = "scenes"
BATCH = 32
_FRESH = 1_000_000
"""Distance of the seed of the scenes measured on from that of the scenes trained on."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what checkpoint comes out (on one kind of machine, with one number of threads)."""

    seed: int = 0
    reasoning_steps: int = 1000
    confidence_steps: int = 800
    measured_scenes: int = 2000


def make(out: Path, recipe: Recipe, *, threads: int = 1, loaders: int = 1) -> dict[str, object]:
    """Train the tiny model by `recipe` and write it to `out`; the contents of its tidegate.json."""
    torch.set_num_threads(threads)
    taxonomy = load_taxonomies()[TAXONOMY]
    processor = make_processor(build_prompt(taxonomy))
    dialogue = Dialogue(processor, taxonomy)
    model = make_model(processor, recipe.seed)
    first, second = recipe.reasoning_steps * BATCH, recipe.confidence_steps * BATCH
    with _progress("stage 1, structured reasoning", recipe.reasoning_steps) as report:
        scenes = batches(SceneExamples(recipe.seed, first), BATCH, loaders)
        structured_reasoning.train(model, dialogue, scenes, report=report)
    scenes = batches(SceneExamples(recipe.seed, second, start=first), 8 * BATCH, loaders)
    with _progress("stage 2, own readings", len(scenes), "usable") as report:
        readings = verbalized_confidence.read(model, dialogue, scenes, report=report)
    with _progress("stage 2, verbalised confidence", recipe.confidence_steps) as report:
        verbalized_confidence.train(model, dialogue, readings, size=BATCH, report=report)

    # First of all, so that an interrupted write never leaves other weights under this name.
    (out / "tidegate.json").unlink(missing_ok=True)
    model.bfloat16().save_pretrained(out)
    processor.save_pretrained(out)
    processor.image_processor.save_pretrained(out)  # preprocessor_config.json, which engines and the worker look for
    version = f"tiny-scenes-{_fingerprint(out)}"
    metrics = measure(out, recipe.measured_scenes, recipe.seed + _FRESH, threads=threads)
    card = {
        "model_version": version,
        "prompt_version": PROMPT_VERSION,
        "taxonomy": TAXONOMY,
        "min_pixels": PIXELS,
        "max_pixels": PIXELS,
        "recipe": asdict(recipe),
        "metrics": metrics,
    }
    (out / "tidegate.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(_card(version, recipe, metrics), encoding="utf-8")
    for path in out.iterdir():
        path.chmod(0o644)
    return card


def measure(folder: Path, scenes: int, seed: int, *, threads: int = 1) -> dict[str, float | list[float]]:
    """Metrics of the checkpoint in `folder`, computing in float32, on scenes of the world `seed`."""
    torch.set_num_threads(threads)
    model, dialogue = load(folder)
    return {"seed": seed, **summary(answer(model, dialogue, SceneExamples(seed, scenes)))}


def load(folder: Path) -> tuple[Qwen2_5_VLForConditionalGeneration, Dialogue]:
    """The model of a checkpoint in float32 and its dialogue in the taxonomy of scenes."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return model, Dialogue(AutoProcessor.from_pretrained(folder), load_taxonomies()[TAXONOMY])


@contextmanager
def _progress(title: str, steps: int, what: str = "loss") -> Iterator[Callable[[int, float], None]]:
    """A bar with the last value on a terminal, else a line now and then."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=steps)

        def report(step: int, value: float) -> None:
            bar.update(task, completed=step, description=f"{title}, {what} {value:.3f}")
            if not console.is_terminal and (step % 50 == 0 or step == steps):
                console.print(f"{title}: step {step} of {steps}, {what} {value:.3f}", highlight=False)

        yield report


def _fingerprint(folder: Path) -> str:
    """Eight digits that change with anything in the folder that decides what the model says."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".safetensors", ".json", ".jinja"} and path.name != "tidegate.json":
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:8]


def _card(version: str, recipe: Recipe, metrics: Mapping[str, float | list[float]]) -> str:
    rows = "\n".join(
        f"| {name} | {value} | {metrics.get(f'{name}_interval', '')} |"
        for name, value in metrics.items()
        if not name.endswith("_interval")
    )
    first, second = recipe.reasoning_steps, recipe.confidence_steps
    return f"""# {version}

A Qwen2.5-VL of 1.2 million parameters for the drawn scenes of `training/scenes.py`. It shows that the whole system
works, in a world where what it says can be checked against truth. It knows nothing of photographs.

- **Data**: {(first + second) * BATCH:,} scenes of seed {recipe.seed}, each seen once. Labels are drawn from their true
  probabilities, so that the best possible accuracy is far below 1.
- **Stage 1**, {first} batches of {BATCH}: supervised on structured reasoning and the drawn label.
- **Stage 2**, {second} batches: on its own greedy answers, each followed by its own probability of the label it chose.
- **Serving**: 56 x 56 pixels, taxonomy `{TAXONOMY}`, prompt `{PROMPT_VERSION}`; bfloat16 weights.

Measured against the true probabilities of fresh scenes: without prefix the confidence that it says, with `label_` the
probability of the label's token. `best_*` is what the true probabilities themselves would reach.

| metric | value | 95 % interval (bootstrap over scenes) |
|---|---|---|
{rows}

Made and measured by:

    tidegate train tiny --out DIR --seed {recipe.seed} --reasoning-steps {first} --confidence-steps {second}
    tidegate train evaluate --model DIR --scenes {metrics["scenes"]} --seed {metrics["seed"]}
"""
