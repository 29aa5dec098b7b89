"""`tidegate up`: the whole system on this machine, on embedded parts, with something to look at."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from calibration.gate import Route
from deploy.live import LiveView, PlainView, Snapshot, View
from deploy.local import EmbeddedServerError
from deploy.outcomes import Tally
from deploy.people import people
from deploy.rig import CHECKPOINT, Rig, rig
from review.queue import Figures, QueueUnavailableError
from worker.events import ImageEvent, InlineImage
from worker.feed import FeedReport, Refusal, feed, folder_events

_NEW_OUTCOME_S = 600.0
"""A count is given up when nothing new came out for this long; loading a model on a busy machine takes minutes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `tidegate up` was asked for."""

    count: int | None
    images: Path | None
    rate: float
    seed: int
    plain: bool
    threshold: float | None
    model: str
    taxonomy: str


def up(
    count: Annotated[
        int | None, typer.Option(min=1, help="feed N images, wait for their outcomes, report, stop")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="feed the photos of this folder, not drawn scenes")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.01, help="images per second, when no count is given")] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="of the drawn scenes; the checkpoint was trained on those of 0")] = 7,
    plain: Annotated[bool, typer.Option("--plain", help="log lines instead of the live view")] = False,
    uncertified_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="accept above this label probability; without it all goes to review"),
    ] = None,
    model: Annotated[str, typer.Option(help="checkpoint folder or hub name")] = str(CHECKPOINT),
    taxonomy: Annotated[str, typer.Option(help="the labels to choose from")] = "scenes",
) -> None:
    """Run everything on this machine: broker, Valkey, topics, a worker on a real model, a feeder, and a view of it all.

    Without --count the console is there, too, with an account for you, the ledger and the calibration loop: judge what
    waits, publish a policy, and see the gate open. With --count, prints one JSON line {"events", "decisions",
    "dead_letters", "review", "auto_accept", "lost", "duplicates", "seconds"} and exits 1 if anything is lost or
    doubled. TIDEGATE_* settings reach the worker.
    """
    plan = Plan(count, images, rate, seed, plain or not sys.stderr.isatty(), uncertified_threshold, model, taxonomy)
    try:
        code = asyncio.run(_Run(plan).run())
    except EmbeddedServerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    raise typer.Exit(code)


class _Run:
    """One `tidegate up`, from the first server to the last."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stopping = asyncio.Event()
        self._started = time.monotonic()

    async def run(self) -> int:
        """Run until all is counted, a person stops it, or a part fails; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        _say("starting the broker, Valkey and a worker; a model takes a minute to load on two cores")
        async with rig(self._worker_settings(), usual_ports=True) as system:
            async with (
                people(system, self._worker_settings()) if self._plan.count is None else nullcontext(()) as known
            ):
                await self._until_done(system, known)
            _say("draining the worker")
            code, figures = await system.finish()
            return self._report(system, code, figures)

    def _hang_up(self) -> None:
        """The terminal is gone: drain as for Ctrl-C, without a word, since writing to it would fail."""
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
            os.dup2(nowhere.fileno(), sys.stderr.fileno())
        self._stopping.set()

    def _worker_settings(self) -> dict[str, str]:
        plan = self._plan
        settings = {"TIDEGATE_ENGINE_MODEL": plan.model}
        if plan.threshold is not None:
            settings["TIDEGATE_GATE_UNCERTIFIED_THRESHOLD"] = str(plan.threshold)
        if plan.images is not None:
            settings["TIDEGATE_INTAKE_OBJECT_STORE"] = plan.images.resolve().as_uri()
        return settings

    async def _until_done(self, system: Rig, known: tuple[tuple[str, str], ...]) -> None:
        counting = self._plan.count is not None
        rate = None if counting or self._plan.images is not None else self._plan.rate
        feeding = asyncio.create_task(feed(self._events(system.tally), system.kafka, rate=rate, note=_note))
        seen, seen_at = -1, time.monotonic()
        view: View = PlainView() if self._plan.plain else LiveView()
        with view:
            while not (self._stopping.is_set() or system.worker.ended or system.watch.error):
                view.show(await _snapshot(system, known))
                if feeding.done():
                    feeding.result()
                    if counting and not system.tally.waiting:
                        break
                if system.tally.settled != seen:
                    seen, seen_at = system.tally.settled, time.monotonic()
                elif counting and time.monotonic() - seen_at > _NEW_OUTCOME_S:
                    _say(f"nothing new for {_NEW_OUTCOME_S:.0f} s, giving up")
                    break
                await asyncio.sleep(0.25)
            view.show(await _snapshot(system, known))
        feeding.cancel()
        await asyncio.wait([feeding])

    def _events(self, tally: Tally) -> Iterator[ImageEvent | Refusal]:
        """What is fed; each event is tallied before it can be sent."""
        plan = self._plan
        source: Iterable[ImageEvent | Refusal]
        if plan.images is not None:
            source = folder_events(plan.images, taxonomy=plan.taxonomy, as_keys=True)
        else:
            source = _scene_events(plan.seed, plan.taxonomy)
        for event in itertools.islice(source, plan.count):
            if isinstance(event, ImageEvent):
                tally.send(event.event_id)
            yield event

    def _report(self, system: Rig, worker_code: int, figures: Figures) -> int:
        """Say how it went, and return the exit code."""
        tally = system.tally
        if worker_code != 0:
            _say(f"the worker ended with exit code {worker_code}; the end of its log:\n{system.worker.log_tail()}")
        if self._plan.count is None:
            accepted, review = tally.routes[Route.AUTO_ACCEPT.value], tally.routes[Route.REVIEW.value]
            _say(f"{accepted} accepted, {review} to review, {tally.dead_letters} dead letters; stopped")
            return worker_code
        # A decision to review is lost as well when its task is not in the queue.
        astray = max(0, tally.routes[Route.REVIEW.value] - tally.verdicts - figures.depth)
        lost = len(tally.waiting) + astray
        report = {
            "events": tally.sent,
            "decisions": tally.decisions,
            "dead_letters": tally.dead_letters,
            "review": tally.routes[Route.REVIEW.value],
            "auto_accept": tally.routes[Route.AUTO_ACCEPT.value],
            "lost": lost,
            "duplicates": tally.duplicates,
            "seconds": round(time.monotonic() - self._started, 3),
        }
        typer.echo(json.dumps(report))
        return worker_code or int(lost > 0 or tally.duplicates > 0)


def _scene_events(seed: int, taxonomy: str) -> Iterator[ImageEvent]:
    """Drawn scenes without end, their bytes inside the events."""
    from training.scenes import encode, scene  # noqa: PLC0415 - not needed for photos

    for number in itertools.count():
        yield ImageEvent(
            event_id=f"scene-{seed}-{number}",
            image=InlineImage(data=encode(scene(seed, number).image)),
            taxonomy=taxonomy,
            created_at=datetime.now(UTC),
        )


async def _snapshot(system: Rig, known: tuple[tuple[str, str], ...]) -> Snapshot:
    try:
        figures: Figures | None = await system.queue.figures()
    except QueueUnavailableError:
        figures = None
    addresses = (
        *known,
        ("Kafka", f"TIDEGATE_KAFKA_BOOTSTRAP_SERVERS={system.broker.bootstrap}"),
        ("Valkey", f"TIDEGATE_VALKEY_URL={system.valkey.url}"),
        ("terminal", "tidegate review next, in a second terminal (set these two if they are not the usual ports)"),
        ("log", str(system.folder / "worker.log")),
    )
    return Snapshot(worker=await system.worker.state(), tally=system.tally, figures=figures, addresses=addresses)


def _note(_report: FeedReport, refusal: Refusal | None) -> None:
    if refusal is not None:
        _say(f"not sent: {refusal.where}: {refusal.why}")


def _say(text: str) -> None:
    typer.echo(text, err=True)
