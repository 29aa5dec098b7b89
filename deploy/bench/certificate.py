"""`tidegate bench certificate`: broken promises and coverage of ours, of its rivals, and of one who knows the truth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer
from scipy import stats

from calibration.certificate import Certificate, Certified
from calibration.certify.allocation import allocate_audits
from calibration.certify.earlier import Earlier
from calibration.certify.procedure import certify
from calibration.certify.recipe import certify_by_recipe
from calibration.table import Bools, Floats

MAX_ERROR, CONFIDENCE = 0.05, 0.9
_ACCURACY, _AUROC = 0.82, 0.80
_TRAFFIC = 20_000
_EARLIER = 500
_VALID = ("recipe", "sgr", "mapie")


def certificate(
    worlds: Annotated[int, typer.Option(min=2, help="at n = 1,000; fewer at larger n, more at smaller")] = 120,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """A binormal world (accuracy .82, AUROC .80), promise: at most 5 % wrong, at 90 % confidence.

    results: for each number of labels and each method the share of worlds in which the promise was broken, with its
    standard error, and the mean coverage. ours has 500 labels of an earlier gate to plan with, ours_no_plan has none,
    ours_allocated draws its labels where the plan says. sgr is Geifman and El-Yaniv (2017), mapie the risk control of
    MAPIE. naive takes the lowest threshold with few enough errors; oracle knows the world.
    ratio_coverage_N: coverage of ours over the best of the valid rivals.
    """
    results = []
    ratios = {}
    for n, share in ((300, 2.0), (1_000, 1.0), (3_000, 0.5), (10_000, 0.2)):
        rows = _compare(n, max(2, round(share * worlds)), seed)
        results += rows
        coverage = {row["method"]: row["coverage"] for row in rows}
        ratios[f"ratio_coverage_{n}"] = round(coverage["ours"] / max(1e-9, *(coverage[name] for name in _VALID)), 3)
    typer.echo(
        json.dumps(
            {
                "bench": "certificate",
                "max_error": MAX_ERROR,
                "confidence": CONFIDENCE,
                "results": results,
                **ratios,
            }
        )
    )


@dataclass(frozen=True)
class _World:
    """Scores are N(0, 1) of wrong readings and N(distance, 1) of right ones; the score shown is the posterior."""

    distance: float = math.sqrt(2) * float(stats.norm.ppf(_AUROC))

    def draw(self, rng: np.random.Generator, n: int, floor: float = 0.0) -> tuple[Floats, Bools]:
        """n readings with at least this score: their scores, and whether they are wrong."""
        score, wrong = np.empty(0), np.empty(0, np.bool_)
        while len(score) < n:
            more = rng.random(2 * n) >= _ACCURACY
            latent = rng.normal(np.where(more, 0.0, self.distance), 1.0)
            shown = self.posterior(latent)
            score = np.append(score, shown[shown >= floor])
            wrong = np.append(wrong, more[shown >= floor])
        return score[:n], wrong[:n]

    def posterior(self, latent: Floats) -> Floats:
        odds = _ACCURACY / (1 - _ACCURACY) * np.exp(self.distance * latent - self.distance**2 / 2)
        value: Floats = odds / (1 + odds)
        return value

    def latent(self, score: float) -> float:
        """The inverse of `posterior`."""
        odds = score / (1 - score) * (1 - _ACCURACY) / _ACCURACY
        return (math.log(odds) + self.distance**2 / 2) / self.distance

    def passing(self, threshold: float) -> tuple[float, float]:
        """Share of readings with at least this score, and the error among them."""
        if threshold >= 1.0:
            return 0.0, 0.0
        at = self.latent(threshold) if threshold > 0 else -np.inf
        right = _ACCURACY * float(stats.norm.sf(at - self.distance))
        wrong = (1 - _ACCURACY) * float(stats.norm.sf(at))
        return right + wrong, wrong / (right + wrong)

    def oracle(self) -> float:
        """The lowest threshold that keeps the promise."""
        low, high = 1e-6, 1 - 1e-9
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if self.passing(middle)[1] > MAX_ERROR else (low, middle)
        return high


def _compare(n: int, worlds: int, seed: int) -> list[dict[str, Any]]:
    world = _World()
    methods: dict[str, Callable[[np.random.Generator, Floats, Earlier], float]] = {
        "ours": lambda rng, traffic, earlier: _threshold(_certify(*world.draw(rng, n), traffic, earlier=earlier)),
        "ours_no_plan": lambda rng, traffic, _: _threshold(_certify(*world.draw(rng, n), traffic)),
        "ours_allocated": lambda rng, traffic, earlier: _allocated(world, rng, n, traffic, earlier),
        "recipe": lambda rng, traffic, _: _threshold(
            certify_by_recipe(*world.draw(rng, n), traffic, max_error=MAX_ERROR, confidence=CONFIDENCE)
        ),
        "sgr": lambda rng, _traffic, _earlier: _sgr(*world.draw(rng, n)),
        "mapie": lambda rng, traffic, _: _mapie(*world.draw(rng, n), traffic),
        "naive": lambda rng, _traffic, _earlier: _naive(*world.draw(rng, n)),
        "oracle": lambda _rng, _traffic, _earlier: world.oracle(),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for number in range(worlds):
        rng = np.random.default_rng([seed, n, number])
        traffic, _ = world.draw(rng, _TRAFFIC)
        score, wrong = world.draw(rng, _EARLIER)
        for name, method in methods.items():
            # All methods meet the same labels, as far as they draw them alike.
            labels = np.random.default_rng([seed, n, number, 1])
            found[name].append(world.passing(method(labels, traffic, Earlier(score, wrong))))
    rows = []
    for name, pairs in found.items():
        coverage = float(np.mean([share for share, _ in pairs]))
        broken = float(np.mean([error > MAX_ERROR + 1e-9 for _, error in pairs]))
        rows.append(
            {
                "n": n,
                "method": name,
                "worlds": worlds,
                "broken": round(broken, 4),
                "broken_se": round(math.sqrt(broken * (1 - broken) / worlds), 4),
                "coverage": round(coverage, 4),
            }
        )
    return rows


def _certify(
    score: Floats, wrong: Bools, traffic: Floats, *, earlier: Earlier | None = None, floor: float = 0.0
) -> Certificate:
    return certify(score, wrong, traffic, max_error=MAX_ERROR, confidence=CONFIDENCE, floor=floor, earlier=earlier)


def _threshold(found: Certificate) -> float:
    return found.threshold if isinstance(found, Certified) else 1.0


def _allocated(world: _World, rng: np.random.Generator, n: int, traffic: Floats, earlier: Earlier) -> float:
    floor = allocate_audits(traffic, earlier, labels=n, max_error=MAX_ERROR, confidence=CONFIDENCE).floor
    return _threshold(_certify(*world.draw(rng, n, floor), traffic, earlier=earlier, floor=floor))


def _naive(score: Floats, wrong: Bools) -> float:
    order = np.argsort(-score)
    error = np.cumsum(wrong[order]) / np.arange(1, len(score) + 1)
    kept = np.flatnonzero(error <= MAX_ERROR)
    return float(score[order][kept[-1]]) if len(kept) else 1.0


def _sgr(score: Floats, wrong: Bools) -> float:
    """Selection with Guaranteed Risk (algorithm 2): binary search, each step at delta / ceil(log2 n)."""
    order = np.argsort(score)
    ranked, errors = score[order], np.cumsum(wrong[order][::-1])[::-1]
    n = len(score)
    steps = math.ceil(math.log2(n))
    low, high, best = 0, n - 1, 1.0
    for _ in range(steps):
        middle = math.ceil((low + high) / 2)
        k, m = int(errors[middle]), n - middle
        bound = 1.0 if k == m else float(stats.beta.ppf(1 - (1 - CONFIDENCE) / steps, k + 1, m - k))
        if bound < MAX_ERROR:
            high = middle
            best = min(best, float(ranked[middle]))
        else:
            low = middle
    return best


def _mapie(score: Floats, wrong: Bools, traffic: Floats) -> float:
    """Precision of at least 1 - max_error, by Learn then Test; thresholds are 100 quantiles of the traffic."""
    try:
        from mapie.risk_control import BinaryClassificationController  # noqa: PLC0415
    except ImportError as error:
        raise typer.BadParameter("MAPIE is missing: `make env` installs it with the other test tools") from error
    controller = BinaryClassificationController(
        predict_function=lambda x: np.stack([1 - x[:, 0], x[:, 0]], axis=1),
        risk="precision",
        target_level=1 - MAX_ERROR,
        confidence_level=CONFIDENCE,
        list_predict_params=np.unique(np.quantile(traffic, np.linspace(0, 0.99, 100))),
    )
    try:
        import warnings  # noqa: PLC0415

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says so where nothing can be certified
            controller.calibrate(score[:, None], (~wrong).astype(int))
    except ValueError:
        return 1.0
    valid = np.asarray(controller.valid_predict_params, np.float64).ravel()
    return float(valid.min()) if len(valid) else 1.0
