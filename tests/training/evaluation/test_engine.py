"""The real engine on the checkpoint that ships: stopped half way, gone on with, and the same as in one go."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import training
from calibration.outcome import Reader
from tests.training.evaluation.made import TAXONOMIES
from training.data.item import Item
from training.evaluation import sources
from training.evaluation.answering import Asking, Pixels, ask, pixel_budget
from training.evaluation.readings import ItemReading, Setup, reading_log
from training.evaluation.scenes import from_readings, summary
from worker.engine import make_engine
from worker.reading.prompt import PROMPT_VERSION
from worker.reading.resize import decoder_version
from worker.settings import EngineSettings

CHECKPOINT = Path(training.__file__).parent / "checkpoint"
COUNT = 40

pytestmark = [
    pytest.mark.engine,
    # Of what vLLM and torch import, and of what vLLM leaves open.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning"),
    pytest.mark.timeout(300),
]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The engine changes the environment, and leaves cycles behind."""
    environment = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(environment)
    gc.collect()


async def test_an_evaluation_goes_on_where_it_stopped_and_agrees_with_itself(tmp_path: Path) -> None:
    settings = EngineSettings(model=str(CHECKPOINT), max_tokens=64, kv_cache_gb=0.25)
    source = sources.scenes(COUNT, 4_000_000)
    budget = pixel_budget(settings)
    pixels = source.pixels(budget)
    looked: list[str] = []

    def watched(item: Item) -> Pixels:
        looked.append(item.item_id)
        return pixels(item)

    engine = make_engine(settings, source.taxonomies)
    try:
        await engine.start()
        setup = Setup(
            reader=Reader(model=engine.model_version, prompt=PROMPT_VERSION, decoder=decoder_version(budget)),
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            retried=False,
            taxonomies=dict(source.taxonomies),
        )

        async def read(folder: Path | None, asking: Asking) -> list[ItemReading]:
            with reading_log(folder, setup) as log:
                await ask(engine, source.items, setup, watched, settings, asking, log)
                return log.of(source.items)

        half = asyncio.Event()

        async def stopped_half_way() -> None:
            with reading_log(tmp_path, setup) as log:
                report = lambda done, word: half.set() if done >= 15 else None  # noqa: E731
                await ask(engine, source.items, setup, watched, settings, Asking(in_flight=4), log, report)

        first = asyncio.create_task(stopped_half_way())
        await half.wait()
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        kept = len((tmp_path / "readings.jsonl").read_bytes().splitlines())
        assert 15 <= kept < COUNT
        looked.clear()
        readings = await read(tmp_path, Asking())
        assert len(looked) == COUNT - kept
        at_once = await read(None, Asking())
    finally:
        await engine.close()
    # Where two words are all but equally likely, the size of the batch may choose.
    same = [mine.text == theirs.text for mine, theirs in zip(readings, at_once, strict=True)]
    assert sum(same) >= COUNT - 2
    found = summary(from_readings(readings, TAXONOMIES["scenes"]), resamples=100)
    assert found["parse_failures"] == 0
    accuracy, best = found["accuracy"], found["best_accuracy"]
    assert isinstance(accuracy, float)
    assert isinstance(best, float)
    assert accuracy > best - 0.12
    assert all(each.signals.label_probability is not None and each.output_tokens > 20 for each in readings)
