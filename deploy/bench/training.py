"""`tidegate bench training`: each stage against plain TRL on the same data, and what each stage did.

Plain TRL is its trainers as their documentation has them: conversations and images in, its own collator and, for stage
3, one reward for a whole answer.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from deploy.rig import CHECKPOINT
from training import calibrated_confidence, structured_reasoning, verbalized_confidence
from training.config import RunConfig, StageName, load_config
from training.dialogue import answer_text
from training.run import Run, write_json
from training.sampling import sample
from training.stage import Stage, rows

_TRAIN: dict[StageName, Callable[[Run], None]] = {
    "reasoning": structured_reasoning.train,
    "confidence": verbalized_confidence.train,
    "calibration": calibrated_confidence.train,
}


def training(
    steps: Annotated[int, typer.Option(min=1, help="of stages 1 and 2")] = 60,
    rollouts: Annotated[int, typer.Option(min=1, help="steps of stage 3")] = 12,
    run: Annotated[Path | None, typer.Option(help="a run whose stages to report; default: the shipped one's")] = None,
) -> None:
    """Answers a second that each stage trains on, as a ratio to plain TRL; prints one JSON line."""
    said: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in _TRAIN:
            ours = _ours(Path(folder), name, steps, rollouts)
            plain = _plain(Path(folder), name, steps, rollouts)
            said |= {f"{name}_per_s": round(ours, 1), f"{name}_plain_per_s": round(plain, 1)}
            said[f"ratio_{name}"] = round(ours / plain, 2)
    measured = run / "stages.json" if run is not None else CHECKPOINT / "tidegate.json"
    content = json.loads(measured.read_text(encoding="utf-8"))
    wanted = ("accuracy", "best_accuracy", "ece", "brier_skill", "best_brier_skill", "auroc", "label_brier_skill")
    for stage, found in (content if run is not None else content["metrics"]).items():
        said[f"stage_{stage}"] = {key: found[key] for key in wanted if key in found}
    typer.echo(json.dumps(said))


def _config(steps: int, rollouts: int) -> RunConfig:
    config = load_config("tiny").model_dump(mode="json")
    first, second, third = (config[name] for name in _TRAIN)
    config["data"] |= {
        "reasoning": steps * first["batch"],
        "confidence": steps * second["batch"],
        "calibration": rollouts * third["mini_batch"],
    }
    second |= {"epochs": 1, "further_answers": 0, "answers": 2}
    for stage in (first, second, third):
        stage["checkpoints"] = 1
    return RunConfig.model_validate(config)


def _begin(folder: Path, name: StageName, steps: int, rollouts: int) -> Run:
    """A run that has everything before the stage; the shipped checkpoint stands in for what was trained."""
    run = Run.begin(folder, _config(steps, rollouts))
    for before in _TRAIN:
        if before == name:
            break
        run.stage(before).path.mkdir(parents=True)
        run.stage(before).model.symlink_to(CHECKPOINT)
        write_json(run.stage(before).path / "done.json", {})
    return run


def _ours(folder: Path, name: StageName, steps: int, rollouts: int) -> float:
    """Answers a second of our own stage."""
    run = _begin(folder / f"ours-{name}", name, steps, rollouts)
    if name == "confidence":
        sample(run)
    _TRAIN[name](run)
    last = json.loads(run.stage(name).metrics.read_text(encoding="utf-8").splitlines()[-1])
    return float(_sequences(run.config, name) * last["step"] / last["train_runtime"])


def _plain(folder: Path, name: StageName, steps: int, rollouts: int) -> float:
    """Answers a second of TRL's own trainer on the same scenes."""
    run = _begin(folder / f"plain-{name}", name, steps, rollouts)
    stage = Stage.load(run, name)
    how = getattr(run.config, name)

    def row(number: int) -> dict[str, Any]:
        example = stage.examples[number]
        asked = {
            "prompt": stage.dialogue.conversation(example.taxonomy),
            "images": [Image.fromarray(example.image)],
            "truth": example.label,
        }
        if name == "calibration":
            return asked
        assert example.reasoning is not None
        said = answer_text(example.reasoning, example.label, None if name == "reasoning" else 0.75)
        return asked | {"completion": [{"role": "assistant", "content": said}]}

    data = rows(len(stage.examples), row)
    shared = {"model": stage.model, "train_dataset": data, "processing_class": stage.dialogue.processor}
    trainer: Any
    if name == "calibration":

        def right(completions: list[Any], truth: list[str], **_: Any) -> list[float | None]:
            return [
                float(f"<answer>{label}<" in said[0]["content"]) for said, label in zip(completions, truth, strict=True)
            ]

        arguments = stage.arguments(how, sequences=how.mini_batch * how.answers) | {
            "generation_batch_size": how.batch * how.answers,
            "num_generations": how.answers,
            "max_completion_length": run.config.max_answer_tokens,
            "beta": how.beta,
            "generation_kwargs": {"suppress_tokens": stage.dialogue.never},
        }
        trainer = GRPOTrainer(reward_funcs=right, args=GRPOConfig(**arguments), **shared)
    else:
        arguments = stage.arguments(how, sequences=how.batch)
        trainer = SFTTrainer(args=SFTConfig(**arguments, max_length=None), **shared)
    trainer.remove_callback(PrinterCallback)
    took = trainer.train().metrics["train_runtime"]
    return float(_sequences(run.config, name) * trainer.state.global_step / took)


def _sequences(config: RunConfig, name: StageName) -> int:
    """In one step."""
    batches = {"reasoning": config.reasoning.batch, "confidence": config.confidence.batch}
    return batches.get(name, config.calibration.mini_batch * config.calibration.answers)
