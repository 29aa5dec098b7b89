"""What the calibrator sees of a reading: log-odds, shapes of the candidates' distribution, flags of what is missing.

A signal that is missing counts 0, and its flag 1: its coefficient then says how much such readings are worth. What is
here is part of version 1 of the calibrator's document: to change it is to make another version.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.table import Floats, SignalTable

VERBAL_CLIP = 0.01
"""Models that write 1.00 do not mean it: a written confidence is taken within [.01, .99]."""
TOKEN_CLIP = 1e-4
"""Token probabilities round to 1.0 all the time; beyond log-odds of 9.2 they say no more."""


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
NAMES = tuple(feature.name for feature in FEATURES)


def design(signals: SignalTable) -> Floats:
    """The features of n readings, shape (n, 10), in the order of `FEATURES`; finite whatever is missing."""
    x = np.empty((len(signals), len(FEATURES)))
    x[:, 0] = 1.0
    x[:, 1], x[:, 6] = _present(_logit(signals.verbal_confidence, VERBAL_CLIP))
    x[:, 2], x[:, 7] = _present(_logit(signals.label_probability, TOKEN_CLIP))
    x[:, 3], x[:, 8] = _present(signals.label_margin)
    x[:, 4] = signals.label_margin < 0.0  # nan is not
    x[:, 5], x[:, 9] = _present(np.exp(-signals.label_entropy))
    return x


def _logit(probability: Floats, clip: float) -> Floats:
    kept = np.clip(probability, clip, 1.0 - clip)
    logit: Floats = np.log(kept / (1.0 - kept))
    return logit


def _present(values: Floats) -> tuple[Floats, Floats]:
    missing = np.isnan(values)
    return np.where(missing, 0.0, values), missing.astype(np.float64)
