"""The checkpoint that ships: it answers in the format, near the best possible, and says how sure it is."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import PreTrainedModel

from tests.training.conftest import CHECKPOINT, small
from training.data.loading import SceneExamples
from training.dialogue import Dialogue
from training.evaluation.scenes import Answers, auroc, brier_skill
from training.handover import fingerprint
from training.measuring import answer
from training.sampling import answers_of
from training.scenes import bayes_accuracy, best_brier_skill
from training.stage import load
from worker.engine.weights import folder_version
from worker.reading.prompt import PROMPT_VERSION
from worker.reading.taxonomy import load_taxonomies


@pytest.fixture(scope="module")
def loaded() -> tuple[PreTrainedModel, Dialogue]:
    torch.set_num_threads(1)
    return load(CHECKPOINT, {"scenes": load_taxonomies()["scenes"]}, small())


@pytest.fixture(scope="module")
def answers(loaded: tuple[PreTrainedModel, Dialogue]) -> Answers:
    return answer(*loaded, SceneExamples(2_000_000, 300), 64, "calibration")


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    return dict(json.loads((CHECKPOINT / "tidegate.json").read_text()))


def test_it_is_small_and_says_what_it_is(card: dict[str, Any]) -> None:
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) < 6_000_000
    assert card["model_version"] == f"tiny-scenes-{fingerprint(CHECKPOINT)}" == folder_version(CHECKPOINT)
    assert card["prompt_version"] == PROMPT_VERSION
    assert card["min_pixels"] == card["max_pixels"] == 56 * 56
    assert card["model_version"] in (CHECKPOINT / "README.md").read_text()
    assert card["stages"] == ["reasoning", "confidence", "calibration"]


def test_each_stage_earned_its_place(card: dict[str, Any]) -> None:
    first, second, third = (card["metrics"][name] for name in card["stages"])
    best = third["best_accuracy"]
    assert min(stage["accuracy"] for stage in (first, second, third)) > best - 0.03
    assert "brier_skill" not in first
    assert third["brier_skill"] > second["brier_skill"]
    assert third["brier_skill"] > 0.5 * third["best_brier_skill"]
    assert third["ece"] < 0.05


def test_it_answers_in_the_format(answers: Answers) -> None:
    assert answers.parsed.mean() >= 0.95
    assert answers.tokens.max() < 64


def test_it_is_nearly_as_often_right_as_can_be(answers: Answers) -> None:
    assert answers.right.mean() > bayes_accuracy(answers.truth) - 0.05


def test_both_confidences_tell_right_from_wrong(answers: Answers) -> None:
    assert len(np.unique(answers.verbal)) >= 5
    for confidence in (answers.verbal, answers.label):
        assert auroc(confidence, answers.right) > 0.65
        assert brier_skill(confidence, answers.right) > 0.4 * best_brier_skill(answers.truth)


@pytest.mark.engine
def test_the_engine_gives_the_same_answers(loaded: tuple[PreTrainedModel, Dialogue]) -> None:
    model, dialogue = loaded
    drawn = SceneExamples(3_000_000, 50)
    examples = [drawn[number] for number in range(50)]
    said = [one.text for (one,) in answers_of(model, dialogue, examples, max_tokens=64)]
    question = dialogue.processor.apply_chat_template(
        dialogue.messages("scenes"), add_generation_prompt=True, tokenize=False
    )
    # The engine lives in a process of its own, since it changes threads and environment of the one it is in.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        images = [example.image for example in examples]
        texts = process.submit(engine_texts, question, images).result(timeout=150)
    same = np.mean([mine == theirs for mine, theirs in zip(said, texts, strict=True)])
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
