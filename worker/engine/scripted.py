"""An engine without a model: gives scripted answers with the latency and capacity of a described GPU.

For benchmarks, load tests and fault injection: what it costs and how it fails is known exactly.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from pathlib import Path
from typing import Annotated

import structlog
import yaml
from pydantic import Field, ValidationError

from calibration.contract import Contract
from calibration.outcome import Probability
from worker.engine.protocol import (
    EngineAnswer,
    EngineBusyError,
    EngineDeadError,
    EngineRequest,
    Finish,
    RequestRejectedError,
    draw_seed,
)
from worker.reading.response import SECTIONS

log = structlog.get_logger()

_STEP_S = 0.01
"""A card's answers end with a step of its whole batch: here as there, several at a time."""


class Card(Contract):
    """The GPU to imitate: continuous batching with a fixed throughput, once the batch is full."""

    images_per_s: Annotated[float, Field(gt=0)] = 1e6
    in_flight: Annotated[int, Field(gt=0)] = 4096
    latency_s: Annotated[float, Field(ge=0)] = 0.0
    """Of one answer while the card has room."""


class Faults(Contract):
    """How often what goes wrong. Shares are of requests."""

    busy: Probability = 0.0
    rejected: Probability = 0.0
    unparsable: Probability = 0.0
    die_after: Annotated[int, Field(ge=0)] | None = None
    """The engine dies when it has been asked so often."""


class Answer(Contract):
    """One answer of the script."""

    label: str
    confidence: Probability
    label_probability: Probability


class Script(Contract):
    """What a script file says. Without answers each image gets a label and a probability from its own hash."""

    card: Card = Card()
    faults: Faults = Faults()
    answers: tuple[Answer, ...] = ()
    seed: int = 0

    @classmethod
    def load(cls, path: Path) -> Script:
        """Read a YAML file.

        Raises:
            EngineDeadError: it cannot be read as a script; the message says why.
        """
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise EngineDeadError(f"TIDEGATE_ENGINE_SCRIPT {path} is not a script: {error}") from error


class ScriptedEngine:
    """Answers by script. The same image gets the same answer; only `busy` is drawn afresh at each try.

    At a temperature T above 0 the label is drawn in proportion to p^(1/T) of what the script believes of the labels,
    and whether the answer parses is drawn as well.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._slots = asyncio.Semaphore(script.card.in_flight)
        self._random = random.Random(script.seed)  # noqa: S311 - a simulation
        self._served_until = 0.0
        self._asked = 0
        self._dead = False
        self._running: set[asyncio.Future[None]] = set()
        self.model_version = f"scripted-{hashlib.sha256(script.model_dump_json().encode()).hexdigest()[:12]}"

    async def start(self) -> None:
        """Nothing to load."""

    async def check_health(self) -> None:
        """Raise EngineDeadError once the script has let the engine die."""
        if self._dead:
            raise EngineDeadError("the script let the engine die")

    async def close(self) -> None:
        """Abort what is running."""
        self._end()

    async def answer(self, request: EngineRequest) -> EngineAnswer:
        """Answer after as long as the card would take."""
        await self.check_health()
        faults = self._script.faults
        self._asked += 1
        if faults.die_after is not None and self._asked > faults.die_after:
            log.warning("scripted engine dies", asked=self._asked)
            self._end()
            await self.check_health()
        async with self._slots:
            await self._serve()
        if self._random.random() < faults.busy:
            raise EngineBusyError("the script says busy")
        fate, choice, belief = _uniforms(f"{self._script.seed} {request.image_key}")
        if fate < faults.rejected:
            raise RequestRejectedError("the script refuses this image")
        beliefs, scripted = self._beliefs(request, choice, belief)
        if request.temperature:
            fate, choice, _ = _uniforms(f"{self._script.seed} {request.image_key} {draw_seed(request)}")
            fate = faults.rejected + fate * (1.0 - faults.rejected)
            label = _drawn(beliefs, request.temperature, choice)
            if label != scripted.label:
                scripted = Answer(label=label, confidence=round(beliefs[label], 2), label_probability=beliefs[label])
        unparsable = fate < faults.rejected + faults.unparsable and not request.constrained
        return _answer(scripted, beliefs, unparsable=unparsable)

    async def _serve(self) -> None:
        """Wait as long as the card would take. Its throughput is kept exactly: each answer takes its turn in line."""
        loop = asyncio.get_running_loop()
        card = self._script.card
        now = loop.time()
        self._served_until = max(self._served_until, now) + 1.0 / card.images_per_s
        done_at = max(self._served_until, now + card.latency_s)
        if done_at - now < 1e-4:
            return
        done: asyncio.Future[None] = loop.create_future()
        self._running.add(done)
        timer = loop.call_at(math.ceil(done_at / _STEP_S) * _STEP_S, _finish, done)
        try:
            await done
        except asyncio.CancelledError:
            await self.check_health()  # ended by the script, not by our caller
            raise
        finally:
            timer.cancel()
            self._running.discard(done)

    def _end(self) -> None:
        self._dead = True
        for done in self._running:
            done.cancel()

    def _beliefs(self, request: EngineRequest, choice: float, belief: float) -> tuple[dict[str, float], Answer]:
        """What the script believes of each label of an image, and what it answers."""
        labels = request.prompt.labels
        if self._script.answers:
            scripted = self._script.answers[int(choice * len(self._script.answers))]
        else:
            probability = 1 / len(labels) + belief * (1 - 1 / len(labels))
            label = labels[int(choice * len(labels))]
            scripted = Answer(label=label, confidence=round(probability, 2), label_probability=probability)
        rest = (1.0 - scripted.label_probability) / max(1, len(labels) - 1)
        beliefs = {label: scripted.label_probability if label == scripted.label else rest for label in labels}
        return beliefs, scripted


def _answer(scripted: Answer, beliefs: dict[str, float], *, unparsable: bool) -> EngineAnswer:
    sections = "".join(f"<{name}>as scripted</{name}>" for name in SECTIONS)
    ending = f"<answer>{scripted.label}</answer><confidence>{scripted.confidence:.2f}</confidence>"
    return EngineAnswer(
        text="as scripted, no format at all" if unparsable else f"<think>{sections}</think>{ending}",
        finish=Finish.STOP,
        label_probabilities=beliefs,
        prompt_tokens=0,
        output_tokens=0,
    )


def _drawn(beliefs: dict[str, float], temperature: float, choice: float) -> str:
    """The label at `choice`, from [0, 1), of the beliefs at a temperature."""
    most = max(beliefs.values()) or 1.0
    weights = [(belief / most) ** (1.0 / temperature) for belief in beliefs.values()]
    left = choice * sum(weights)
    for label, weight in zip(beliefs, weights, strict=True):
        left -= weight
        if left < 0.0:
            return label
    return label


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _uniforms(text: str) -> tuple[float, float, float]:
    """Three numbers from [0, 1) that depend on the text alone."""
    digest = hashlib.blake2b(text.encode(), digest_size=24).digest()
    first, second, third = (int.from_bytes(digest[at : at + 8], "big") / 2**64 for at in (0, 8, 16))
    return first, second, third
