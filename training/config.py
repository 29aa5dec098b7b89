"""What a training run is asked to do: one YAML file, checked whole before anything starts."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.objectives import Decoupled, Objective

SHIPPED = Path(__file__).parent / "configs"
StageName = Literal["reasoning", "confidence", "calibration"]
STAGES: tuple[StageName, ...] = get_args(StageName)

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ConfigError(ValueError):
    """A configuration cannot be used; the message names the file and the key."""


class Configured(BaseModel):
    """Part of a configuration: frozen, and a key that it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TinyModel(Configured):
    """The small Qwen2.5-VL of `training.tiny`, made from nothing."""

    kind: Literal["tiny"]
    seed: int = 0


class Pretrained(Configured):
    """A checkpoint of the Qwen-VL kind: a folder or a name on the hub."""

    kind: Literal["pretrained"]
    name: str
    revision: str | None = None
    """Commit of a hub model: without it the run cannot be repeated."""


class ScenesData(Configured):
    """Drawn scenes of one seed; each stage sees others, each scene once."""

    kind: Literal["scenes"]
    seed: int = 0
    reasoning: Positive
    confidence: Positive
    calibration: Positive


class PreparedData(Configured):
    """A folder that `tidegate train prepare` wrote."""

    kind: Literal["prepared"]
    folder: Path


class Full(Configured):
    """Every weight is trained."""

    method: Literal["full"] = "full"


class Lora(Configured):
    """Low-rank adapters on the linear layers of the language model (Hu et al. 2021), merged when a stage ends."""

    method: Literal["lora"]
    rank: Positive = 64
    alpha: Positive = 128
    dropout: Share = 0.05


class Optimisation(Configured):
    """How one stage steps. Sequences, tokens and steps are counted over all processes together."""

    learning_rate: Annotated[float, Field(gt=0)]
    batch: Positive
    """Sequences in one step."""
    per_device: Positive = 1
    """Sequences that one process holds in memory at a time; the rest of a batch is accumulated."""
    epochs: Annotated[float, Field(gt=0)] = 1.0
    warm_up: Share = 0.05
    """Share of the steps over which the learning rate rises; then it falls as half a cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    checkpoints: Positive = 10
    """How many times the stage is saved on its way, so that a killed run goes on from there."""


class ReasoningStage(Optimisation):
    """Stage 1: supervised on structured reasoning and a label."""


class ConfidenceStage(Optimisation):
    """Stage 2: supervised on the model's own answers, each with a confidence."""

    answers: Annotated[int, Field(ge=2)] = 8
    """Sampled from the scaffold for each item; one more is the one it serves."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """1 samples what the model believes; below, agreement overstates it."""
    sampler: Literal["auto", "vllm", "transformers"] = "auto"
    """auto: vLLM where there is a GPU for it."""
    correctness_weight: Share = 0.5
    """Of the target confidence: this much is whether the answer was right, the rest how many answers agree with it."""
    further_answers: Annotated[int, Field(ge=0)] = 1
    """Sampled answers that are trained on beside the served one, the wrong ones too."""
    loss: Literal["likelihood", "tokenised_brier"] = "likelihood"
    """likelihood: of the number nearest to the target; tokenised_brier: expected Brier score of what could be said
    (ConfTuner, arXiv 2508.18847)."""
    spread: Annotated[float, Field(gt=0)] = 0.07
    """likelihood: standard deviation of the target around its confidence; a neighbouring number is nearly right."""
    label_weight: Annotated[float, Field(ge=0)] = 1.0
    number_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of the label and of the confidence in the loss; all other tokens have 1."""


class Rollouts(Configured):
    """Where stage 3 samples its answers: in the training process, or on a `trl vllm-serve` of its own GPUs."""

    kind: Literal["transformers", "vllm_server"] = "transformers"
    url: str = "http://127.0.0.1:8000"


class CalibrationStage(Optimisation):
    """Stage 3: GRPO on an objective that rewards saying how sure one is. A batch counts questions, not answers."""

    objective: Objective = Field(default_factory=lambda: Decoupled(objective="decoupled"))
    confidence_gradient: Literal["exact", "sampled"] = "exact"
    """exact: the token that decides the confidence learns from all numbers that it could be, weighted by their
    probabilities; sampled: from the one that was drawn, like all other tokens. exact needs `decoupled`."""
    answers: Annotated[int, Field(ge=2)] = 8
    """Sampled for each question."""
    mini_batch: Positive
    """Questions in one step; a batch of answers serves `batch / mini_batch` steps."""
    beta: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the KL divergence from stage 2 (low-variance estimate)."""
    entropy: Annotated[float, Field(ge=0)] = 0.0
    temperature: Annotated[float, Field(gt=0)] = 1.0
    rollouts: Rollouts = Rollouts()

    @model_validator(mode="after")
    def _divides(self) -> CalibrationStage:
        if self.batch % self.mini_batch:
            raise ValueError(f"batch {self.batch} must be a multiple of mini_batch {self.mini_batch}")
        if self.confidence_gradient == "exact" and not isinstance(self.objective, Decoupled):
            raise ValueError(
                f"{self.objective.objective} has one reward for all tokens: set confidence_gradient to sampled"
            )
        return self


class Pixels(Configured):
    """Bounds of a resized image, in pixels; the same in training and serving."""

    min: Positive
    max: Positive


class RunConfig(Configured):
    """A whole run: what is trained, on what, and how."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    """First part of the model version that the run ends in."""
    model: Annotated[TinyModel | Pretrained, Field(discriminator="kind")]
    data: Annotated[ScenesData | PreparedData, Field(discriminator="kind")]
    tuning: Annotated[Full | Lora, Field(discriminator="method")] = Full()
    pixels: Pixels
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """bfloat16: mixed, with master weights in float32, since steps as small as stage 3's would be rounded away."""
    gradient_checkpointing: bool = True
    max_answer_tokens: Positive = 2048
    seed: int = 0
    loaders: Annotated[int, Field(ge=0)] = 4
    """Processes that prepare images ahead, for each training process."""
    threads: Positive | None = None
    """Of torch on a CPU; another number rounds differently."""
    reasoning: ReasoningStage
    confidence: ConfidenceStage
    calibration: CalibrationStage


def load_config(name_or_file: str, data: Path | None = None) -> RunConfig:
    """A shipped configuration by its name, or one from a YAML file.

    Args:
        data: a prepared folder, in the place of the configuration's own data.

    Raises:
        ConfigError: there is no such, or it is no configuration.
    """
    shipped = {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}
    path = shipped.get(name_or_file, Path(name_or_file))
    if not path.is_file():
        near = difflib.get_close_matches(name_or_file, shipped, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{name_or_file} is neither a file nor one of {', '.join(shipped)}{hint}")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        if data is not None and isinstance(given, dict):
            given["data"] = {"kind": "prepared", "folder": str(data.resolve())}
        return RunConfig.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(_sentence(found) for found in error.errors())}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no YAML file that can be read: {error}") from error


def _sentence(error: object) -> str:
    assert isinstance(error, dict)
    where = ".".join(str(part) for part in error["loc"]) or "the file"
    return f"{where}: {error['msg']}"
