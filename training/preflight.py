"""What is checked before hours are spent: libraries, model, memory, processes, and that the engine sees what we see."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
import yaml
from accelerate import PartialState
from accelerate.utils import DistributedType
from huggingface_hub.errors import HfHubHTTPError
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from transformers import AutoConfig, AutoModelForImageTextToText

from training.config import STAGES, ConfigError, Full, RunConfig, ScenesData, TinyModel
from training.data.drops import DataError
from training.data.prepared import read_prepared

ARCHITECTURES = ("qwen2_5_vl", "qwen3_vl")
"""Model types whose chat format, image tokens and position ids this code was made for."""
_GIGA = 1e9


@dataclass(frozen=True, slots=True)
class KnownDefect:
    """Versions of a library that train or sample something else than they are given."""

    library: str
    versions: SpecifierSet
    why: str
    remedy: str


DEFECTS = (
    KnownDefect(
        "transformers",
        SpecifierSet(">=5.3.0,<5.4.0"),
        "its Qwen2.5-VL processor fails on batches of questions without padding (transformers#44514)",
        "install 5.4 or later",
    ),
    KnownDefect("transformers", SpecifierSet("<5"), "its processor has no mm_token_type_ids", "install 5.4 or later"),
    KnownDefect("trl", SpecifierSet("<1.16"), "it does not take one advantage for each token", "install 1.16"),
)
SERVED_BY = SpecifierSet(">=0.22,<0.32")
"""Versions of vLLM that TRL 1.16 can synchronise weights with."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Those that will train together."""

    count: int
    sharded: bool
    """Whether they share one model's weights, gradients and optimiser (FSDP, ZeRO), or have one each."""

    @classmethod
    def here(cls) -> Processes:
        """This one and those it was started with, by `torchrun` or `accelerate launch`."""
        state = PartialState(cpu=not torch.cuda.is_available())
        fsdp = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        return cls(state.num_processes, fsdp or state.distributed_type is DistributedType.DEEPSPEED)

    @classmethod
    def of(cls, accelerate: Path) -> Processes:
        """Those that an accelerate configuration will start, on all its machines.

        Raises:
            ConfigError: it is no accelerate configuration.
        """
        try:
            given = yaml.safe_load(accelerate.read_text(encoding="utf-8"))
            return cls(int(given["num_processes"]), given["distributed_type"] in ("FSDP", "DEEPSPEED"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{accelerate} is no accelerate configuration that can be read: {error!r}") from error


def problems(
    config: RunConfig, versions: Mapping[str, str] | None = None, processes: Processes | None = None
) -> list[str]:
    """Every reason why this run would fail or teach the wrong thing, as sentences; empty when there is none.

    Args:
        versions: of the libraries; default: those that are installed.
        processes: that will train; default: this one and those it was started with.
    """
    return [
        *_library_problems(config, versions or _installed()),
        *_model_problems(config, processes),
        *_data_problems(config),
    ]


def _library_problems(config: RunConfig, versions: Mapping[str, str]) -> Iterator[str]:
    for defect in DEFECTS:
        found = versions.get(defect.library)
        if found is None:
            yield f"{defect.library} is not installed: install tidegate[train]"
        elif Version(found) in defect.versions:
            yield f"{defect.library} {found} must not be used: {defect.why}; {defect.remedy}"
    if importlib.util.find_spec("torchvision") is None:
        yield "torchvision is missing: without it the image processor is silently left out; install tidegate[train]"
    if config.calibration.rollouts.kind == "vllm_server":
        found = versions.get("vllm")
        if found is None:
            yield "calibration.rollouts is vllm_server, but vllm is not installed: install requirements/train-gpu.txt"
        elif Version(found) not in SERVED_BY:
            yield (
                f"vllm {found} cannot take weights from TRL {versions.get('trl')}, which knows {SERVED_BY}: install "
                "requirements/train-gpu.txt, or set calibration.rollouts.kind to transformers"
            )


def _model_problems(config: RunConfig, processes: Processes | None) -> Iterator[str]:
    if isinstance(config.model, TinyModel):
        if not isinstance(config.data, ScenesData):
            yield "the tiny model knows the words of drawn scenes only: use data of kind scenes, or a pretrained model"
        return
    model = config.model
    try:
        loaded = AutoConfig.from_pretrained(model.name, revision=model.revision)
    except (OSError, ValueError, HfHubHTTPError) as error:
        yield f"model {model.name} cannot be read: {str(error).splitlines()[0]}"
        return
    if loaded.model_type not in ARCHITECTURES:
        yield (
            f"model {model.name} is a {loaded.model_type}; this code trains {' and '.join(ARCHITECTURES)}, whose chat "
            "format and image tokens it knows"
        )
        return
    folder = Path(model.name)
    if folder.is_dir() and not [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        yield f"model {folder} has no weights (*.safetensors): is it copied whole?"
    yield from _memory_problems(config, loaded, processes or Processes.here())


def _memory_problems(config: RunConfig, loaded: object, processes: Processes) -> Iterator[str]:
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in AutoModelForImageTextToText.from_config(loaded).parameters())
    needed = memory_needed(parameters, config)
    shards = processes.count if processes.sharded else 1
    on_gpu = torch.cuda.is_available()
    # Without a GPU all processes of this machine share its memory.
    share = 1 if on_gpu else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    free = (torch.cuda.mem_get_info()[0] if on_gpu else psutil.virtual_memory().available) / share
    if needed / shards > free:
        yield (
            f"{parameters / _GIGA:.1f} billion parameters need about {needed / shards / _GIGA:.0f} GB for weights, "
            f"gradients and optimiser in each of {processes.count} processes"
            f"{' that share them' if shards > 1 else ''}, and {free / _GIGA:.0f} GB are free: shard over more GPUs "
            "(deploy/accelerate/fsdp.yaml), or set tuning.method to lora"
        )


def memory_needed(parameters: int, config: RunConfig) -> float:
    """Bytes of weights, gradients, Adam's moments and stage 3's reference, activations apart."""
    if isinstance(config.tuning, Full):
        reference = 4 if config.calibration.beta > 0 else 0
        return parameters * (4 + 4 + 8 + reference)  # all in float32, see training.stage.load
    return parameters * (2 if config.precision == "bfloat16" else 4) * 1.05


def _data_problems(config: RunConfig) -> Iterator[str]:
    if isinstance(config.data, ScenesData):
        return
    try:
        prepared = read_prepared(config.data.folder)
    except DataError as error:
        yield str(error)
        return
    for name in STAGES:
        items = prepared.items[name]
        if not items:
            yield f"{config.data.folder} has no items for stage {name}: prepare it with other --shares"
        elif name == "reasoning" and all(item.reasoning is None for item in items):
            yield f"{config.data.folder}: no item of stage reasoning has the five sections, which is what it teaches"


def _installed() -> dict[str, str]:
    found = {}
    for name in ("accelerate", "peft", "torch", "torchvision", "transformers", "trl", "vllm"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
