"""Puts image events on the images topic: from a folder, from JSON Lines, or from anything that yields them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from calibration.settings import KafkaSettings
from worker.events import MAX_EVENT_BYTES, ImageEvent, InlineImage, UnusableEventError
from worker.stream.producer import Outbox

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
_IN_FLIGHT = 256
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was not sent: where it stands, and why."""

    where: str
    why: str


@dataclass(slots=True)
class FeedReport:
    """What a feed has done so far."""

    sent: int = 0
    refused: int = 0
    seconds: float = 0.0


def folder_events(
    folder: Path, *, taxonomy: str, priority: int = 50, as_keys: bool = False
) -> Iterator[ImageEvent | Refusal]:
    """One event for each image file below a folder, in order of path.

    The event id comes from path and content, so that feeding a folder twice doubles nothing. A file that cannot be
    read, or whose name no event can carry, is refused.

    Args:
        as_keys: name the file by its path below the folder, which must be the workers' object store; else the bytes
            travel inside the event, and files that do not fit are refused.
    """
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()):
        try:
            yield _file_event(path, path.relative_to(folder).as_posix(), taxonomy, priority, as_keys=as_keys)
        except UnicodeEncodeError:
            yield Refusal(str(path).encode(errors="backslashreplace").decode(), "its name is not UTF-8; rename it")
        except ValidationError as error:
            yield Refusal(str(path), "; ".join(problem["msg"] for problem in error.errors()))
        except (OSError, ValueError) as error:
            yield Refusal(str(path), str(error))


def _file_event(path: Path, key: str, taxonomy: str, priority: int, *, as_keys: bool) -> ImageEvent:
    content = path.read_bytes()
    if not as_keys and len(content) * 4 > MAX_EVENT_BYTES * 3 - 4096:
        raise ValueError(f"{len(content):,} bytes do not fit into an event; send keys or URLs instead")
    return ImageEvent.model_validate(
        {
            "event_id": hashlib.sha256(key.encode() + b"\0" + content).hexdigest()[:32],
            "image": {"key": key} if as_keys else InlineImage(data=content),
            "taxonomy": taxonomy,
            "priority": priority,
            "created_at": datetime.now(UTC),
            "metadata": {"file": key},
        }
    )


def line_events(lines: Iterable[bytes], *, taxonomy: str, priority: int = 50) -> Iterator[ImageEvent | Refusal]:
    """One event for each line of JSON; missing event_id (from the line's own bytes), taxonomy, priority and created_at
    are filled in. Empty lines are skipped."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            given = from_json(line)
            defaults = {
                "event_id": hashlib.sha256(line.strip()).hexdigest()[:32],
                "taxonomy": taxonomy,
                "priority": priority,
                "created_at": datetime.now(UTC).isoformat(),
            }
            yield ImageEvent.from_record(to_json(defaults | given if isinstance(given, dict) else given))
        except (ValueError, UnusableEventError) as error:
            yield Refusal(f"line {number}", str(error))


async def as_they_come(items: Iterable[_T]) -> AsyncIterator[_T]:
    """The items of a source that may be silent for long, such as a pipe. A thread waits for them, so that meanwhile the
    event loop goes on; it is left behind when nobody takes them any more."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[_T] | Exception | None] = asyncio.Queue(_IN_FLIGHT)

    def hand_over(what: tuple[_T] | Exception | None) -> None:
        asyncio.run_coroutine_threadsafe(queue.put(what), loop).result()

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            try:
                for item in items:
                    hand_over((item,))
            except OSError as error:
                hand_over(error)
            else:
                hand_over(None)

    threading.Thread(target=read, name="tidegate-source", daemon=True).start()
    while (what := await queue.get()) is not None:
        if isinstance(what, Exception):
            raise what
        yield what[0]


async def feed(
    events: Iterable[ImageEvent | Refusal] | AsyncIterator[ImageEvent | Refusal],
    kafka: KafkaSettings,
    *,
    rate: float | None = None,
    note: Callable[[FeedReport, Refusal | None], None] = lambda _report, _refusal: None,
) -> FeedReport:
    """Send events, many at a time; returns when all are acknowledged by all in-sync replicas.

    Args:
        rate: events per second at most; None sends as fast as the cluster takes them.
        note: called after each event and each refusal.

    Raises:
        ProduceError: the cluster did not take an event; what was acknowledged before stays sent.
    """
    report = FeedReport()
    started = time.monotonic()
    outbox = Outbox(kafka)
    free = asyncio.Semaphore(_IN_FLIGHT)

    async def send(event: ImageEvent) -> None:
        try:
            await outbox.send("images", event.event_id.encode(), event.model_dump_json().encode())
        finally:
            free.release()
        report.sent += 1
        report.seconds = time.monotonic() - started
        note(report, None)

    await outbox.start()
    try:
        async with asyncio.TaskGroup() as sending:
            taken = 0
            async for event in events if isinstance(events, AsyncIterator) else _one_by_one(events):
                await asyncio.sleep(max(0.0, started + taken / rate - time.monotonic()) if rate else 0.0)
                taken += 1
                if isinstance(event, Refusal):
                    report.refused += 1
                    note(report, event)
                    continue
                await free.acquire()
                sending.create_task(send(event))
    except* Exception as failed:
        raise failed.exceptions[0] from None
    finally:
        await outbox.close()
    report.seconds = time.monotonic() - started
    return report


async def _one_by_one(items: Iterable[_T]) -> AsyncIterator[_T]:
    for item in items:
        yield item
