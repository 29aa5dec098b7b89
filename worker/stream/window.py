"""The bound on what is in flight: events by number and by bytes, with hysteresis; and whether any may enter at all."""

from __future__ import annotations

import threading


class Window:
    """Counts what is in flight. It closes at either limit and reopens when both have fallen to 7/8. Thread-safe.

    The gap between the two marks keeps a full worker from pausing and resuming its partitions at every event, and the
    eighth that is free by then is what one poll brings.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self.events = 0
        self.bytes = 0
        self.left = 0
        """How many events have left so far, whatever became of them."""
        self.open = threading.Event()
        self.open.set()
        self._admitting = True

    @property
    def room(self) -> int:
        """How many events may still enter."""
        return max(0, self._max_events - self.events)

    def enter(self, events: int, size: int) -> None:
        """Count events that came in, of this many bytes together."""
        with self._lock:
            self.events += events
            self.bytes += size
            if self.events >= self._max_events or self.bytes >= self._max_bytes:
                self.open.clear()

    def leave(self, size: int) -> None:
        """Count one event out."""
        with self._lock:
            self.events -= 1
            self.bytes -= size
            self.left += 1
            self._reopen()

    def admit(self, admitting: bool) -> None:
        """Let events in as far as there is room, or none until further notice: what their outputs need is short."""
        with self._lock:
            self._admitting = admitting
            if admitting:
                self._reopen()
            else:
                self.open.clear()

    def _reopen(self) -> None:
        if self._admitting and self.events <= self._max_events * 7 // 8 and self.bytes <= self._max_bytes * 7 // 8:
            self.open.set()
