"""How long verdicts take, as measured."""

from __future__ import annotations

from dataclasses import dataclass

from calibration.table import Floats
from calibration.whatif.contracts import Estimate
from calibration.whatif.estimates import ratio


@dataclass(frozen=True)
class Pace:
    """Seconds for each verdict."""

    seconds: Estimate
    verdicts: int

    @classmethod
    def of(cls, verdicts: Floats, seconds: Floats) -> Pace | None:
        """Of a day of one reviewer each: how many verdicts, and how long they took together; shapes (g,).

        Verdicts of one person on one day are alike, so these groups are what the interval rests on. None where nothing
        was measured.
        """
        total = float(verdicts.sum())
        if total <= 0.0 or float(seconds.sum()) <= 0.0:
            return None
        return cls(ratio(seconds, verdicts), int(total))
