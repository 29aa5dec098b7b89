"""Items with their images: the worker's pixels, for any budget, from files and from scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.data.files import save_photo
from training.data.drawn import DrawnItems
from training.data.drops import DataError
from training.data.item import ImageFile, Item
from training.data.loading import TINY, Examples, SceneExamples, batches
from training.scenes import LABELS, encode, scene
from worker.intake.decode import DecodeLimits, decode_image
from worker.reading.resize import PixelBudget

BUDGET = PixelBudget(28 * 28, 84 * 84)


def photo_item(path: str) -> Item:
    return Item(item_id="x.jsonl:7", image=ImageFile(path=Path(path)), content="c", taxonomy="emoset-8", label="awe")


def test_a_file_is_loaded_as_the_worker_would_decode_it(tmp_path: Path) -> None:
    save_photo(tmp_path / "images" / "a.jpg", 1)
    [example] = [Examples([photo_item("images/a.jpg")], BUDGET, tmp_path)[0]]
    served = decode_image((tmp_path / "images" / "a.jpg").read_bytes(), DecodeLimits(), BUDGET)
    assert np.array_equal(example.image, served.pixels)
    assert (example.label, example.taxonomy) == ("awe", "emoset-8")
    assert example.reasoning is None
    assert example.probabilities is None


def test_an_image_that_went_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no image any more")
    for name in ("gone.jpg", "broken.jpg"):
        with pytest.raises(DataError, match=rf"x\.jsonl:7: the image .*{name} cannot be loaded any more"):
            Examples([photo_item(name)], BUDGET, tmp_path)[0]


def test_scenes_are_sent_through_the_file_format_and_resize_of_the_worker() -> None:
    examples = SceneExamples(7, 3, start=4)
    assert len(examples) == 3
    for number, kind in ((4, "PNG"), (5, "JPEG")):
        drawn = scene(7, number)
        data = encode(drawn.image, "PNG" if kind == "PNG" else "JPEG")
        example = examples[number - 4]
        assert np.array_equal(example.image, decode_image(data, DecodeLimits(), TINY).pixels)
        assert example.label == LABELS[drawn.label]
        assert example.reasoning == drawn.cues.reasoning()
        assert example.probabilities is not None
        assert np.array_equal(example.probabilities, drawn.probabilities)
    assert [len(batch) for batch in batches(examples, 2)] == [2, 1]


def test_drawn_items_in_a_list_give_the_same_examples_as_lazy_ones() -> None:
    lazy = DrawnItems(3, 8, start=2, stage="confidence")
    here, there = Examples(lazy, BUDGET), Examples(list(lazy), BUDGET)
    assert all(np.array_equal(here[n].image, there[n].image) for n in range(8))
    assert [here[n].item for n in range(8)] == list(lazy)
    assert {item.stage for item in lazy} == {"confidence"}
    assert here[0].image.shape == (84, 84, 3)


def test_ranges_of_scenes_stay_lazy_and_end() -> None:
    drawn = DrawnItems(3, 10, start=5)
    assert [item.content for item in drawn[2:4]] == ["scene:3:7", "scene:3:8"]
    assert drawn[-1].content == "scene:3:14"
    assert len(drawn[8:20]) == 2
    with pytest.raises(IndexError):
        drawn[10]
    with pytest.raises(ValueError, match="no step"):
        drawn[::2]
