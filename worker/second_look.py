"""The second look: further answers to a doubtful reading, drawn at a temperature, and how far they agree with it.

One greedy answer follows one line of reasoning. Where it leaves doubt, others are drawn, and what they believe of the
first one's label is averaged: over lines of reasoning, which the first answer's own probability cannot see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from worker.engine.protocol import EngineRequest, seed_of
from worker.reading.prompt import PROMPT_VERSION
from worker.reading.signals import Reading
from worker.settings import SecondLookSettings


@dataclass(frozen=True, slots=True)
class SecondLook:
    """Which readings are asked again, and how."""

    samples: int
    """Further answers to each; 0: no second look."""
    temperature: float
    low: float
    high: float
    """The grey zone, both ends included: of the label's probability, or, where that is missing, of the confidence."""

    @classmethod
    def of(cls, settings: SecondLookSettings) -> Self:
        """As the settings say."""
        return cls(settings.samples, settings.temperature, settings.low, settings.high)

    @property
    def prompt_version(self) -> str:
        """The prompt's version with all that the second look adds to what signals mean; part of every decision."""
        if not self.samples:
            return PROMPT_VERSION
        return f"{PROMPT_VERSION}+look{self.samples}@{self.temperature:g}[{self.low:g},{self.high:g}]"

    def wanted(self, reading: Reading) -> bool:
        """Whether a reading lies in the grey zone."""
        signals = reading.signals
        sure = signals.verbal_confidence if signals.label_probability is None else signals.label_probability
        return self.samples > 0 and reading.label is not None and sure is not None and self.low <= sure <= self.high

    def requests(self, first: EngineRequest) -> list[EngineRequest]:
        """The same question again, each with a seed of its own, which is the same whenever this image is looked at."""
        return [
            replace(
                first,
                request_id=f"{first.request_id}/look-{number}",
                constrained=False,
                temperature=self.temperature,
                seed=seed_of(f"{first.image_key} {number}"),
            )
            for number in range(self.samples)
        ]


NO_SECOND_LOOK = SecondLook(samples=0, temperature=1.0, low=0.0, high=0.0)


def agreement(label: str, samples: Sequence[Reading]) -> float | None:
    """The mean probability that sampled readings of an image gave a label, 0 to 1; None of no samples.

    A sample that could not be read gives it 0. One without label probabilities gives it 1 or 0, as its own label says.
    """
    if not samples:
        return None
    return min(1.0, sum(_given(label, sample) for sample in samples) / len(samples))


def _given(label: str, sample: Reading) -> float:
    if sample.label is None:
        return 0.0
    for alternative in sample.alternatives:
        if alternative.label == label:
            return alternative.probability
    return float(sample.label == label)
