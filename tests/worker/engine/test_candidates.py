"""Label probabilities are read where the answer starts, whatever the tokenizer merges there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.candidates import CandidateProbabilities, branching_tokens, candidate_probabilities

LABELS = ("amusement", "anger", "awe", "disappointment", "disgust", "fear", "sadness")
THINKING = ("<", "think", ">", "some ", "grim ", "mood", "</", "think", "><", "answer")
ENDING = ("</", "answer", "><", "confidence", ">", "0", ".", "8", "</", "confidence", ">")
QWEN = {  # how Qwen's tokenizer spells labels behind `<answer`
    "amusement": (">", "am", "usement"),
    "anger": (">", "anger"),
    "awe": (">", "awe"),
    "disappointment": (">", "dis", "appointment"),
    "disgust": (">", "dis", "g", "ust"),
    "fear": (">f", "ear"),
    "sadness": (">s", "ad", "ness"),
}


def encoder(spellings: Mapping[str, Sequence[str]], vocabulary: dict[str, int]) -> Callable[[str], list[int]]:
    def encode(text: str) -> list[int]:
        label = text.removeprefix("</analysis></think><answer>").removesuffix("</answer>")
        pieces = ("</", "think", "><", "answer", *spellings[label], "</", "answer", ">")
        return [vocabulary.setdefault(piece, len(vocabulary)) for piece in pieces]

    return encode


def written(label: str, steps: Mapping[int, Mapping[str, float]]) -> CandidateProbabilities | None:
    """Read an answer; `steps` holds, counted from the end of `<answer`, what each token could have been."""
    pieces = (*THINKING, *QWEN[label], *ENDING)
    return candidate_probabilities(pieces, lambda index: steps[index - len(THINKING)], LABELS)


ROOT = {">": 0.7, ">f": 0.1, ">s": 0.15}
SECOND = {"am": 0.1, "anger": 0.2, "awe": 0.5, "dis": 0.1, ">": 0.0, ">f": 0.0, ">s": 0.0, "g": 0.0}


def test_only_tokens_at_which_spellings_part_are_asked_for() -> None:
    vocabulary: dict[str, int] = {}
    branching = branching_tokens(encoder(QWEN, vocabulary), LABELS)
    names = {number: piece for piece, number in vocabulary.items()}
    assert {names[number] for number in branching.ids} == {*ROOT, "am", "anger", "awe", "dis", "appointment", "g"}
    assert branching.together == (("amusement", "anger", "awe", "disappointment", "disgust"),)


def test_an_answer_on_the_common_path_tells_all_but_those_that_part_elsewhere() -> None:
    read = written("awe", {0: ROOT, 1: SECOND})
    assert read is not None
    assert read.known == pytest.approx(
        {"fear": 0.1, "sadness": 0.15, "amusement": 0.07, "anger": 0.14, "awe": 0.35},
    )
    assert read.shared == pytest.approx(0.07)  # disappointment and disgust


def test_an_answer_that_parts_later_tells_both() -> None:
    read = written("disgust", {0: ROOT, 1: SECOND, 2: {"g": 0.9, "appointment": 0.05}})
    assert read is not None
    assert read.known["disgust"] == pytest.approx(0.7 * 0.1 * 0.9)
    assert read.known["disappointment"] == pytest.approx(0.7 * 0.1 * 0.05)
    assert read.shared == 0.0


def test_an_answer_with_a_merged_token_tells_itself_and_the_sum_of_the_rest() -> None:
    read = written("fear", {0: ROOT})
    assert read is not None
    assert read.known == pytest.approx({"fear": 0.1, "sadness": 0.15})
    assert read.shared == pytest.approx(0.7)


def test_tags_and_labels_that_are_one_token_each() -> None:
    distribution = {"awe": 0.6, "anger": 0.3, "\n": 0.1}
    pieces = ("<think>", "</think>", "<answer>", "awe", "</answer>", "<confidence>", "0.85", "</confidence>")
    read = candidate_probabilities(pieces, lambda index: distribution if index == 3 else {}, LABELS)
    assert read == CandidateProbabilities({"awe": 0.6, "anger": 0.3}, 0.0)


def test_copied_braces_are_looked_past() -> None:
    pieces = ("<answer>", "{", "awe", "}", "</answer>")
    read = candidate_probabilities(
        pieces, lambda index: {"awe": 0.6, "fear": 0.2} if index == 2 else {"{": 1.0}, LABELS
    )
    assert read is None or read.known == pytest.approx({"awe": 0.6, "fear": 0.2})


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        ("no answer at all",),
        ("<answer>",),
        ("<answer>", "joy", "</answer>"),
        ("<answer>awe</answer>",),  # no token starts there
        ("<answer>", "AWE", "</answer>"),
    ],
)
def test_without_a_candidate_where_the_answer_starts_nothing_is_known(pieces: tuple[str, ...]) -> None:
    assert candidate_probabilities(pieces, lambda index: {pieces[index]: 1.0}, LABELS) is None


@given(
    st.lists(st.sampled_from(["<answer>", "<", "answer", ">", ">f", "ear", "awe", "dis", "g", "ust", "</", "", "é"])),
    st.dictionaries(st.sampled_from(["awe", ">", ">f", "ear", "dis", "g", "ust", "fear", ""]), st.floats(0, 0.1)),
)
def test_no_tokens_make_it_raise_and_no_mass_is_invented(pieces: list[str], distribution: dict[str, float]) -> None:
    read = candidate_probabilities(pieces, lambda _: distribution, LABELS)
    if read is not None:
        assert set(read.known) <= set(LABELS)
        assert sum(read.known.values()) + read.shared <= 1.0 + 1e-9
