"""The answers that stage 2 learns from: to every item the one that the scaffold serves, and several drawn ones.

Through transformers in this process, or through the worker's own vLLM engine. With each answer comes what the model
believed of every label where it wrote one, read off the same tokens as when it serves (`worker.engine.candidates`).
They are kept in the run's folder as they come, so that a killed run asks for the rest alone.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import Dataset, Subset
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from calibration.contract import Contract
from training.beliefs import Forks, normalised
from training.config import ConfidenceStage
from training.data.loading import Example, batches
from training.dialogue import Dialogue
from training.progress import progress
from training.run import Run, RunError
from training.stage import Stage, processes
from worker.engine.protocol import Engine, EngineRequest, Finish
from worker.engine.vllm import VllmEngine
from worker.reading.prompt import build_prompt
from worker.settings import EngineSettings

log = structlog.get_logger()

Floats = NDArray[np.float64]
_AT_ONCE = 128
"""Sequences of one call to transformers."""
_IN_FLIGHT = 512
"""Requests at a time in vLLM."""
_LEAST_NAMED = 0.5
_APART = 0.15
"""How far vLLM's probability of a label may be from that of transformers: what bfloat16 can do to a long answer."""


class Said(Contract):
    """One answer of the scaffold."""

    text: str
    """Up to `</answer>`."""
    label: str | None
    """None where it cannot be read."""
    belief: tuple[float, ...] | None = None
    """The model's probability of each label of the taxonomy at the answer, sums to 1; None where it cannot be told."""


class Sampled(Contract):
    """All answers to one item."""

    number: int
    """Of the item among the stage's."""
    taxonomy: str
    truth: str
    answers: tuple[Said, ...]
    """The served one first, then the drawn ones."""


def sample(run: Run) -> None:
    """Ask the scaffold about every item of stage 2, or go on where asking stopped.

    Raises:
        RunError: stage 1 has not been finished, or what it ended in names a label in less than half of its answers.
        EngineDeadError: vLLM cannot load it.
    """
    stage = Stage.load(run, "confidence")
    how = run.config.confidence
    path = sampled_path(run)
    known = read_sampled(path) if path.exists() else []
    if len(known) < len(stage.examples):
        missing = Subset(stage.examples, range(len(known), len(stage.examples)))
        with_vllm = how.sampler == "vllm" or (how.sampler == "auto" and torch.cuda.is_available())
        answers = (_through_vllm if with_vllm else _through_transformers)(run, stage, missing)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as lines, progress("stage 2, sampling", len(stage.examples)) as report:
            for number, (example, said) in enumerate(answers, start=len(known)):
                line = Sampled(number=number, taxonomy=example.taxonomy, truth=example.label, answers=said)
                lines.write(line.model_dump_json() + "\n")
                report(number + 1, "")
    everything = [answer for one in read_sampled(path) for answer in one.answers]
    named = sum(answer.label is not None for answer in everything)
    if named < _LEAST_NAMED * len(everything):
        raise RunError(
            f"only {named} of {len(everything)} answers name a label: train stage 1 for longer, then delete {path}"
        )
    log.info("sampled", items=len(stage.examples), answers=len(everything), unread=len(everything) - named)


def sampled_path(run: Run) -> Path:
    """Where a run keeps its sampled answers."""
    return run.stage("confidence").path / "sampled.jsonl"


def read_sampled(path: Path) -> list[Sampled]:
    """All whole lines, in the order of their items; a last one that a kill cut short is cut off."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    try:
        return [Sampled.model_validate_json(line) for line in whole.splitlines()]
    except ValidationError as error:
        raise RunError(f"{path} is damaged: delete it, and the answers are sampled again ({error})") from error


def answers_of(
    model: PreTrainedModel,
    dialogue: Dialogue,
    examples: Sequence[Example],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    each: int = 1,
) -> list[list[Answered]]:
    """Through transformers, `each` answers to every example: greedy at temperature 0, else drawn."""
    images = [example.image for example in examples for _ in range(each)]
    taxonomies = [example.taxonomy for example in examples for _ in range(each)]
    watch = _Watch(Forks(dialogue))
    watches = LogitsProcessorList([watch])
    drawn = dialogue.generate(
        model, images, taxonomies, max_tokens=max_tokens, temperature=temperature, processors=watches
    ).cpu()
    answers = []
    for row, (ids, text) in enumerate(zip(drawn, dialogue.text(drawn), strict=True)):
        ends = (ids == dialogue.end_id).nonzero()
        length = int(ends[0]) + 1 if len(ends) else int((ids != dialogue.pad_id).sum())
        answers.append(Answered(text, bool(len(ends)), watch.belief(row, ids[:length], taxonomies[row]), length))
    return [answers[at : at + each] for at in range(0, len(answers), each)]


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer as it came."""

    text: str
    ended: bool
    """False where it reached the token limit."""
    belief: Floats | None
    """(n_labels,): the model's probability of each label at the answer, sums to 1; None where it cannot be told."""
    tokens: int
    """Its length, the end included."""


def _through_transformers(
    run: Run, stage: Stage, examples: Dataset[Example]
) -> Iterator[tuple[Example, tuple[Said, ...]]]:
    how, tokens = run.config.confidence, run.config.max_answer_tokens
    torch.manual_seed(run.config.seed)
    model: Any = stage.model.to(processes().device)
    model.eval()
    for batch in batches(examples, max(1, _AT_ONCE // how.answers), run.config.loaders):
        served = answers_of(model, stage.dialogue, batch, max_tokens=tokens)
        drawn = answers_of(
            model, stage.dialogue, batch, max_tokens=tokens, temperature=how.temperature, each=how.answers
        )
        for example, first, others in zip(batch, served, drawn, strict=True):
            said = (
                _said(stage.dialogue, one.text, one.ended, one.belief, example.taxonomy) for one in (*first, *others)
            )
            yield example, tuple(said)


def _through_vllm(run: Run, stage: Stage, examples: Dataset[Example]) -> Iterator[tuple[Example, tuple[Said, ...]]]:
    how = run.config.confidence
    settings = EngineSettings(
        model=str(run.before("confidence")),
        max_tokens=run.config.max_answer_tokens,
        min_pixels=run.config.pixels.min,
        max_pixels=run.config.pixels.max,
    )
    with asyncio.Runner() as runner:
        engine = VllmEngine(settings, stage.dialogue.taxonomies)
        runner.run(engine.start())
        try:
            size, checked = max(1, _IN_FLIGHT // (how.answers + 1)), False
            for batch in batches(examples, size, run.config.loaders):
                said = runner.run(_ask(engine, stage.dialogue, batch, how))
                if not checked:
                    checked = True
                    _compare(run, stage, batch[0], said[0][0])
                yield from zip(batch, said, strict=True)
        finally:
            runner.run(engine.close())


def _compare(run: Run, stage: Stage, example: Example, served: Said) -> None:
    """See to it that vLLM was shown the image and the question that are trained on.

    Raises:
        RunError: it believes something else than transformers does.
    """
    tokens = run.config.max_answer_tokens
    ((here,),) = answers_of(stage.model.eval(), stage.dialogue, [example], max_tokens=tokens)
    if here.belief is None or served.belief is None:
        log.warning("vLLM and transformers cannot be compared: an answer names no label", item=example.item.item_id)
        return
    apart = float(np.abs(here.belief - np.array(served.belief)).max())
    log.info("vLLM and transformers compared", item=example.item.item_id, apart=round(apart, 4))
    if apart > _APART:
        raise RunError(
            f"vLLM's probability of a label for {example.item.item_id} is {apart:.2f} from that of transformers: one "
            "of them does not see what it is given. Sample with confidence.sampler: transformers, or other versions"
        )


async def _ask(
    engine: Engine, dialogue: Dialogue, examples: Sequence[Example], how: ConfidenceStage
) -> list[tuple[Said, ...]]:
    async def one(example: Example, seed: int | None) -> Said:
        taxonomy = dialogue.taxonomies[example.taxonomy]
        key = hashlib.sha256(example.image.tobytes()).hexdigest()
        answer = await engine.answer(
            EngineRequest(
                f"{key}-{seed}",
                build_prompt(taxonomy),
                example.image,
                key,
                temperature=0.0 if seed is None else how.temperature,
                seed=seed,
            )
        )
        known, ended = answer.label_probabilities, answer.finish is Finish.STOP
        belief = None if known is None else normalised(known, answer.shared_probability, taxonomy)
        return _said(dialogue, answer.text, ended, belief, example.taxonomy)

    async def every(example: Example) -> tuple[Said, ...]:
        return tuple(await asyncio.gather(*(one(example, seed) for seed in (None, *range(how.answers)))))

    return list(await asyncio.gather(*(every(example) for example in examples)))


def _said(dialogue: Dialogue, text: str, ended: bool, belief: Floats | None, taxonomy: str) -> Said:
    """What the scaffold said; it has not learnt to say a confidence yet."""
    answer, closing, _ = text.partition("</answer>")
    label = dialogue.label(text, taxonomy) if ended else None
    sure = None if belief is None or label is None else tuple(belief.round(6).tolist())
    return Said(text=answer + closing, label=label, belief=sure)


class _Watch(LogitsProcessor):
    """Remembers, step by step, the probabilities of the tokens that tell labels apart. Changes nothing."""

    def __init__(self, forks: Forks) -> None:
        self._forks = forks
        self._steps: list[Tensor] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self._steps.append(scores.float().softmax(dim=1)[:, self._forks.ids].cpu())
        return scores

    def belief(self, row: int, ids: Tensor, taxonomy: str) -> Floats | None:
        """(n_labels,) of one answer; None where it names no label or its tokens do not settle it."""
        return self._forks.belief(torch.stack([step[row] for step in self._steps[: len(ids)]]), ids, taxonomy)
