"""Notices partitions that are assigned, behind and frozen: the silent stall that a healthy group hides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worker.stream.assignment import Assignment


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one look at one assignment saw."""

    assignment: Assignment
    position: int | None
    """The lowest offset that is not done, else the next to be read; None while Kafka has not told it."""
    behind: int
    """Records between `position` and the head of the partition."""
    waiting: bool
    """Paused by backpressure with nothing in flight: it waits for the events of other partitions."""


@dataclass(slots=True)
class _Track:
    position: int | None
    since: float
    stalled: bool = False


class Watchdog:
    """Remembers since when each assignment has been behind without moving.

    A partition that waits for its turn is not frozen as long as events of others finish. One whose oldest event does
    not finish is, however many later ones do: nothing of it can be committed.
    """

    def __init__(self, warn_s: float) -> None:
        self._warn_s = warn_s
        self._tracks: dict[Assignment, _Track] = {}
        self._finished = 0

    def look(self, now: float, sightings: Iterable[Sighting], finished: int) -> tuple[list[Sighting], list[Sighting]]:
        """Take sightings of all assignments into account.

        Args:
            now: seconds on a monotonic clock.
            finished: how many events of any partition have finished so far.

        Returns:
            Those that have been frozen for `warn_s` and were not before, and those that move again.
        """
        others_move, self._finished = finished != self._finished, finished
        stalled, moving = [], []
        tracks = {}
        for seen in sightings:
            track = tracks[seen.assignment] = self._tracks.get(seen.assignment) or _Track(seen.position, now)
            if not seen.behind or track.position != seen.position or (seen.waiting and others_move):
                track.position, track.since = seen.position, now
                if track.stalled:
                    track.stalled = False
                    moving.append(seen)
            elif not track.stalled and now - track.since >= self._warn_s:
                track.stalled = True
                stalled.append(seen)
        self._tracks = tracks
        return stalled, moving

    def stalled(self, now: float) -> dict[Assignment, float]:
        """For each stalled assignment how many seconds it has been frozen. May be called from any thread."""
        return {assignment: now - track.since for assignment, track in self._tracks.items() if track.stalled}
