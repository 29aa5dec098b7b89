"""Every item is asked once, many at a time; an engine's failures are its own, what nobody can read is the model's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import training
from calibration.outcome import ParseStatus
from tests.training.evaluation.made import TAXONOMIES
from training.data.drawn import DrawnItems
from training.data.item import Item
from training.evaluation.answering import Asking, Pixels, read_items
from training.evaluation.readings import READINGS, EvaluationError, ItemReading, Setup
from worker.engine.protocol import EngineDeadError
from worker.events import DeadLetterReason
from worker.intake.refusal import ImageRefusedError
from worker.reading.prompt import PROMPT_VERSION
from worker.settings import EngineSettings

CHECKPOINT = Path(training.__file__).parent / "checkpoint"
ITEMS = list(DrawnItems(7, 60))
GREY = np.full((56, 56, 3), 128, np.uint8)


def engine(tmp_path: Path, script: str = "", **changed: float) -> EngineSettings:
    path = tmp_path / "script.yaml"
    path.write_text(script)
    return EngineSettings(kind="scripted", script=path, model=str(CHECKPOINT)).model_copy(update=changed)


def read(
    settings: EngineSettings,
    folder: Path | None = None,
    *,
    items: list[Item] = ITEMS,
    asking: Asking | None = None,
    pixels: Callable[[Item], Pixels] = lambda item: GREY,
) -> tuple[Setup, list[ItemReading]]:
    return asyncio.run(read_items(items, TAXONOMIES, pixels, settings, asking=asking, folder=folder))


def test_every_item_has_its_reading_in_the_order_of_the_items(tmp_path: Path) -> None:
    reports: list[int] = []
    setup, readings = asyncio.run(
        read_items(
            ITEMS,
            TAXONOMIES,
            lambda item: GREY,
            engine(tmp_path, "card: {images_per_s: 2000, in_flight: 4}"),
            asking=Asking(in_flight=16),
            report=lambda done, word: reports.append(done),
        )
    )
    assert [each.item_id for each in readings] == [item.item_id for item in ITEMS]
    assert all(each.truth == item.label for each, item in zip(readings, ITEMS, strict=True))
    assert all(each.probabilities == item.probabilities for each, item in zip(readings, ITEMS, strict=True))
    assert all(each.label and each.signals.label_probability and "<answer>" in each.text for each in readings)
    assert setup.reader.model.startswith("scripted-")
    assert setup.reader.prompt == PROMPT_VERSION
    assert "-3136-3136-28-" in setup.reader.decoder
    assert setup.taxonomies == {"scenes": TAXONOMIES["scenes"]}
    assert reports == list(range(61))


def test_no_more_items_are_in_flight_than_asked_for(tmp_path: Path) -> None:
    looked: list[str] = []
    answered: list[int] = []
    most = 0

    def pixels(item: Item) -> Pixels:
        nonlocal most
        looked.append(item.item_id)
        most = max(most, len(looked) - (answered[-1] if answered else 0))
        return GREY

    settings = engine(tmp_path, "card: {latency_s: 0.01}")
    asyncio.run(
        read_items(
            ITEMS,
            TAXONOMIES,
            pixels,
            settings,
            asking=Asking(in_flight=5),
            report=lambda done, word: answered.append(done),
        )
    )
    assert 1 < most <= 5


def test_a_killed_evaluation_asks_only_for_the_rest(tmp_path: Path) -> None:
    settings = engine(tmp_path, "faults: {die_after: 25}")
    with pytest.raises(EngineDeadError):
        read(settings, tmp_path / "out", asking=Asking(in_flight=4))
    kept = len((tmp_path / "out" / READINGS).read_text().splitlines())
    assert 0 < kept <= 25
    looked: list[str] = []

    def pixels(item: Item) -> Pixels:
        looked.append(item.item_id)
        return GREY

    # Another script is another model, so that its readings may not be mixed with those of the first.
    with pytest.raises(EvaluationError, match="another setup"):
        read(engine(tmp_path, "seed: 1"), tmp_path / "out")
    again = engine(tmp_path, "faults: {die_after: 25}")
    while len(looked) < 60 - kept:
        try:
            _, readings = read(again, tmp_path / "out", pixels=pixels, asking=Asking(in_flight=1))
        except EngineDeadError:
            continue
    assert len(readings) == 60
    # What was being asked when the engine died was looked at twice.
    assert len(set(looked)) == 60 - kept
    _, same = read(again, tmp_path / "out", pixels=pixels)
    assert same == readings


KILLED = """
import asyncio, sys
from pathlib import Path
from tests.training.evaluation.test_answering import GREY, ITEMS, TAXONOMIES, Asking, EngineSettings, read_items
out, script, model = sys.argv[1:]
settings = EngineSettings(kind="scripted", script=Path(script), model=model)
asking = Asking(in_flight=8)
asyncio.run(read_items(ITEMS, TAXONOMIES, lambda item: GREY, settings, asking=asking, folder=Path(out)))
"""


def test_a_killed_process_loses_nothing_that_it_has_read(tmp_path: Path) -> None:
    settings = engine(tmp_path, "card: {images_per_s: 60}")
    out = tmp_path / "out"
    arguments = [sys.executable, "-c", KILLED, str(out), str(settings.script), settings.model]
    process = subprocess.Popen(arguments)
    deadline = time.monotonic() + 60
    while not (out / READINGS).exists() or (out / READINGS).read_bytes().count(b"\n") < 10:
        assert time.monotonic() < deadline, "nothing was read in time"
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = (out / READINGS).read_bytes().splitlines(keepends=True)
    assert 10 <= len(kept) < 60
    looked: list[str] = []

    def pixels(item: Item) -> Pixels:
        looked.append(item.item_id)
        return GREY

    _, readings = read(settings, out, pixels=pixels)
    whole = [line for line in kept if line.endswith(b"\n")]
    assert len(looked) == 60 - len(whole)
    assert (out / READINGS).read_bytes().splitlines(keepends=True)[: len(whole)] == whole
    assert readings == read(settings)[1]


def test_an_engine_that_stays_busy_stops_the_evaluation(tmp_path: Path) -> None:
    settings = engine(tmp_path, "faults: {busy: 1.0}", attempts=2)
    with pytest.raises(EvaluationError, match=r"did not answer scene:7:\d+ in 2 tries: the script says busy"):
        read(settings, items=ITEMS[:2])


def test_an_engine_that_is_too_slow_stops_the_evaluation(tmp_path: Path) -> None:
    settings = engine(tmp_path, "card: {latency_s: 5}", attempts=1, answer_timeout_s=0.02)
    with pytest.raises(EvaluationError, match=r"no answer in 0\.02 s"):
        read(settings, items=ITEMS[:2])


def test_what_cannot_be_read_stays_an_error_unless_a_retry_is_asked_for(tmp_path: Path) -> None:
    settings = engine(tmp_path, "faults: {unparsable: 1.0}")
    _, readings = read(settings)
    assert all(each.label is None and each.text == "as scripted, no format at all" for each in readings)
    setup, again = read(settings, asking=Asking(retry=True))
    assert all(each.label is not None and each.constrained for each in again)
    assert setup.retried


def test_refused_images_and_requests_are_errors_with_their_reason(tmp_path: Path) -> None:
    def pixels(item: Item) -> Pixels:
        if item is ITEMS[0]:
            raise ImageRefusedError(DeadLetterReason.IMAGE_UNDECODABLE, "broken PNG")
        return GREY

    _, readings = read(engine(tmp_path, "faults: {rejected: 1.0}"), pixels=pixels, items=ITEMS[:2])
    assert [each.refused for each in readings] == [
        "image_undecodable: broken PNG",
        "the script refuses this image",
    ]
    assert all(each.label is None and each.signals.parse_status is ParseStatus.NOT_READ for each in readings)


def test_an_image_that_is_not_there_stops_the_evaluation(tmp_path: Path) -> None:
    def pixels(item: Item) -> Pixels:
        raise FileNotFoundError(2, "No such file or directory", "x.png")

    with pytest.raises(EvaluationError, match="the image of scene:7:0 cannot be read"):
        read(engine(tmp_path), pixels=pixels, items=ITEMS[:1])


def test_a_model_folder_that_says_nothing_is_refused(tmp_path: Path) -> None:
    settings = engine(tmp_path).model_copy(update={"model": str(tmp_path)})
    with pytest.raises(EvaluationError, match=r"preprocessor_config\.json"):
        read(settings, items=ITEMS[:1])
