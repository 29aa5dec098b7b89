"""What may be committed of a partition whose events finish out of order."""

from __future__ import annotations

import threading


class OffsetTracker:
    """The offsets of one assignment of one partition: received, done, and what follows from them. Thread-safe.

    It knows only offsets that were received: transaction markers and compaction leave gaps, and nothing may wait for an
    offset that never comes. A partition that is lost and comes back gets a new tracker: brokers accept commits for
    partitions that one no longer owns, so a late completion must find its own tracker dead.
    """

    __slots__ = ("_alive", "_incomplete", "_lock", "_next")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._incomplete: set[int] = set()
        self._next: int | None = None
        self._alive = True

    def received(self, offset: int) -> None:
        """Take note of a record that is being worked on.

        Raises:
            ValueError: the offset is already in flight: the log was cut back and written anew beneath us.
        """
        with self._lock:
            if offset in self._incomplete:
                raise ValueError(f"offset {offset} came again while its first record was in flight")
            self._incomplete.add(offset)
            self._next = offset + 1

    def done(self, offset: int) -> None:
        """Take note that the outputs of a record are durable. Once the assignment has ended this means nothing."""
        with self._lock:
            if self._alive:
                self._incomplete.remove(offset)

    def end(self) -> None:
        """The assignment has ended: from now on nothing may be committed."""
        with self._lock:
            self._alive = False

    @property
    def committable(self) -> int | None:
        """The offset to commit: all records below it are done. None before the first record and after the end."""
        with self._lock:
            return min(self._incomplete, default=self._next) if self._alive else None

    @property
    def oldest(self) -> int | None:
        """The lowest offset that is not done; None when there is none."""
        with self._lock:
            return min(self._incomplete, default=None)
