"""Patience with a Kafka that does not do its part."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from worker.retry import OutageError, backoff

log = structlog.get_logger()


class Outage:
    """Follows how long something has kept failing, and says so once when it begins and once when it is over."""

    def __init__(self, part: str, patience_s: float, clock: Callable[[], float]) -> None:
        """Arguments: part: what is failing, for people. patience_s: how long it may. clock: monotonic seconds."""
        self._part = part
        self._patience_s = patience_s
        self._clock = clock
        self._since: float | None = None
        self._pauses = backoff(cap_s=5.0)

    @property
    def active(self) -> bool:
        """Whether it is failing."""
        return self._since is not None

    def failed(self, error: Exception) -> float:
        """Note a failure that may pass; returns how many seconds to wait before the next try.

        Raises:
            OutageError: it has lasted for too long.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
            log.warning("kafka away", part=self._part, error=_text(error), patience_s=self._patience_s)
        if now - self._since >= self._patience_s:
            raise OutageError(
                f"Kafka: {self._part} has been failing for {now - self._since:.0f} s ({_text(error)}): check brokers, "
                "TIDEGATE_KAFKA_* and that the topic exists; nothing is lost, what was uncommitted comes again"
            ) from error
        return next(self._pauses)

    def over(self) -> None:
        """Note a success."""
        if self._since is not None:
            log.info("kafka back", part=self._part, seconds=round(self._clock() - self._since, 1))
            self._since = None
            self._pauses = backoff(cap_s=5.0)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
