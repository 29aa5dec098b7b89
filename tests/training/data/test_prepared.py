"""`tidegate train prepare` as a user runs it, and the folder as the stages read it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.training.data.files import answer, bench, cot, save_photo, write_lines
from training.data import preparing
from training.data.cli import prepare
from training.data.drops import DataError
from training.data.loading import TINY, Examples
from training.data.prepared import read_prepared
from worker.reading.taxonomy import load_taxonomies

STAGES = ["reasoning", "confidence", "calibration", "held_out"]


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(prepare)
    return CliRunner().invoke(app, [str(each) for each in arguments] + ["--processes", "2"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images with reasoning, 20 of a benchmark, 6 in folders; two records broken, one image copied smaller."""
    root = tmp_path_factory.mktemp("data")
    for number in range(46):
        save_photo(root / "photos" / f"{number}.jpg", number)
    with_reasoning = [cot(f"photos/{number}.jpg", answer("awe", "0.8")) for number in range(40)]
    write_lines(root / "cot.jsonl", *with_reasoning, b'{"messages": [', cot("photos/none.jpg", answer("awe")))
    smaller = root / "photos" / "smaller.png"
    save_photo(smaller, 3)
    records = [bench(f"photos/{number}.jpg", "joy", "Mine-3", ("joy", "grief", "calm")) for number in range(20, 39)]
    write_lines(root / "bench.jsonl", *records, bench("photos/smaller.png", "calm", "Mine-3", ("joy", "grief", "calm")))
    for number in range(40, 46):
        (root / "folders" / "fear").mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "photos" / f"{number}.jpg", root / "folders" / "fear")
    return root


def everything(data: Path, out: Path) -> list[str | Path]:
    sources = ("--vec-cot", data / "cot.jsonl", "--vecbench", data / "bench.jsonl", "--folder", data / "folders")
    return ["--out", out, *sources, "--taxonomy", "emoset-8"]


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "prepared"
    done = run(*everything(data, out))
    assert done.exit_code == 0, done.output
    return out


def test_several_sources_become_one_folder(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "prepared"
    done = run(*everything(data, out))
    assert done.exit_code == 0, done.output
    [line] = done.stdout.splitlines()
    said = json.loads(line)
    assert (said["kept"], said["dropped"]) == (66, {"bad_json": 1, "image_missing": 1})
    assert sum(said["stages"].values()) == 66
    assert said["fingerprint"] == hashlib.sha256((out / "items.jsonl").read_bytes()).hexdigest()
    assert "dropped 1 image_missing, as" in done.stderr
    assert "photos/none.jpg" in done.stderr
    assert "have no reasoning to learn from" in done.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["examples"]["bad_json"][0]["where"] == f"{data / 'cot.jsonl'}:41"
    assert len((out / "dropped.jsonl").read_text().splitlines()) == 2
    assert load_taxonomies(out / "taxonomies").keys() == {"emoset-8", "mine-3"}
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_the_stages_read_what_was_prepared(made: Path) -> None:
    prepared = read_prepared(made)
    assert list(prepared.items) == STAGES
    items = [item for stage in STAGES for item in prepared.items[stage]]  # type: ignore[index]  # their names
    assert len(items) == 66
    assert prepared.taxonomies["mine-3"].labels == ("joy", "grief", "calm")
    assert {item.confidence for item in items if item.reasoning is not None} == {0.8}
    by_image: dict[str, set[str | None]] = {}
    for item in items:
        by_image.setdefault(item.content, set()).add(item.stage)
    assert all(len(stages) == 1 for stages in by_image.values())
    assert len(by_image) == 47
    # Its look-alike is another file with other pixels, and goes where it goes.
    [smaller] = [item for item in items if item.label == "calm"]
    [original] = [item for item in items if item.item_id.endswith("cot.jsonl:4")]
    assert smaller.stage == original.stage
    assert smaller.content != original.content
    example = Examples(prepared.items["reasoning"], TINY, prepared.folder)[0]
    assert example.image.shape == (28, 56, 3)


def test_the_same_sources_give_the_same_folder(data: Path, made: Path, tmp_path: Path) -> None:
    assert run(*everything(data, tmp_path / "again")).exit_code == 0
    assert read_prepared(tmp_path / "again").fingerprint == read_prepared(made).fingerprint
    assert run(*everything(data, tmp_path / "other"), "--seed", "1").exit_code == 0
    assert read_prepared(tmp_path / "other").fingerprint != read_prepared(made).fingerprint


def test_nothing_appears_where_preparing_was_interrupted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(preparing, "split", interrupted)
    assert run(*everything(data, tmp_path / "out")).exit_code != 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="no prepared folder"):
        read_prepared(tmp_path / "out")


def test_what_is_there_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = run(*everything(data, tmp_path))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "exists already: give another --out" in done.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_mostly_broken_data_is_refused_before_an_image_is_opened(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "check_images", lambda *_: pytest.fail("an image was opened"))
    arguments = ("--out", tmp_path / "out", "--vec-cot", data / "cot.jsonl", "--taxonomy", "emoset-8")
    done = run(*arguments, "--images", tmp_path)
    assert done.exit_code == 2
    assert "no item is left to train on" in done.stderr
    assert f"41 image_missing, as {data / 'cot.jsonl'}:1: there is no file {tmp_path / 'photos/0.jpg'}" in done.stderr
    refused = run(*arguments, "--max-dropped", "0.01")
    assert refused.exit_code == 2
    assert "2 of 42 records cannot be used, more than the 1% that --max-dropped allows" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give at least one of"),
        (("--folder", "none"), "no taxonomy is given"),
        (("--folder", "none", "--taxonomy", "x"), "there is no taxonomy 'x'"),
        (("--folder", "none", "--taxonomy", "fi-8"), "none is not a folder"),
        (("--listing", "none.csv", "--taxonomy", "fi-8"), "none.csv cannot be read"),
        (("--vecbench", "none.jsonl"), "none.jsonl cannot be read"),
        (("--vecbench", "x", "--taxonomies", "none"), "none is not a folder of taxonomy files"),
        (("--vecbench", "x", "--shares", "0.5,0.5"), "three numbers"),
        (("--vecbench", "x", "--shares", "0.5,0.4,0.2"), "sum to 1"),
        (("--vecbench", "x", "--held-out", "1"), "held-out share"),
        (("--vecbench", "x", "--near-duplicates", "99"), "0 to 63 bits"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run("--out", tmp_path / "out", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in " ".join(done.stderr.replace("│", " ").split())


def test_tasks_of_one_name_and_other_labels_are_not_mixed(data: Path, tmp_path: Path) -> None:
    other = write_lines(tmp_path / "other.jsonl", bench(str(data / "photos/1.jpg"), "joy", "mine 3", ("joy", "rage")))
    done = run("--out", tmp_path / "out", "--vecbench", data / "bench.jsonl", "--vecbench", other)
    assert done.exit_code == 2
    assert "state different labels for the task mine-3: joy, rage and joy, grief, calm" in done.stderr


def change(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def test_a_folder_that_is_not_as_it_was_written_is_refused(made: Path, tmp_path: Path) -> None:
    def damaged() -> Path:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        return shutil.copytree(made, tmp_path / "copy")

    folder = damaged()
    assert read_prepared(folder).fingerprint == read_prepared(made).fingerprint
    items = folder / "items.jsonl"
    items.write_bytes(b"".join(items.read_bytes().splitlines(keepends=True)[:50]) + b'{"item_id":')
    with pytest.raises(DataError, match=r"items\.jsonl is not what was prepared: it holds 50 of 66 items"):
        read_prepared(folder)
    change(damaged() / "items.jsonl", b'"stage":"reasoning"', b'"stage":"held_out"')
    with pytest.raises(DataError, match="was changed"):
        read_prepared(folder)
    (damaged() / "items.jsonl").unlink()
    with pytest.raises(DataError, match=r"items\.jsonl cannot be read \(No such file"):
        read_prepared(folder)
    change(damaged() / "report.json", b'"schema_version": 1', b'"schema_version": 2')
    with pytest.raises(DataError, match=r"report\.json is damaged, or of another version"):
        read_prepared(folder)
    change(damaged() / "taxonomies" / "emoset-8.yaml", b"- awe\n", b"- wonder\n")
    with pytest.raises(DataError, match="label awe of emoset-8 does not fit"):
        read_prepared(folder)


def test_a_person_is_told_what_to_look_at_before_training(tmp_path: Path) -> None:
    for quality in range(60, 74):
        save_photo(tmp_path / f"{quality}.jpg", 1, quality=quality)
    records = [cot(f"{quality}.jpg", answer("awe", element="awe everywhere")) for quality in range(60, 74)]
    lines = write_lines(tmp_path / "cot.jsonl", *records, cot("60.jpg", answer("fear")))
    done = run("--out", tmp_path / "out", "--vec-cot", lines, "--taxonomy", "emoset-8", "--held-out", "0")
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert "1 images have several labels of one taxonomy; all are kept" in said
    assert "14 items say their label before the reasoning concludes" in said
    assert "14 images form one chain of look-alikes and go to one stage: look at them, or lower --near-dup" in said
    assert said.count("has no items") == 2


def test_a_place_that_cannot_be_written_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(*everything(data, tmp_path / "file" / "out"))
    assert done.exit_code == 2
    assert "file/out cannot be written" in " ".join(done.stderr.split())
