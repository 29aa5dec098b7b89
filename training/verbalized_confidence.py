"""Stage 2, verbalised confidence: the model learns to say how sure it is, as a number behind its answer.

First the scaffold of stage 1 reads fresh images: greedily, as it will serve, and several times by sampling. How many of
the samples agree with an answer, and whether it was right, make the confidence that it should have come with
(`training.targets`). Then the model learns from its own answers, the wrong ones too, each with that number behind it.

At the label the true one is trained on while the input goes on with the model's own: trained on its own labels there,
the model would grow surer of them than it is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from trl import SFTConfig, SFTTrainer

from training.config import ConfidenceStage
from training.data.loading import Example
from training.dialogue import IGNORED, Dialogue, confidence_text
from training.numbers import GRID, NumberTokens
from training.run import Run, RunError
from training.sampling import Sampled, read_sampled, sampled_path
from training.stage import ResumesWhole, Stage, rows
from training.targets import Samples, choose, confidence_targets, spread, tokenised_brier
from worker.reading.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class Exercise:
    """One of the model's own answers, and the confidence that it should have come with."""

    number: int
    """Of the item among the stage's."""
    text: str
    """Up to `</answer>`."""
    label: str
    truth: str
    confidence: float


def train(run: Run) -> None:
    """Run stage 2 on the sampled answers of the run, or go on with it where it was killed.

    Raises:
        RunError: no answers have been sampled yet, or hardly any names a label.
    """
    stage = Stage.load(run, "confidence")
    how = run.config.confidence
    exercises = make_exercises(run, stage)
    numbers = NumberTokens.of(stage.dialogue, GRID)

    def row(place: int) -> dict[str, Any]:
        exercise = exercises[place]
        return {"image": stage.examples[exercise.number], "exercise": exercise}

    def collate(batch: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        examples, said = ([one[name] for one in batch] for name in ("image", "exercise"))
        return prepare(stage.dialogue, numbers, how, examples, said)

    trainer = ConfidenceTrainer(
        how,
        numbers,
        model=stage.model,
        args=SFTConfig(**stage.arguments(how, sequences=how.batch), max_length=None),
        train_dataset=rows(len(exercises), row),
        data_collator=collate,
        processing_class=stage.dialogue.processor,
        peft_config=stage.adapters(),
        callbacks=stage.callbacks(),
    )
    stage.train(trainer)


def make_exercises(run: Run, stage: Stage) -> list[Exercise]:
    """The served answer to every item and some drawn ones, with the confidences that they should have come with.

    Raises:
        RunError: nothing has been sampled, or not all.
    """
    path, how = sampled_path(run), run.config.confidence
    sampled = read_sampled(path) if path.exists() else []
    if len(sampled) < len(stage.examples):
        raise RunError(
            f"{len(sampled)} of {len(stage.examples)} items have been sampled: run `tidegate train sample` first"
        )
    rng = np.random.default_rng(run.config.seed)
    exercises = []
    for name, taxonomy in stage.dialogue.taxonomies.items():
        mine = [one for one in sampled if one.taxonomy == name]
        if not mine:
            continue
        samples = as_samples(mine, taxonomy)
        chosen = choose(samples, how.further_answers, rng)
        targets = confidence_targets(samples, chosen, how.correctness_weight)
        for item, column, target in zip(chosen.item, chosen.column, targets.tolist(), strict=True):
            one = mine[item]
            label = one.answers[column].label
            assert label is not None  # only such are chosen
            exercises.append(Exercise(one.number, one.answers[column].text, label, one.truth, target))
    return exercises


def as_samples(sampled: Sequence[Sampled], taxonomy: Taxonomy) -> Samples:
    """The answers as arrays; beliefs are left out unless every readable answer came with one."""
    place = {label: at for at, label in enumerate(taxonomy.labels)}
    labels = [[-1 if said.label is None else place[said.label] for said in one.answers] for one in sampled]
    unknown = (math.nan,) * len(place)
    beliefs = np.array([[said.belief or unknown for said in one.answers] for one in sampled])
    sums = beliefs.sum(axis=2, keepdims=True)
    return Samples(
        label=np.array(labels),
        truth=np.array([place[one.truth] for one in sampled]),
        n_labels=len(place),
        belief=beliefs / sums,
    )


def prepare(
    dialogue: Dialogue,
    numbers: NumberTokens,
    how: ConfidenceStage,
    examples: Sequence[Example],
    exercises: Sequence[Exercise],
) -> dict[str, Tensor]:
    """One batch: the model's own answers as inputs, and what is trained on at each of their tokens.

    Returns:
        A model's inputs; `labels` (batch, length), where a wrong label begins the token of the true one, and nothing
        for the rest of it; `weights` (batch, length) of the tokens in the loss, 0 where the number stands;
        `number_at` (batch,) that place, and `wanted` (batch, m) what is wanted there: costs of the number tokens for
        the tokenised Brier score, else their probabilities.
    """
    written = [f"{one.text}{confidence_text(numbers.nearest(one.confidence))}" for one in exercises]
    inputs = dialogue.exchange(
        [example.image for example in examples], [example.taxonomy for example in examples], written
    )
    labels = inputs["labels"]
    trained = labels != IGNORED
    start = int(trained.any(dim=0).nonzero()[0])
    inputs["weights"] = trained.float()
    inputs["number_at"] = start + trained.sum(dim=1) - numbers.back
    for row, (one, text, example) in enumerate(zip(exercises, written, examples, strict=True)):
        other = next(label for label in dialogue.taxonomies[example.taxonomy].labels if label != one.label)
        own, true = dialogue.encode(text), dialogue.encode(_relabelled(text, one.truth))
        at = _common(own, true if one.label != one.truth else dialogue.encode(_relabelled(text, other)))
        inputs["weights"][row, start + at] = how.label_weight
        if one.label != one.truth:
            labels[row, start + at] = true[at]
            tail = _common(own[:at:-1], true[:at:-1])
            labels[row, start + at + 1 : start + len(own) - tail] = IGNORED
    inputs["weights"] *= labels != IGNORED
    inputs["weights"][torch.arange(len(exercises)), inputs["number_at"]] = 0.0
    targets = np.array([one.confidence for one in exercises])
    inputs["wanted"] = (
        torch.from_numpy(tokenised_brier(targets, numbers.values.double().numpy())).float()
        if how.loss == "tokenised_brier"
        else numbers.by_token(torch.from_numpy(spread(targets, numbers.grid, how.spread)).float())
    )
    return inputs


class ConfidenceTrainer(ResumesWhole, SFTTrainer):
    """SFT whose tokens have weights, and whose number is trained on what it means."""

    def __init__(self, how: ConfidenceStage, numbers: NumberTokens, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._how, self._numbers = how, numbers
        self.model_accepts_loss_kwargs = False  # each batch is averaged in here

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted mean over tokens, the number's loss among them."""
        labels, weights, number_at, wanted = (inputs.pop(name) for name in ("labels", "weights", "number_at", "wanted"))
        rows, length = torch.arange(len(labels), device=labels.device), labels.shape[1]
        kept = length - int((weights != 0).any(dim=0).nonzero()[0])
        outputs = model(**inputs, logits_to_keep=kept + 1, use_cache=False)
        logits = outputs.logits[:, :-1].float()
        tokens = cross_entropy(logits.transpose(1, 2), labels[:, -kept:], ignore_index=IGNORED, reduction="none")
        words = (tokens * weights[:, -kept:]).sum()
        said = logits[rows, number_at - (length - kept)].log_softmax(dim=1)[:, self._numbers.ids.to(labels.device)]
        number = number_loss(said, wanted, self._how.loss).sum()
        loss = (words + self._how.number_weight * number) / (weights.sum() + self._how.number_weight * len(labels))
        self._metrics["train"]["number_loss"].append(number.item() / len(labels))
        return (loss, outputs) if return_outputs else loss


def number_loss(said: Tensor, wanted: Tensor, kind: str) -> Tensor:
    """(batch,) from log-probabilities (batch, m) of the number tokens, and what is wanted of them."""
    if kind == "likelihood":
        return -(wanted * said).sum(dim=1)
    mass = said.logsumexp(dim=1)  # the first duty is to say a number at all
    return (wanted * (said - mass[:, None]).exp()).sum(dim=1) - mass


def _relabelled(text: str, label: str) -> str:
    """The same answer with another label."""
    before, opening, rest = text.rpartition("<answer>")
    _, closing, after = rest.partition("</answer>")
    return f"{before}{opening}{label}{closing}{after}"


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens they share from their first on."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
