"""What a run hands over: a folder that vLLM, transformers and the worker load as it is, with a card.

The model version is in every decision and every gate, so it changes with anything in the folder that decides what the
model says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.config import STAGES, PreparedData, Pretrained, RunConfig, ScenesData, StageName
from training.run import Run, RunError
from training.stage import load, run_taxonomies, save_processor
from worker.reading.prompt import PROMPT_VERSION

_DECIDES = {".safetensors", ".json", ".jinja"}
_CARD = "tidegate.json"


def hand_over(run: Run, out: Path, metrics: Mapping[StageName, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Write the last finished stage's model to `out` in bfloat16, with its card; the content of its tidegate.json.

    Args:
        metrics: of each stage, to be shown in the card.

    Raises:
        RunError: no stage has been finished.
    """
    finished = [name for name in STAGES if run.stage(name).done]
    if not finished:
        raise RunError(f"{run.folder}: no stage has been finished, there is nothing to hand over")
    stage = run.stage(finished[-1])
    model, dialogue = load(stage.model, run_taxonomies(run.config), run.config)
    out.mkdir(parents=True, exist_ok=True)
    # First of all, so that an interrupted write never leaves other weights under this name.
    (out / _CARD).unlink(missing_ok=True)
    model.bfloat16().save_pretrained(out)
    save_processor(dialogue, out)
    card = {
        "model_version": f"{run.config.name}-{fingerprint(out)}",
        "prompt_version": PROMPT_VERSION,
        "taxonomies": sorted(dialogue.taxonomies),
        "min_pixels": run.config.pixels.min,
        "max_pixels": run.config.pixels.max,
        "stages": finished,
        "config": run.config.model_dump(mode="json"),
        "run": json.loads((run.folder / "run.json").read_text(encoding="utf-8")),
        "metrics": metrics or {},
    }
    (out / _CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(model_card(card, run.config), encoding="utf-8")
    for path in out.iterdir():
        path.chmod(0o644)
    return card


def fingerprint(folder: Path) -> str:
    """Eight digits that change with anything in the folder that decides what the model says."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in _DECIDES and path.name != _CARD:
            with path.open("rb") as file:
                digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:8]


def model_card(card: Mapping[str, Any], config: RunConfig) -> str:
    """The card for people, in Markdown."""
    how = config.calibration
    return f"""---
library_name: transformers
pipeline_tag: image-text-to-text
base_model: {config.model.name if isinstance(config.model, Pretrained) else "none"}
---
# {card["model_version"]}

{_described(config)} It describes an image in five sections, names a label of {", ".join(card["taxonomies"])}, and says
how sure it is. What it says of its own certainty is a signal, not a promise: put a calibrator and a certified gate
behind it.

- **Model version**: `{card["model_version"]}`, in every decision and gate. Another version needs a new certificate.
- **Data**: {_data(config)}
- **Stage 1, structured reasoning**: {_steps(config.reasoning)}.
- **Stage 2, verbalised confidence**: {_steps(config.confidence)}; {config.confidence.answers} sampled answers an item,
  targets {config.confidence.correctness_weight:g} x correctness + {1 - config.confidence.correctness_weight:g} x
  agreement, loss `{config.confidence.loss}`.
- **Stage 3, calibrated confidence**: GRPO, objective `{how.objective.objective}`, {how.answers} answers a question,
  learning rate {how.learning_rate:g}, {how.batch} questions a batch, KL weight {how.beta:g}.
- **Finished**: {", ".join(card["stages"])}. Tuning: {config.tuning.method}. Weights in bfloat16.
- **Serving**: {config.pixels.min:,} to {config.pixels.max:,} pixels, prompt `{card["prompt_version"]}`.

{metrics_table(card["metrics"])}
All settings, the versions of the libraries and the data's fingerprint are in `tidegate.json`.
"""


def metrics_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """What each stage did, in Markdown; empty without metrics."""
    if not metrics:
        return "It has not been measured yet: `tidegate train evaluate --model FOLDER` does that.\n"
    last = list(metrics.values())[-1]
    head = [
        f"Measured on {last['scenes']:,} fresh scenes against their true label probabilities. `verbal` is the "
        "confidence that the model says, `label` the probability of its label's token.",
        "",
        "| stage | accuracy | verbal ECE | verbal Brier skill | verbal AUROC | label ECE | label Brier skill | "
        "label AUROC | parse failures |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    names = ("accuracy", "ece", "brier_skill", "auroc", "label_ece", "label_brier_skill", "label_auroc")
    for stage, found in metrics.items():
        cells = [f"{found[name]:.3f}" if name in found else "" for name in names]
        head.append(f"| {stage} | {' | '.join(cells)} | {found['parse_failures']} |")
    accuracy, skill = f"{last['best_accuracy']:.3f}", f"{last['best_brier_skill']:.3f}"
    head.append(f"| best possible | {accuracy} | 0 | {skill} | | 0 | {skill} | | 0 |")
    return "\n".join(head) + "\n"


def _described(config: RunConfig) -> str:
    if isinstance(config.model, Pretrained):
        return f"Made from `{config.model.name}` (revision `{config.model.revision or 'not pinned'}`) by three stages."
    return (
        "A Qwen2.5-VL of 1.2 million parameters for the drawn scenes of `training/scenes.py`, made from nothing by "
        "three stages. It shows that the whole system works, in a world where what it says can be checked against "
        "truth, and knows nothing of photographs."
    )


def _data(config: RunConfig) -> str:
    match config.data:
        case ScenesData(seed=seed, reasoning=first, confidence=second, calibration=third):
            return (
                f"{first:,}, {second:,} and {third:,} drawn scenes of seed {seed}, each seen by one stage only. Labels "
                "are drawn from their true probabilities, so that the best possible accuracy is far below 1."
            )
        case PreparedData(folder=folder):
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            return f"prepared items, fingerprint `{report['fingerprint'][:16]}`, disjoint by stage."


def _steps(how: Any) -> str:
    return f"{how.epochs:g} epochs, learning rate {how.learning_rate:g}, {how.batch} sequences a step"
