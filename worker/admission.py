"""Whether there is room for what new events lead to: tasks in Valkey, which refuses them at its limit."""

from __future__ import annotations

import structlog

from worker import telemetry

log = structlog.get_logger()

_REOPEN = 0.95
"""Of the limit: events are taken again once memory has fallen this far, so that the worker does not flutter."""


class Admission:
    """Closes above the limit and reopens below 95 % of it; says so once each time."""

    def __init__(self, limit: float) -> None:
        """`limit`: used share of Valkey's maxmemory, in (0, 1]."""
        self._limit = limit
        self._open = True

    def admits(self, memory_ratio: float) -> bool:
        """Whether events may be taken, now that this share of Valkey's memory is used."""
        was_open = self._open
        self._open = memory_ratio < (self._limit if was_open else self._limit * _REOPEN)
        telemetry.ADMITTING.set(self._open)
        if was_open and not self._open:
            log.warning(
                "no further events are taken",
                valkey_memory=round(memory_ratio, 3),
                limit=self._limit,
                note="the review queue's Valkey is nearly full: decide tasks, or raise its maxmemory",
            )
        elif self._open and not was_open:
            log.info("events are taken again", valkey_memory=round(memory_ratio, 3))
        return self._open
