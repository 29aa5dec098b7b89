"""The calibrator: how far a model's confidence can be trusted. One JSON document, which a person can read.

It holds a hierarchical logistic regression (`calibration.fitting.hierarchical`): coefficients of the signals, an
intercept for each label and each source, how sure all of them are, and where they come from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AwareDatetime, Field, FiniteFloat, model_validator

from calibration.certificate import Count
from calibration.contract import Contract
from calibration.fitting.features import VERSIONS
from calibration.fitting.scoring import Intercepts, Posterior, Scored
from calibration.metrics import Metrics
from calibration.outcome import Reader, Signals
from calibration.table import Floats, SignalTable, Table

NonNegative = Annotated[FiniteFloat, Field(ge=0.0)]
Positive = Annotated[FiniteFloat, Field(gt=0.0)]


@dataclass(frozen=True)
class Scores(Table):
    """P(correct) of n readings and its 90 % interval; nan where the answer could not be parsed."""

    score: Floats
    low: Floats
    high: Floats


class Coefficient(Contract):
    """Of one feature: log-odds per unit."""

    feature: str
    """As in `calibration.fitting.features`."""
    value: FiniteFloat
    standard_error: NonNegative
    prior_mean: FiniteFloat
    prior_sd: Positive


class Intercept(Contract):
    """What a label or a source adds to the log-odds."""

    name: str
    outcomes: Count
    """Of which it was learned."""
    value: FiniteFloat
    standard_error: NonNegative
    slope: tuple[FiniteFloat, ...]
    """How it goes with the coefficients, in their order: its regression on them, under the posterior."""
    rest: NonNegative
    """Variance that this regression leaves."""


class HeldOut(Contract):
    """How `metrics` were found: by the same fit on the older outcomes, judged on newer ones that it had not seen."""

    fitted_on: Count
    judged_on: Count
    judged_from: AwareDatetime
    judged_until: AwareDatetime


class Calibrator(Contract):
    """P(correct) = sigmoid(x'b + u_label + v_source), with the posterior of b, u and v in Gaussian form."""

    schema_version: Literal[1, 2] = 1
    """2 where there was a second look among its outcomes: it has two more features. A reader refuses a version that it
    does not know."""
    calibrator_id: Annotated[str, Field(min_length=1, max_length=128)]
    """Of its content: the same outcomes give the same id, whenever and in whatever order they are fitted."""
    created_at: AwareDatetime
    software: str = ""
    reader: Reader | None = None
    """What made the signals; None where nobody said."""

    n: Count
    """Outcomes it was fitted on,"""
    unparsed: Count = 0
    """not counting those left out, since the answer could not be read."""
    effective_n: NonNegative
    """What n is worth given unequal propensities (Kish): at most n."""
    weight_cap: Positive
    """No outcome stands for more than this many."""
    data_sha256: str
    """Of all outcomes given, in a canonical order and form (`calibration.fitting.fingerprint`)."""
    decided_from: AwareDatetime | None = None
    decided_until: AwareDatetime | None = None
    """First and last time of decision among them."""

    converged: bool
    """Whether the optimum was reached; if not, do not use it."""
    coefficients: tuple[Coefficient, ...]
    covariance: tuple[tuple[FiniteFloat, ...], ...]
    """Of the coefficients, in their order."""
    label_sd: Positive
    source_sd: Positive
    """tau of labels and sources: how far their intercepts lie apart. A name never seen has intercept 0, and this sd."""
    intercept_sd_prior: Positive
    """Mode of the Rayleigh prior of both."""
    labels: tuple[Intercept, ...] = ()
    sources: tuple[Intercept, ...] = ()
    names_left_out: Count = 0
    """Rare labels and sources beyond what is kept here: they count as never seen."""

    metrics: Metrics | None = None
    """On outcomes newer than those fitted on, never in sample; None where there were too few."""
    held_out: HeldOut | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        features = tuple(coefficient.feature for coefficient in self.coefficients)
        names = tuple(feature.name for feature in VERSIONS[self.schema_version])
        if features != names:
            raise ValueError(
                f"coefficients: version {self.schema_version} has the features {', '.join(names)}, "
                f"not {', '.join(features)}"
            )
        if {len(self.covariance), *map(len, self.covariance)} != {len(names)}:
            raise ValueError(f"covariance: it must have {len(names)} rows and columns")
        for group in (self.labels, self.sources):
            if len({each.name for each in group}) != len(group):
                raise ValueError("labels, sources: a name stands there twice")
            if any(len(each.slope) != len(names) for each in group):
                raise ValueError(f"labels, sources: a slope must have {len(names)} numbers")
        self._root()
        if self.calibrator_id != (found := content_id(self)):
            raise ValueError(
                f"calibrator_id: the content belongs to {found}, not to {self.calibrator_id}: it was changed or damaged"
            )
        return self

    def score(self, signals: SignalTable) -> Scores:
        """P(correct) of n readings. A label or source never seen counts as an average one, with a wider interval."""
        columns = self._posterior.score(signals)
        return Scores(*(np.where(signals.parsed, column, np.nan) for column in columns))

    def score_one(self, label: str, source: str, signals: Signals) -> tuple[float, float, float]:
        """Score, low and high of one reading: the same numbers as `score`, to rounding."""
        return self._score_one(label, source, signals)

    @cached_property
    def _score_one(self) -> Callable[[str, str, Signals], Scored]:
        return self._posterior.one()

    @cached_property
    def _posterior(self) -> Posterior:
        return Posterior(
            version=self.schema_version,
            mean=np.array([coefficient.value for coefficient in self.coefficients]),
            root=self._root(),
            labels=self._intercepts(self.labels, self.label_sd),
            sources=self._intercepts(self.sources, self.source_sd),
        )

    def _intercepts(self, group: tuple[Intercept, ...], sd: float) -> Intercepts:
        return Intercepts.of(
            tuple(each.name for each in group),
            np.array([each.value for each in group]),
            np.array([each.slope for each in group]).reshape(len(group), len(self.coefficients)),
            np.array([each.rest for each in group]),
            sd**2,
        )

    def _root(self) -> Floats:
        covariance = np.array(self.covariance)
        if not np.array_equal(covariance, covariance.T):
            raise ValueError("covariance: it must be symmetric")
        try:
            return np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as error:
            raise ValueError("covariance: it must be positive definite") from error


def content_id(calibrator: Calibrator) -> str:
    """`c-` and 12 hexadecimal digits of the SHA-256 of everything that it was made of and scores with.

    What is hashed is written down field by field: a later version of this software must find the same id.
    """
    reader = calibrator.reader
    groups = (calibrator.labels, calibrator.sources)
    content: list[Any] = [
        calibrator.schema_version,
        calibrator.data_sha256,
        None if reader is None else [reader.model, reader.prompt, reader.decoder],
        [[each.feature, each.value, each.prior_mean, each.prior_sd] for each in calibrator.coefficients],
        calibrator.covariance,
        [calibrator.label_sd, calibrator.source_sd],
        [[[each.name, each.value, each.slope, each.rest] for each in group] for group in groups],
    ]
    return "c-" + hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
