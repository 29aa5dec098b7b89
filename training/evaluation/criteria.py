"""What is required of a model that is to replace another, as non-inferiority; and the verdict of all of it. Pure.

The interval of a gain (positive where B is better) is laid beside minus a margin: it is kept above it, broken below it,
open across it. B may replace A when all that is required is kept (which needs no correction for its number), and must
not when anything is broken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from calibration.contract import Contract
from calibration.metrics.contracts import Count

Verdict = Literal["may_replace", "must_not_replace", "undecided"]
State = Literal["kept", "broken", "open"]

LEAST_ITEMS = 200
"""Fewer never show that a model is not worse: intervals by resampling are too narrow there."""
FEW_ITEMS = 30
"""Fewer show nothing at all, of a model or of one taxonomy."""
_WORDS = {
    "accuracy": "accuracy",
    "parse_failures": "answers that can be read",
    "verbal.aurc": "error over all coverages (AURC) by the said confidence",
    "label.aurc": "error over all coverages (AURC) by the label's probability",
    "verbal.coverage_at.0.1": "coverage at 10 % error by the said confidence",
    "label.coverage_at.0.1": "coverage at 10 % error by the label's probability",
}


class Criterion(Contract):
    """What is required of B, or would speak against it. A gain is positive where B is better."""

    name: str
    required: bool
    """Else it can only forbid."""
    gain: float | None
    low: float | None
    high: float | None
    margin: float
    state: State
    more_items: Count | None = None
    """About how many would settle what is open; None where no number would."""

    def __str__(self) -> str:
        """In words."""
        words = _WORDS.get(self.name, self.name)
        if self.gain is None or self.low is None or self.high is None:
            return f"{words}: not defined for these readings, so nothing can be said of it."
        found = f"{words}: B gains {_points(self.gain)} points ({_points(self.low)} to {_points(self.high)})"
        worse = f"worse by more than {100 * self.margin:g} {'point' if self.margin == 0.01 else 'points'}"
        match self.state:
            case "kept":
                return f"{found}, not {worse}."
            case "broken":
                return f"{found}, {worse}."
            case "open":
                return f"{found}; {worse} cannot be ruled out."


def criterion(name: str, gain: float, low: float, high: float, margin: float, n: int, required: bool) -> Criterion:
    """Lay an interval beside its margin; all are shares of 1, and `n` items were read."""
    state: State = "kept" if low >= -margin else "broken" if high < -margin else "open"
    more = None
    if state == "open" and gain != -margin:
        # The interval shrinks with the root of n, until its end passes the margin on the side where the gain lies.
        half = gain - low if gain > -margin else high - gain
        more = math.ceil(n * (half / abs(gain + margin)) ** 2) - n
    return Criterion(
        name=name, required=required, gain=gain, low=low, high=high, margin=margin, state=state, more_items=more
    )


def verdict_of(criteria: Sequence[Criterion], n: int) -> tuple[Verdict, list[str], int | None]:
    """The verdict, its reasons in sentences, and about how many more items would settle an open one."""
    broken = [each for each in criteria if each.state == "broken"]
    if broken and n >= FEW_ITEMS:
        return "must_not_replace", [str(each) for each in broken], None
    required = [each for each in criteria if each.required]
    open_ = [each for each in required if each.state != "kept"]
    reasons = [str(each) for each in open_ or required]
    if n < LEAST_ITEMS:
        reasons.insert(0, f"{n} items are too few to show that B is not worse: {LEAST_ITEMS} at least.")
    if not open_ and n >= LEAST_ITEMS:
        return "may_replace", reasons, None
    needed = [each.more_items for each in open_]
    known = [more for more in needed if more is not None]
    if len(known) < len(needed):
        return "undecided", reasons, None
    more = max([*known, LEAST_ITEMS - n])
    reasons.append(f"About {more:,} more items would settle it, if the differences stay as they are.")
    return "undecided", reasons, more


def _points(share: float) -> str:
    return f"{100 * share + 0.0:+.2f}"  # no -0.00
