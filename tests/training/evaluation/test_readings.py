"""A folder of readings goes on where it stopped, and refuses to mix what does not belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.offline.problems import FileError
from tests.training.evaluation.made import reading, setup
from training.data.item import ImageFile, Item
from training.evaluation.readings import (
    READINGS,
    RESULT,
    SETUP,
    EvaluationError,
    load_readings,
    reading_log,
)


def item(name: str, label: str = "positive") -> Item:
    image = ImageFile(path=Path(f"{name}.png"))
    return Item(item_id=name, image=image, content=f"content of {name}", taxonomy="fi-2", label=label)


ITEMS = [item("a"), item("b"), item("c")]


def test_what_was_read_is_not_missing(tmp_path: Path) -> None:
    with reading_log(tmp_path / "new", setup()) as log:
        assert log.missing(ITEMS) == ITEMS
        log.add(reading("b", "positive", "negative"))
    with reading_log(tmp_path / "new", setup()) as log:
        assert log.missing(ITEMS) == [ITEMS[0], ITEMS[2]]
        log.add(reading("c", "positive", None))
        log.add(reading("a", "positive", "positive"))
        assert [each.item_id for each in log.of(ITEMS)] == ["a", "b", "c"]
    assert len((tmp_path / "new" / READINGS).read_text().splitlines()) == 3


def test_half_a_line_that_a_kill_left_is_read_again(tmp_path: Path) -> None:
    with reading_log(tmp_path, setup()) as log:
        log.add(reading("a", "positive", "negative"))
        log.add(reading("b", "positive", "negative"))
    content = (tmp_path / READINGS).read_bytes()
    (tmp_path / READINGS).write_bytes(content[:-40])
    with reading_log(tmp_path, setup()) as log:
        assert log.missing(ITEMS) == ITEMS[1:]
        log.add(reading("b", "positive", "negative"))
    assert (tmp_path / READINGS).read_bytes() == content


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (setup("m-2"), "model m-1 against m-2"),
        (setup("m-1", temperature=0.7), "temperature 0.0 against 0.7"),
        (setup("m-1", "fi-8"), "taxonomy fi-2, fi-8"),
        (setup("m-1", retried=True), "retried False against True"),
    ],
)
def test_readings_of_another_setup_are_refused(tmp_path: Path, other: object, words: str) -> None:
    with reading_log(tmp_path, setup()):
        pass
    with pytest.raises(EvaluationError, match=words), reading_log(tmp_path, other):  # type: ignore[arg-type]
        pass


def test_an_item_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    with reading_log(tmp_path, setup()) as log:
        log.add(reading("a", "positive", "negative"))
        with pytest.raises(EvaluationError, match="a was read as another image, taxonomy or label"):
            log.missing([item("a", "negative")])


def test_two_items_of_one_name_are_refused() -> None:
    with reading_log(None, setup()) as log, pytest.raises(EvaluationError, match="two items are named a"):
        log.missing([item("a"), item("a")])


def test_two_evaluations_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        reading_log(tmp_path, setup()),
        pytest.raises(EvaluationError, match="another evaluation is writing"),
        reading_log(tmp_path, setup()),
    ):
        pass


def test_damaged_lines_and_missing_setups_are_named(tmp_path: Path) -> None:
    with reading_log(tmp_path, setup()) as log:
        log.add(reading("a", "positive", "negative"))
    (tmp_path / READINGS).write_bytes(b"{}\n" + (tmp_path / READINGS).read_bytes())
    with pytest.raises(EvaluationError, match=r"readings\.jsonl: line 1 is no reading"), reading_log(tmp_path, setup()):
        pass
    (tmp_path / READINGS).write_bytes((tmp_path / READINGS).read_bytes()[3:])
    (tmp_path / SETUP).unlink()
    with pytest.raises(EvaluationError, match=r"has readings but no setup\.json"), reading_log(tmp_path, setup()):
        pass


def test_only_a_finished_evaluation_can_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"setup\.json"):
        load_readings(tmp_path)
    with reading_log(tmp_path, setup()) as log:
        log.add(reading("b", "positive", "negative"))
        log.add(reading("a", "positive", "negative"))
    with pytest.raises(EvaluationError, match="has not been finished"):
        load_readings(tmp_path)
    (tmp_path / RESULT).write_text("{}")
    found, readings = load_readings(tmp_path)
    assert found == setup()
    assert [each.item_id for each in readings] == ["a", "b"]
