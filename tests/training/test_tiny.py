"""The tiny model's tokenizer and processor: one token for each thing the tiny world says, any text still possible."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.data.loading import as_served
from training.dialogue import IGNORED, Dialogue, answer_text
from training.scenes import LABELS, LEVELS, encode, scene
from training.tiny import PIXELS, SPECIAL, TAGS, make_model, make_processor, make_tokenizer
from worker.reading.prompt import build_prompt
from worker.reading.taxonomy import Taxonomy, load_taxonomies

TAXONOMY = load_taxonomies()["scenes"]
TOKENIZER = make_tokenizer(build_prompt(TAXONOMY))


@pytest.fixture(scope="module")
def dialogue() -> Dialogue:
    return Dialogue(make_processor(build_prompt(TAXONOMY)), {"scenes": TAXONOMY})


@pytest.mark.parametrize("text", [*TAGS, *SPECIAL, *LABELS, *(f"{number:02d}" for number in range(100))])
def test_tags_labels_and_two_digit_numbers_are_one_token(text: str) -> None:
    assert len(TOKENIZER.encode(text).ids) == 1


def test_each_word_of_the_reasoning_is_one_token() -> None:
    words = {
        word for number in range(300) for text in scene(1, number).cues.reasoning().values() for word in text.split()
    }
    assert words >= {word for levels in LEVELS.values() for word in levels}
    for number in range(300):
        for text in scene(1, number).cues.reasoning().values():
            assert len(TOKENIZER.encode(text).ids) == len(text.split())


def test_labels_are_one_token_each_in_the_answer() -> None:
    for label in LABELS:
        ids = TOKENIZER.encode(f"<answer>{label}</answer>").ids
        assert len(ids) == 3
        assert TOKENIZER.decode(ids[1:2]) == label


def test_the_question_and_a_whole_answer_are_short(dialogue: Dialogue) -> None:
    drawn = scene(1, 1)
    answer = answer_text(drawn.cues.reasoning(), "awe", 0.85)
    exchange = dialogue.exchange([as_served(encode(drawn.image))], ["scenes"], [answer])
    answered = exchange["labels"][0][exchange["labels"][0] != IGNORED]
    assert exchange["input_ids"].shape[1] - len(answered) < 40
    assert len(answered) < 40
    assert dialogue.text(answered[None]) == [answer]


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text).ids, skip_special_tokens=False) == text


def test_it_is_the_same_every_time() -> None:
    assert make_tokenizer(build_prompt(TAXONOMY)).to_str() == TOKENIZER.to_str()


def test_another_taxonomy_can_be_asked(dialogue: Dialogue) -> None:
    other = build_prompt(Taxonomy(name="other", labels=("positive", "negative")))
    assert TOKENIZER.decode(TOKENIZER.encode(other.user).ids) == other.user


def test_the_model_is_small_seeded_and_sees_four_tokens(dialogue: Dialogue) -> None:
    model, same = (make_model(dialogue.processor, seed=3) for _ in range(2))
    assert sum(weight.numel() for weight in model.parameters()) < 1_500_000
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    question = dialogue.ask([as_served(encode(scene(1, 1).image))], ["scenes"])
    assert int(question["mm_token_type_ids"].sum()) == 4
    assert question["pixel_values"].shape[0] == PIXELS // 14**2
