"""Questions and answers as tensors: the worker's tokens, any image size, any taxonomy side by side."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.training.conftest import CHECKPOINT, small
from training.beliefs import Forks
from training.calibrated_confidence import judge
from training.data.loading import SceneExamples
from training.dialogue import IGNORED, Dialogue, answer_text
from training.numbers import GRID, NumberTokens
from training.sampling import answers_of
from training.stage import load
from worker.engine.chat import Chat
from worker.reading.prompt import build_prompt
from worker.reading.taxonomy import Taxonomy, load_taxonomies

SCENES = load_taxonomies()["scenes"]
MOODS = Taxonomy(name="moods", labels=("positive", "negative", "neither"))
REASONING = dict.fromkeys(("element", "human", "context", "interaction", "analysis"), "x")


@pytest.fixture(scope="module")
def loaded() -> tuple[torch.nn.Module, Dialogue]:
    torch.set_num_threads(1)
    return load(CHECKPOINT, {"scenes": SCENES, "moods": MOODS}, small())


@pytest.fixture(scope="module")
def dialogue(loaded: tuple[torch.nn.Module, Dialogue]) -> Dialogue:
    return loaded[1]


def image(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def test_a_question_is_the_one_that_the_worker_asks(dialogue: Dialogue) -> None:
    asked = dialogue.ask([image(56, 56)], ["scenes"])["input_ids"][0].tolist()
    served = Chat(str(CHECKPOINT), None).question(build_prompt(SCENES))
    place = served.index(dialogue.image_id)
    assert asked == served[:place] + [dialogue.image_id] * 4 + served[place + 1 :]


def test_questions_of_different_lengths_end_together(dialogue: Dialogue) -> None:
    short, long = image(56, 56), image(56, 56)
    both = dialogue.ask([short, long], ["scenes", "moods"])
    alone = dialogue.ask([short], ["scenes"])["input_ids"][0]
    mask = both["attention_mask"]
    assert mask[:, -1].tolist() == [1, 1]
    assert mask.sum(dim=1).min() == len(alone) < mask.sum(dim=1).max() == both["input_ids"].shape[1]
    assert both["input_ids"][0][mask[0] == 1].tolist() == alone.tolist()


def test_answers_begin_together_and_are_all_that_is_trained(dialogue: Dialogue) -> None:
    answers = [answer_text(REASONING, "awe"), answer_text(REASONING, "fear", 0.35)]
    both = dialogue.exchange([image(56, 56)] * 2, ["scenes", "moods"], answers)
    labels = both["labels"]
    starts = [int((row != IGNORED).nonzero()[0]) for row in labels]
    assert starts[0] == starts[1]
    for row, answer in zip(labels, answers, strict=True):
        kept = row[row != IGNORED]
        assert dialogue.text(kept[None]) == [answer]
        assert kept[-1] == dialogue.end_id
    assert torch.equal(both["input_ids"][labels != IGNORED], labels[labels != IGNORED])
    assert (both["attention_mask"][labels != IGNORED] == 1).all()


def test_padding_changes_no_answer(loaded: tuple[torch.nn.Module, Dialogue]) -> None:
    """Beside a longer question the same image is answered the same."""
    model, dialogue = loaded
    example = SceneExamples(8, 1)[0]
    alone = dialogue.generate(model, [example.image], ["scenes"], max_tokens=64)  # type: ignore[arg-type]
    beside = dialogue.generate(model, [example.image] * 2, ["scenes", "moods"], max_tokens=64)  # type: ignore[arg-type]
    assert dialogue.text(beside)[0] == dialogue.text(alone)[0]


def test_greedy_answers_name_the_label_that_is_believed_most(loaded: tuple[torch.nn.Module, Dialogue]) -> None:
    model, dialogue = loaded
    examples = [SceneExamples(8, 12)[number] for number in range(12)]
    for (said,) in answers_of(model, dialogue, examples, max_tokens=64):  # type: ignore[arg-type]
        parsed = dialogue.parse(said.text, said.ended, "scenes")
        assert parsed is not None
        assert said.belief is not None
        assert SCENES.labels[said.belief.argmax()] == parsed.label
        assert said.belief.sum() == pytest.approx(1)


def test_labels_that_share_their_first_token_are_told_apart(dialogue: Dialogue) -> None:
    """The tiny tokenizer spells `positive` letter by letter; beliefs follow the path that was taken."""
    forks = Forks(dialogue)
    answer = dialogue.tokens([answer_text(REASONING, "neither")])[0]
    place = next(at for at in range(len(answer)) if dialogue.piece(int(answer[at])).startswith("n"))
    probabilities = torch.zeros(len(answer), len(forks.ids))
    spelled = {label: dialogue.encode(f"<answer>{label}</answer>")[1:] for label in MOODS.labels}
    probabilities[place, forks.ids.index(spelled["neither"][0])] = 0.6
    probabilities[place, forks.ids.index(spelled["positive"][0])] = 0.4
    fork = next(at for at, (a, b) in enumerate(zip(spelled["neither"], spelled["negative"], strict=False)) if a != b)
    probabilities[place + fork, forks.ids.index(spelled["neither"][fork])] = 0.75
    probabilities[place + fork, forks.ids.index(spelled["negative"][fork])] = 0.25
    belief = forks.belief(probabilities, answer, "moods")
    assert belief is not None
    assert dict(zip(MOODS.labels, belief.tolist(), strict=True)) == pytest.approx(
        {"positive": 0.4, "negative": 0.15, "neither": 0.45}
    )


def test_numbers_are_found_by_their_spelling(dialogue: Dialogue) -> None:
    numbers = NumberTokens.of(dialogue, GRID)
    answer = dialogue.tokens([answer_text(REASONING, "awe", 0.65)])[0]
    assert dialogue.piece(int(answer[len(answer) - numbers.back])) == "65"
    assert numbers.values.tolist() == pytest.approx(GRID.tolist())
    assert numbers.nearest(0.63) == 0.65
    assert numbers.nearest(1.0) == 0.95


class Digits:
    """A tokenizer that spells every character, as Qwen spells digits."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


def test_digit_by_digit_the_first_decimal_decides() -> None:
    numbers = NumberTokens.of(Digits(), GRID)  # type: ignore[arg-type]
    assert [chr(token) for token in numbers.ids.tolist()] == list("0123456789")
    assert numbers.back == len("05</confidence>") + 1
    assert numbers.values.tolist() == pytest.approx([0.05] + [tenth / 10 + 0.025 for tenth in range(1, 10)])
    spread = torch.full((1, len(GRID)), 1 / len(GRID))
    assert numbers.by_token(spread).sum() == pytest.approx(1)


SAID = answer_text(REASONING, "").removesuffix("<answer></answer>")


@pytest.mark.parametrize(
    ("rest", "label", "right", "confidence", "in_format", "spelled"),
    [
        ("<answer>awe</answer><confidence>0.85</confidence>", 2, 1, 0.85, 1, 1),
        ("<answer>Fear.</answer><confidence>{0.30}</confidence>", 6, 0, 0.30, 1, 0),
        ("<answer>awe</answer><confidence>0.9</confidence>", 2, 1, 0.9, 1, 0),
        ("<answer>awe</answer><confidence>85%</confidence>", 2, 1, 0.85, 1, 0),
        ("<answer>awe</answer><confidence>sure</confidence>", 2, 1, None, 0, 0),
        ("<answer>awe</answer>", 2, 1, None, 0, 0),
        ("<answer>joy</answer><confidence>0.85</confidence>", -1, 0, None, 0, 0),
        ("nothing of the kind", -1, 0, None, 0, 0),
    ],
)
def test_answers_are_judged_as_the_worker_reads_them(
    dialogue: Dialogue, rest: str, label: int, right: int, confidence: float | None, in_format: int, spelled: int
) -> None:
    """Only a confidence that is spelled as it was taught has a known place to learn at."""
    found = judge(dialogue, SAID + rest, True, "scenes", "awe", any_word=False)
    assert (found.label, found.correct, found.in_format, found.spelled) == (label, right, in_format, spelled)
    assert found.confidence == pytest.approx(math.nan if confidence is None else confidence, nan_ok=True)
    assert (found.tail > 0) == bool(in_format)


def test_emocaliber_judges_any_one_word(dialogue: Dialogue) -> None:
    """Wrong, and scored on its confidence; two words, or none, are out of format there too."""
    word = SAID + "<answer>joy</answer><confidence>0.85</confidence>"
    assert judge(dialogue, word, True, "scenes", "awe", any_word=True)[:4] == (-1, 0.0, 0.85, 1.0)
    for wrong in (word.replace("joy", "great joy"), word.replace("joy", ""), word.replace("0.85", "1.7")):
        assert judge(dialogue, wrong, True, "scenes", "awe", any_word=True).in_format == 0
    assert judge(dialogue, word, False, "scenes", "awe", any_word=True).in_format == 0
    assert judge(dialogue, word.replace("joy", "awe"), True, "scenes", "awe", any_word=True).correct == 1
