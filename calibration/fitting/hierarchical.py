"""From outcomes to a calibrator: a hierarchical logistic regression, at the mode of its posterior.

P(correct) = sigmoid(x'b + u_label + v_source), with Gaussian priors: b around "believe the written confidence"
(`calibration.fitting.features`), u ~ N(0, tau_l^2), v ~ N(0, tau_s^2), both tau chosen by their evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from calibration.calibrator import Calibrator, Coefficient, HeldOut, Intercept, content_id
from calibration.fitting.features import VERSIONS, Version, design, version_for
from calibration.fitting.fingerprint import canonical_order, sha256_of_outcomes
from calibration.fitting.likelihood import Codes, Likelihood
from calibration.fitting.posterior import SD_PRIOR, Elimination, Mode, fit_posterior
from calibration.fitting.weighting import WEIGHT_CAP, effective_n, inverse_propensity, scaled
from calibration.metrics import Metrics, evaluate
from calibration.outcome import Reader
from calibration.table import Floats, OutcomeTable, Texts, Times

MOST_LABELS = 500
MOST_SOURCES = 20_000
"""With intercepts of their own in the fit: the most frequent ones. All others count as never seen."""
KEPT_SOURCES = 2_000
"""Of these, the most frequent that the document keeps: it stays under a megabyte."""
OLDER = 0.8
"""Share of the outcomes, by time of decision, on which the fit is made that is judged on the others."""
LEAST_JUDGED = 250
"""Fewer outcomes are not judged: a fifth of them says nothing."""
_DIGITS = 10
_SHORT_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Group:
    """The names of a column with intercepts, and how often each was there; `codes` are positions in them."""

    names: tuple[str, ...]
    counts: tuple[int, ...]
    codes: Codes
    """(n,); the number of names for a row whose name has no intercept."""
    left_out: int


@dataclass(frozen=True, slots=True)
class Fit:
    """The mode, and the covariance around it in the form that scoring needs."""

    version: Version
    """Of the features."""
    mode: Mode
    labels: Group
    sources: Group
    covariance: Floats
    """(f, f)."""
    label_slope: Floats
    label_rest: Floats
    source_slope: Floats
    source_rest: Floats
    """(k, f) and (k,): the intercepts regressed on the coefficients, and the variance left."""


def fit(outcomes: OutcomeTable, start: Mode | None = None, version: Version | None = None) -> Fit:
    """Fit outcomes that were all parsed; any number of them, in any state.

    With H the curvature of the likelihood under weights w, V that under w^2, and P the precision of the prior, the
    covariance is (H + P)^-1 (V + P) (H + P)^-1: how the estimate scatters around the truth where each outcome is drawn
    anew under the model, and the truth anew from the prior. For weights of 1 it is (H + P)^-1, the usual one. Outcomes
    scatter by p(1 - p), not by their squared residuals, which would say "certain" where all are right.

    Args:
        outcomes: n outcomes; their order is what ties of sums are broken by.
        start: of a fit of nearly the same outcomes, to be quicker.
        version: of the features; None: the one that the outcomes need.
    """
    version = version or version_for(outcomes.signals)
    labels, sources = _group(outcomes.signals.label, MOST_LABELS), _group(outcomes.signals.source, MOST_SOURCES)
    if start is not None and (len(start.theta.label), len(start.theta.source)) != (
        len(labels.names),
        len(sources.names),
    ):
        start = None
    weight = scaled(inverse_propensity(outcomes.propensity))
    likelihood = Likelihood.of(
        design(outcomes.signals, version),
        outcomes.correct,
        weight,
        labels.codes,
        sources.codes,
        len(labels.names),
        len(sources.names),
    )
    mean = np.array([feature.prior_mean for feature in VERSIONS[version]])
    precision = np.array([feature.prior_sd**-2.0 for feature in VERSIONS[version]])
    mode = fit_posterior(likelihood, mean, precision, start)
    elimination = Elimination(mode.prior.added(likelihood.curvature(mode.probability)))
    middle = mode.prior.added(likelihood.curvature(mode.probability, squared=True))
    dense, cross, diagonal = elimination.sandwich(middle)
    f = len(mean)
    covariance = _rounded((dense[:f, :f] + dense[:f, :f].T) / 2.0, _DIGITS)
    label_slope, label_rest = _regressed(covariance, dense[f:, :f], np.diag(dense)[f:])
    source_slope, source_rest = _regressed(covariance, cross[:f].T, diagonal)
    return Fit(version, mode, labels, sources, covariance, label_slope, label_rest, source_slope, source_rest)


def _regressed(covariance: Floats, shared: Floats, variance: Floats) -> tuple[Floats, Floats]:
    slope = _rounded(np.linalg.solve(covariance, shared.T).T.astype(np.float64), _SHORT_DIGITS)
    rest = variance - np.einsum("kf,kf->k", slope, shared)
    return slope, _rounded(np.maximum(rest, 0.0), _SHORT_DIGITS)


def fit_calibrator(
    outcomes: OutcomeTable, *, created_at: datetime, reader: Reader | None = None, judged: bool = True
) -> Calibrator:
    """Fit a calibrator: of the same outcomes the same one, in whatever order they stand.

    Args:
        outcomes: any number; those that were not parsed are left out.
        created_at: now.
        reader: what made the signals, where that is known.
        judged: whether to fit the older 80 % apart as well, for metrics on the newest 20 %.

    Raises:
        ValueError: a propensity is not above 0 and at most 1.
    """
    outcomes = outcomes.take(canonical_order(outcomes))
    parsed = outcomes.take(outcomes.signals.parsed)
    found = fit(parsed)
    calibrator = _document(found, outcomes, parsed, created_at, reader)
    if not judged or len(parsed) < LEAST_JUDGED or np.isnat(parsed.decided_at).any():
        return calibrator
    metrics, held_out = _judge(found, parsed, calibrator)
    return calibrator.model_copy(update={"metrics": metrics, "held_out": held_out})


def _judge(found: Fit, parsed: OutcomeTable, whole: Calibrator) -> tuple[Metrics, HeldOut]:
    """The metrics of the same fit on the older outcomes, on the newer ones."""
    by_time = np.argsort(parsed.decided_at, kind="stable")
    cut = int(OLDER * len(parsed))
    older, newer = parsed.take(by_time[:cut]), parsed.take(by_time[cut:])
    fitted = fit(older, found.mode, found.version)
    judge = _document(fitted, older, older, whole.created_at, whole.reader)
    score = judge.score(newer.signals).score
    metrics = evaluate(score, newer.correct, inverse_propensity(newer.propensity))
    first, last = _moment(newer.decided_at.min()), _moment(newer.decided_at.max())
    return metrics, HeldOut(fitted_on=len(older), judged_on=len(newer), judged_from=first, judged_until=last)


def _group(column: Texts, most: int) -> Group:
    """The most frequent names of a column, in their order."""
    values = column.tolist()
    names = list(dict.fromkeys(values))
    positions = {name: at for at, name in enumerate(names)}
    every = np.fromiter(map(positions.__getitem__, values), np.intp, len(values))
    counts = np.bincount(every, minlength=len(names))
    kept = sorted(sorted(range(len(names)), key=lambda at: (-counts[at], names[at]))[:most], key=names.__getitem__)
    codes = np.full(len(names), len(kept), np.intp)
    codes[kept] = np.arange(len(kept))
    return Group(
        tuple(names[at] for at in kept), tuple(int(counts[at]) for at in kept), codes[every], len(names) - len(kept)
    )


def _document(
    found: Fit, outcomes: OutcomeTable, parsed: OutcomeTable, created_at: datetime, reader: Reader | None
) -> Calibrator:
    theta, prior = found.mode.theta, found.mode.prior
    values, errors = _rounded(theta.fixed, _DIGITS), _rounded(_roots(np.diag(found.covariance)), _SHORT_DIGITS)
    labels = _intercepts(found, found.labels, theta.label, found.label_slope, found.label_rest, MOST_LABELS)
    sources = _intercepts(found, found.sources, theta.source, found.source_slope, found.source_rest, KEPT_SOURCES)
    first, last = _ends(outcomes.decided_at)
    content = Calibrator.model_construct(
        schema_version=found.version,
        calibrator_id="",
        created_at=created_at,
        software=_software(),
        reader=reader,
        n=len(parsed),
        unparsed=len(outcomes) - len(parsed),
        effective_n=float(_rounded(np.array([effective_n(inverse_propensity(parsed.propensity))]), _DIGITS)[0]),
        weight_cap=WEIGHT_CAP,
        data_sha256=sha256_of_outcomes(outcomes),
        decided_from=first,
        decided_until=last,
        converged=found.mode.converged,
        coefficients=tuple(
            Coefficient(
                feature=feature.name,
                value=float(value),
                standard_error=float(error),
                prior_mean=feature.prior_mean,
                prior_sd=feature.prior_sd,
            )
            for feature, value, error in zip(VERSIONS[found.version], values, errors, strict=True)
        ),
        covariance=tuple(tuple(row) for row in found.covariance.tolist()),
        label_sd=float(_rounded(np.array([prior.label_sd]), _SHORT_DIGITS)[0]),
        source_sd=float(_rounded(np.array([prior.source_sd]), _SHORT_DIGITS)[0]),
        intercept_sd_prior=SD_PRIOR,
        labels=labels,
        sources=sources,
        names_left_out=found.labels.left_out + found.sources.left_out + len(found.sources.names) - len(sources),
    )
    return Calibrator.model_validate(dict(content) | {"calibrator_id": content_id(content)})


def _intercepts(
    found: Fit, group: Group, values: Floats, slopes: Floats, rests: Floats, most: int
) -> tuple[Intercept, ...]:
    """Of the names that were there most often, in their order."""
    frequent = sorted(range(len(group.names)), key=lambda at: (-group.counts[at], group.names[at]))[:most]
    errors = _roots(np.einsum("kf,fg,kg->k", slopes, found.covariance, slopes, optimize=True) + rests)
    short_values, short_errors = _rounded(values, _SHORT_DIGITS), _rounded(errors, _SHORT_DIGITS)
    return tuple(
        Intercept(
            name=group.names[at],
            outcomes=group.counts[at],
            value=float(short_values[at]),
            standard_error=float(short_errors[at]),
            slope=tuple(slopes[at].tolist()),
            rest=float(rests[at]),
        )
        for at in sorted(frequent)
    )


def _roots(values: Floats) -> Floats:
    roots: Floats = np.sqrt(values)
    return roots


def _rounded(values: Floats, digits: int) -> Floats:
    """To so many significant digits: what stands beyond them is noise, and the document is for people."""
    return np.array([float(f"{value:.{digits - 1}e}") for value in values.ravel().tolist()]).reshape(values.shape)


def _ends(times: Times) -> tuple[datetime | None, datetime | None]:
    known = times[~np.isnat(times)]
    if not len(known):
        return None, None
    return _moment(known.min()), _moment(known.max())


def _moment(time: np.datetime64) -> datetime:
    moment: datetime = time.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)


def _software() -> str:
    try:
        return f"tidegate {version('tidegate')}"
    except PackageNotFoundError:
        return "tidegate (not installed)"
