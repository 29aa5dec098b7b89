"""The three stages on real TRL, a few steps each: they learn, repeat themselves, and go on where they were killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tests.training.conftest import Begin
from training import calibrated_confidence, sampling, structured_reasoning, verbalized_confidence
from training.data.loading import Example, SceneExamples
from training.dialogue import IGNORED
from training.following import StageProgress
from training.numbers import GRID, NumberTokens
from training.run import Run, RunError
from training.sampling import Said, answers_of, read_sampled, sample, sampled_path
from training.scenes import LABELS
from training.stage import Stage, load, run_taxonomies
from training.verbalized_confidence import Exercise, make_exercises, prepare

STAGES = {
    "reasoning": structured_reasoning.train,
    "confidence": verbalized_confidence.train,
    "calibration": calibrated_confidence.train,
}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).state_dict())


def logged(run: Run, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / stage / "metrics.jsonl").read_text().splitlines()]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_stage_one_learns(begin: Begin) -> None:
    run = begin(data={"reasoning": 320})
    structured_reasoning.train(run)
    losses = [line["loss"] for line in logged(run, "reasoning") if line.get("loss")]
    assert losses[-1] < losses[0] - 0.5
    assert json.loads((run.folder / "reasoning" / "done.json").read_text())["steps"] == 20
    assert list((run.folder / "reasoning" / "tensorboard").iterdir())
    assert not (run.folder / "reasoning" / "checkpoints").exists()


class Killed(Exception):
    """In the place of a kill, which would end the tests too."""


class Kill(TrainerCallback):
    """Ends the process, as it were, right after the first checkpoint was written, in the middle of the next."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        half = Path(str(args.output_dir)) / f"checkpoint-{state.global_step + 1}"
        half.mkdir()
        (half / "model.safetensors").write_bytes(b"half")
        raise Killed


@pytest.mark.parametrize(("stage", "tuning"), [("reasoning", "full"), ("reasoning", "lora"), ("calibration", "full")])
def test_a_killed_stage_goes_on_as_if_nothing_had_happened(
    begin: Begin, stage: str, tuning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Greedy answers, so that the order of draws cannot matter.
    changes: dict[str, Any] = {"calibration": {"temperature": 1e-6}, "tuning": {"method": tuning}}
    done = () if stage == "reasoning" else ("reasoning", "confidence")
    whole = begin(*done, **changes)
    STAGES[stage](whole)
    expected = weights(whole.folder / stage / "model")
    whole.folder.rename(tmp_path / "whole")

    run = begin(*done, **changes)
    callbacks: list[TrainerCallback] = [Kill()]
    monkeypatch.setattr("training.stage.Stage.callbacks", lambda _: callbacks)
    with pytest.raises(Killed):
        STAGES[stage](run)
    assert not (run.folder / stage / "done.json").exists()
    callbacks[:] = [StageProgress("going on", run.folder / stage / "metrics.jsonl")]
    STAGES[stage](run)
    first = logged(run, stage)[0]["step"]
    assert first > 1, "it began anew"
    assert same(expected, weights(run.folder / stage / "model"))


def test_stage_two_wants_the_stage_before(begin: Begin) -> None:
    with pytest.raises(RunError, match="confidence starts where reasoning ended, which is not finished"):
        verbalized_confidence.train(begin())


def test_stage_two_wants_sampled_answers(begin: Begin) -> None:
    with pytest.raises(RunError, match="0 of 24 items have been sampled: run `tidegate train sample` first"):
        verbalized_confidence.train(begin("reasoning"))


def test_sampling_is_resumed_where_it_was_cut_off(begin: Begin) -> None:
    run = begin("reasoning", max_answer_tokens=48)
    sample(run)
    path = sampled_path(run)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:10]) + lines[10][:30])
    sample(run)
    again = path.read_bytes().splitlines(keepends=True)
    assert again[:10] == lines[:10]
    assert [one.number for one in read_sampled(path)] == list(range(24))
    # The served answers are greedy, so they are the same again.
    served = [one.answers[0] for one in read_sampled(path)]
    path.write_bytes(whole)
    assert [answer.text for answer in served] == [one.answers[0].text for one in read_sampled(path)]


def test_answers_come_with_what_the_model_believes(begin: Begin) -> None:
    run = begin("reasoning")
    sample(run)
    sampled = read_sampled(sampled_path(run))
    assert {len(one.answers) for one in sampled} == {3}
    labels = run_taxonomies(run.config)["scenes"].labels
    for one in sampled:
        assert one.truth in labels
        for said in one.answers:
            if said.label is not None:
                assert said.text.endswith(f"<answer>{said.label}</answer>")
                assert said.belief is not None
                assert sum(said.belief) == pytest.approx(1, abs=1e-4)
        served = one.answers[0]
        assert served.belief is not None  # the shipped checkpoint answers in the format
        assert labels[max(range(len(labels)), key=served.belief.__getitem__)] == served.label  # greedy


@pytest.mark.engine
def test_vllm_samples_what_transformers_would(begin: Begin) -> None:
    """The same served answers and beliefs through the worker's engine; drawn ones differ."""
    run = begin("reasoning", confidence={"sampler": "vllm", "answers": 3}, data={"confidence": 12})
    spawned = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "train", "sample", str(run.folder)],
        check=False, capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert spawned.returncode == 0, spawned.stderr[-3000:]
    assert "vLLM and transformers compared" in spawned.stderr
    through_vllm = read_sampled(sampled_path(run))
    sampled_path(run).unlink()
    changed = run.config.model_copy(
        update={"confidence": run.config.confidence.model_copy(update={"sampler": "transformers"})}
    )
    sample(Run(run.folder, changed))
    here = read_sampled(sampled_path(run))
    assert [one.truth for one in through_vllm] == [one.truth for one in here]
    same = [a.answers[0].text == b.answers[0].text for a, b in zip(through_vllm, here, strict=True)]
    assert sum(same) >= 11
    apart = [
        np.abs(np.array(a.answers[0].belief) - np.array(b.answers[0].belief)).max()
        for a, b in zip(through_vllm, here, strict=True)
        if a.answers[0].text == b.answers[0].text
    ]
    assert max(apart) < 0.01
    assert len({answer.text for one in through_vllm for answer in one.answers[1:]}) > 12


def test_an_engine_that_sees_something_else_is_refused(begin: Begin) -> None:
    run = begin("reasoning")
    stage = Stage.load(run, "confidence")
    example = stage.examples[0]
    ((here,),) = answers_of(stage.model.eval(), stage.dialogue, [example], max_tokens=64)
    assert here.belief is not None
    same = Said(text=here.text, label="awe", belief=tuple(here.belief))
    sampling._compare(run, stage, example, same)
    other = Said(text=here.text, label="awe", belief=tuple(np.roll(here.belief, 1)))
    with pytest.raises(RunError, match="does not see what it is given"):
        sampling._compare(run, stage, example, other)


def test_a_model_that_names_no_labels_is_refused(begin: Begin) -> None:
    run = begin(data={"reasoning": 16})
    structured_reasoning.train(run)
    with pytest.raises(RunError, match="0 of 72 answers name a label: train stage 1 for longer, then delete"):
        sample(run)


def test_damaged_answers_are_refused(begin: Begin) -> None:
    run = begin("reasoning")
    sample(run)
    path = sampled_path(run)
    path.write_bytes(path.read_bytes().replace(b'"answers"', b'"said"', 1))
    with pytest.raises(RunError, match="is damaged: delete it"):
        verbalized_confidence.train(run)


@pytest.mark.parametrize("loss", ["likelihood", "tokenised_brier"])
def test_stage_two_learns_to_say_the_targets(begin: Begin, loss: str) -> None:
    run = begin("reasoning", data={"confidence": 40}, confidence={"loss": loss, "epochs": 6, "further_answers": 1})
    sample(run)
    verbalized_confidence.train(run)
    losses = [line["number_loss"] for line in logged(run, "confidence") if "number_loss" in line]
    assert losses[-1] < losses[0]


def test_wrong_answers_are_kept_and_the_true_label_is_trained_in_their_place(begin: Begin) -> None:
    run = begin("reasoning")
    model, dialogue = load(run.before("confidence") or "", run_taxonomies(run.config), run.config)
    del model
    numbers = NumberTokens.of(dialogue, GRID)
    (example,) = (SceneExamples(5, 1)[0],)
    wrong = "fear" if example.label != "fear" else "awe"
    text = f"<think><element>dim</element></think><answer>{wrong}</answer>"
    inputs = prepare(
        dialogue, numbers, run.config.confidence, [example], [Exercise(0, text, wrong, example.label, 0.31)]
    )
    ids, labels, kept = inputs["input_ids"][0], inputs["labels"][0], inputs["weights"][0]
    place = int((ids == dialogue.encode(wrong)[0]).nonzero()[-1])
    assert labels[place] == dialogue.encode(example.label)[0]
    assert kept[place] == run.config.confidence.label_weight
    assert kept[inputs["number_at"]] == 0
    assert dialogue.piece(int(ids[inputs["number_at"]])) == "30"
    assert ((labels == IGNORED) == (kept == 0))[place:].sum() >= 1
    assert inputs["wanted"].sum() == pytest.approx(1)
    assert float((inputs["wanted"] * numbers.values).sum()) == pytest.approx(0.31, abs=0.02)


def test_right_and_wrong_answers_become_exercises(begin: Begin) -> None:
    run = begin("reasoning", confidence={"further_answers": 2, "correctness_weight": 1.0})
    sample(run)
    stage = Stage.load(run, "confidence")
    exercises = make_exercises(run, stage)
    assert {exercise.confidence for exercise in exercises} == {0.0, 1.0}
    assert all((one.label == one.truth) == (one.confidence == 1.0) for one in exercises)
    assert len(exercises) > len(stage.examples)


@pytest.mark.parametrize(
    "objective",
    [
        {"objective": "decoupled", "target_weight": 0.5},
        {"objective": "brier"},
        {"objective": "log_clipped"},
        {"objective": "emocaliber_log"},
    ],
)
def test_stage_three_runs_on_every_objective(begin: Begin, objective: dict[str, Any]) -> None:
    exact = objective["objective"] == "decoupled"
    run = begin(
        "reasoning",
        "confidence",
        calibration={"objective": objective, "confidence_gradient": "exact" if exact else "sampled"},
    )
    calibrated_confidence.train(run)
    (last,) = logged(run, "calibration")[-1:]
    assert last["step"] == 8
    assert 0 <= last["accuracy"] <= 1
    assert not same(weights(run.folder / "confidence" / "model"), weights(run.folder / "calibration" / "model"))


def test_the_exact_gradient_moves_confidences_towards_being_right(begin: Begin) -> None:
    """On scenes whose labels are the least likely ones the model is always wrong, and comes down from what it said."""
    run = begin(
        "reasoning",
        "confidence",
        data={"calibration": 48},
        calibration={
            "objective": {"objective": "decoupled", "confidence_weight": 30.0},
            "learning_rate": 5e-4,
            "beta": 0.0,
            "batch": 8,
            "mini_batch": 8,
            "per_device": 32,
        },
    )
    taxonomies = run_taxonomies(run.config)
    examples = [SceneExamples(9, 40)[number] for number in range(40)]

    def confidences(folder: Path) -> float:
        model, dialogue = load(folder, taxonomies, run.config)
        said = answers_of(model.eval(), dialogue, examples, max_tokens=64)
        parsed = [dialogue.parse(one[0].text, one[0].ended, "scenes") for one in said]
        read = [answer.confidence for answer in parsed if answer is not None]
        return sum(read) / len(read)

    before = confidences(run.folder / "confidence" / "model")

    drawn = SceneExamples.__getitem__

    def mislabelled(self: SceneExamples, number: int) -> Example:
        example = drawn(self, number)
        assert example.probabilities is not None
        least = LABELS[int(example.probabilities.argmin())]
        return Example(example.item.model_copy(update={"label": least}), example.image)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SceneExamples, "__getitem__", mislabelled)
        calibrated_confidence.train(run)
    assert confidences(run.folder / "calibration" / "model") < before - 0.1


def test_a_rollout_server_that_sees_something_else_is_refused() -> None:
    calibrated_confidence.check_rollouts(0.02)
    for apart in (0.8, float("nan")):
        with pytest.raises(RunError, match="it does not see what it is given"):
            calibrated_confidence.check_rollouts(apart)


@pytest.mark.parametrize("stage", ["reasoning", "confidence", "calibration"])
def test_adapters_end_in_a_whole_model(begin: Begin, stage: str) -> None:
    done = [name for name in STAGES if list(STAGES).index(name) < list(STAGES).index(stage)]
    run = begin(*done, tuning={"method": "lora", "rank": 4, "alpha": 8})
    if stage == "confidence":
        sample(run)
    STAGES[stage](run)
    folder = run.folder / stage / "model"
    assert not (folder / "adapter_config.json").exists()
    merged = weights(folder)
    if stage != "reasoning":
        before = weights(run.folder / done[-1] / "model")
        changed = {name for name, tensor in merged.items() if not torch.equal(tensor, before[name])}
        assert changed
        assert all("language_model" in name and "proj" in name for name in changed)


def test_batches_that_cannot_be_spread_are_refused(begin: Begin) -> None:
    run = begin(reasoning={"batch": 16, "per_device": 5})
    with pytest.raises(RunError, match="16 sequences a step cannot be spread over 1 processes of 5 each"):
        structured_reasoning.train(run)
