"""What the pipeline takes from an engine's answer: the reading, with the numbers that go with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from calibration.contract import Contract
from calibration.outcome import ParseStatus, Signals
from review.task import Alternative, Reasoning
from worker.engine.protocol import EngineAnswer
from worker.reading.response import ParseFailure, parse_response
from worker.reading.taxonomy import Taxonomy

_RAW_ANSWER = 8_000  # characters
_NEGLIGIBLE = 1e-3
_NEGLIGIBLE_MASS = 1e-9


class ImageFlag(StrEnum):
    """What a person should know of an image before they trust what was said of it."""

    ANIMATED = "animated"  # only the first frame was read
    BLANK = "blank"
    TINY = "tiny"


class Reading(Contract):
    """What the model said of one image. This is what the cache keeps."""

    label: str | None
    """None unless the answer parsed."""
    reasoning: Reasoning | None = None
    raw_answer: str | None = None
    """What the model wrote, where it did not parse; at most 8,000 characters."""
    alternatives: tuple[Alternative, ...] = ()
    """All labels that the engine could tell apart, most probable first."""
    signals: Signals
    image_flags: tuple[ImageFlag, ...] = ()
    pdq: str | None = None
    """Perceptual hash of the image, as `worker.intake.likeness` makes it."""
    constrained: bool = False
    """The answer comes from the second try, under a grammar."""


def read_answer(answer: EngineAnswer, taxonomy: Taxonomy) -> Reading:
    """The reading that an answer amounts to; an answer that does not parse has neither label nor confidence."""
    parsed = parse_response(answer.text, answer.finish, taxonomy)
    if isinstance(parsed, ParseFailure):
        return Reading(label=None, raw_answer=answer.text[:_RAW_ANSWER], signals=Signals(parse_status=parsed.status))
    reading = Reading(
        label=parsed.label,
        reasoning=parsed.reasoning,
        signals=Signals(parse_status=ParseStatus.OK, verbal_confidence=parsed.confidence),
    )
    distribution = label_distribution(answer.label_probabilities, answer.shared_probability, taxonomy.labels)
    if distribution is None or parsed.label not in distribution.probabilities:
        return reading
    own = distribution.probabilities[parsed.label]
    signals = reading.signals.model_copy(
        update={
            "label_probability": own,
            "label_margin": distribution.margin(parsed.label),
            "label_entropy": distribution.entropy(),
            "label_mass": distribution.mass,
        }
    )
    ranked = sorted(distribution.probabilities.items(), key=lambda item: -item[1])
    alternatives = tuple(Alternative(label=label, probability=probability) for label, probability in ranked)
    return reading.model_copy(update={"alternatives": alternatives, "signals": signals})


@dataclass(frozen=True, slots=True)
class LabelDistribution:
    """What the model believed of the candidate labels; `probabilities` and `shared` sum to 1."""

    probabilities: Mapping[str, float]
    shared: float
    """Of all labels together that are not among the probabilities."""
    mass: float
    """Before normalisation, at most 1."""

    def margin(self, label: str) -> float | None:
        """Its probability less the largest other one; None where a shared one may be larger still."""
        rival = max((value for name, value in self.probabilities.items() if name != label), default=0.0)
        return None if self.shared > rival else self.probabilities[label] - rival

    def entropy(self) -> float | None:
        """Shannon entropy in nats; None where the shared part could change its second digit."""
        if self.shared > _NEGLIGIBLE:
            return None
        return max(0.0, -sum(p * math.log(p) for p in self.probabilities.values() if p > 0.0))


def label_distribution(
    known: Mapping[str, float] | None, shared: float, labels: tuple[str, ...]
) -> LabelDistribution | None:
    """Normalise the probabilities that an engine gives the candidate labels.

    None when there is nothing to normalise or a number is not a probability. A label that is not given counts as 0, or
    as one of those that share a probability if there are any.
    """
    if known is None:
        return None
    raw = {label: known.get(label, 0.0) for label in labels if label in known or shared == 0.0}
    mass = sum(raw.values()) + shared
    if not math.isfinite(mass) or not _NEGLIGIBLE_MASS < mass < 1.01 or min([shared, *raw.values()]) < 0.0:
        return None
    probabilities = {label: min(1.0, value / mass) for label, value in raw.items()}
    return LabelDistribution(probabilities, min(1.0, shared / mass), min(1.0, mass))
