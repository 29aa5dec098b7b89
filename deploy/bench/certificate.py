"""`tidegate bench certificate`: how much passes under a certified error, and how often the promise is broken."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtr, ndtri

from calibration.certificate import Certificate, Certified
from calibration.certify.allocation import allocate_audits
from calibration.certify.earlier import Earlier
from calibration.certify.evidence import upper_bound
from calibration.certify.procedure import certify
from calibration.certify.recipe import certify_by_recipe
from calibration.table import Bools, Floats

_MAX_ERROR, _CONFIDENCE = 0.05, 0.9
_SIZES = (300, 1000, 3000, 10_000)
_EARLIER = 300
_TRAFFIC = 20_000
_RIGHT = 0.82
_APART = math.sqrt(2.0) * float(ndtri(0.80))
_LARGE = 10_000
"""From so many labels on a quarter of the worlds is drawn: coverage varies little there."""
_GRID = 100
_RIVALS = ("sgr", "mapie")


def certificate(
    worlds: Annotated[
        int, typer.Option(min=20, help="of 300, 1,000 and 3,000 labels; a quarter of it of 10,000")
    ] = 300,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Certify an error of 5 % at 90 % confidence in simulated worlds: accuracy .82, AUROC .80, true scores.

    `coverage` is the mean share of all events that passes, nothing where nothing is certified; `broken` the share of
    worlds in which more than 5 % of what passes is wrong. Both have the Monte Carlo standard error beside them, or,
    where no world broke its promise, the 95 % bound of `broken`. `ours` and `ours_allocated` plan with 300 labels of an
    earlier gate, and test on n new ones; `ours_allocated` draws these where it chooses to. `mapie` is the best of its
    procedures. `ratio_n` is the coverage of `ours` over that of the best rival (sgr, mapie).
    """
    typer.echo(json.dumps({"bench": "certificate"} | compare(worlds, seed)))


@dataclass(frozen=True)
class World:
    """One draw of everything: n labels, unlabelled traffic, and labels of the gate before."""

    score: Floats
    wrong: Bools
    traffic: Floats
    earlier: Earlier
    rng: np.random.Generator
    """For who draws more."""


Threshold = float | None
Method = Callable[[World], Threshold]


def compare(worlds: int, seed: int) -> dict[str, Any]:
    """The whole comparison, ready for JSON."""
    mapie = _mapie_methods()
    methods: dict[str, Method] = {
        "ours": lambda world: _found(_certify(world, world.earlier)),
        "ours_no_plan": lambda world: _found(_certify(world, None)),
        "ours_allocated": _allocated,
        "recipe": _recipe,
        "sgr": _sgr,
        **mapie,
        "naive": _naive,
    }
    results: list[dict[str, Any]] = []
    ratios: dict[str, float | None] = {}
    for n in _SIZES:
        count = worlds if n < _LARGE else max(20, worlds // 4)
        at_n = {name: _Tally() for name in methods}
        for number in range(count):
            world = _draw(n, np.random.default_rng([seed, n, number]))
            for name, method in methods.items():
                at_n[name].add(method(world))
        best = max(mapie, key=lambda name: at_n[name].coverage)
        rows = {name: tally.row() for name, tally in at_n.items() if name not in mapie}
        rows["mapie"] = at_n[best].row() | {"control": best.removeprefix("mapie ")}
        rows["oracle"] = {"broken": 0.0, "coverage": round(_above(_oracle())[1], 4)}
        results += [{"n": n, "method": name, **row} for name, row in rows.items()]
        rival = max(float(rows[name]["coverage"]) for name in _RIVALS if rows[name]["valid"])
        for name, prefix in (("ours", "ratio"), ("ours_allocated", "ratio_allocated")):
            ratios[f"{prefix}_{n}"] = round(float(rows[name]["coverage"]) / rival, 2) if rival > 0.0 else None
    return {
        "max_error": _MAX_ERROR,
        "confidence": _CONFIDENCE,
        "earlier_labels": _EARLIER,
        "traffic": _TRAFFIC,
        "results": results,
        **ratios,
    }


class _Tally:
    """What one method did, over worlds."""

    def __init__(self) -> None:
        self.covered: list[float] = []
        self.broke: list[bool] = []

    def add(self, threshold: Threshold) -> None:
        error, share = (0.0, 0.0) if threshold is None else _above(threshold)
        self.covered.append(share)
        self.broke.append(error > _MAX_ERROR)

    @property
    def coverage(self) -> float:
        return float(np.mean(self.covered))

    def row(self) -> dict[str, Any]:
        worlds, broken = len(self.broke), float(np.mean(self.broke))
        error = math.sqrt(broken * (1.0 - broken) / worlds) if broken else upper_bound(0, worlds, 0.05)
        return {
            "broken": round(broken, 4),
            "broken_error": round(error, 4),
            "coverage": round(self.coverage, 4),
            "coverage_error": round(float(np.std(self.covered)) / math.sqrt(worlds), 4),
            "valid": broken - 3.0 * error <= 1.0 - _CONFIDENCE,
            "worlds": worlds,
        }


def _readings(n: int, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """n readings with their true P(correct) as score, and whether they were wrong."""
    wrong = rng.random(n) > _RIGHT
    signal = rng.normal(np.where(wrong, 0.0, _APART))
    return expit(logit(_RIGHT) + _APART * signal - 0.5 * _APART**2), wrong


def _above(threshold: float) -> tuple[float, float]:
    """True error among, and share of, what has a score at or above the threshold."""
    signal = (logit(threshold) - logit(_RIGHT)) / _APART + 0.5 * _APART
    wrong, right = (1.0 - _RIGHT) * ndtr(-signal), _RIGHT * ndtr(_APART - signal)
    return float(wrong / (wrong + right)), float(wrong + right)


def _draw(n: int, rng: np.random.Generator) -> World:
    score, wrong = _readings(n, rng)
    traffic, _ = _readings(_TRAFFIC, rng)
    return World(score, wrong, traffic, Earlier(*_readings(_EARLIER, rng)), rng)


def _oracle() -> float:
    """The lowest threshold whose true error is as promised."""
    return float(brentq(lambda threshold: _above(threshold)[0] - _MAX_ERROR, 0.5, 1.0 - 1e-9))


def _found(found: Certificate) -> Threshold:
    return found.threshold if isinstance(found, Certified) else None


def _certify(world: World, earlier: Earlier | None) -> Certificate:
    return certify(
        world.score, world.wrong, world.traffic, max_error=_MAX_ERROR, confidence=_CONFIDENCE, earlier=earlier
    )


def _allocated(world: World) -> Threshold:
    """n labels, all from where the allocation says."""
    n = len(world.score)
    asked = {"max_error": _MAX_ERROR, "confidence": _CONFIDENCE}
    where = allocate_audits(world.traffic, world.earlier, labels=n, **asked)
    score, wrong = np.array([]), np.array([], np.bool_)
    while len(score) < n:
        more, outcome = _readings(2 * n, world.rng)
        score, wrong = np.append(score, more[more >= where.floor]), np.append(wrong, outcome[more >= where.floor])
    return _found(certify(score[:n], wrong[:n], world.traffic, floor=where.floor, earlier=world.earlier, **asked))


def _recipe(world: World) -> Threshold:
    return _found(
        certify_by_recipe(world.score, world.wrong, world.traffic, max_error=_MAX_ERROR, confidence=_CONFIDENCE)
    )


def _sgr(world: World) -> Threshold:
    """Selection with guaranteed risk, algorithm 1 of Geifman and El-Yaniv (NIPS 2017).

    A binary search over the labels in order of score, each step's bound at delta / ceil(log2 n). Where the last step is
    not below the risk, the last that was is taken: as valid, and kinder than the paper's pseudo-code.
    """
    order = np.argsort(world.score)
    score, wrong = world.score[order], world.wrong[order]
    n = len(score)
    steps = math.ceil(math.log2(n))
    low, high = 1, n
    best: Threshold = None
    for _ in range(steps):
        middle = math.ceil((low + high) / 2)
        threshold = float(score[middle - 1])
        passing = score >= threshold
        bound = upper_bound(int(wrong[passing].sum()), int(passing.sum()), (1.0 - _CONFIDENCE) / steps)
        if bound < _MAX_ERROR:
            best, high = threshold, middle
        else:
            low = middle
    return best


def _naive(world: World) -> Threshold:
    """The lowest threshold at which the labels' own error is as promised: what is done without a certificate."""
    order = np.argsort(-world.score)
    error = np.cumsum(world.wrong[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(error <= _MAX_ERROR)
    return float(world.score[order[good[-1]]]) if len(good) else None


def _mapie_methods() -> dict[str, Method]:
    """MAPIE's Learn-then-Test on precision, once for each of its controls of the family-wise error.

    Its thresholds are quantiles of the traffic, from the top down. A fixed sequence begins where the recipe would: at
    its first quantile it has too few labels to pass any test.
    """
    try:
        from mapie.risk_control import BinaryClassificationController, precision  # noqa: PLC0415 - a development tool
    except ModuleNotFoundError as error:
        raise typer.BadParameter(
            "this comparison needs MAPIE, which only development installs: pip install 'mapie>=1.6,<1.7'"
        ) from error

    def both(scores: Floats) -> Floats:
        return np.column_stack([1.0 - scores, scores])

    def method(control: str) -> Method:
        def threshold(world: World) -> Threshold:
            levels = np.arange(1, _GRID + 1) / _GRID
            if "fixed" in control:
                m0 = 2.0 * math.log(1.0 - _CONFIDENCE) / math.log1p(-_MAX_ERROR)
                levels = levels[levels >= min(m0 / len(world.score), 1.0)]
            controller = BinaryClassificationController(
                predict_function=both,
                risk=precision,
                target_level=1.0 - _MAX_ERROR,
                confidence_level=_CONFIDENCE,
                list_predict_params=np.quantile(world.traffic, 1.0 - levels),
                fwer_method=control,
            )
            score, right = world.score, (~world.wrong).astype(int)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns where nothing is certified, which is an answer here
                if control == "split_fixed_sequence":
                    half = len(score) // 2
                    betas = np.logspace(-25, 0, _GRID)
                    controller.learn_fixed_sequence_order(score[:half], right[:half], betas, binary=True)
                    score, right = score[half:], right[half:]
                controller.calibrate(score, right)
            best = controller.best_predict_param
            return None if best is None else float(best)

        return threshold

    controls = ("bonferroni_holm", "fixed_sequence", "split_fixed_sequence")
    return {f"mapie {control}": method(control) for control in controls}
