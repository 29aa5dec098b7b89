"""Stage 2, verbalised confidence: the model learns to say how sure it is, as a number behind its answer.

First it reads fresh images greedily, as it will be served. Then it learns two things from its own words. At the label:
the true one, while it goes on reading its own; trained on its own labels there, it would grow surer than it is right.
At the number: its own probability of the label that it chose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import torch
from torch.nn.functional import cross_entropy

from training.data import Batches, Example
from training.dialogue import Dialogue
from training.structured_reasoning import warm_up_and_cosine

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration

log = structlog.get_logger()

GRID = torch.arange(0.05, 0.96, 0.05)
"""The confidences that may be said."""
WIDTH = 0.07
"""Standard deviation of the target around its confidence: a neighbouring number is nearly right."""
LABEL_WEIGHT, NUMBER_WEIGHT = 4.0, 20.0
"""In the loss, against 1 for all else: that was learned in stage 1, or is always the same."""


@dataclass(frozen=True, slots=True)
class OwnReading:
    """What the model itself said of an image."""

    example: Example
    text: str
    """Up to `</answer>`."""
    confidence: float
    """Its probability of the label that it chose, among the labels."""


def read(
    model: Qwen2_5_VLForConditionalGeneration,
    dialogue: Dialogue,
    batches: Batches,
    report: Callable[[int, float], None] = lambda step, share: None,
) -> list[OwnReading]:
    """The model's greedy readings; `report` gets the number of the batch and the share of usable answers in it.

    Raises:
        ValueError: the model names a label in less than half of its answers.
    """
    readings: list[OwnReading] = []
    asked = 0
    for step, batch in enumerate(batches, start=1):
        said, logits = dialogue.generate(model, [example.image for example in batch])
        places = dialogue.label_places(said)
        chosen = dialogue.label_ids == said[torch.arange(len(batch)), places][:, None]
        own = (dialogue.label_probabilities(logits, places) * chosen).sum(dim=1)
        usable = 0
        for example, text, confidence, names_label in zip(
            batch, dialogue.text(said), own.tolist(), chosen.any(dim=1).tolist(), strict=True
        ):
            answer, closing, _ = text.partition("</answer>")
            if names_label and closing:
                readings.append(OwnReading(example, answer + closing, confidence))
                usable += 1
        asked += len(batch)
        report(step, usable / len(batch))
    if len(readings) < asked / 2:
        raise ValueError(f"only {len(readings)} of {asked} answers name a label: train stage 1 for longer")
    log.info("own readings", asked=asked, without_label=asked - len(readings))
    return readings


def train(
    model: Qwen2_5_VLForConditionalGeneration,
    dialogue: Dialogue,
    readings: Sequence[OwnReading],
    *,
    size: int = 32,
    learning_rate: float = 1e-3,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train `model` in place on each reading once, `size` at a time; `report` gets step and loss."""
    number_ids = torch.tensor([dialogue.one_token(f"{number:.2f}"[2:]) for number in GRID.tolist()])
    starts = range(0, len(readings), size)
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_and_cosine(len(starts)))
    model.train()
    for step, start in enumerate(starts, start=1):
        batch = readings[start : start + size]
        rows = torch.arange(len(batch))
        off = GRID - torch.tensor([reading.confidence for reading in batch])[:, None]
        numbers = GRID[off.abs().argmin(dim=1)].tolist()
        said = [f"{own.text}<confidence>{number:.2f}</confidence>" for own, number in zip(batch, numbers, strict=True)]
        answers = dialogue.tokens(said)
        at_label, at_number = dialogue.label_places(answers), dialogue.number_places(answers)
        logits = dialogue.logits(model, dialogue.ask([reading.example.image for reading in batch]), answers)

        targets = answers.clone()
        targets[rows, at_label] = dialogue.label_id([reading.example.label for reading in batch])
        weights = (answers != dialogue.pad_id).float()
        weights[rows, at_label] = LABEL_WEIGHT
        weights[rows, at_number] = 0.0
        words = (cross_entropy(logits.transpose(1, 2), targets, reduction="none") * weights).sum()
        near = (-(off**2) / (2 * WIDTH**2)).softmax(dim=1)
        number = -(near * logits[rows, at_number].log_softmax(dim=1)[:, number_ids]).sum()
        loss = (words + NUMBER_WEIGHT * number) / (weights.sum() + NUMBER_WEIGHT * len(batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        report(step, loss.item())
    model.eval()
