"""Labels that are known before the certifying ones are looked at: the previous gate's. They plan, and never test."""

from __future__ import annotations

from dataclasses import dataclass

from calibration.table import Bools, Floats, Texts


@dataclass(frozen=True)
class Earlier:
    """n earlier outcomes, in any order and drawn in any way.

    Args:
        score: (n,) P(correct) by the calibrator that is to be certified; nan where not parsed.
        wrong: (n,) whether the reading was wrong.
        label: (n,) the model's labels; only promises need them.
    """

    score: Floats
    wrong: Bools
    label: Texts | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.score), len(self.wrong)} | (set() if self.label is None else {len(self.label)})
        if len(lengths) > 1:
            raise ValueError(f"earlier labels: columns of different lengths: {sorted(lengths)}")

    def take(self, rows: Bools) -> Earlier:
        """The rows of a mask."""
        return Earlier(self.score[rows], self.wrong[rows], None if self.label is None else self.label[rows])
