"""Whether items can be trained on: what is said of them, and every image, real files of every odd kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from review.task import Reasoning
from tests.training.data.files import photo, save_photo
from tests.worker.intake.pictures import bomb
from training.data.checking import check_images, check_words, names_label
from training.data.drawn import DrawnItems
from training.data.drops import DataError, Dropped, DropReason, refuse_too_many
from training.data.item import ImageFile, Item
from worker.reading.taxonomy import load_taxonomies
from worker.settings import IntakeSettings

KNOWN = load_taxonomies()
INTAKE = IntakeSettings()


def item(path: Path | str, **changes: Any) -> Item:
    fields: dict[str, Any] = {"item_id": f"of {path}", "image": ImageFile(path=Path(path)), "content": "unchecked"}
    return Item.model_validate(fields | {"taxonomy": "emoset-8", "label": "awe"} | changes)


def sections(**changes: str) -> Reasoning:
    names = ("element", "human", "context", "interaction", "analysis")
    return Reasoning.model_validate(dict.fromkeys(names, "words") | changes)


def test_images_of_every_mode_are_taken_and_known_by_their_pixels(tmp_path: Path) -> None:
    base = photo(1)
    base.save(tmp_path / "rgb.png")
    base.save(tmp_path / "same.bmp")
    base.save(tmp_path / "lossy.jpg", quality=85)
    base.convert("CMYK").save(tmp_path / "cmyk.jpg")
    base.convert("L").save(tmp_path / "grey.png")
    base.convert("P").save(tmp_path / "palette.gif")
    base.convert("LA").save(tmp_path / "grey-alpha.png")
    Image.fromarray(np.asarray(base.convert("L"), np.uint16) * 256).save(tmp_path / "16-bit.png")
    names = sorted(path.name for path in tmp_path.iterdir())
    done: list[tuple[int, int]] = []
    kept, dropped = check_images(
        [item(name) for name in names], tmp_path, INTAKE, 2, lambda *counts: done.append(counts)
    )
    assert dropped == []
    assert [str(each.item.image.path) for each in kept if isinstance(each.item.image, ImageFile)] == names
    content = {name: each.item.content for name, each in zip(names, kept, strict=True)}
    assert content["rgb.png"] == content["same.bmp"]
    assert content["rgb.png"] != content["lossy.jpg"]
    assert content["grey.png"] == content["16-bit.png"]
    look = {name: each.look for name, each in zip(names, kept, strict=True)}
    assert np.bitwise_count(look["rgb.png"] ^ look["lossy.jpg"]).sum() <= 31
    assert done[-1] == (len(names), len(names))


def test_images_that_cannot_be_used_are_dropped_with_a_reason(tmp_path: Path) -> None:
    save_photo(tmp_path / "good.jpg", 1)
    whole = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "bomb.png").write_bytes(bomb(9000))
    Image.new("RGB", (64, 64), "red").save(tmp_path / "blank.png")
    photo(2).resize((6, 200)).save(tmp_path / "tiny.png")
    (tmp_path / "folder.png").mkdir()
    names = ["good.jpg", *sorted(path.name for path in tmp_path.iterdir() if path.name != "good.jpg")]
    kept, dropped = check_images([item(name) for name in names], tmp_path, INTAKE, 2)
    assert [each.item.item_id for each in kept] == ["of good.jpg"]
    assert {drop.where.removeprefix("of "): drop.reason for drop in dropped} == {
        "truncated.jpg": DropReason.IMAGE_UNUSABLE,
        "page.jpg": DropReason.IMAGE_UNUSABLE,
        "empty.jpg": DropReason.IMAGE_UNUSABLE,
        "bomb.png": DropReason.IMAGE_UNUSABLE,
        "blank.png": DropReason.IMAGE_BLANK,
        "tiny.png": DropReason.IMAGE_TINY,
        "folder.png": DropReason.IMAGE_MISSING,
    }
    [said] = [drop.what for drop in dropped if drop.where == "of page.jpg"]
    assert said.startswith(f"{tmp_path / 'page.jpg'}: image_unsupported: none of JPEG, PNG")


def test_an_image_that_hangs_its_decoder_is_dropped_and_the_others_are_not(tmp_path: Path) -> None:
    save_photo(tmp_path / "good.png", 1)
    (tmp_path / "slow.png").write_bytes(bomb(7000))
    quick = INTAKE.model_copy(update={"decode_timeout_s": 0.05})
    kept, dropped = check_images([item("slow.png"), item("good.png")], tmp_path, quick, 1)
    assert [each.item.item_id for each in kept] == ["of good.png"]
    assert "decode_timeout" in dropped[0].what


def test_an_image_of_several_items_is_decoded_once(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.png", 1)
    done: list[int] = []
    items = [item("a.png"), item("a.png", taxonomy="fi-2", label="positive")]
    kept, _ = check_images(items, tmp_path, INTAKE, 1, lambda count, _: done.append(count))
    assert done == [1]
    assert kept[0].item.content == kept[1].item.content


def test_scenes_need_no_decoder(tmp_path: Path) -> None:
    kept, dropped = check_images(DrawnItems(0, 3), tmp_path, INTAKE, 1)
    assert [each.item.content for each in kept] == ["scene:0:0", "scene:0:1", "scene:0:2"]
    assert dropped == []


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"taxonomy": "emoset-9"}, DropReason.UNKNOWN_TAXONOMY, "'emoset-9' is none of abstract-8"),
        ({"label": "joy"}, DropReason.UNKNOWN_LABEL, "'joy' is no label of emoset-8 (amusement"),
        ({"reasoning": sections(human=" ")}, DropReason.EMPTY_SECTION, "<human> is empty"),
        ({"probabilities": (0.5, 0.5)}, DropReason.BAD_PROBABILITIES, "2 probabilities for the 8 labels"),
        ({"image": ImageFile(path=Path("none.png"))}, DropReason.IMAGE_MISSING, "there is no file"),
        ({"image": ImageFile(path=Path("a" * 5000))}, DropReason.IMAGE_MISSING, ""),
        ({"image": ImageFile(path=Path("a\0.png"))}, DropReason.IMAGE_MISSING, ""),
    ],
)
def test_what_is_said_of_an_item_is_checked_without_its_image(
    tmp_path: Path, changes: dict[str, Any], reason: DropReason, words: str
) -> None:
    (tmp_path / "a.png").write_text("is not opened")
    kept, dropped = check_words([item("a.png", reasoning=sections()), item("a.png", **changes)], KNOWN, tmp_path)
    assert len(kept) == 1
    assert [drop.reason for drop in dropped] == [reason]
    assert words in dropped[0].what


def test_a_label_that_is_given_away_is_noticed() -> None:
    assert names_label(item("a", reasoning=sections(element="It is full of Awe.")))
    assert not names_label(item("a", reasoning=sections(element="an awesome hill", analysis="awe")))
    assert not names_label(item("a"))


def drops(reason: DropReason, count: int) -> list[Dropped]:
    return [Dropped(reason=reason, where=f"x.jsonl:{number}", what="something") for number in range(count)]


def test_too_many_faults_are_refused_with_counts_and_advice() -> None:
    refuse_too_many(90, drops(DropReason.BAD_JSON, 10), 0.1)
    with pytest.raises(DataError, match="11 of 100 records cannot be used, more than the 10%") as refused:
        refuse_too_many(89, drops(DropReason.BAD_JSON, 11), 0.1)
    assert "11 bad_json, as x.jsonl:0: something" in str(refused.value)
    assert "--max-dropped" in str(refused.value)


def test_what_people_could_not_agree_on_is_no_fault() -> None:
    refuse_too_many(1, drops(DropReason.DISPUTED, 50) + drops(DropReason.CANNOT_TELL, 50), 0.1)
    with pytest.raises(DataError, match=r"no item is left(.|\n)*50 disputed"):
        refuse_too_many(0, drops(DropReason.DISPUTED, 50), 1.0)
