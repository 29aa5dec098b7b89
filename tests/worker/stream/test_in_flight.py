from __future__ import annotations

import asyncio

import pytest
import structlog
from kafka import TopicPartition

from review.task import RecordPosition
from worker import telemetry
from worker.stream import in_flight
from worker.stream.assignment import Arrival, Assignment
from worker.stream.in_flight import InFlight
from worker.stream.window import Window


def _arrival(offset: int) -> Arrival:
    position = RecordPosition(topic="images", partition=0, offset=offset)
    return Arrival(position, b"key", b"value", (("h", b"1"),), timestamp_ms=0, received_at=0.0)


def _enter(window: Window, assignment: Assignment, *offsets: int) -> list[tuple[Assignment, Arrival]]:
    for offset in offsets:
        assignment.tracker.received(offset)
    batch = [(assignment, _arrival(offset)) for offset in offsets]
    window.enter(len(batch), sum(arrival.size for _, arrival in batch))
    return batch


def _unexpected(failure: Exception) -> None:
    pytest.fail(repr(failure))


@pytest.fixture
def window() -> Window:
    return Window(100, 100_000)


@pytest.fixture
def assignment() -> Assignment:
    return Assignment(TopicPartition("images", 0))


async def test_late_events_are_given_up_once_however_many_wait_for_them(
    window: Window, assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "_CANCEL_S", 0.05)
    release = asyncio.Event()

    async def handle(_: Arrival) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    events = InFlight(handle, window, _unexpected)
    events.start(_enter(window, assignment, 0, 1))
    before = telemetry.UNFINISHED._value.get()
    with structlog.testing.capture_logs() as logs:
        await asyncio.gather(events.settle(0.01), events.settle(0.01, [assignment]))
    assert telemetry.UNFINISHED._value.get() - before == 2
    assert [entry["event"] for entry in logs].count("event given up") == 2
    assert "events do not end" in [entry["event"] for entry in logs]
    release.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert window.events == 0


async def test_only_the_events_of_the_assignment_are_waited_for(window: Window, assignment: Assignment) -> None:
    other = Assignment(TopicPartition("images", 1))
    release = asyncio.Event()

    async def handle(arrival: Arrival) -> None:
        if arrival.position.offset:
            await release.wait()

    events = InFlight(handle, window, _unexpected)
    events.start(_enter(window, assignment, 0) + _enter(window, other, 7))
    await events.settle(5, [assignment])
    assert assignment.tracker.committable == 1
    assert other.tracker.committable == 7
    release.set()
    await events.settle(5)
    assert other.tracker.committable == 8
    assert (window.events, window.bytes) == (0, 0)


async def test_what_comes_after_the_stop_is_not_begun(window: Window, assignment: Assignment) -> None:
    async def handle(_: Arrival) -> None:
        pytest.fail("begun")

    events = InFlight(handle, window, _unexpected)
    events.refuse()
    events.start(_enter(window, assignment, 0))
    await events.settle(1)
    assert assignment.tracker.committable == 0
    assert (window.events, window.bytes) == (0, 0)


async def test_a_failure_is_told_and_its_offset_stays(window: Window, assignment: Assignment) -> None:
    failures: list[Exception] = []

    async def handle(arrival: Arrival) -> None:
        if arrival.position.offset == 1:
            raise LookupError("gone")

    events = InFlight(handle, window, failures.append)
    events.start(_enter(window, assignment, 0, 1, 2))
    await events.settle(5)
    assert [repr(failure) for failure in failures] == ["LookupError('gone')"]
    assert assignment.tracker.committable == 1
    assert window.events == 0
