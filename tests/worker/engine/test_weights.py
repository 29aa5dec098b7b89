"""A model's version changes with anything that decides what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worker.engine.protocol import EngineDeadError
from worker.engine.weights import folder_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"header" + bytes(1000))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "README.md").write_text("a model")
    return folder


def test_the_declared_version_counts(folder: Path) -> None:
    (folder / "tidegate.json").write_text(json.dumps({"model_version": "tiny-7"}))
    assert folder_version(folder) == "tiny-7"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"header" + bytes(999) + b"\1"),
        ("tokenizer.json", b'{"a": 1}'),
        ("chat_template.jinja", b"{{ messages }}"),
    ],
)
def test_one_changed_byte_makes_another_version(folder: Path, name: str, content: bytes) -> None:
    before = folder_version(folder)
    assert before.startswith("mine-")
    assert folder_version(folder) == before
    (folder / name).write_bytes(content)
    assert folder_version(folder) != before


def test_its_description_does_not_decide_what_it_says(folder: Path) -> None:
    before = folder_version(folder)
    (folder / "README.md").write_text("a better model")
    assert folder_version(folder) == before


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"model_version": ""}', '{"model_version": 7}'])
def test_a_broken_declaration_is_named(folder: Path, card: str) -> None:
    (folder / "tidegate.json").write_text(card)
    with pytest.raises(EngineDeadError, match=r"mine.*tidegate\.json"):
        folder_version(folder)
