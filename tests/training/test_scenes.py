"""The drawn world: seeded, independent of order, its probabilities true."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.scenes import (
    LABELS,
    SIDE,
    Cues,
    bayes_accuracy,
    best_brier_skill,
    draw_scene,
    encode,
    label_probabilities,
    scene,
    scenes,
)
from worker.reading.taxonomy import load_taxonomies

unit = st.floats(-1, 1)
cues = st.builds(Cues, unit, unit, unit, unit, st.none() | unit)


def test_labels_are_those_of_the_taxonomy() -> None:
    assert load_taxonomies()["scenes"].labels == LABELS


def test_a_scene_can_be_drawn_alone() -> None:
    alone = scene(7, 3)
    in_a_row = list(scenes(7, 4))[3]
    assert np.array_equal(alone.image, in_a_row.image)
    assert (alone.cues, alone.label) == (in_a_row.cues, in_a_row.label)


def test_seeds_and_numbers_give_different_scenes() -> None:
    brightness = {scene(seed, number).cues.brightness for seed in range(4) for number in range(4)}
    assert len(brightness) == 16


def test_an_injected_generator_decides_everything() -> None:
    first, second = (draw_scene(np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert first.image.shape == (SIDE, SIDE, 3)
    assert first.image.dtype == np.uint8


@given(cues)
def test_probabilities_are_a_distribution(drawn: Cues) -> None:
    probabilities = label_probabilities(drawn)
    assert probabilities.shape == (len(LABELS),)
    assert probabilities.min() >= 0
    assert probabilities.sum() == pytest.approx(1)


@given(cues)
def test_reasoning_has_the_five_sections_and_names_no_label(drawn: Cues) -> None:
    reasoning = drawn.reasoning()
    assert list(reasoning) == ["element", "human", "context", "interaction", "analysis"]
    assert not set(" ".join(reasoning.values()).split()) & set(LABELS)


def test_labels_follow_their_probabilities() -> None:
    drawn = list(scenes(11, 2000))
    right = np.array([s.probabilities.argmax() == s.label for s in drawn])
    best = bayes_accuracy(np.array([s.probabilities for s in drawn]))
    assert right.mean() == pytest.approx(best, abs=0.04)


def test_the_world_is_ambiguous_and_balanced() -> None:
    truth = np.array([s.probabilities for s in scenes(12, 2000)])
    assert 0.60 <= bayes_accuracy(truth) <= 0.85
    assert 0.1 < best_brier_skill(truth) < 0.5
    assert truth.mean(axis=0).min() > 0.05


def test_best_skill_is_that_of_the_true_confidence() -> None:
    truth = np.array([[0.9, 0.1], [0.6, 0.4]])
    # Base rate .75; Brier .09/.24 against .1875.
    assert best_brier_skill(truth) == pytest.approx(1 - (0.09 + 0.24) / 2 / 0.1875)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_any_seed_and_number_can_be_drawn_and_sent(seed: int, number: int) -> None:
    drawn = scene(seed, number)
    with Image.open(io.BytesIO(encode(drawn.image, "PNG"))) as png:
        assert np.array_equal(np.asarray(png), drawn.image)
    with Image.open(io.BytesIO(encode(drawn.image))) as jpeg:
        assert jpeg.format == "JPEG"
        assert jpeg.size == (SIDE, SIDE)


def test_faces_are_there_in_three_of_four() -> None:
    faces = np.array([s.cues.mouth is not None for s in scenes(13, 1000)])
    assert faces.mean() == pytest.approx(0.75, abs=0.05)
