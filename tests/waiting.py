"""Waiting for a condition with a deadline: what tests do instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def eventually(condition: Callable[[], Answer], deadline_s: float = 10.0, *, every_s: float = 0.02) -> Answer:
    """Call `condition` until its answer is true, and return that answer.

    Raises AssertionError with the last answer when the deadline passes. What `condition` raises is raised at once:
    a condition that may fail for a while says so itself, by an answer that is false.
    """
    deadline = time.monotonic() + deadline_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            name = getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"not within {deadline_s} s: {name}; its last answer was {answer!r}")
        time.sleep(every_s)
    return answer
