"""`tidegate calibrate` as an analyst types it: from files of predictions to a certificate and a report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from calibration.calibrator import Calibrator
from calibration.certify.procedure import certify
from calibration.cli import app
from calibration.offline.content import read_content, write_content
from calibration.offline.files import read_signals
from tests.calibration.offline.predictions import predictions


def calibrate(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrator fitted on 1,500 outcomes; 3,000 newer outcomes and 20,000 readings of traffic, scored."""
    place = tmp_path_factory.mktemp("offline")
    write_content(place / "older.csv", predictions(1_500, 1, ids="old"))
    write_content(place / "newer.parquet", predictions(3_000, 2, ids="new"))
    write_content(place / "traffic.parquet", predictions(20_000, 3, ids="t", outcomes=False))
    calibrate("fit", "--outcomes", place / "older.csv", "--out", place / "calibrator.json")
    for name in ("newer", "traffic"):
        source, out = place / f"{name}.parquet", place / f"{name}_scored.parquet"
        calibrate("apply", "--calibrator", place / "calibrator.json", "--signals", source, "--out", out)
    return place


def certified(folder: Path, *more: object, code: int = 0, outcomes: str = "newer_scored.parquet") -> Result:
    files = ("--outcomes", folder / outcomes, "--traffic", folder / "traffic_scored.parquet")
    return calibrate("certify", *files, *more, code=code)


def answer(result: Result) -> dict[str, Any]:
    lines = result.stdout.splitlines()
    assert len(lines) == 1
    document: dict[str, Any] = json.loads(lines[0])
    return document


def scores(folder: Path, name: str) -> Any:
    column = read_content(folder / f"{name}_scored.parquet").table["score"]
    return column.to_numpy()


def test_fit_writes_a_calibrator_that_can_be_read_again(folder: Path) -> None:
    document = json.loads((folder / "calibrator.json").read_text())
    assert document["schema_version"] == 1
    assert Calibrator.model_validate(document).calibrator_id == document["calibrator_id"]


def test_fit_says_how_good_it_is_on_outcomes_it_has_not_seen(folder: Path, tmp_path: Path) -> None:
    said = calibrate("fit", "--outcomes", folder / "older.csv", "--out", tmp_path / "c.json").stderr
    written = Calibrator.model_validate_json((tmp_path / "c.json").read_bytes())
    assert written.metrics is not None
    assert f"of 1,500 outcomes, {written.unparsed} of them left out: not parsed" in said
    assert (
        f"on the newest {written.metrics.n}, fitted without them: Brier score {written.metrics.brier.value:.4f}" in said
    )
    write_content(tmp_path / "few.csv", predictions(20, 1))
    assert "newest" not in calibrate("fit", "--outcomes", tmp_path / "few.csv", "--out", tmp_path / "c.json").stderr


def test_apply_says_what_the_calibrator_says_and_keeps_every_column(folder: Path) -> None:
    calibrator = Calibrator.model_validate_json((folder / "calibrator.json").read_bytes())
    before = read_content(folder / "traffic.parquet").table
    after = read_content(folder / "traffic_scored.parquet").table
    assert after.column_names == [*before.column_names, "score", "low", "high"]
    assert after.select(before.column_names) == before
    wanted = calibrator.score(read_signals(folder / "traffic.parquet").signals)
    for name in ("score", "low", "high"):
        np.testing.assert_array_equal(after[name].to_numpy(), getattr(wanted, name))
    parsed = np.array(after["parse_ok"].to_pylist())
    assert np.array_equal(np.array([cell is not None for cell in after["score"].to_pylist()]), parsed)


def test_apply_to_a_csv_gives_the_same_scores(folder: Path, tmp_path: Path) -> None:
    write_content(tmp_path / "few.csv", predictions(50, 2, ids="new"))
    arguments = ("--calibrator", folder / "calibrator.json", "--signals", tmp_path / "few.csv")
    calibrate("apply", *arguments, "--out", tmp_path / "a.csv")
    calibrate("apply", *arguments, "--out", tmp_path / "a.parquet")
    texts = read_content(tmp_path / "a.csv").table["score"].to_pylist()
    numbers = read_content(tmp_path / "a.parquet").table["score"].to_pylist()
    assert [None if cell is None else float(cell) for cell in texts] == numbers


def test_certify_prints_what_the_procedure_found(folder: Path) -> None:
    found = answer(certified(folder, "--max-error", 0.05, "--confidence", 0.9))
    table = read_content(folder / "newer_scored.parquet").table
    wrong = ~np.array(table["correct"].to_pylist())
    wanted = certify(scores(folder, "newer"), wrong, scores(folder, "traffic"), max_error=0.05, confidence=0.9)
    assert wanted.status == "certified"
    assert found["status"] == "certified"
    assert found["threshold"] == wanted.threshold
    assert found["upper_bound"] == wanted.upper_bound <= 0.05
    assert found["labels_used"] == wanted.labels_used
    assert found["labels_needed"] is None
    traffic = scores(folder, "traffic")
    assert found["coverage"] == pytest.approx(np.sum(traffic >= wanted.threshold) / len(traffic))
    assert found["coverage"] > 0.1


def test_too_few_labels_are_an_answer_with_numbers(folder: Path, tmp_path: Path) -> None:
    write_content(tmp_path / "few.parquet", read_content(folder / "newer_scored.parquet").table.slice(0, 20))
    found = answer(
        calibrate(
            "certify", "--outcomes", tmp_path / "few.parquet", "--traffic", folder / "traffic_scored.parquet",
            "--max-error", 0.01,
        )
    )  # fmt: skip
    assert found["status"] == "insufficient_labels"
    assert found["labels_needed"] > found["labels_used"]
    assert found["threshold"] is None
    assert found["coverage"] == 0.0


def test_a_model_that_is_always_wrong_is_not_certified(folder: Path, tmp_path: Path) -> None:
    table = read_content(folder / "newer_scored.parquet").table
    wrong = table.set_column(table.schema.get_field_index("correct"), "correct", pa.array([False] * len(table)))
    write_content(tmp_path / "wrong.parquet", wrong)
    found = answer(certified(folder, "--max-error", 0.05, outcomes=str(tmp_path / "wrong.parquet")))
    assert found["status"] == "no_certifiable_threshold"
    assert found["threshold"] is found["upper_bound"] is found["labels_needed"] is None


def test_unequal_propensities_are_refused_or_thinned(folder: Path, tmp_path: Path) -> None:
    table = read_content(folder / "newer_scored.parquet").table
    mixed = np.where(np.arange(len(table)) % 2, 0.5, 1.0)
    table = table.set_column(table.schema.get_field_index("propensity"), "propensity", pa.array(mixed))
    write_content(tmp_path / "mixed.parquet", table)
    refused = certified(folder, "--max-error", 0.05, outcomes=str(tmp_path / "mixed.parquet"), code=2)
    assert refused.stdout == ""
    assert "column propensity: the rows were drawn at different rates, 0.5 to 1" in refused.stderr
    assert "--thin" in refused.stderr
    thinned = certified(folder, "--max-error", 0.05, "--thin", outcomes=str(tmp_path / "mixed.parquet"))
    assert "thinned to the rate 0.5" in thinned.stderr
    again = certified(folder, "--max-error", 0.05, "--thin", outcomes=str(tmp_path / "mixed.parquet"))
    assert answer(thinned) == answer(again)
    used = answer(thinned)["labels_used"]
    assert abs(used - 2_250) < 5 * np.sqrt(1_500 * 0.25)


def test_the_whole_way_as_processes(folder: Path, tmp_path: Path) -> None:
    """What a shell sees: one JSON object on standard output, words on standard error, exit codes."""
    command = [sys.executable, "-m", "deploy.cli", "calibrate", "certify", "--max-error", "0.05"]
    files = ["--outcomes", str(folder / "newer_scored.parquet"), "--traffic", str(folder / "traffic_scored.parquet")]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["status"] == "certified"
    files[1] = str(tmp_path / "absent.csv")
    refused = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"{tmp_path / 'absent.csv'}: cannot be read (No such file or directory). " + (
        "Check the name and the permissions.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "state the promise"),
        (("--max-error", 5), "a share above 0 and below 1"),
        (("--max-error", "nan"), "a share above 0 and below 1"),
        (("--max-error", 0.05, "--confidence", 90), "above 0.5 and below 1"),
        (("--max-error", 0.05, "--policy", "p.json"), "leave out --max-error"),
        (("--policy", "absent.json"), "absent.json: cannot be read"),
    ],
)
def test_promises_that_are_none_are_refused(folder: Path, arguments: tuple[object, ...], message: str) -> None:
    refused = certified(folder, *arguments, code=2)
    assert refused.stdout == ""
    assert message in " ".join(refused.stderr.replace("│", " ").split())


def test_severe_labels_and_promises_by_label_come_from_a_policy(folder: Path, tmp_path: Path) -> None:
    policy = {
        "policy_id": "p-1",
        "taxonomy": "emotions",
        "created_at": "2026-11-01T00:00:00Z",
        "max_error": 0.1,
        "promise": "per_label",
        "severe_labels": ["fear"],
    }
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    found = answer(certified(folder, "--policy", tmp_path / "policy.json"))
    spoken_of = [promise["labels"] for promise in found["promises"]]
    assert ["fear"] not in spoken_of
    assert {"awe", "contentment", "disgust", "sadness"} <= {label for labels in spoken_of for label in labels}
    assert found["max_error"] == 0.1
    (tmp_path / "policy.json").write_text(json.dumps(policy | {"max_error": 7, "severe_labels": 3}))
    refused = certified(folder, "--policy", tmp_path / "policy.json", code=2).stderr
    assert "2 problems" in refused
    assert "max_error: Input should be less than 1" in refused
    assert "severe_labels" in refused


WRONG_USE = [
    (("fit", "--outcomes", "older.csv", "--out", "absent/c.json"), "there is no folder"),
    (("fit", "--outcomes", "traffic.parquet", "--out", "c.json"), "column correct: is missing"),
    (("fit", "--outcomes", "older.csv", "--out", "older.csv"), "is an input too"),
    (("fit", "--outcomes", "older.csv"), "Missing option '--out'"),
    (("apply", "--calibrator", "older.csv", "--signals", "newer.parquet", "--out", "o.csv"), "Invalid JSON"),
    (("apply", "--calibrator", "calibrator.json", "--signals", "newer.parquet", "--out", "o.xls"), "suffix is .xls"),
    (("apply", "--calibrator", "calibrator.json", "--signals", "calibrator.json", "--out", "o.csv"), "suffix is .json"),
    (
        ("certify", "--outcomes", "newer.parquet", "--traffic", "traffic_scored.parquet", "--max-error", "0.05"),
        "newer.parquet: column score: is missing. Add it. Score the file with `tidegate calibrate apply`",
    ),
    (
        ("report", "--outcomes", "newer.parquet", "--calibrator", "calibrator.json", "--max-error", "0.05",
         "--out", "r.html"),
        "give --traffic",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG_USE)
def test_wrong_use_is_told_apart_and_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(folder)
    before = {entry.name: entry.stat().st_mtime_ns for entry in folder.iterdir()}
    refused = calibrate(*arguments, code=2)
    assert refused.stdout == ""
    assert message in " ".join(refused.stderr.replace("│", " ").split())
    assert {entry.name: entry.stat().st_mtime_ns for entry in folder.iterdir()} == before


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["label", "score", "correct", "propensity", "event_id"]),
            st.sampled_from(["", "nan", "-1", "1e400", "0", "1", "0.5", "true", "\x00", "é", "joy", '"', "a,b"]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_no_cell_makes_certify_stumble(tmp_path: Path, cells: list[tuple[int, str, str]]) -> None:
    rows = [
        {"event_id": f"e{row}", "label": "awe", "score": "0.9", "correct": "true", "propensity": "1"}
        for row in range(3)
    ]
    for row, column, cell in cells:
        rows[row][column] = cell
    text = "\n".join(",".join(row.values()) for row in rows)
    (tmp_path / "scored.csv").write_text("event_id,label,score,correct,propensity\n" + text + "\n")
    files = ("--outcomes", tmp_path / "scored.csv", "--traffic", tmp_path / "scored.csv")
    result = CliRunner().invoke(app, ["certify", *map(str, files), "--max-error", "0.05"])
    if result.exit_code:
        assert result.exit_code == 2, result.exception
        assert str(tmp_path / "scored.csv") in result.stderr
        assert result.stdout == ""
    else:
        assert answer(result)["status"] == "insufficient_labels"


def test_help_teaches(folder: Path) -> None:
    shown = calibrate("certify", "--help").stdout
    for word in ("insufficient_labels", "--max-error", "--thin", "--policy"):
        assert word in shown
