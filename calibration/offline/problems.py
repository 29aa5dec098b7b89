"""What is wrong with a file, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_LISTED_ROWS = 4
_LISTED_PROBLEMS = 25

Place = Callable[[int], str]
"""Where a person finds a row (counted from 0): `line 7` of a CSV, `row 6` of a Parquet file."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in all the rows that have it."""

    what: str
    """What was found: of the first row, where there are rows."""
    remedy: str
    column: str | None = None
    rows: tuple[int, ...] = ()
    """Counted from 0; the first few of them."""
    count: int = 0
    """Of all rows that have it."""

    @classmethod
    def of_rows(cls, column: str, rows: Sequence[int], what: str, remedy: str) -> Problem:
        """The problem of some rows; `what` speaks of the first of them."""
        shown = tuple(int(row) for row in rows[:_LISTED_ROWS])
        return cls(what=what, remedy=remedy, column=column, rows=shown, count=len(rows))

    def sentence(self, place: Place) -> str:
        """`column propensity, line 7: 0.0 is not above 0 (also line 9 and 400 more). What to do.`"""
        where = [f"column {self.column}"] if self.column is not None else []
        also = ""
        if self.rows:
            where.append(place(self.rows[0]))
            others = [place(row) for row in self.rows[1:]]
            if (more := self.count - len(self.rows)) > 0:
                others.append(f"{more:,} more")
            also = f" (also {_listed(others)})" if others else ""
        start = ", ".join(where) + ": " if where else ""
        return f"{start}{self.what}{also}. {self.remedy}"


class FileError(Exception):
    """A file cannot be used: every problem that was found in it, a bounded number of them spelled out."""

    def __init__(self, path: Path, problems: Sequence[Problem], place: Place = lambda row: f"row {row + 1}") -> None:
        self.path = path
        self.problems = tuple(problems)
        spelled = [problem.sentence(place) for problem in self.problems[:_LISTED_PROBLEMS]]
        if (more := len(self.problems) - len(spelled)) > 0:
            spelled.append(f"and {more} more problems of this kind")
        if len(spelled) == 1:
            super().__init__(f"{path}: {spelled[0]}")
        else:
            lines = "".join(f"\n  - {line}" for line in spelled)
            super().__init__(f"{path}: {len(self.problems)} problems{lines}")


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
