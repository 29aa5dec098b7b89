"""Objectives of stage 3: what they pay for, what their gradients expect, and where each of them leads."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from scipy.special import softmax

from training.objectives import (
    Answers,
    Brier,
    Decoupled,
    EmocaliberLog,
    Floats,
    LogClipped,
    Objective,
    brier_score,
    log_score,
)

SAYABLE = np.linspace(0.01, 0.99, 99)
MONOTONE: list[Objective] = [Brier(), Brier(weight=0.3), LogClipped(), LogClipped(clip=0.1, weight=0.2)]
KINDS = [*MONOTONE, EmocaliberLog(), Decoupled(), Decoupled(score="log_clipped", confidence_weight=3.0)]
unit = st.floats(0.0, 1.0)
scores = st.sampled_from(["brier", "log_clipped"])
shares = st.lists(st.floats(0.05, 1), min_size=3, max_size=3).map(lambda parts: np.array(parts) / sum(parts))


def answers(label: Any, correct: Any, confidence: Any, format_ok: Any = True) -> Answers:
    said, read = (np.broadcast_to(np.array(part), np.shape(label)) for part in (confidence, format_ok))
    return Answers(np.array(label), np.array(correct, bool), said.astype(float), read.astype(bool))


@st.composite
def groups(draw: st.DrawFn) -> Answers:
    n, size, labels = draw(st.integers(1, 4)), draw(st.integers(2, 6)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    said = rng.integers(-1, labels, (n, size))
    read = rng.random((n, size)) < draw(unit)
    confidence = np.where(read | (rng.random((n, size)) < 0.3), np.round(rng.random((n, size)), 2), np.nan)
    return Answers(said, said == rng.integers(0, labels, (n, 1)), confidence, read)


def expected_rewards(objective: Objective, p: float) -> Floats:
    """What an answer that is right with probability `p` earns with each of the sayable confidences."""
    right, wrong = objective.rewards(answers([[0, 1]] * 99, [[True, False]] * 99, SAYABLE[:, None].repeat(2, 1))).T
    return np.asarray(p * right + (1 - p) * wrong)


@pytest.mark.parametrize("objective", KINDS, ids=repr)
@given(p=unit)
def test_the_honest_confidence_earns_most(objective: Objective, p: float) -> None:
    earned = expected_rewards(objective, p)
    clip = objective.clip if isinstance(objective, LogClipped | Decoupled) else 0.01
    nearest = np.abs(SAYABLE - np.clip(p, clip, 1 - clip)).argmin()
    # Two numbers on either side of p can be equally good.
    assert earned[max(nearest - 1, 0) : nearest + 2].max() >= earned.max() - 1e-12


@pytest.mark.parametrize("objective", MONOTONE, ids=repr)
@given(pair=st.tuples(unit, unit))
def test_a_better_answer_never_earns_less(objective: Objective, pair: tuple[float, float]) -> None:
    worse, better = (expected_rewards(objective, p).max() for p in sorted(pair))
    assert better >= worse - 1e-9
    assert objective.honest_reward_is_monotone
    assert objective.warning is None


def test_the_reward_of_emocaliber_pays_for_wrong_answers() -> None:
    objective = EmocaliberLog()
    assert not objective.honest_reward_is_monotone
    chances = np.linspace(0.01, 0.99, 981)
    honest = 1 + chances + 2 * log_score(chances, chances, 1e-9)
    for chance in (0.2, 0.5, 0.9):
        assert expected_rewards(objective, chance).max() == pytest.approx(np.interp(chance, chances, honest), abs=1e-9)
    assert chances[honest.argmin()] == pytest.approx(0.378, abs=0.005)
    assert expected_rewards(objective, 0.0).max() == pytest.approx(1.0, abs=0.03)
    assert chances[np.flatnonzero(honest < 1)[-1]] == pytest.approx(0.849, abs=0.005)
    assert all(number in str(objective.warning) for number in (".378", ".849"))


def test_the_reward_of_emocaliber_is_that_of_its_code() -> None:
    confidence = [[0.8, 1.0, 0.8, 0.3, np.nan, 0.5]]
    said = answers([[0, 0, 1, -1, 0, 0]], [[1, 1, 0, 0, 1, 1]], confidence, [[1, 1, 1, 1, 0, 0]])
    expected = [2 + 2 * np.log(0.8), -5, 1 + 2 * np.log(0.2), 1 + 2 * np.log(0.7), -5, -5]
    assert EmocaliberLog().rewards(said)[0] == pytest.approx(expected)


@given(said=groups(), format_penalty=st.floats(0.1, 3.0))
def test_coupled_objectives_compare_rewards_in_a_group(said: Answers, format_penalty: float) -> None:
    for objective in (Brier(format_penalty=format_penalty), LogClipped(format_penalty=format_penalty), EmocaliberLog()):
        rewards, advantages = objective.rewards(said), objective.advantages(said)
        assert advantages.answer is advantages.confidence
        assert np.allclose(advantages.answer.sum(axis=1), 0)
        assert np.allclose(np.diff(advantages.answer), np.diff(rewards)), "nothing is divided by a deviation"
        if not isinstance(objective, EmocaliberLog):
            assert (rewards[~said.format_ok] == -format_penalty).all()


@given(said=groups(), seed=st.integers(0, 1000))
def test_decoupled_answers_are_judged_without_their_confidence(said: Answers, seed: int) -> None:
    other = np.where(np.isnan(said.confidence), np.nan, np.random.default_rng(seed).random(said.label.shape))
    before, after = (
        Decoupled(target_weight=0.5).advantages(Answers(said.label, said.correct, confidence, said.format_ok)).answer
        for confidence in (said.confidence, other)
    )
    assert np.array_equal(before, after)
    assert np.allclose(before.sum(axis=1), 0)


@given(said=groups(), weight=unit, score=scores)
def test_answers_out_of_format_pay_and_are_in_no_baseline(said: Answers, weight: float, score: Any) -> None:
    objective = Decoupled(target_weight=weight, score=score, format_penalty=2.0)
    advantages = objective.advantages(said)
    form = np.where(said.format_ok, 0.0, -2.0)
    scored = advantages.confidence - (form - form.mean(axis=1, keepdims=True))
    assert np.isfinite(advantages.confidence).all()
    assert np.isfinite(objective.rewards(said)).all()
    assert np.allclose(scored[~said.format_ok], 0)
    for row in range(len(scored)):
        kept = said.format_ok[row]
        if kept.sum() >= 2:
            alone = answers(*([part[row, kept]] for part in (said.label, said.correct, said.confidence)))
            assert np.allclose(objective.advantages(alone).confidence, scored[row, kept])


@settings(max_examples=25)
@given(
    logits=st.lists(st.floats(-2, 2), min_size=12, max_size=12),
    labels=st.sampled_from([(0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 0, 1), (0, -1, -1)]),
    truth=st.integers(0, 2),
    objective=st.builds(Decoupled, score=scores, target_weight=unit),
)
def test_the_baseline_leaves_the_expected_gradient_as_it_is(
    logits: list[float], labels: tuple[int, ...], truth: int, objective: Decoupled
) -> None:
    """By enumeration: three answers, each with its own distribution over four confidences."""
    sayable = np.array([0.1, 0.4, 0.7, 0.95])
    q = softmax(np.array(logits).reshape(3, 4), axis=-1)
    ways = np.array(list(product(range(4), repeat=3)))
    label = np.array(labels)[None].repeat(len(ways), 0)
    said = Answers(label, label == truth, sayable[ways], np.ones(label.shape, bool))
    chance = np.prod([q[i, ways[:, i]] for i in range(3)], axis=0)
    advantage, target = objective.advantages(said).confidence, objective.targets(said)[0]
    for i in range(3):
        gradient = ((chance * advantage[:, i])[:, None] * (np.eye(4)[ways[:, i]] - q[i])).sum(axis=0)
        on_target = np.full(4, target[i])
        score = brier_score(sayable, on_target) if objective.score == "brier" else log_score(sayable, on_target, 0.01)
        assert gradient == pytest.approx(q[i] * (score - q[i] @ score), abs=1e-12)


@given(p=shares, q=shares, weight=unit)
def test_a_mixed_target_is_right_only_for_a_model_that_answers_as_often_as_it_is_right(
    p: Floats, q: Floats, weight: float
) -> None:
    ways = np.array(list(product(range(3), repeat=5)))  # four answers and the truth
    label, true = ways[:, :4], ways[:, 4:]
    said = Answers(label, label == true, np.full(label.shape, 0.5), np.ones(label.shape, bool))
    target = Decoupled(target_weight=weight).targets(said)[:, 0]
    chance = np.prod(q[label], axis=1) * p[true[:, 0]]
    for mine in range(3):
        rows = label[:, 0] == mine
        mean = (chance * target)[rows].sum() / chance[rows].sum()
        assert mean == pytest.approx(weight * p[mine] + (1 - weight) * q[mine])


def test_comparing_with_the_same_label_takes_noise_out_of_the_gradient() -> None:
    rng = np.random.default_rng(0)
    n, size = 20_000, 8
    p = rng.dirichlet(np.full(6, 0.6), n)
    label = (p.cumsum(axis=1)[:, None] > rng.random((n, size, 1))).argmax(axis=2)
    truth = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    noise = rng.normal(0, 0.05, (n, size))
    confidence = np.clip(np.take_along_axis(p, label, axis=1) + 0.1 + noise, 0, 1)
    said = answers(label, label == truth[:, None], confidence)
    score = brier_score(confidence, said.correct.astype(float))
    against_all = score - (score.sum(axis=1, keepdims=True) - score) / (size - 1)
    variance = {"all": (against_all * noise).var(), "alike": (Decoupled().advantages(said).confidence * noise).var()}
    assert variance["alike"] < 0.75 * variance["all"]
    assert (Brier().advantages(said).confidence * noise).var() > 5 * variance["alike"]


GRID = np.arange(0.05, 1.0, 0.1)


def train(objective: Objective, steps: int = 800, questions: int = 64, size: int = 8) -> tuple[float, float, float]:
    """Policy gradient on 3 labels and 10 confidences from a good cold start: answers as often as they are true,
    confidences a little high. Returns accuracy before and after, and the mean error of the confidence after.
    """
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(3, 3.0), questions)
    answer, confidence = np.log(p + 0.01), -((GRID - p[..., None] - 0.1) ** 2) / (2 * 0.12**2)
    before = (softmax(answer, axis=-1) * p).sum(axis=1).mean()
    rows = np.arange(questions).repeat(2)[:, None]
    for _ in range(steps):
        chance = softmax(answer, axis=-1)[rows[:, 0]]
        label = (chance.cumsum(axis=1)[:, None] > rng.random((len(rows), size, 1))).argmax(axis=2)
        numbers = softmax(confidence, axis=-1)[rows, label]
        said = (numbers.cumsum(axis=2) > rng.random((len(rows), size, 1))).argmax(axis=2)
        truth = (p[rows[:, 0]].cumsum(axis=1) > rng.random((len(rows), 1))).argmax(axis=1)
        advantages = objective.advantages(answers(label, label == truth[:, None], GRID[said]))
        off = np.eye(3)[label] - chance[:, None], np.eye(10)[said] - numbers
        np.add.at(answer, rows.repeat(size, 1), advantages.answer[..., None] * off[0] / (2 * size))
        np.add.at(confidence, (rows.repeat(size, 1), label), advantages.confidence[..., None] * off[1] / (2 * size))
    policy, mean = softmax(answer, axis=-1), softmax(confidence, axis=-1) @ GRID
    return before, (policy * p).sum(axis=1).mean(), (policy * np.abs(mean - p)).sum(axis=1).mean()


@pytest.mark.parametrize("objective", [Brier(), LogClipped(), Decoupled(), Decoupled(score="log_clipped")], ids=repr)
def test_training_raises_accuracy_and_calibrates(objective: Objective) -> None:
    before, after, error = train(objective)
    assert after > before + 0.05
    assert error < 0.06


def test_the_reward_of_emocaliber_makes_accuracy_collapse_and_looks_calibrated() -> None:
    before, after, error = train(EmocaliberLog())
    assert after < before - 0.1
    assert after < 1 / 3, "below chance"
    assert error < 0.06


def test_agreement_in_the_target_makes_a_trained_model_overconfident() -> None:
    assert train(Decoupled(target_weight=0.5))[2] > 3 * train(Decoupled())[2]


@pytest.mark.parametrize("objective", [*KINDS, Decoupled(target_weight=0.0)], ids=repr)
@pytest.mark.parametrize(
    "said",
    [
        answers([[-1, -1, -1]], [[0, 0, 0]], np.nan, format_ok=False),
        answers([[2, 2, 2]], [[1, 1, 1]], 0.7),
        answers([[2, 2], [0, 0]], [[0, 0], [1, 1]], 1.0),
    ],
    ids=["none in format", "all the same", "all sure"],
)
def test_groups_of_equals_teach_nothing(objective: Objective, said: Answers) -> None:
    advantages = objective.advantages(said)
    assert np.allclose(advantages.answer, 0)
    assert np.allclose(advantages.confidence, 0)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (([[0]], [[True]], [[0.5]], [[True]]), "nothing to compare"),
        (([0, 1], [True, False], [0.5, 0.5], [True, True]), "groups, answers"),
        (([[0, -2]], [[True, False]], [[0.5, 0.5]], [[True, True]]), r"label below -1, the first at \(0, 1\)"),
        (([[0, -1]], [[True, True]], [[0.5, 0.5]], [[True, True]]), "correct without a label"),
        (([[0, 1]], [[True, False]], [[0.5, 1.5]], [[True, True]]), "outside of 0 to 1"),
        (([[0, 1]], [[True, False]], [[np.nan, 0.5]], [[True, True]]), "without a confidence"),
    ],
)
def test_contradictions_are_refused(parts: tuple[Any, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        answers(*parts)


class Configured(BaseModel):
    objective: Objective = Decoupled()


def test_a_configuration_chooses_by_name() -> None:
    assert Configured().objective == Decoupled()
    for kind in KINDS:
        assert Configured.model_validate_json(f'{{"objective": {kind.model_dump_json()}}}').objective == kind
    assert LogClipped().weight == pytest.approx(0.218, abs=0.001)
    assert LogClipped(clip=0.1).weight == pytest.approx(1 / np.log(9))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"objective": "log_clipped", "weight": 0.5}, "may be at most 0.2176"),
        ({"objective": "log_clipped", "clip": 0.5}, "less than 0.5"),
        ({"objective": "brier", "weight": 1.01}, "less than or equal to 1"),
        ({"objective": "brier", "weight": 0}, "greater than 0"),
        ({"objective": "decoupled", "target_weight": 1.5}, "less than or equal to 1"),
        ({"objective": "emocaliber_log", "weight": 1}, "Extra inputs are not permitted"),
        ({"objective": "rlcr"}, "expected tags: 'decoupled', 'brier', 'log_clipped', 'emocaliber_log'"),
    ],
)
def test_objectives_that_pay_for_the_wrong_thing_cannot_be_configured(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        TypeAdapter[Objective](Objective).validate_python(settings)


def test_no_trainer_is_needed() -> None:
    code = "import sys, training.objectives, training.targets; print({'torch', 'trl', 'transformers'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_beliefs_take_the_place_of_counts() -> None:
    """Each answer's own belief is left out, and one that is not known does not count."""
    said = answers([[0, 1, 0]], [[1, 0, 1]], [[0.5, 0.5, 0.5]], [[1, 1, 1]])
    beliefs = np.array([[[0.6, 0.4], [0.3, 0.7], [np.nan, np.nan]]])
    assert replace(said, belief=beliefs).agreement()[0] == pytest.approx([0.3, 0.4, 0.45])
    assert said.agreement()[0] == pytest.approx([0.5, 0.0, 0.5])
    with pytest.raises(ValueError, match="beliefs of"):
        replace(said, belief=beliefs[:, :2])


def test_a_weight_of_zero_leaves_right_and_wrong_answers_alike() -> None:
    said = answers([[0, 1, 0, -1]], [[1, 0, 1, 0]], [[0.5, 0.6, 0.7, np.nan]], [[1, 1, 1, 0]])
    advantage = Decoupled(answer_weight=0.0).advantages(said).answer[0]
    assert advantage[:3] == pytest.approx([0.25] * 3)
    assert advantage[3] == pytest.approx(-0.75)
