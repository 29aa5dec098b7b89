"""Puts items to the worker's own engine, many at a time: what is measured is what serves.

Unlike the worker, an evaluation does not take a failing engine for a failing model: an engine that stays busy stops it,
and the next run goes on. What the model writes and nobody can read is an error of the model, and stays one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.outcome import ParseStatus, Reader, Signals
from training.data.item import Item
from training.evaluation.readings import EvaluationError, ItemReading, ReadingLog, Setup, reading_log
from worker.engine import make_engine
from worker.engine.finish import Finish
from worker.engine.protocol import Engine, EngineAnswer, EngineBusyError, EngineRequest, RequestRejectedError
from worker.engine.weights import folder_version
from worker.intake.refusal import ImageRefusedError
from worker.reading.prompt import PROMPT_VERSION, build_prompt
from worker.reading.resize import PixelBudget, decoder_version, load_pixel_budget
from worker.reading.signals import read_answer
from worker.reading.taxonomy import Taxonomy
from worker.retry import backoff
from worker.settings import EngineSettings

Pixels: TypeAlias = NDArray[np.uint8]
"""(height, width, 3), RGB, on the model's grid."""
Report: TypeAlias = Callable[[int, str], None]
"""Gets how many items have been read, and a word on how it goes."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How items are put to an engine."""

    in_flight: int = 256
    """Items between the first look at their image and their answer."""
    retry: bool = False
    """Ask once more, under a grammar, what did not parse, as the worker does."""


async def read_items(
    items: Sequence[Item],
    taxonomies: Mapping[str, Taxonomy],
    pixels: Callable[[Item], Pixels],
    settings: EngineSettings,
    *,
    asking: Asking | None = None,
    folder: Path | None = None,
    report: Report = lambda done, word: None,
) -> tuple[Setup, list[ItemReading]]:
    """The engine's readings of all items, in their order; those that the folder has already are not asked for again.

    The engine starts only if something is to be asked, or nothing else can tell which model it is.

    Args:
        items: each with a name of its own.
        taxonomies: at least those of the items.
        pixels: decodes and resizes the image of an item; called in threads.
        settings: which engine, and which model.
        asking: how.
        folder: where readings are kept; None: nowhere.
        report: of progress.

    Raises:
        EngineDeadError: the engine cannot start, or is gone.
        EvaluationError: the engine stays busy, an image file cannot be read, or the folder belongs to other readings.
        FileError: the folder cannot be written.
    """
    asking = asking or Asking()
    used = {name: taxonomies[name] for name in sorted({item.taxonomy for item in items})}
    budget = pixel_budget(settings)
    engine = make_engine(settings, used)
    started = False
    try:
        version = _known_version(settings, engine)
        if version is None:
            await engine.start()
            started, version = True, engine.model_version
        setup = Setup(
            reader=Reader(model=version, prompt=PROMPT_VERSION, decoder=decoder_version(budget)),
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            retried=asking.retry,
            taxonomies=used,
        )
        with reading_log(folder, setup) as log:
            if log.missing(items) and not started:
                await engine.start()
            await ask(engine, items, setup, pixels, settings, asking, log, report)
            return setup, log.of(items)
    finally:
        await engine.close()


async def ask(
    engine: Engine,
    items: Sequence[Item],
    setup: Setup,
    pixels: Callable[[Item], Pixels],
    settings: EngineSettings,
    asking: Asking,
    log: ReadingLog,
    report: Report = lambda done, word: None,
) -> None:
    """Add the readings that the log misses. Cancelling aborts what is in flight; the log keeps what has been read.

    Raises:
        EngineDeadError, EvaluationError: as `read_items`.
    """
    missing = log.missing(items)
    done, unread = len(items) - len(missing), 0
    waiting = iter(missing)

    async def work() -> None:
        nonlocal done, unread
        for item in waiting:
            reading = await _read(engine, item, setup, pixels, settings, asking)
            log.add(reading)
            done, unread = done + 1, unread + (reading.label is None)
            report(done, f"{unread} unreadable" if unread else "")

    report(done, "")
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(asking.in_flight, len(missing))):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def _read(
    engine: Engine,
    item: Item,
    setup: Setup,
    pixels: Callable[[Item], Pixels],
    settings: EngineSettings,
    asking: Asking,
) -> ItemReading:
    taxonomy = setup.taxonomies[item.taxonomy]
    constrained = False
    try:
        image = await _image(item, pixels)
        request = EngineRequest(
            request_id=item.item_id,
            prompt=build_prompt(taxonomy),
            image=image,
            image_key=f"{item.content}-{setup.reader.decoder}",
        )
        answer = await _answer(engine, request, settings)
        reading = read_answer(answer, taxonomy)
        if asking.retry and reading.label is None and answer.finish is Finish.STOP:
            second = await _answer(engine, replace(request, constrained=True), settings)
            under_grammar = read_answer(second, taxonomy)
            if under_grammar.label is not None:
                answer, reading, constrained = second, under_grammar, True
    except (ImageRefusedError, RequestRejectedError) as error:
        return _reading(item, _NO_ANSWER, None, Signals(parse_status=ParseStatus.NOT_READ), refused=str(error))
    return _reading(item, answer, reading.label, reading.signals, constrained=constrained)


async def _image(item: Item, pixels: Callable[[Item], Pixels]) -> Pixels:
    try:
        return await asyncio.to_thread(pixels, item)
    except OSError as error:
        raise EvaluationError(f"the image of {item.item_id} cannot be read: {error}; check the folder") from error


_NO_ANSWER = EngineAnswer(text="", finish=Finish.ERROR, label_probabilities=None, prompt_tokens=0, output_tokens=0)


def _reading(
    item: Item,
    answer: EngineAnswer,
    label: str | None,
    signals: Signals,
    *,
    constrained: bool = False,
    refused: str | None = None,
) -> ItemReading:
    return ItemReading(
        item_id=item.item_id,
        content=item.content,
        taxonomy=item.taxonomy,
        truth=item.label,
        probabilities=item.probabilities,
        label=label,
        signals=signals,
        text=answer.text,
        finish=answer.finish,
        constrained=constrained,
        refused=refused,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
    )


async def _answer(engine: Engine, request: EngineRequest, settings: EngineSettings) -> EngineAnswer:
    pauses = backoff()
    for attempt in range(1, settings.attempts + 1):
        try:
            async with asyncio.timeout(settings.answer_timeout_s):
                return await engine.answer(request)
        except (EngineBusyError, TimeoutError) as error:
            await engine.check_health()
            if attempt == settings.attempts:
                why = str(error) or f"no answer in {settings.answer_timeout_s:g} s"
                raise EvaluationError(
                    f"the engine did not answer {request.request_id} in {attempt} tries: {why}; ask fewer at a time "
                    "(--in-flight), or raise TIDEGATE_ENGINE_ANSWER_TIMEOUT_S; with --out, the same command goes on"
                ) from error
            await asyncio.sleep(next(pauses))
    raise AssertionError("settings ask for at least one attempt")


def _known_version(settings: EngineSettings, engine: Engine) -> str | None:
    """The model's version without starting it, where that can be known."""
    if settings.kind != "vllm":
        return engine.model_version
    folder = Path(settings.model)
    return folder_version(folder) if folder.is_dir() else None


def pixel_budget(settings: EngineSettings) -> PixelBudget:
    """The budget of the model that is asked.

    Raises:
        EvaluationError: its folder says nothing usable.
    """
    try:
        return load_pixel_budget(settings)
    except ValueError as error:
        raise EvaluationError(str(error)) from error
