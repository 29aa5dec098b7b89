"""Stage 3, calibrated confidence: GRPO on an objective that rewards saying how sure one is (`training.objectives`).

The model answers each question several times. Each answer's advantage over its group moves the tokens of its reasoning
and label; the advantage of its confidence, which the decoupled objective keeps apart, those from `<confidence>` on.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.distributed.tensor import DTensor
from trl import GRPOConfig, GRPOTrainer

from training.beliefs import Forks
from training.config import CalibrationStage
from training.dialogue import Dialogue, confidence_text
from training.numbers import GRID, NumberTokens
from training.objectives import Answers, Decoupled, EmocaliberLog
from training.run import Run, RunError
from training.stage import ResumesWhole, Stage, rows

log = structlog.get_logger()

_APART = 0.25
"""Nats a token that rollouts may be off in the mean: rounding costs some hundredths."""


def train(run: Run) -> None:
    """Run stage 3, or go on with it where it was killed.

    Raises:
        RunError: stage 2 has not been finished, or batches cannot be spread over the processes.
    """
    stage = Stage.load(run, "calibration")
    how = run.config.calibration
    if how.objective.warning is not None:
        log.warning(how.objective.warning)

    def row(number: int) -> dict[str, Any]:
        example = stage.examples[number]
        return {
            "prompt": stage.dialogue.conversation(example.taxonomy),
            "image": Image.fromarray(example.image),
            "taxonomy": example.taxonomy,
            "truth": example.label,
        }

    with_vllm = how.rollouts.kind == "vllm_server"
    arguments = stage.arguments(how, sequences=how.mini_batch * how.answers) | {
        "generation_batch_size": how.batch * how.answers,
        "num_generations": how.answers,
        "max_completion_length": run.config.max_answer_tokens,
        "temperature": how.temperature,
        "beta": how.beta,
        "entropy_coef": how.entropy,
        "scale_rewards": "none",
        "loss_type": "dapo",  # every token counts the same
        "use_vllm": with_vllm,
        "shuffle_dataset": False,
    }
    if with_vllm:
        arguments |= {"vllm_mode": "server", "vllm_server_base_url": how.rollouts.url}
    else:
        arguments["generation_kwargs"] = {"suppress_tokens": stage.dialogue.never}
    trainer = CalibrationTrainer(
        how,
        stage.dialogue,
        model=stage.model,
        args=GRPOConfig(**arguments),
        train_dataset=rows(len(stage.examples), row),
        processing_class=stage.dialogue.processor,
        peft_config=stage.adapters(),
        callbacks=stage.callbacks(),
    )
    stage.train(trainer)


def check_rollouts(apart: float) -> None:
    """See to it that the rollout server was shown what is trained on: its log-probabilities are near to ours.

    Args:
        apart: mean distance of both, in nats a token.

    Raises:
        RunError: they are of another question, or of another model.
    """
    if not apart < _APART:
        raise RunError(
            f"the rollout server's log-probabilities are {apart:.2f} nats a token from the trainer's: it does not see "
            "what it is given. Set calibration.rollouts.kind to transformers, or use other versions of vllm and trl"
        )


class Judged(NamedTuple):
    """One answer as the objectives see it, all numbers."""

    label: int
    """Its place in the taxonomy; -1 where it names none of its labels."""
    correct: float
    confidence: float
    """nan where it cannot be read."""
    in_format: float
    tail: int
    """Tokens from `<confidence>` on; 0 where there is no confidence."""
    spelled: float
    """Whether the confidence has the two digits that were taught: only then is it known which token decided it."""


def judge(dialogue: Dialogue, text: str, ended: bool, taxonomy: str, truth: str, *, any_word: bool) -> Judged:
    """Read an answer.

    Args:
        any_word: one word that is no label of the taxonomy is wrong, but in format: what EmoCaliber's reward says.
    """
    labels = dialogue.taxonomies[taxonomy].labels
    parsed = dialogue.parse(text, ended, taxonomy)
    if parsed is None and any_word:
        parsed = dialogue.parse_word(text, ended, taxonomy)
    label = dialogue.label(text, taxonomy) if parsed is None else parsed.label
    place = labels.index(label) if label in labels else -1
    if parsed is None:
        return Judged(place, float(label == truth), math.nan, 0.0, 0, 0.0)
    said = text[text.rindex("<confidence>") :]
    spelled = float(said.strip() == confidence_text(parsed.confidence))
    return Judged(place, float(label == truth), parsed.confidence, 1.0, len(dialogue.encode(said)) + 1, spelled)


class CalibrationTrainer(ResumesWhole, GRPOTrainer):
    """GRPO whose advantages are ours, one for each token.

    With `exact`, the token that decides the confidence is not moved by the one number that was sampled: the gradient of
    the score's expectation over all numbers is taken, which is what samples estimate, without their noise.
    """

    def __init__(self, how: CalibrationStage, dialogue: Dialogue, **arguments: Any) -> None:
        def reward(**given: Any) -> list[float | None]:
            return self._judge(**given)

        super().__init__(reward_funcs=reward, **arguments)
        self._mini_batches = arguments["args"].steps_per_generation
        self._how, self._dialogue = how, dialogue
        self._exact = how.confidence_gradient == "exact"
        self._numbers, self._forks = NumberTokens.of(dialogue, GRID), Forks(dialogue)
        self._answers: Answers
        self._spelled: NDArray[np.bool_]
        self._taxonomies: list[str] = []
        self._judged: dict[str, Tensor] = {}
        self._hidden: Tensor | None = None
        if self._exact:
            self._decoder().register_forward_hook(self._remember)

    def _judge(
        self,
        completions: list[list[dict[str, str]]],
        completion_ids: list[list[int]],
        taxonomy: list[str],
        truth: list[str],
        **_: Any,
    ) -> list[float | None]:
        """The reward of each answer of this process; keeps what the loss needs."""
        any_word = isinstance(self._how.objective, EmocaliberLog)
        columns = np.array(
            [
                judge(self._dialogue, turns[0]["content"], ids[-1] in self.eos_token_ids, name, true, any_word=any_word)
                for turns, ids, name, true in zip(completions, completion_ids, taxonomy, truth, strict=True)
            ]
        )
        gathered = self.accelerator.gather(torch.tensor(columns, device=self.accelerator.device)).cpu().numpy()
        label, correct, confidence, in_format, tail, spelled = (
            column.reshape(-1, self.num_generations) for column in gathered.T
        )
        answers = Answers(label.astype(np.int64), correct > 0, confidence, in_format > 0)
        objective = self._how.objective
        if self._exact:
            # Were all equally sure, only the format would be left of it.
            answers_alike = replace(answers, confidence=np.where(answers.format_ok, 0.5, np.nan))
            advantages = objective.advantages(answers_alike)
        else:
            advantages = objective.advantages(answers)
        self._answers, self._spelled, self._taxonomies = answers, spelled > 0, taxonomy
        self._judged = {"answer": self._mine(advantages.answer), "confidence": self._mine(advantages.confidence)}
        self._judged["tail"] = self._mine(tail)
        self._note(answers)
        rewards: list[float | None] = self._mine(objective.rewards(answers)).tolist()
        return rewards

    def _mine(self, values: NDArray[Any]) -> Tensor:
        """Of values (groups, answers) of all processes those of this one, (answers,)."""
        each = values.size // self.accelerator.num_processes
        first = self.accelerator.process_index * each
        return torch.tensor(values.ravel()[first : first + each], dtype=torch.float32, device=self.accelerator.device)

    def _note(self, answers: Answers) -> None:
        """What people want to follow beside the reward."""
        noted = self._metrics["train"]
        noted["accuracy"].append(float(answers.correct.mean()))
        noted["in_format"].append(float(answers.format_ok.mean()))
        if answers.format_ok.any():
            said, right = answers.confidence[answers.format_ok], answers.correct[answers.format_ok]
            noted["brier"].append(float(((said - right) ** 2).mean()))
            noted["confidence"].append(float(said.mean()))

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """As in TRL, with the advantages of `_judge` in the place of its own: (answers, tokens)."""
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if apart := self._metrics["train"].get("sampling/sampling_logp_difference/mean"):
            check_rollouts(apart[-1])
        mask = output["completion_mask"]
        judged = {name: each[:, None] for name, each in self._judged.items()}
        behind = torch.arange(mask.shape[1], device=mask.device) >= mask.sum(dim=1, keepdim=True) - judged["tail"]
        output["advantages"] = torch.where(behind, judged["confidence"], judged["answer"])
        objective = self._how.objective
        if self._exact and isinstance(objective, Decoupled):
            answers = self._answers
            if objective.target_weight < 1:
                answers = replace(answers, belief=self._beliefs(output))
            output["target"] = self._mine(np.where(self._spelled, objective.targets(answers), np.nan))
        return output

    def _beliefs(self, output: dict[str, Any]) -> NDArray[np.float64]:
        """(groups, answers, labels) of all processes: what the model believes of each label at its own."""
        names = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
        vision = {name: output[name] for name in names if name in output}
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        length = output["completion_ids"].shape[1]
        hidden: list[Tensor] = []
        keep = self._decoder().register_forward_hook(lambda _m, _a, seen: hidden.append(seen.last_hidden_state))
        with torch.no_grad():
            self._get_per_token_logps_and_entropies(
                self.model, ids, mask, length, self.args.per_device_train_batch_size, **vision
            )
            keep.remove()
            before = torch.cat(hidden)[:, -length - 1 : -1]
            # Among the forks' tokens alone: where a label begins, hardly anything else is ever probable.
            forks = (before @ self._head(self._forks.ids).T.to(before.dtype)).float().softmax(dim=2).cpu()
        widest = max(len(taxonomy.labels) for taxonomy in self._dialogue.taxonomies.values())
        beliefs = np.full((len(ids), widest), np.nan)
        for row, (answer, name) in enumerate(zip(output["completion_ids"].cpu(), self._taxonomies, strict=True)):
            found = self._forks.belief(forks[row], answer, name)
            if found is not None:
                beliefs[row, : len(found)] = found
        whole = self.accelerator.gather(torch.tensor(beliefs, device=ids.device)).cpu().numpy()
        return np.asarray(whole.reshape(-1, self.num_generations, widest))

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """TRL's, and the exact part; both are divided by the number of tokens."""
        loss: Tensor = super()._compute_loss(model, inputs)  # type: ignore[no-untyped-call]
        hidden, self._hidden = self._hidden, None
        if "target" not in inputs or hidden is None:
            return loss
        objective = self._how.objective
        assert isinstance(objective, Decoupled)
        mask, target = inputs["completion_mask"], inputs["target"]
        rows = (~target.isnan()).nonzero()[:, 0]
        if len(rows) == 0:
            return loss
        # A token is decided by the hidden state before it.
        places = inputs["prompt_ids"].shape[1] + mask.sum(dim=1)[rows] - self._numbers.back - 1
        logits = hidden[rows, places] @ self._head(self._numbers.ids.tolist()).T.to(hidden.dtype)
        said = (logits.float() / self.temperature).softmax(dim=1)
        expected = (said * self._costs(objective, target[rows])).sum()
        tokens = inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes
        tokens = tokens * self.current_gradient_accumulation_steps / self._mini_batches
        whole: Tensor = loss + objective.confidence_weight * expected / tokens
        return whole

    def _costs(self, objective: Decoupled, target: Tensor) -> Tensor:
        """(answers, m): minus the score of saying each number, for those targets."""
        values = self._numbers.values.to(target.device)
        if objective.score == "brier":
            return (values - target[:, None]) ** 2
        said = values.clamp(objective.clip, 1 - objective.clip)
        return -(target[:, None] * said.log() + (1 - target[:, None]) * (1 - said).log())

    def _decoder(self) -> Any:
        """What makes the hidden states, under whatever wraps it."""
        return self.accelerator.unwrap_model(self.model).get_decoder()

    def _head(self, tokens: list[int]) -> Tensor:
        """(tokens, hidden): their rows of the output embedding."""
        weight: Tensor = self.accelerator.unwrap_model(self.model).get_output_embeddings().weight
        return (weight.full_tensor() if isinstance(weight, DTensor) else weight)[tokens]

    def _remember(self, module: Any, arguments: Any, outputs: Any) -> None:
        """The last hidden states of a forward pass that will be learnt from."""
        if torch.is_grad_enabled():
            self._hidden = outputs.last_hidden_state
