"""`tidegate bench calibration`: scores of made-up readings whose true probability of being right is known."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
import typer

from calibration.fitting.baselines import BASELINES
from calibration.fitting.features import design
from calibration.fitting.hierarchical import fit, fit_calibrator
from calibration.table import Floats, OutcomeTable, SignalTable, Texts

SIZES = (50, 100, 200, 500, 1000, 2000)
_TEST = 4000
_MANY = 1_000_000
_OURS, _OURS_VERBAL, _UNPOOLED, _TRUTH = "hierarchical", "hierarchical_verbal", "logistic", "truth"
_MADE = datetime(2026, 1, 1, tzinfo=UTC)

Method = Callable[[OutcomeTable, SignalTable], Floats]


@dataclass(frozen=True, slots=True)
class World:
    """Eight labels of their own difficulty, two sources, a model that is overconfident in words."""

    label_effects: Floats
    source_effects: Floats

    @classmethod
    def drawn(cls, rng: np.random.Generator, *, labels: int = 8, sources: int = 2) -> World:
        """A world."""
        return cls(rng.normal(0.0, 0.65, labels), rng.normal(0.0, 0.2, sources))

    def readings(self, rng: np.random.Generator, n: int) -> tuple[SignalTable, Floats]:
        """n readings, and P(correct) of each given all that is known of it.

        Neither signal is linear in the true log-odds: the written confidence saturates, the token probability bends.
        """
        label = rng.integers(0, len(self.label_effects), n)
        source = rng.integers(0, len(self.source_effects), n)
        verbal = np.clip(np.round(_sigmoid(1.6 + 0.9 * rng.normal(size=n)) / 0.05) * 0.05, 0.05, 0.99)
        token_logit = 0.8 + 1.5 * rng.normal(size=n)
        probability = _sigmoid(token_logit)
        others = rng.dirichlet(np.full(len(self.label_effects) - 1, 0.4), n) * (1.0 - probability)[:, None]
        entropy = -(probability * np.log(probability) + (others * np.log(np.maximum(others, 1e-300))).sum(axis=1))
        eta = (
            0.5
            + self.label_effects[label]
            + self.source_effects[source]
            + 2.0 * np.tanh(0.5 * (np.log(verbal / (1.0 - verbal)) - 1.6))
            + 0.75 * np.tanh((token_logit - 0.8) / 1.5)
            + 0.5 * (probability - others.max(axis=1))
        )
        signals = SignalTable(
            label=_named("label", label),
            source=_named("source", source),
            parsed=np.ones(n, np.bool_),
            verbal_confidence=verbal,
            label_probability=probability,
            label_margin=probability - others.max(axis=1),
            label_entropy=np.maximum(entropy, 0.0),
        )
        return signals, _sigmoid(eta)


def calibration(
    worlds: Annotated[int, typer.Option(min=1, help="over which every figure is a mean")] = 60,
    seed: Annotated[int, typer.Option(help="of all that is drawn")] = 0,
    many: Annotated[int, typer.Option(min=10_000, help="outcomes of the fit that is timed")] = _MANY,
) -> None:
    """Brier score, log-loss and AUROC of the calibrator and of others, by number of labels, in made-up worlds.

    All are exact expectations over the truth of 4,000 new readings a world, whose P(correct) is known: what `truth` has
    is the best there can be. identity, temperature, platt, isotonic and venn_abers know the written confidence alone,
    hierarchical_verbal labels and sources besides; hierarchical is what `tidegate calibrate fit` makes; logistic is
    scikit-learn's as it comes, on the same features, with labels and sources as columns.

    ratio_skill_N is the Brier skill of hierarchical over that of the best calibrator of one signal with N labels,
    ratio_skill_logistic_N over that of logistic. fit_1m_seconds is `fit_calibrator` with all its bookkeeping and its
    second fit for honest metrics, fit_1m_seconds_model one plain fit from signals to covariance; ratio_fit_1m and
    ratio_fit_1m_model are what one fit of scikit-learn takes on the same matrix, ready made, over these.
    """
    typer.echo(
        json.dumps({"bench": "calibration", "worlds": worlds, "seed": seed} | _compare(worlds, seed) | _time(many))
    )


def _compare(worlds: int, seed: int) -> dict[str, object]:
    sums: dict[tuple[int, str], Floats] = defaultdict(lambda: np.zeros(3))
    base = 0.0
    for number in range(worlds):
        rng = np.random.default_rng([seed, number])
        world = World.drawn(rng)
        outcomes = _outcomes(rng, world, max(SIZES))
        asked, truth = world.readings(rng, _TEST)
        base += float(truth.mean() * (1.0 - truth.mean())) / worlds
        for n in SIZES:
            known = outcomes.take(slice(n))
            for name, method in METHODS.items():
                sums[n, name] += expected_figures(method(known, asked), truth)
            sums[n, _TRUTH] += expected_figures(truth, truth)
    means = {key: total / worlds for key, total in sums.items()}
    results = [
        {"n": n, "method": name, "brier": round(brier, 5), "log_loss": round(log_loss, 5), "auroc": round(auroc, 4)}
        for (n, name), (brier, log_loss, auroc) in ((key, found.tolist()) for key, found in means.items())
    ]
    skill = {key: 1.0 - float(found[0]) / base for key, found in means.items()}
    ratios: dict[str, float | None] = {}
    for n in SIZES:
        ratios[f"ratio_skill_{n}"] = _over(skill[n, _OURS], max(skill[n, name] for name in BASELINES))
    for n in SIZES:
        ratios[f"ratio_skill_logistic_{n}"] = _over(skill[n, _OURS], skill[n, _UNPOOLED])
    return {"base_brier": round(base, 5), "results": results} | ratios


def _over(ours: float, theirs: float) -> float | None:
    """How many times the skill of another; None where it has none."""
    return round(ours / theirs, 3) if theirs > 0.0 else None


def expected_figures(score: Floats, truth: Floats) -> Floats:
    """Expected Brier score, log-loss and AUROC, shape (3,), of readings that are right with probability `truth`."""
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - slow to load

    kept = np.clip(score, 1e-6, 1.0 - 1e-6)
    n = len(truth)
    return np.array(
        [
            np.mean((score - truth) ** 2 + truth * (1.0 - truth)),
            -np.mean(truth * np.log(kept) + (1.0 - truth) * np.log1p(-kept)),
            roc_auc_score(np.repeat([1, 0], n), np.tile(score, 2), sample_weight=np.concatenate([truth, 1.0 - truth])),
        ]
    )


def _hierarchical(known: OutcomeTable, asked: SignalTable) -> Floats:
    return fit_calibrator(known, created_at=_MADE, judged=False).score(asked).score


def _hierarchical_verbal(known: OutcomeTable, asked: SignalTable) -> Floats:
    return _hierarchical(replace(known, signals=_verbal_only(known.signals)), _verbal_only(asked))


def _verbal_only(signals: SignalTable) -> SignalTable:
    nothing = np.full(len(signals), np.nan)
    return replace(signals, label_probability=nothing, label_margin=nothing, label_entropy=nothing)


def _logistic(known: OutcomeTable, asked: SignalTable) -> Floats:
    """scikit-learn as it comes, on signals, labels and sources side by side."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to load

    columns = (known.signals, asked)
    names = [sorted({*part.label, *part.source}) for part in columns]
    kinds = sorted({name for each in names for name in each})
    fitted, wanted = (_matrix(part, kinds) for part in columns)
    model = LogisticRegression(max_iter=1000).fit(fitted, known.correct)
    scores: Floats = model.predict_proba(wanted)[:, 1]
    return scores


def _matrix(signals: SignalTable, kinds: list[str]) -> Floats:
    indicators = [(signals.label == kind) | (signals.source == kind) for kind in kinds]
    return np.column_stack([design(signals)[:, 1:], *indicators])


def _of_one_signal(name: str) -> Method:
    def scores(known: OutcomeTable, asked: SignalTable) -> Floats:
        learned = BASELINES[name](known.signals.verbal_confidence, known.correct, np.ones(len(known)))
        return learned(asked.verbal_confidence)

    return scores


METHODS: Mapping[str, Method] = {
    _OURS: _hierarchical,
    _OURS_VERBAL: _hierarchical_verbal,
    _UNPOOLED: _logistic,
    **{name: _of_one_signal(name) for name in BASELINES},
}


def _time(n: int) -> dict[str, float]:
    """Seconds of a fit of many outcomes, and of scikit-learn on the same matrix, sparse."""
    from scipy.sparse import csr_array, hstack  # noqa: PLC0415 - slow to load
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.preprocessing import OneHotEncoder  # noqa: PLC0415

    rng = np.random.default_rng(n)
    outcomes = _outcomes(rng, World.drawn(rng, sources=200), n)
    started = time.perf_counter()
    calibrator = fit_calibrator(outcomes, created_at=_MADE)
    ours = time.perf_counter() - started
    if not calibrator.converged:
        raise RuntimeError("the timed fit did not converge")
    started = time.perf_counter()
    fit(outcomes)
    model = time.perf_counter() - started
    signals = outcomes.signals
    names = OneHotEncoder().fit_transform(np.column_stack([signals.label, signals.source]).astype(str))
    matrix = csr_array(hstack([csr_array(design(signals)[:, 1:]), names]))
    started = time.perf_counter()
    LogisticRegression(max_iter=1000).fit(matrix, outcomes.correct)
    theirs = time.perf_counter() - started
    return {
        "fit_1m_outcomes": n,
        "fit_1m_seconds": round(ours, 2),
        "fit_1m_seconds_model": round(model, 2),
        "fit_1m_seconds_logistic": round(theirs, 2),
        "ratio_fit_1m": round(theirs / ours, 3),
        "ratio_fit_1m_model": round(theirs / model, 3),
    }


def _outcomes(rng: np.random.Generator, world: World, n: int) -> OutcomeTable:
    signals, truth = world.readings(rng, n)
    return OutcomeTable(
        event_id=_named("event", np.arange(n)),
        signals=signals,
        correct=rng.random(n) < truth,
        propensity=np.ones(n),
        audit_propensity=np.ones(n),
        decided_at=np.datetime64("2026-01-01", "us") + np.arange(n) * np.timedelta64(1, "s"),
    )


def _named(kind: str, numbers: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Texts:
    return np.array([f"{kind}-{number}" for number in numbers.tolist()], np.object_)


def _sigmoid(eta: Floats) -> Floats:
    scores: Floats = 1.0 / (1.0 + np.exp(-eta))
    return scores
