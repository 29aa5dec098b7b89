"""`tidegate bench worker`: events through the whole worker on the real engine, against the engine alone."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from deploy.bench.load import SEED, Recorder, send, settled
from deploy.rig import CHECKPOINT, rig
from training.scenes import encode, scene
from worker.events import ImageEvent, InlineImage

_SINGLES = 24


def worker(
    images: Annotated[int, typer.Option(min=50, help="in each round")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="of each; medians are compared")] = 3,
    model: Annotated[Path, typer.Option(exists=True, file_okay=False)] = CHECKPOINT,
) -> None:
    """Scenes through Kafka, intake, engine, gate and queue, against `LLM.generate` over the same images, prepared.

    ratio_raw is the worker's rate over that of one LLM.generate call with all images, for their text alone;
    ratio_raw_with_probabilities asks that call for the labels' probabilities too, as the worker does;
    ratio_raw_from_files counts the decoding that a script around that call would do as well; ratio_one_by_one is over
    one image a call. The worker's rate counts from its first event's arrival to its last decision. The yardstick runs
    before the worker and not beside it, since a card holds one model: whatever else the machine does shows.
    """
    environment = os.environ | {"TIDEGATE_ENGINE_MODEL": str(model), "TIDEGATE_ENGINE_KIND": "vllm"}
    task = {
        "rounds": [[number * images, images] for number in range(rounds)],
        "one_by_one": [rounds * images, _SINGLES],
    }
    run = subprocess.run(
        [sys.executable, "-m", "deploy.bench.raw"],
        input=json.dumps(task),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    raw = json.loads(run.stdout.splitlines()[-1])
    rates = asyncio.run(_worker_rates(images, rounds, str(model)))
    rate, raw_rate = statistics.median(rates), statistics.median(raw["rates"])
    full_rate = statistics.median(raw["rates_with_probabilities"])
    files_rate = statistics.median(raw["rates_from_files"])
    result = {
        "bench": "worker",
        "images": images,
        "rounds": rounds,
        "images_per_s": round(rate, 2),
        "raw_images_per_s": round(raw_rate, 2),
        "one_by_one_images_per_s": round(raw["one_by_one"], 2),
        "ratio_raw": round(rate / raw_rate, 3),
        "ratio_raw_with_probabilities": round(rate / full_rate, 3),
        "ratio_raw_from_files": round(rate / files_rate, 3),
        "ratio_one_by_one": round(rate / raw["one_by_one"], 2),
    }
    typer.echo(json.dumps(result))


async def _worker_rates(images: int, rounds: int, model: str) -> list[float]:
    """Images per second of each round, all in one worker. A round's images are drawn before it begins."""
    recorder = Recorder()
    events = _events()
    rates = []
    settings = {"TIDEGATE_ENGINE_MODEL": model, "TIDEGATE_GATE_UNCERTIFIED_THRESHOLD": "0.9"}
    async with rig(settings, tally=recorder) as system:
        for number in range(rounds):
            drawn = list(itertools.islice(events, images))
            await send(system, iter(drawn), images)
            await settled(system, (number + 1) * images)
            this = slice(number * images, (number + 1) * images)
            rates.append(images / (max(recorder.decided[this]) - min(recorder.arrived[this])))
    return rates


def _events() -> Iterator[ImageEvent]:
    for number in itertools.count():
        yield ImageEvent(
            event_id=f"scene-{number}",
            image=InlineImage(data=encode(scene(SEED, number).image)),
            taxonomy="scenes",
            created_at=datetime.now(UTC),
        )
