"""Figures of merit as documents: what a calibrator's provenance, a report and the console show."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, FiniteFloat, model_validator

from calibration.contract import Contract

Count = Annotated[int, Field(ge=0)]


class Figure(Contract):
    """One figure and its 95 % bootstrap interval. Null is what is not defined, as the AUROC of one class."""

    value: FiniteFloat | None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.low is None) != (self.high is None) or (self.value is None and self.low is not None):
            raise ValueError("an interval has two ends, and something between them")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low: {self.low} is above high: {self.high}")
        return self


NOT_DEFINED = Figure(value=None)


class Metrics(Contract):
    """How good n scores are. Definitions: `calibration.metrics.statistics`, weighted by inverse propensities."""

    n: Count
    """Readings that have a score; those that could not be parsed count in `coverage_at` and `not_parsed` alone."""
    base_rate: Figure
    """Share correct."""
    brier: Figure
    brier_skill: Figure
    """1 - Brier / Brier of always saying the base rate."""
    log_loss: Figure
    """In nats."""
    smooth_ece: Figure
    ece: Figure
    """10 bins of equal width, the last one closed."""
    auroc: Figure
    aurc: Figure
    """Mean error over all coverages, equal scores in random order."""
    coverage_at: dict[str, Figure]
    """Largest share of all readings that could pass with no more than this error among it, as observed. No promise: it
    looks for the best threshold, so it is too hopeful where but a few errors fit in."""
    not_parsed: Figure = NOT_DEFINED
    """Share of all readings whose answer could not be read."""


class GroupedMetrics(Contract):
    """The same for each label, or for each source, and for all of them."""

    pooled: Metrics
    """Of all readings: frequent groups count for more."""
    macro: Metrics
    """Means over the groups in which a figure is defined: each group counts the same."""
    groups: dict[str, Metrics]
