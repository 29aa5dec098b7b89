"""Folders named by labels, and listings of files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training.data.files import save_photo, write_lines
from training.cli import app
from training.data.drops import DataError, DropReason
from training.data.folders import read_folder, read_listing
from training.data.item import ImageFile
from worker.reading.taxonomy import load_taxonomies

EMOSET = load_taxonomies()["emoset-8"]
SCENES = load_taxonomies()["scenes"]


def test_folders_say_the_labels(tmp_path: Path) -> None:
    for name in ("Awe/1.jpg", "awe/deeper/2.PNG", "boredom/3.jpg"):
        save_photo(tmp_path / name, 1)
    for name in ("awe/notes.txt", "4.jpg", ".hidden/5.jpg", "awe/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    out = read_folder(tmp_path, EMOSET)
    labels = {item.item_id.removeprefix(f"{tmp_path}/"): item.label for item in out.items}
    # That a label is none of the taxonomy is found out with those of all other sources.
    assert labels == {"Awe/1.jpg": "awe", "awe/deeper/2.PNG": "awe", "boredom/3.jpg": "boredom"}
    assert {(drop.reason, Path(drop.where).name) for drop in out.dropped} == {
        (DropReason.IMAGE_UNUSABLE, "notes.txt"),
        (DropReason.UNKNOWN_LABEL, "4.jpg"),
    }


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        read_folder(tmp_path / "none", EMOSET)
    (tmp_path / "holidays").mkdir()
    with pytest.raises(DataError, match=r"holds holidays, and no folder of a label of emoset-8 \(amusement"):
        read_folder(tmp_path, EMOSET)


def test_a_csv_lists_files_and_labels(tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text('\ufefflabel,file,more\nawe,a.jpg,1\n,b.jpg\nFear,"c,d.jpg"\n', encoding="utf-8")
    out = read_listing(listing, tmp_path / "photos", EMOSET)
    assert [(item.label, item.image) for item in out.items] == [
        ("awe", ImageFile(path=tmp_path / "photos" / "a.jpg")),
        ("fear", ImageFile(path=tmp_path / "photos" / "c,d.jpg")),
    ]
    [drop] = out.dropped
    assert (drop.reason, drop.where, drop.what) == (DropReason.BAD_RECORD, f"{listing}:3", "there is no label")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "not nothing"), (b"path,emotion\na,awe\n", "not path, emotion"), (b"file,label\n\xff\xfe,a\n", "UTF-8")],
)
def test_a_csv_that_is_none_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_listing(tmp_path / "list.csv", tmp_path, EMOSET)


def test_scenes_that_the_command_drew_are_read_with_their_probabilities(tmp_path: Path) -> None:
    drawn = CliRunner().invoke(app, ["scenes", "--count", "3", "--out", str(tmp_path)])
    assert drawn.exit_code == 0, drawn.output
    out = read_listing(tmp_path / "scenes.jsonl", tmp_path, SCENES)
    assert out.dropped == ()
    first = json.loads((tmp_path / "scenes.jsonl").read_text().splitlines()[0])
    item = out.items[0]
    assert item.probabilities == pytest.approx([first["probabilities"][label] for label in SCENES.labels], abs=1e-5)
    assert sum(item.probabilities or ()) == pytest.approx(1)


@pytest.mark.parametrize(
    "probabilities",
    [
        [0.5, 0.5],
        {"awe": 1.0},
        dict.fromkeys(SCENES.labels, 0.2),
        dict.fromkeys(SCENES.labels, "0.125"),
        dict.fromkeys(SCENES.labels, True),
        dict.fromkeys(SCENES.labels, 0.0) | {"awe": 1.5, "fear": -0.5},
    ],
)
def test_probabilities_that_are_none_are_dropped(tmp_path: Path, probabilities: object) -> None:
    listing = write_lines(tmp_path / "l.jsonl", {"file": "a.png", "label": "awe", "probabilities": probabilities})
    out = read_listing(listing, tmp_path, SCENES)
    assert [drop.reason for drop in out.dropped] == [DropReason.BAD_PROBABILITIES]
