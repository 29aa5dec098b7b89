"""Which events the ledger has seen lately, so that a decision that comes again finds the row that it replaces.

Kafka redelivers an image for as long as the `images` topic keeps it: seven days. A decision may thus come again on the
topic with a `decided_at` of up to seven days later, and nothing older needs to be looked at. An id is remembered as a
64-bit hash; two ids of the same hash cost an unnecessary look, never a row: erasing compares ids.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

LOOK_BACK_DAYS = 8
"""Seven days of retention, and midnight."""
_DAYS_KEPT = 48
"""In memory: more than the `decisions` topic keeps, and eight bytes for each of their decisions."""

Hashes = NDArray[np.int64]


def hashes(ids: Sequence[str]) -> Hashes:
    """64-bit hashes, equal for equal ids within this process."""
    return np.fromiter(map(hash, ids), np.int64, len(ids))


class _Day:
    """A set of hashes: sorted runs, each at least twice as long as the next."""

    def __init__(self, first: Hashes) -> None:
        self._runs = [np.sort(first)]

    def add(self, more: Hashes) -> None:
        run = np.sort(more)
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate((self._runs.pop(), run)), kind="stable")
        self._runs.append(run)

    def holds_any(self, asked: Hashes) -> bool:
        for run in self._runs:
            at = np.searchsorted(run, asked)
            if len(run) and bool((run[np.minimum(at, len(run) - 1)] == asked).any()):
                return True
        return False


class RecentIds:
    """Days of the ledger, read when they are first needed. For one thread and one writer."""

    def __init__(self, load: Callable[[date], Sequence[str]]) -> None:
        """`load`: the event ids of a day, as the ledger has them."""
        self._load = load
        self._days: OrderedDict[date, _Day] = OrderedDict()

    def days_of(self, asked: Hashes, days: Iterable[date]) -> list[date]:
        """The days on which one of these events, decided on `days`, may have a row already."""
        near = {day + timedelta(back) for day in days for back in range(-LOOK_BACK_DAYS, 2)}
        found = [day for day in sorted(near) if self._day(day).holds_any(asked)]
        while len(self._days) > max(_DAYS_KEPT, len(near)):
            self._days.popitem(last=False)
        return found

    def add(self, day: date, ids: Hashes) -> None:
        """Remember the events of new rows of a day, which `days_of` has looked at."""
        self._day(day).add(ids)

    def forget(self) -> None:
        """Read everything again: somebody else has written, or a commit failed half-way."""
        self._days.clear()

    def _day(self, day: date) -> _Day:
        if day not in self._days:
            self._days[day] = _Day(hashes(self._load(day)))
        self._days.move_to_end(day)
        return self._days[day]
