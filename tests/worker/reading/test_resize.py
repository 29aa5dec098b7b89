"""The grid is the one that Qwen's own processor uses, and the budget comes from where the docstring says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.reading.resize import MAX_ASPECT_RATIO, PixelBudget, decoder_version, load_pixel_budget, smart_resize
from worker.settings import EngineSettings

SIDES = st.integers(1, 20_000)
BUDGETS = st.builds(
    lambda factor, tokens, more: PixelBudget(tokens * factor**2, (tokens + more) * factor**2, factor),
    st.sampled_from([16, 28, 32]),
    st.integers(1, 2000),
    st.integers(0, 2000),
)


Reference = Callable[[int, int, int, int, int], tuple[int, int]]


@pytest.fixture(scope="module")
def reference() -> Reference:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as theirs  # takes seconds

    return theirs


@pytest.mark.engine
@given(height=SIDES, width=SIDES, budget=BUDGETS)
def test_the_grid_is_that_of_transformers(reference: Reference, height: int, width: int, budget: PixelBudget) -> None:
    try:
        expected = reference(height, width, budget.factor, budget.min_pixels, budget.max_pixels)
    except ValueError:
        with pytest.raises(ValueError, match="200 times"):
            smart_resize(height, width, budget)
    else:
        assert smart_resize(height, width, budget) == expected


@given(SIDES, SIDES, BUDGETS)
def test_a_resized_image_lies_on_the_grid_and_near_the_budget(height: int, width: int, budget: PixelBudget) -> None:
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        return
    rows, columns = smart_resize(height, width, budget)
    assert rows > 0
    assert columns > 0
    assert rows % budget.factor == columns % budget.factor == 0
    if max(rows, columns) <= MAX_ASPECT_RATIO * min(rows, columns):
        # The bound that the decoders' shared memory is sized by.
        assert rows * columns <= 2 * budget.max_pixels + 300 * budget.factor**2


@pytest.mark.parametrize(("height", "width"), [(0, 10), (10, -1), (1, 201)])
def test_a_shape_that_no_model_takes_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{width} x {height}"):
        smart_resize(height, width, PixelBudget())


def test_a_hub_model_has_the_bounds_of_emocaliber_and_the_factor_of_its_family() -> None:
    assert load_pixel_budget(EngineSettings()) == PixelBudget(200_704, 451_584, 28)
    assert load_pixel_budget(EngineSettings(model="Qwen/Qwen3-VL-8B-Instruct")).factor == 32
    assert load_pixel_budget(EngineSettings(model="Qwen/Qwen2.5-VL-7B-Instruct")).factor == 28


def test_a_folder_says_its_own_factor_and_bounds_and_settings_override_them(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"patch_size": 16, "merge_size": 2, "size": {}}))
    model = str(tmp_path)
    assert load_pixel_budget(EngineSettings(model=model)) == PixelBudget(200_704, 451_584, 32)
    (tmp_path / "tidegate.json").write_text(json.dumps({"min_pixels": 4096, "max_pixels": 8192, "seed": 1}))
    assert load_pixel_budget(EngineSettings(model=model)) == PixelBudget(4096, 8192, 32)
    assert load_pixel_budget(EngineSettings(model=model, max_pixels=9216)) == PixelBudget(4096, 9216, 32)


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        "{}",
        '{"patch_size": 14}',
        '{"patch_size": "14", "merge_size": 2}',
        '{"patch_size": 0, "merge_size": 2}',
    ],
)
def test_an_unusable_folder_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(ValueError, match=r"preprocessor_config\.json"):
        load_pixel_budget(EngineSettings(model=str(tmp_path)))


def test_bounds_that_contradict_each_other_are_refused_with_the_names_of_the_settings() -> None:
    with pytest.raises(ValueError, match="TIDEGATE_ENGINE_MIN_PIXELS"):
        load_pixel_budget(EngineSettings(min_pixels=500_000))
    with pytest.raises(ValueError, match="no room for one token"):
        load_pixel_budget(EngineSettings(min_pixels=1, max_pixels=783))


def test_the_decoder_version_changes_with_every_part_of_the_budget() -> None:
    budget = PixelBudget()
    others = (replace(budget, min_pixels=1), replace(budget, max_pixels=451_585), replace(budget, factor=32))
    assert len({decoder_version(each) for each in (budget, *others)}) == 4
    assert decoder_version(budget) == decoder_version(PixelBudget())
