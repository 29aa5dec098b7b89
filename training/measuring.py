"""What each stage did: its model's greedy answers to fresh scenes, against their true label probabilities.

Through transformers, in the run's own process; `tidegate train evaluate` measures through the worker's engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from training.config import STAGES, ScenesData, StageName
from training.data.loading import SceneExamples, batches
from training.dialogue import Dialogue, confidence_text
from training.evaluation.scenes import NO_ANSWER, Answers, summary
from training.progress import progress
from training.run import Run, write_json
from training.sampling import answers_of
from training.stage import load, run_taxonomies

Floats = NDArray[np.float64]

FRESH = 1_000_000
"""Distance of the seed of the scenes measured on from that of the scenes trained on."""
_BATCH = 100


def measure_stages(run: Run, data: ScenesData, scenes: int) -> dict[StageName, dict[str, Any]]:
    """Metrics of every finished stage on the same `scenes` fresh scenes; kept in the run's stages.json."""
    found: dict[StageName, dict[str, Any]] = {}
    for name in STAGES:
        if run.stage(name).done:
            model, dialogue = load(run.stage(name).model, run_taxonomies(run.config), run.config)
            examples = SceneExamples(data.seed + FRESH, scenes)
            found[name] = stage_metrics(name, answer(model, dialogue, examples, run.config.max_answer_tokens, name))
    write_json(run.folder / "stages.json", found)
    return found


def answer(
    model: PreTrainedModel, dialogue: Dialogue, examples: SceneExamples, max_tokens: int, name: StageName
) -> Answers:
    """Greedy answers to all examples, read by the worker's own parser; stage 1 has not learnt to say a confidence."""
    model.eval()
    rows: list[tuple[Floats, float, float, float, bool, int]] = []
    with progress(f"measuring {name}", len(examples)) as report:
        for batch in batches(examples, _BATCH):
            for example, (said,) in zip(batch, answers_of(model, dialogue, batch, max_tokens=max_tokens), strict=True):
                truth = example.probabilities
                assert truth is not None  # a scene's are known
                text = said.text if name != "reasoning" else said.text + confidence_text(0.5)
                parsed = dialogue.parse(text, said.ended, example.taxonomy)
                if parsed is None or said.belief is None:
                    rows.append((truth, 0.0, NO_ANSWER, NO_ANSWER, False, said.tokens))
                    continue
                at = dialogue.taxonomies[example.taxonomy].labels.index(parsed.label)
                rows.append((truth, truth[at], parsed.confidence, said.belief[at], True, said.tokens))
            report(len(rows), "")
    return Answers(*(np.array(column) for column in zip(*rows, strict=True)))


def stage_metrics(name: StageName, answers: Answers) -> dict[str, Any]:
    """The summary, without what a stage cannot have: stage 1 says no confidence."""
    found: Mapping[str, Any] = summary(answers)
    spoken = ("ece", "brier", "brier_skill", "brier_skill_interval", "auroc", "distinct_confidences")
    return {key: value for key, value in found.items() if name != "reasoning" or key not in spoken}
