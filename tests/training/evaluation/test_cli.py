"""The commands, with a scripted engine: what they print, what they leave behind, how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

import training
from training.data.cli import prepare
from training.evaluation.cli import compare, evaluate
from training.evaluation.evaluating import Evaluation
from training.scenes import LABELS, encode, scene

CHECKPOINT = Path(training.__file__).parent / "checkpoint"

app = typer.Typer(pretty_exceptions_enable=False)
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.command("prepare")(prepare)

# Of what torch imports.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def printed(result: Result) -> dict[str, Any]:
    """The one line on standard output."""
    (line,) = result.stdout.splitlines()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The engine's script: answers at once, each image its own."""
    path = tmp_path / "script.yaml"
    path.write_text("faults: {unparsable: 0.1}\n")
    monkeypatch.setenv("TIDEGATE_ENGINE_KIND", "scripted")
    monkeypatch.setenv("TIDEGATE_ENGINE_SCRIPT", str(path))
    return path


@pytest.fixture(scope="module")
def vecbench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as VECBench's: drawn scenes as two tasks, and one line that is no record."""
    folder = tmp_path_factory.mktemp("vecbench")
    lines = []
    for number in range(60):
        drawn = scene(11, number)
        (folder / f"{number}.png").write_bytes(encode(drawn.image, "PNG"))
        task, candidates = (
            ("EmoSet-8", [label.title() for label in LABELS]) if number % 2 else ("FI-2", ["Positive", "Negative"])
        )
        label = LABELS[drawn.label] if number % 2 else ("positive" if drawn.label % 2 else "negative")
        question = f"Which emotion might this image evoke? Choose the most likely one from {candidates}."
        content = [{"type": "image", "image": f"{number}.png"}, {"type": "text", "text": question}]
        turns = [{"role": "user", "content": content}]
        lines.append({"conversations": turns, "ground_truth": label, "task": task, "candidates": candidates})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "test.jsonl").write_text(text + "{}\n")
    return folder / "test.jsonl"


def test_scenes_are_measured_against_their_truth(script: Path) -> None:
    result = run("evaluate", "--model", CHECKPOINT, "--scenes", 80, "--seed", 5)
    assert result.exit_code == 0, result.stderr
    found = printed(result)
    named = {"accuracy", "best_accuracy", "ece", "brier", "brier_skill", "best_brier_skill", "auroc", "parse_failures"}
    assert named | {"label_ece", "label_brier", "label_auroc", "accuracy_interval"} <= set(found)
    assert found["scenes"] == 80
    assert 0 < found["parse_failures"] < 25
    # The script knows nothing of the images.
    assert found["accuracy"] == pytest.approx(1 / 8, abs=0.1)
    assert 0.6 < found["best_accuracy"] < 0.85
    low, high = found["accuracy_interval"]
    assert low < found["accuracy"] < high
    assert found["model_version"].startswith("scripted-")


def test_vecbench_leaves_everything_behind_and_a_second_run_asks_nothing(
    script: Path, vecbench: Path, tmp_path: Path
) -> None:
    arguments = ["evaluate", "--model", CHECKPOINT, "--vecbench", vecbench, "--out", tmp_path / "out", "--compat"]
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "1 of 61 records cannot be used" in refused.stderr
    arguments += ["--max-dropped", 0.05, "--compat-gpus", 7]
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    found = printed(result)
    assert (found["n"], found["dropped"]) == (60, {"bad_record": 1})
    assert set(found["tasks"]) == {"fi-2", "emoset-8"}
    assert set(found["pooled"]) == set(found["macro"]) == {"ID VSA", "ID VER", "all"}
    mean = (found["tasks"]["fi-2"]["accuracy"] + found["tasks"]["emoset-8"]["accuracy"]) / 2
    assert found["macro"]["all"]["accuracy"] == pytest.approx(mean, abs=1e-4)
    assert found["compat"]["tail_left_out"] == 4
    assert "/ 88.10" in result.stderr
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"setup.json", "readings.jsonl", "result.json", "table.md"} <= left
    assert {"reliability-all.png", "risk-coverage-id-vsa.svg"} <= left
    document = Evaluation.model_validate_json((tmp_path / "out" / "result.json").read_bytes())
    assert document.setup.temperature == 0.7  # as published
    assert document.setup.taxonomies["emoset-8"].labels == LABELS
    before = (tmp_path / "out" / "readings.jsonl").read_bytes()
    again = run(*arguments)
    assert printed(again) == found
    assert (tmp_path / "out" / "readings.jsonl").read_bytes() == before


def test_what_was_held_out_is_measured(script: Path, vecbench: Path, tmp_path: Path) -> None:
    prepared = ["prepare", "--vecbench", vecbench, "--out", tmp_path / "data", "--held-out", 0.4, "--max-dropped", 0.05]
    assert run(*prepared).exit_code == 0
    result = run("evaluate", "--model", CHECKPOINT, "--data", tmp_path / "data")
    assert result.exit_code == 0, result.stderr
    found = printed(result)
    assert 15 <= found["n"] <= 33
    assert found["source"] == f"held out in {tmp_path / 'data'}"
    assert found["pooled"]["all"]["n"] == found["n"]
    assert "compat" not in found


def test_an_evaluation_that_stopped_is_not_compared_but_goes_on(script: Path, tmp_path: Path) -> None:
    script.write_text("faults: {die_after: 30}\n")
    arguments = ["evaluate", "--model", CHECKPOINT, "--scenes", 50, "--in-flight", 4, "--out", tmp_path / "out"]
    stopped = run(*arguments)
    assert stopped.exit_code == 4
    assert "what has been read stays in --out" in stopped.stderr
    unfinished = run("compare", tmp_path / "out", tmp_path / "out")
    assert unfinished.exit_code == 2
    assert "has not been finished" in unfinished.stderr
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    script.write_text("{}\n")
    alone = printed(run("evaluate", "--model", CHECKPOINT, "--scenes", 50))
    assert alone | {"model_version": ""} == printed(result) | {"model_version": ""}


def test_another_model_may_not_go_on(script: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "--model", CHECKPOINT, "--scenes", 5, "--out", tmp_path / "out"]
    assert run(*arguments).exit_code == 0
    script.write_text("seed: 9\n")
    result = run(*arguments)
    assert result.exit_code == 2
    assert "holds readings of another setup (model scripted-" in result.stderr
    assert "Traceback" not in result.stderr


def test_models_are_compared_on_the_same_scenes(script: Path, tmp_path: Path) -> None:
    script.write_text("answers: [{label: awe, confidence: 0.2, label_probability: 0.2}]\n")
    assert run("evaluate", "--model", CHECKPOINT, "--scenes", 400, "--out", tmp_path / "awe").exit_code == 0
    same = run("compare", tmp_path / "awe", CHECKPOINT, "--scenes", 400, "--parse-margin", 0.05)
    assert same.exit_code == 0, same.stderr
    found = printed(same)
    assert (found["verdict"], found["voids_certificate"], found["n"]) == ("may_replace", False, 400)
    script.write_text("faults: {unparsable: 0.5}\n")
    worse = run("compare", tmp_path / "awe", CHECKPOINT, "--scenes", 400, "--out", tmp_path / "both")
    assert worse.exit_code == 1
    assert printed(worse)["verdict"] == "must_not_replace"
    assert "answers that can be read: B gains -" in worse.stderr
    assert "the gate begins in shadow again" in worse.stderr
    assert (tmp_path / "both" / "b" / "readings.jsonl").read_bytes().count(b"\n") == 400
    few = run("compare", CHECKPOINT, CHECKPOINT, "--scenes", 20)
    assert few.exit_code == 3
    assert printed(few)["verdict"] == "undecided"
    other = run("compare", tmp_path / "awe", CHECKPOINT, "--scenes", 30)
    assert other.exit_code == 2
    assert "have not read the same items: 370 were read by one alone" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "--model", "m", "--scenes", "3", "--vecbench", "x.jsonl"], "choose one of"),
        (["evaluate", "--model", "m", "--compat"], "published figures are of VECBench"),
        (["evaluate", "--model", "m", "--vecbench", "/nowhere.jsonl"], "/nowhere.jsonl cannot be read"),
        (["evaluate", "--model", "m", "--data", "/nowhere"], "/nowhere is no prepared folder"),
        (["compare", "/nowhere", "/nowhere"], "is no folder of an evaluation"),
        (["compare", "a", "b", "--signal", "loud"], "neither verbal nor label"),
    ],
)
def test_wrong_usage_is_said_in_a_sentence(script: Path, arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert not result.stdout


def test_an_engine_that_cannot_start_is_no_wrong_usage(script: Path) -> None:
    script.write_text("faults: {die_after: 3}\n")
    result = run("evaluate", "--model", CHECKPOINT, "--scenes", 30)
    assert result.exit_code == 4
    assert "the script let the engine die" in result.stderr
