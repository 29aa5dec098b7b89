"""The numbers that go with a reading, and the readings whose truth is known: what this room takes in."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from calibration.contract import Contract

Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class Reader(Contract):
    """What made the signals what they are: a change of any of them voids a certificate."""

    model: str
    prompt: str
    decoder: str


class ParseStatus(StrEnum):
    """Whether a model's answer could be read; everything but `ok` goes to a person."""

    OK = "ok"
    TRUNCATED = "truncated"  # the answer reached the token limit
    ABORTED = "aborted"  # the engine gave the request up: abort, repetition, error
    MISSING_TAG = "missing_tag"  # a required tag is absent, doubled or out of order
    EXTRA_TEXT = "extra_text"  # something stands outside the tags
    UNKNOWN_LABEL = "unknown_label"  # the answer is not a label of the taxonomy
    BAD_CONFIDENCE = "bad_confidence"  # the confidence is not a number from 0 to 1
    NOT_READ = "not_read"  # the engine was never asked (blank or tiny image)


class Signals(Contract):
    """The evidence for one label of one image. A signal that is missing is None, never a default.

    All probabilities are raw model output, not calibrated.
    """

    parse_status: ParseStatus
    verbal_confidence: Probability | None = None
    """The confidence the model wrote, 0 to 1."""
    label_probability: Probability | None = None
    """Probability of the label's first token, normalised over the taxonomy's candidate labels."""
    label_margin: Annotated[float, Field(ge=-1.0, le=1.0, allow_inf_nan=False)] | None = None
    """label_probability minus the largest probability of another label; negative if the argmax disagrees."""
    label_entropy: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    """Entropy of the candidate distribution, in nats."""
    label_mass: Probability | None = None
    """Unnormalised probability of all candidates together; far below 1 means the model wanted to say something else."""
    agreement: Probability | None = None
    """Of a second look: the mean, over further answers drawn at a temperature, of the probability that each gave the
    label. An answer that could not be read counts 0. None where nobody looked twice."""
