"""A run's folder: it belongs to one configuration, and says what it was made with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training.conftest import Begin, small
from training.cli import app
from training.config import load_config
from training.run import Run, RunError
from training.scenes import encode, scene


def test_a_run_can_be_opened_again(begin: Begin) -> None:
    run = begin()
    assert Run.open(run.folder).config == run.config
    assert Run.begin(run.folder, run.config).config == run.config
    said = json.loads((run.folder / "run.json").read_text())
    assert said["libraries"].keys() >= {"torch", "transformers", "trl", "peft", "accelerate"}
    assert said["processes"] == 1


def test_another_configuration_is_refused(begin: Begin) -> None:
    run = begin()
    with pytest.raises(RunError, match="holds a run of another configuration"):
        Run.begin(run.folder, load_config("tiny"))


def test_other_data_under_the_same_path_are_refused(tmp_path: Path) -> None:
    """Two stages of one run must not see the same image because somebody prepared it anew in between."""
    photos = tmp_path / "photos" / "awe"
    photos.mkdir(parents=True)
    config = small(
        model={"kind": "pretrained", "name": "somewhere"}, data={"kind": "prepared", "folder": str(tmp_path / "data")}
    )

    def prepare(count: int) -> None:
        for number in range(count):
            (photos / f"{number}.png").write_bytes(encode(scene(3, number).image, "PNG"))
        command = ["prepare", "--out", str(tmp_path / "data"), "--folder", str(photos.parent), "--taxonomy", "scenes"]
        assert CliRunner().invoke(app, command).exit_code == 0

    prepare(6)
    run = Run.begin(tmp_path / "run", config)
    assert json.loads((run.folder / "run.json").read_text())["data"].startswith("prepared:")
    assert Run.begin(tmp_path / "run", config).config == config
    shutil.rmtree(tmp_path / "data")
    prepare(7)
    with pytest.raises(RunError, match="was begun with other data"):
        Run.begin(tmp_path / "run", config)


def test_a_begin_that_was_killed_can_be_made_again(tmp_path: Path) -> None:
    """run.json comes first and config.yaml makes it a run, so that no run is without its versions."""
    (tmp_path / "run.json").write_text("{}")
    run = Run.begin(tmp_path, small())
    assert json.loads((run.folder / "run.json").read_text())["data"] == "scenes:5"


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(RunError, match="not empty and holds no run"):
        Run.begin(tmp_path, small())
    with pytest.raises(RunError, match="holds no run that can be read"):
        Run.open(tmp_path)


def test_another_process_may_come_while_the_first_one_writes(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.17").touch()
    assert Run.begin(tmp_path, small(), primary=False).config == small()
    assert [path.name for path in tmp_path.iterdir()] == [".config.yaml.17"]


def test_half_a_checkpoint_is_deleted_and_the_whole_one_before_it_taken(begin: Begin) -> None:
    stage = begin().stage("reasoning")
    assert stage.last_checkpoint() is None
    for step, state in ((9, "{}"), (10, "{}"), (100, '{"half')):
        (stage.checkpoints / f"checkpoint-{step}").mkdir(parents=True)
        (stage.checkpoints / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (stage.checkpoints / "checkpoint-101").mkdir()
    assert stage.last_checkpoint() == stage.checkpoints / "checkpoint-10"
    assert {path.name for path in stage.checkpoints.iterdir()} == {"checkpoint-9", "checkpoint-10"}
