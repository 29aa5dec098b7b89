"""Taxonomies are configuration: the shipped ones are there, and a wrong file is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.reading.prompt import build_prompt
from worker.reading.taxonomy import SHIPPED, TaxonomyError, load_taxonomies

VECBENCH = {
    "emoset-8": 8,
    "fi-8": 8,
    "fi-2": 2,
    "webemo-25": 25,
    "webemo-7": 7,
    "webemo-2": 2,
    "unbiasedemo-6": 6,
    "abstract-8": 8,
    "artphoto-8": 8,
}


def test_the_nine_label_sets_of_vecbench_and_the_scenes_are_shipped() -> None:
    taxonomies = load_taxonomies()
    assert {name: len(taxonomies[name].labels) for name in VECBENCH} == VECBENCH
    assert "scenes" in taxonomies
    assert all(path.stem in taxonomies for path in SHIPPED.glob("*.yaml"))


def test_sentiment_is_asked_for_as_such() -> None:
    taxonomies = load_taxonomies()
    for name, size in VECBENCH.items():
        assert build_prompt(taxonomies[name]).user.startswith("Which sentiment" if size == 2 else "Which emotion")


def test_a_later_folder_replaces_a_shipped_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: fi-2\nlabels: [good, bad]\n")
    assert load_taxonomies(SHIPPED, tmp_path)["fi-2"].labels == ("good", "bad")


@pytest.mark.parametrize(
    "content",
    [
        "labels: [good, bad]",
        "name: moods\nlabels: [good]",
        "name: moods\nlabels: [Good, bad]",
        "name: moods\nlabels: [very good, bad]",
        "name: moods\nlabels: [good, good]",
        "name: [unclosed",
        "just text",
        "",
    ],
)
def test_a_file_that_is_no_taxonomy_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "broken.yaml").write_text(content)
    with pytest.raises(TaxonomyError, match=r"broken\.yaml"):
        load_taxonomies(tmp_path)


def test_two_files_of_one_folder_cannot_share_a_name(tmp_path: Path) -> None:
    for file in ("a", "b"):
        (tmp_path / f"{file}.yaml").write_text("name: moods\nlabels: [good, bad]\n")
    with pytest.raises(TaxonomyError, match=r"b\.yaml: a second taxonomy named 'moods'"):
        load_taxonomies(tmp_path)
