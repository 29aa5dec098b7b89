"""Stage 1, structured reasoning: the model learns to describe an image in five sections and to name a label.

Supervised on the answer's tokens. Labels are those that people gave, one by one, never the most frequent one of an
image, so that the probability of the label's token learns to be the probability of the label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from trl import SFTConfig, SFTTrainer

from training.dialogue import answer_text
from training.run import Run
from training.stage import ResumesWhole, Stage, rows


def train(run: Run) -> None:
    """Run stage 1, or go on with it where it was killed.

    Raises:
        RunError: the batch cannot be spread over the processes.
    """
    stage = Stage.load(run, "reasoning")
    how = run.config.reasoning

    def row(number: int) -> dict[str, Any]:
        example = stage.examples[number]
        assert example.reasoning is not None  # others are not in this stage
        answer = answer_text(example.reasoning, example.label)
        return {"image": example.image, "taxonomy": example.taxonomy, "answer": answer}

    def collate(batch: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        columns = ([one[name] for one in batch] for name in ("image", "taxonomy", "answer"))
        return stage.dialogue.exchange(*columns)

    trainer = ReasoningTrainer(
        model=stage.model,
        # Truncated at a length, an image would lose tokens that its pixels still stand for.
        args=SFTConfig(**stage.arguments(how, sequences=how.batch), max_length=None),
        train_dataset=rows(len(stage.examples), row),
        data_collator=collate,
        processing_class=stage.dialogue.processor,
        peft_config=stage.adapters(),
        callbacks=stage.callbacks(),
    )
    stage.train(trainer)


class ReasoningTrainer(ResumesWhole, SFTTrainer):
    """SFT as it is in TRL."""
