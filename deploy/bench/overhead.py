"""`tidegate bench overhead`: what the worker itself costs, on an engine that is scripted and never the bottleneck."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from deploy.bench.load import Recorder, send, settled
from deploy.outcomes import Tally
from deploy.rig import Rig, rig
from worker.engine.scripted import Card, Script
from worker.events import ImageEvent, InlineImage

_SIDE = 28
_STEADY = (0.1, 0.9)
"""The part of a run, by outcomes, over which a rate is taken: neither the start nor the drain."""


def overhead(
    events: Annotated[int, typer.Option(min=1000, help="of the long run; a tenth of it is the short one")] = 100_000,
    seconds: Annotated[float, typer.Option(min=5, help="of each run with a described GPU")] = 60.0,
) -> None:
    """Events through a whole worker process: Kafka, fetch, decode, script, gate, queue in Valkey, decision in Kafka.

    cpu_ms_per_event is the processor time of the worker's own process, which does everything but decoding. rss_mb_* are
    its resident memory after a tenth of the events and after all. capacity_share is the part of a described GPU (60
    images/s, 256 in flight) that it reaches; p50_s and p99_s are from event to decision at 80 % of that load.
    """
    typer.echo(json.dumps({"bench": "overhead"} | asyncio.run(_overhead(events, seconds))))


async def _overhead(events: int, seconds: float) -> dict[str, float]:
    gpu = Card(images_per_s=60, in_flight=256, latency_s=1.0)
    return {
        **await _cost(events),
        "capacity_share": await _capacity(gpu, seconds),
        **await _latency(gpu, 0.8, seconds),
    }


async def _cost(events: int) -> dict[str, float]:
    """Rate, processor time and memory of a worker that is given all events at once."""
    async with _scripted_rig(Card()) as system:
        await send(system, _events(), events)
        await settled(system, events // 100)  # imports, connections and the first rebalance are not its running cost
        cpu, started, before = system.worker.cpu_seconds(), time.monotonic(), system.tally.settled
        await settled(system, events // 10)
        short = system.worker.resident_mb()
        await settled(system, events)
        spent, count = time.monotonic() - started, events - before
        return {
            "events": events,
            "events_per_s": round(count / spent, 1),
            "cpu_ms_per_event": round(1000 * (system.worker.cpu_seconds() - cpu) / count, 3),
            f"rss_mb_{events // 10_000}k": round(short, 1),
            f"rss_mb_{events // 1000}k": round(system.worker.resident_mb(), 1),
        }


async def _capacity(card: Card, seconds: float) -> float:
    """The share of the card's throughput that the worker reaches with more to do than it can."""
    count = int(card.images_per_s * seconds)
    recorder = Recorder()
    async with _scripted_rig(card, recorder) as system:
        await send(system, _events(), count)
        await settled(system, count)
    first, last = (int(share * count) for share in _STEADY)
    decided = sorted(recorder.decided)
    return round((last - first) / (decided[last] - decided[first]) / card.images_per_s, 4)


async def _latency(card: Card, load: float, seconds: float) -> dict[str, float]:
    """Seconds from an event's creation to its decision, at a share of the card's throughput."""
    rate = load * card.images_per_s
    recorder = Recorder()
    async with _scripted_rig(card, recorder) as system:
        images = _events()
        await send(system, images, 1)
        await settled(system, 1)  # the worker is there
        count = int(rate * seconds)
        await send(system, images, count, rate)
        await settled(system, count + 1)
    waits = sorted(decided - created for created, decided in zip(recorder.created, recorder.decided, strict=True))
    return {"p50_s": round(waits[len(waits) // 2], 3), "p99_s": round(waits[int(0.99 * len(waits))], 3)}


@asynccontextmanager
async def _scripted_rig(card: Card, tally: Tally | None = None) -> AsyncIterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        script = Path(folder) / "script.yaml"
        script.write_text(Script(card=card).model_dump_json())  # JSON is YAML
        settings = {
            "TIDEGATE_ENGINE_KIND": "scripted",
            "TIDEGATE_ENGINE_SCRIPT": str(script),
            "TIDEGATE_ENGINE_MIN_PIXELS": str(_SIDE * _SIDE),
            "TIDEGATE_ENGINE_MAX_PIXELS": str(_SIDE * _SIDE),
            "TIDEGATE_STREAM_WINDOW_EVENTS": str(2 * min(card.in_flight, 256)),
            "TIDEGATE_GATE_UNCERTIFIED_THRESHOLD": "0.5",
        }
        async with rig(settings, tally=tally) as system:
            yield system


def _events() -> Iterator[ImageEvent]:
    """Small images, all different, so that no cache helps."""
    for number in itertools.count():
        pixels = np.random.default_rng(number).integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "BMP")
        yield ImageEvent(
            event_id=f"bench-{number}",
            image=InlineImage(data=file.getvalue()),
            taxonomy="scenes",
            created_at=datetime.now(UTC),
        )
