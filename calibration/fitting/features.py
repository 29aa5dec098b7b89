"""What the calibrator sees of a reading: log-odds, shapes of the candidates' distribution, flags of what is missing.

A signal that is missing counts 0, and its flag 1: its coefficient then says how much such readings are worth. What is
here is part of versions 1 and 2 of the calibrator's document: to change it is to make another version. Version 2 has
the features of a second look besides, and is made only where there was one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from calibration.outcome import Signals
from calibration.table import Floats, SignalTable

VERBAL_CLIP = 0.01
"""Models that write 1.00 do not mean it: a written confidence is taken within [.01, .99]."""
TOKEN_CLIP = 1e-4
"""Token probabilities round to 1.0 all the time; beyond log-odds of 9.2 they say no more."""
LOOK_CLIP = 0.01
"""A handful of sampled answers cannot know more than this."""

Version = Literal[1, 2]


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the design, and the Gaussian prior of its coefficient.

    The priors say: believe the confidence that the model writes, as it is (slope 1), and nothing else, but not firmly.
    """

    name: str
    prior_mean: float
    prior_sd: float


FEATURES = (
    Feature("intercept", 0.0, 1.5),
    Feature("verbal_logit", 1.0, 0.5),  # of the written confidence
    Feature("label_logit", 0.0, 0.5),  # of the probability of the label's first token
    Feature("margin", 0.0, 0.5),  # to the next likely label, -1 to 1
    Feature("disagrees", 0.0, 0.5),  # 1 where the margin is below 0: another label was likelier than the answer
    # exp(-entropy), one over the number of labels that are in play: 1 where the model is sure, 1/K where it has no idea
    # of K. In it, unlike in the entropy itself, being sure means the same for every number of labels.
    Feature("concentration", 0.0, 0.5),
    Feature("no_verbal", 0.0, 1.0),
    Feature("no_label_probability", 0.0, 1.0),
    Feature("no_margin", 0.0, 1.0),
    Feature("no_entropy", 0.0, 1.0),
)
LOOK_FEATURES = (
    # What the second look adds to the log-odds that the first answer gave the label (by its token, or, where that is
    # not known, by its own words): 0 where nobody looked, so that one slope of label_logit fits both kinds of readings.
    Feature("look_shift", 0.0, 0.5),
    Feature("looked", 0.0, 0.5),
)
VERSIONS: Mapping[Version, tuple[Feature, ...]] = {1: FEATURES, 2: FEATURES + LOOK_FEATURES}
NAMES = tuple(feature.name for feature in FEATURES)


def version_for(signals: SignalTable) -> Version:
    """The version that these readings need: without a second look among them, the one that older software reads."""
    return 2 if signals.looked.any() else 1


def design(signals: SignalTable, version: Version = 1) -> Floats:
    """The features of n readings, shape (n, f), in the order of `VERSIONS`; finite whatever is missing."""
    x = np.empty((len(signals), len(VERSIONS[version])))
    x[:, 0] = 1.0
    x[:, 1], x[:, 6] = _present(_logit(signals.verbal_confidence, VERBAL_CLIP))
    x[:, 2], x[:, 7] = _present(_logit(signals.label_probability, TOKEN_CLIP))
    x[:, 3], x[:, 8] = _present(signals.label_margin)
    x[:, 4] = signals.label_margin < 0.0  # nan is not
    x[:, 5], x[:, 9] = _present(np.exp(-signals.label_entropy))
    if version == 2:
        first = np.where(np.isnan(signals.label_probability), signals.verbal_confidence, signals.label_probability)
        before = np.nan_to_num(_logit(first, LOOK_CLIP))
        x[:, 10] = np.nan_to_num(_logit(signals.agreement, LOOK_CLIP) - before)
        x[:, 11] = signals.looked
    return x


def design_row(signals: Signals) -> list[float]:
    """The features of one reading, those of version 2: the same numbers as a row of `design`, to rounding."""
    verbal, token = signals.verbal_confidence, signals.label_probability
    margin, entropy, agreement = signals.label_margin, signals.label_entropy, signals.agreement
    shift = 0.0
    if agreement is not None:
        first = verbal if token is None else token
        shift = _logit_of(agreement, LOOK_CLIP) - (0.0 if first is None else _logit_of(first, LOOK_CLIP))
    return [
        1.0,
        0.0 if verbal is None else _logit_of(verbal, VERBAL_CLIP),
        0.0 if token is None else _logit_of(token, TOKEN_CLIP),
        0.0 if margin is None else margin,
        float(margin is not None and margin < 0.0),
        0.0 if entropy is None else math.exp(-entropy),
        float(verbal is None),
        float(token is None),
        float(margin is None),
        float(entropy is None),
        shift,
        float(agreement is not None),
    ]


def _logit_of(probability: float, clip: float) -> float:
    kept = min(max(probability, clip), 1.0 - clip)
    return math.log(kept / (1.0 - kept))


def _logit(probability: Floats, clip: float) -> Floats:
    kept = np.clip(probability, clip, 1.0 - clip)
    logit: Floats = np.log(kept / (1.0 - kept))
    return logit


def _present(values: Floats) -> tuple[Floats, Floats]:
    missing = np.isnan(values)
    return np.where(missing, 0.0, values), missing.astype(np.float64)
