"""Patience is bounded, and its pauses are spread."""

import random
from itertools import islice

import pytest

from worker.retry import OutageError, backoff, persist


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)

    def clock(self) -> float:
        return self.now


def test_pauses_grow_up_to_the_cap_and_are_jittered() -> None:
    pauses = list(islice(backoff(0.5, 8.0, random.Random(1)), 50))
    for n, pause in enumerate(pauses):
        assert 0.0 <= pause <= min(8.0, 0.5 * 2**n)
    assert max(pauses) > 4.0
    assert len(set(pauses)) == len(pauses)


async def test_a_passing_failure_is_waited_out() -> None:
    time, failures = Time(), [ConnectionError("away"), ConnectionError("away")]

    async def action() -> str:
        if failures:
            raise failures.pop()
        return "there"

    assert (
        await persist("queue", action, retriable=ConnectionError, patience_s=60, sleep=time.sleep, clock=time.clock)
        == "there"
    )
    assert len(time.pauses) == 2


async def test_an_outage_ends_in_an_error_that_says_what_failed() -> None:
    time = Time()

    async def action() -> None:
        raise ConnectionError("nobody listens")

    with pytest.raises(OutageError, match="queue has been failing for 60 s: nobody listens"):
        await persist("queue", action, retriable=ConnectionError, patience_s=60, sleep=time.sleep, clock=time.clock)
    assert time.now <= 60


async def test_what_is_not_retriable_is_not_tried_again() -> None:
    time = Time()

    async def action() -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        await persist("queue", action, retriable=ConnectionError, patience_s=60, sleep=time.sleep, clock=time.clock)
    assert not time.pauses
