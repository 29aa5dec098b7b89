"""The guard on dead letters: a bad deploy of a producer must stop the worker, not drain the topic."""

from __future__ import annotations

from collections import deque


class DeadLetterShareError(Exception):
    """Too many of the last events were unusable. The worker stops; what it has done is committed."""


class DeadLetterGuard:
    """Watches the share of dead letters over the last events.

    It speaks once a tenth of the window (at least 10 events) has been seen, so that a worker that restarts in the
    middle of a bad stretch stops again soon.
    """

    def __init__(self, share: float, window: int) -> None:
        self._share = share
        self._least = max(10, window // 10)
        self._last: deque[bool] = deque(maxlen=window)
        self._dead = 0

    def note(self, *, dead: bool) -> None:
        """Take one durable outcome into account.

        Raises:
            DeadLetterShareError: the share is above the limit.
        """
        if len(self._last) == self._last.maxlen:
            self._dead -= self._last[0]
        self._last.append(dead)
        self._dead += dead
        if dead and len(self._last) >= self._least and self._dead > self._share * len(self._last):
            raise DeadLetterShareError(
                f"{self._dead} of the last {len(self._last)} events became dead letters, more than the limit of "
                f"{self._share:.0%}: look at their `tidegate.reason` headers, mend the producer (or raise "
                "TIDEGATE_STREAM_DEAD_LETTER_SHARE), then start the worker again"
            )
