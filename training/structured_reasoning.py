"""Stage 1, structured reasoning: the model learns to describe an image in five sections and to name a label.

Supervised on the answer's tokens. Labels are samples of the truth, never its most probable value, so that the
probability of the label's token learns to be the probability of the label.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from training.data import Batches
from training.dialogue import Dialogue, answer_text

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration


def train(
    model: Qwen2_5_VLForConditionalGeneration,
    dialogue: Dialogue,
    batches: Batches,
    *,
    learning_rate: float = 2e-3,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train `model` in place on each batch once; `report` gets step and loss."""
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_and_cosine(len(batches)))
    model.train()
    for step, batch in enumerate(batches, start=1):
        answers = dialogue.tokens([answer_text(example.reasoning, example.label) for example in batch])
        logits = dialogue.logits(model, dialogue.ask([example.image for example in batch]), answers)
        loss = cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=dialogue.pad_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        report(step, loss.item())
    model.eval()


def warm_up_and_cosine(steps: int, warm_up: float = 0.05) -> Callable[[int], float]:
    """Share of the learning rate at a step: a linear rise, then half a cosine to zero."""

    def share(step: int) -> float:
        rise = (step + 1) / max(1.0, warm_up * steps)
        return min(rise, 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))

    return share
