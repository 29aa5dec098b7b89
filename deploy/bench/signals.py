"""`tidegate bench signals`: what each further signal buys, and what a second look costs, where the truth is known."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from calibration.certificate import Certified
from calibration.certify.earlier import Earlier
from calibration.certify.procedure import certify
from calibration.fitting.hierarchical import fit_calibrator
from calibration.table import Bools, Floats, OutcomeTable, SignalTable
from deploy.bench.calibration import expected_figures
from deploy.bench.load import SEED
from deploy.rig import CHECKPOINT
from worker.engine.protocol import Engine, EngineAnswer, EngineRequest
from worker.reading.signals import Reading, read_answer
from worker.reading.taxonomy import Taxonomy, load_taxonomies
from worker.second_look import SecondLook, agreement
from worker.settings import EngineSettings, IntakeSettings, SecondLookSettings

_IN_FLIGHT = 256
_CONFIDENCE = 0.9
_MAX_ERRORS = (0.10, 0.05)
_MADE = datetime(2026, 1, 1, tzinfo=UTC)
_DEFAULTS = SecondLookSettings.model_fields


@dataclass(frozen=True)
class Readings:
    """n readings of scenes, each looked at twice."""

    signals: SignalTable
    """Its agreement is known of every row."""
    share: Floats
    """(n,): of the further answers, those with the same label."""
    in_zone: Bools
    """(n,): where a worker would have looked twice."""
    right: Floats
    """(n,): the true probability that the label is right."""


def _without(*names: str) -> Callable[[Readings], SignalTable]:
    """The signals but for these."""
    return lambda known: replace(known.signals, **{name: np.full(len(known.right), np.nan) for name in names})


def _in_zone(known: Readings, values: Floats) -> SignalTable:
    return replace(known.signals, agreement=np.where(known.in_zone, values, np.nan))


_TOKEN = ("label_probability", "label_margin", "label_entropy")
SETS: Mapping[str, Callable[[Readings], SignalTable]] = {
    "verbal": _without(*_TOKEN, "agreement"),
    "label_probability": _without("label_margin", "label_entropy", "agreement"),
    "one_answer": _without("agreement"),
    "second_look": lambda known: _in_zone(known, known.signals.agreement),
    "second_look_by_share": lambda known: _in_zone(known, known.share),
    "second_look_everywhere": lambda known: known.signals,
    "agreement": _without("verbal_confidence", *_TOKEN),
    "share": lambda known: replace(_without("verbal_confidence", *_TOKEN)(known), agreement=known.share),
}
_VERBAL, _ONE_ANSWER = "verbal", "one_answer"


def signals(
    scenes: Annotated[int, typer.Option(min=100, help="drawn scenes that the model has not seen")] = 4000,
    samples: Annotated[int, typer.Option(min=1, max=64, help="further answers to each")] = 4,
    temperature: Annotated[float, typer.Option(min=0.01, max=2, help="at which they are drawn")] = _DEFAULTS[
        "temperature"
    ].default,
    low: Annotated[float, typer.Option(min=0, max=1, help="of the grey zone")] = _DEFAULTS["low"].default,
    high: Annotated[float, typer.Option(min=0, max=1, help="of the grey zone")] = _DEFAULTS["high"].default,
    draws: Annotated[int, typer.Option(min=2, help="of labels and of halves, over which every figure is a mean")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="of these draws")] = 0,
    model: Annotated[Path, typer.Option(exists=True, file_okay=False)] = CHECKPOINT,
) -> None:
    """Rank, skill and certified coverage of the calibrator by the signals it has, and what a second look costs.

    A calibrator is fitted on one half of the readings and judged on the other: auroc and brier_skill against the true
    probability of being right, coverage_N as certified for an error of N % at 90 % confidence on labels drawn from it
    (nothing where nothing is certified); broken_N is how often what passes is wrong more often than that. ratio_* are
    over `verbal`, the written confidence alone, gain_auroc over `one_answer`: all that one greedy answer tells.
    second_look adds the mean probability of the label over the further answers, in the grey zone only;
    second_look_by_share the share of them that give it; agreement and share stand alone, everywhere. gain_auroc_error
    is one standard error, from half samples.
    """
    look = SecondLook(samples, temperature, low, high)
    known, cost = asyncio.run(_collect(model, scenes, look))
    found = {"bench": "signals", "second_look": look.prompt_version, "readings": len(known.right), "draws": draws}
    typer.echo(json.dumps(found | cost | compare(known, draws, seed)))


def compare(known: Readings, draws: int, seed: int) -> dict[str, object]:
    """Every set of signals over the same halves and labels, ready for JSON."""
    tables = {name: of(known) for name, of in SETS.items()}
    figures: dict[str, list[Floats]] = {name: [] for name in SETS}
    for number in range(draws):
        rng = np.random.default_rng([seed, number])
        correct = rng.random(len(known.right)) < known.right
        halves = np.array_split(rng.permutation(len(known.right)), 2)
        for fitted, judged in (halves, halves[::-1]):
            for name, table in tables.items():
                fit_on = _outcomes(table, correct).take(fitted)
                figures[name].append(_judge(fit_on, table.take(judged), correct[judged], known.right[judged]))
    runs = {name: np.array(each) for name, each in figures.items()}  # (2 draws, figures)
    base = runs[_VERBAL].mean(axis=0)
    results = []
    for name, run in runs.items():
        mean = run.mean(axis=0)
        gain = run[:, 0] - runs[_ONE_ANSWER][:, 0]
        results.append(
            {"signals": name}
            | {figure: round(float(value), 4) for figure, value in zip(_FIGURES, mean, strict=True)}
            | {f"ratio_{_FIGURES[at]}": _over(mean[at], base[at]) for at in _RATIOS}
            | {"gain_auroc": round(float(gain.mean()), 4), "gain_auroc_error": round(float(gain.std()), 4)}
        )
    return {"accuracy": round(float(known.right.mean()), 4), "results": results}


_FIGURES = (
    "auroc",
    "brier_skill",
    *(f"{what}_{100 * error:.0f}" for error in _MAX_ERRORS for what in ("coverage", "broken")),
)
_RATIOS = tuple(at for at, name in enumerate(_FIGURES) if not name.startswith("broken"))


def _over(ours: float, theirs: float) -> float | None:
    return round(float(ours / theirs), 3) if theirs > 0.0 else None


def _judge(fit_on: OutcomeTable, asked: SignalTable, correct: Bools, right: Floats) -> Floats:
    """The figures of a calibrator of these outcomes on other readings, shape (6,)."""
    calibrator = fit_calibrator(fit_on, created_at=_MADE, judged=False)
    score = calibrator.score(asked).score
    brier, _, auroc = expected_figures(score, right).tolist()
    base = float(right.mean() * (1.0 - right.mean()))
    earlier = Earlier(calibrator.score(fit_on.signals).score, ~fit_on.correct)
    found = [auroc, 1.0 - brier / base]
    for error in _MAX_ERRORS:
        certificate = certify(score, ~correct, score, max_error=error, confidence=_CONFIDENCE, earlier=earlier)
        passing = score >= (certificate.threshold if isinstance(certificate, Certified) else np.inf)
        found += [float(passing.mean()), float(passing.any() and 1.0 - right[passing].mean() > error)]
    return np.array(found)


def _outcomes(table: SignalTable, correct: Bools) -> OutcomeTable:
    n = len(table)
    return OutcomeTable(
        event_id=np.array([f"scene-{number}" for number in range(n)], np.object_),
        signals=table,
        correct=correct,
        propensity=np.ones(n),
        audit_propensity=np.ones(n),
        decided_at=np.datetime64(_MADE.replace(tzinfo=None), "us") + np.arange(n) * np.timedelta64(1, "s"),
    )


async def _collect(model: Path, scenes: int, look: SecondLook) -> tuple[Readings, dict[str, object]]:
    """Ask the engine: once of every scene, again in the grey zone, and then again of the others."""
    from worker.engine import make_engine  # noqa: PLC0415 - takes seconds

    taxonomy = load_taxonomies()["scenes"]
    settings = EngineSettings(kind="vllm", model=str(model))
    asked, truth = _questions(settings, taxonomy, scenes)
    engine = make_engine(settings, {taxonomy.name: taxonomy})
    try:
        await engine.start()
        first = await _timed(engine, asked)
        readings = [read_answer(answer, taxonomy) for answer in first.answers]
        zone = [number for number, reading in enumerate(readings) if look.wanted(reading)]
        second = await _timed(engine, _further(look, asked, zone))
        others = sorted(set(range(scenes)) - set(zone))
        rest = await _timed(engine, _further(look, asked, others))
    finally:
        await engine.close()
    further = [read_answer(answer, taxonomy) for answer in (*second.answers, *rest.answers)]
    by_scene = {
        number: further[at * look.samples : (at + 1) * look.samples] for at, number in enumerate((*zone, *others))
    }
    known = _known(readings, by_scene, truth, look, taxonomy)
    return known, _cost(first, second, scenes, len(zone)) | {"unread": scenes - len(known.right)}


def _questions(settings: EngineSettings, taxonomy: Taxonomy, scenes: int) -> tuple[list[EngineRequest], Floats]:
    """A question about each scene, prepared as a worker does it, and the true probabilities, shape (n, labels)."""
    from training.scenes import encode, scene  # noqa: PLC0415 - the others start without it
    from worker.intake.decode import decode_image, decode_limits  # noqa: PLC0415
    from worker.reading.prompt import build_prompt  # noqa: PLC0415
    from worker.reading.resize import load_pixel_budget  # noqa: PLC0415

    limits, budget, prompt = decode_limits(IntakeSettings()), load_pixel_budget(settings), build_prompt(taxonomy)
    asked, truth = [], []
    for number in range(scenes):
        drawn = scene(SEED, number)
        pixels = decode_image(encode(drawn.image), limits, budget).pixels
        asked.append(EngineRequest(f"scene-{number}", prompt, pixels, f"scene-{number}"))
        truth.append(drawn.probabilities)
    return asked, np.array(truth)


def _further(look: SecondLook, asked: list[EngineRequest], numbers: list[int]) -> list[EngineRequest]:
    return [further for number in numbers for further in look.requests(asked[number])]


@dataclass(frozen=True)
class _Round:
    answers: list[EngineAnswer]
    seconds: float

    @property
    def tokens(self) -> int:
        return sum(answer.output_tokens for answer in self.answers)


async def _timed(engine: Engine, asked: list[EngineRequest]) -> _Round:
    gate = asyncio.Semaphore(_IN_FLIGHT)

    async def one(request: EngineRequest) -> EngineAnswer:
        async with gate:
            return await engine.answer(request)

    started = time.perf_counter()
    answers = await asyncio.gather(*map(one, asked))
    return _Round(answers, time.perf_counter() - started)


def _known(
    readings: list[Reading],
    further: Mapping[int, list[Reading]],
    truth: Floats,
    look: SecondLook,
    taxonomy: Taxonomy,
) -> Readings:
    """Of what was read, in columns."""
    read = [(number, reading, reading.label) for number, reading in enumerate(readings) if reading.label is not None]
    rows = [
        (label, "", reading.signals.model_copy(update={"agreement": agreement(label, further[number])}))
        for number, reading, label in read
    ]
    return Readings(
        signals=SignalTable.of(rows),
        share=np.array([np.mean([said.label == label for said in further[number]]) for number, _, label in read]),
        in_zone=np.array([look.wanted(reading) for _, reading, _ in read]),
        right=np.array([truth[number, taxonomy.labels.index(label)] for number, _, label in read]),
    )


def _cost(first: _Round, second: _Round, scenes: int, looked: int) -> dict[str, object]:
    """Of one image, in tokens written and in milliseconds of the whole engine: without and with a second look."""
    tokens, both = first.tokens / scenes, (first.tokens + second.tokens) / scenes
    ms, both_ms = 1e3 * first.seconds / scenes, 1e3 * (first.seconds + second.seconds) / scenes
    return {
        "looked_share": round(looked / scenes, 4),
        "output_tokens": round(tokens, 1),
        "output_tokens_second_look": round(both, 1),
        "ms": round(ms, 2),
        "ms_second_look": round(both_ms, 2),
        "ratio_tokens": round(both / tokens, 2),
        "ratio_ms": round(both_ms / ms, 2),
    }
