"""What the three stages have in common: model and data in, a trainer's arguments, a folder that serves out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset as Rows
from peft import LoraConfig, PeftModel
from torch.utils.tensorboard import SummaryWriter
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
)
from transformers.integrations import TensorBoardCallback
from transformers.utils import logging as transformers_logging

from training.config import Full, Lora, Optimisation, PreparedData, RunConfig, ScenesData, StageName, TinyModel
from training.data.drawn import TAXONOMY
from training.data.loading import Examples, SceneExamples
from training.data.prepared import read_prepared
from training.dialogue import Dialogue
from training.following import StageProgress
from training.run import Run, RunError, StageFolder
from training.tiny import make_model, make_processor
from worker.reading.prompt import build_prompt
from worker.reading.resize import PixelBudget
from worker.reading.taxonomy import Taxonomy, load_taxonomies

TITLES: Mapping[StageName, str] = {
    "reasoning": "stage 1, structured reasoning",
    "confidence": "stage 2, verbalised confidence",
    "calibration": "stage 3, calibrated confidence",
}


class ResumesWhole(Trainer):
    """A trainer that goes on with the weights of its checkpoint.

    A checkpoint of a Qwen-VL names its weights as the hub does, and `Trainer` would look for them by the names they
    have in memory: finding none, it warns and goes on with the ones that training began with.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        target: Any = self.model if model is None else model
        if self.is_fsdp_enabled or isinstance(target, PeftModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = AutoModelForImageTextToText.from_pretrained(resume_from_checkpoint, dtype=target.dtype)
        target.load_state_dict(saved.state_dict())


@dataclass(frozen=True)
class Stage:
    """One stage about to train."""

    run: Run
    name: StageName
    folder: StageFolder
    model: PreTrainedModel
    dialogue: Dialogue
    examples: Examples

    @classmethod
    def load(cls, run: Run, name: StageName) -> Stage:
        """The model that the stage before ended in, and this stage's own items.

        Raises:
            RunError: the stage before has not been finished.
        """
        if run.config.threads is not None:
            torch.set_num_threads(run.config.threads)
        model, dialogue = starting_point(run, name)
        return cls(run, name, run.stage(name), model, dialogue, stage_examples(run.config, name, dialogue.factor))

    def arguments(self, how: Optimisation, *, sequences: int) -> dict[str, Any]:
        """Arguments that TRL's configurations share; `sequences` of a step are spread over processes and accumulated.

        Raises:
            RunError: they cannot be spread evenly.
        """
        config, state = self.run.config, processes()
        at_once = how.per_device * state.num_processes
        if sequences % at_once:
            raise RunError(
                f"stage {self.name}: {sequences} sequences a step cannot be spread over {state.num_processes} "
                f"processes of {how.per_device} each: change batch or per_device"
            )
        on_cpu = state.device.type == "cpu"
        return {
            "output_dir": str(self.folder.checkpoints),
            "per_device_train_batch_size": how.per_device,
            "gradient_accumulation_steps": sequences // at_once,
            "num_train_epochs": how.epochs,
            "learning_rate": how.learning_rate,
            "lr_scheduler_type": "cosine",
            "warmup_steps": how.warm_up,
            "weight_decay": how.weight_decay,
            "adam_beta2": how.adam_beta2,
            "max_grad_norm": how.max_gradient_norm,
            "bf16": config.precision == "bfloat16",
            "use_cpu": on_cpu,
            "gradient_checkpointing": config.gradient_checkpointing,
            "remove_unused_columns": False,
            "dataloader_num_workers": config.loaders,
            "dataloader_pin_memory": not on_cpu,
            "save_strategy": "steps",
            "save_steps": 1 / how.checkpoints if how.checkpoints > 1 else 0.999999,
            "save_total_limit": 2,
            "logging_strategy": "steps",
            "logging_steps": 10,
            "report_to": [],
            "disable_tqdm": True,
            "seed": config.seed,
            "ddp_find_unused_parameters": False,
        }

    def callbacks(self) -> list[TrainerCallback]:
        """The bar, metrics.jsonl and TensorBoard, in the process that speaks."""
        if not processes().is_main_process:
            return []
        board = SummaryWriter(str(self.folder.path / "tensorboard"))
        return [StageProgress(TITLES[self.name], self.folder.metrics), TensorBoardCallback(board)]

    def adapters(self) -> LoraConfig | None:
        """LoRA on every linear layer of the language model; None for full fine-tuning."""
        match self.run.config.tuning:
            case Full():
                return None
            case Lora(rank=rank, alpha=alpha, dropout=dropout):
                # The vision tower's layers are called otherwise, so that it stays as it is.
                layers = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
                return LoraConfig(
                    r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=layers, task_type="CAUSAL_LM"
                )

    def train(self, trainer: Any) -> None:
        """Train to the end, from the last checkpoint where there is one, and write the stage's model folder."""
        state = processes()
        trainer.remove_callback(PrinterCallback)  # the bar says the same
        with state.main_process_first():
            checkpoint = self.folder.last_checkpoint()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*use_reentrant.*")
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        if isinstance(trainer.accelerator.unwrap_model(trainer.model), PeftModel):
            adapter = self.folder.path / "adapter"
            trainer.save_model(str(adapter))
            if state.is_main_process:
                _merge(self.run, self.name, adapter, self.folder.model)
        else:
            trainer.save_model(str(self.folder.model))
        if state.is_main_process:
            save_processor(self.dialogue, self.folder.model)
            state_of = trainer.state
            said = {"steps": state_of.global_step, "epochs": state_of.epoch, "flops": state_of.total_flos}
            # Of a hub model, the commit that it came from, pinned or not.
            self.folder.finish(said | {"commit": getattr(self.model.config, "_commit_hash", None)})
        state.wait_for_everyone()


def processes() -> PartialState:
    """The processes that train together: over NCCL on GPUs, over gloo without."""
    return PartialState(cpu=not torch.cuda.is_available())


def starting_point(run: Run, name: StageName) -> tuple[PreTrainedModel, Dialogue]:
    """Model and dialogue that a stage begins with, in the precision that it trains in."""
    taxonomies = run_taxonomies(run.config)
    source = run.before(name)
    if source is None:
        assert isinstance(run.config.model, TinyModel)
        processor = make_processor(build_prompt(taxonomies[TAXONOMY]))
        return make_model(processor, run.config.model.seed), Dialogue(processor, taxonomies)
    return load(source, taxonomies, run.config)


def load(source: str | Path, taxonomies: Mapping[str, Taxonomy], config: RunConfig) -> tuple[PreTrainedModel, Dialogue]:
    """A checkpoint, a folder or a name on the hub, and the dialogue in its tokens."""
    transformers_logging.disable_progress_bar()
    revision = None if isinstance(source, Path) or isinstance(config.model, TinyModel) else config.model.revision
    frozen = isinstance(config.tuning, Lora)  # only adapters take steps, so the rest may be rounded
    dtype = torch.bfloat16 if frozen and config.precision == "bfloat16" else torch.float32
    model = AutoModelForImageTextToText.from_pretrained(source, revision=revision, dtype=dtype)
    processor = AutoProcessor.from_pretrained(source, revision=revision)
    # Images come resized by the worker's code; these bounds only keep the processor from resizing them again.
    processor.image_processor.size = {"shortest_edge": config.pixels.min, "longest_edge": config.pixels.max}
    return model, Dialogue(processor, taxonomies)


def run_taxonomies(config: RunConfig) -> Mapping[str, Taxonomy]:
    """The label sets that the run's data are of."""
    if isinstance(config.data, ScenesData):
        return {TAXONOMY: load_taxonomies()[TAXONOMY]}
    return read_prepared(config.data.folder).taxonomies


def stage_examples(config: RunConfig, name: StageName, factor: int) -> Examples:
    """The items that only this stage sees; stage 1 takes those whose reasoning somebody wrote.

    Args:
        factor: what the sides of the model's images are multiples of, in pixels.
    """
    match config.data:
        case ScenesData(seed=seed, reasoning=first, confidence=second, calibration=third):
            ranges = {"reasoning": (0, first), "confidence": (first, second), "calibration": (first + second, third)}
            start, count = ranges[name]
            return SceneExamples(seed, count, start)
        case PreparedData(folder=folder):
            prepared = read_prepared(folder)
            items = [item for item in prepared.items[name] if name != "reasoning" or item.reasoning is not None]
            return Examples(items, PixelBudget(config.pixels.min, config.pixels.max, factor), prepared.folder)


def rows(count: int, row: Callable[[int], dict[str, Any]]) -> Rows:
    """A data set, as TRL wants it, whose rows are made when they are asked for."""

    def made(batch: dict[str, Sequence[int]]) -> dict[str, list[Any]]:
        each = [row(number) for number in batch["row"]]
        return {name: [one[name] for one in each] for name in each[0]}

    return Rows.from_dict({"row": list(range(count))}).with_transform(made)


def save_processor(dialogue: Dialogue, folder: Path) -> None:
    """Write tokenizer, chat template and image processor where engines and the worker look for them."""
    dialogue.processor.save_pretrained(folder)
    dialogue.processor.image_processor.save_pretrained(folder)  # preprocessor_config.json


def _merge(run: Run, name: StageName, adapter: Path, out: Path) -> None:
    """The stage's starting point with the trained adapters in its weights."""
    model, _ = starting_point(run, name)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    merged.save_pretrained(out)
