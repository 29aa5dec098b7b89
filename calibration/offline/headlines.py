"""The figures of merit that a report puts first."""

from __future__ import annotations

from typing import Literal

from calibration.metrics import Figure, Metrics
from calibration.offline.curves import Share
from calibration.offline.report import CoverageRow, Headline

_FIGURES: tuple[tuple[str, str, Literal["share", "number"], str], ...] = (
    ("base_rate", "right answers", "share", "of the readings that were parsed"),
    ("brier", "Brier score", "number", "mean squared distance between score and truth; less is better"),
    ("brier_skill", "Brier skill", "share", "of the distance that always saying the base rate leaves; more is better"),
    ("log_loss", "log-loss", "number", "surprise at the truth, in nats; less is better"),
    ("smooth_ece", "smooth ECE", "number", "how far scores lie from what they promise; 0 is perfect"),
    ("ece", "ECE, 10 bins", "number", "the same in bins, as others report it; it depends on where they are cut"),
    ("auroc", "AUROC", "number", "chance that a right answer scores above a wrong one; 0.5 is a coin"),
    ("aurc", "AURC", "number", "mean error over all coverages; less is better"),
)


def headlines(metrics: Metrics, unread: Share) -> tuple[Headline, ...]:
    """The figures with their intervals. `unread` is the share of all answers that could not be read."""
    rows = [
        Headline(name=name, figure=getattr(metrics, field), unit=unit, meaning=meaning)
        for field, name, unit, meaning in _FIGURES
    ]
    rows.append(
        Headline(
            name="not parsed",
            figure=Figure(value=unread.value, low=unread.low, high=unread.high),
            unit="share",
            meaning="of all answers; they go to people, whatever the gate",
        )
    )
    return tuple(rows)


def coverages(metrics: Metrics) -> tuple[CoverageRow, ...]:
    """What could have passed, by error."""
    return tuple(CoverageRow(error=float(error), coverage=found) for error, found in metrics.coverage_at.items())
