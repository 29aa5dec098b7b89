"""What the worker needs of an engine, and how engines fail. One small contract, several engines behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.engine.finish import Finish
from worker.reading.prompt import Prompt

__all__ = [
    "Engine",
    "EngineAnswer",
    "EngineBusyError",
    "EngineDeadError",
    "EngineError",
    "EngineRequest",
    "Finish",
    "RequestRejectedError",
    "draw_seed",
    "seed_of",
]


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One question about one image."""

    request_id: str
    prompt: Prompt
    image: NDArray[np.uint8]
    """Decoded and already resized to the model's grid: (height, width, 3), RGB."""
    image_key: str
    """Identifies the pixels (sha256 of the content and the decoder version), for the engine's multimodal cache."""
    constrained: bool = False
    """Force the response format with a grammar: the retry after an answer that did not parse."""
    temperature: float | None = None
    """At which the answer is drawn; 0 takes the likeliest, None is what the settings say."""
    seed: int | None = None
    """Of a drawn answer, 0 to 2^31 - 1: the same image, temperature and seed give the same answer again (as far as the
    engine's arithmetic does). None: the seed that the request id stands for."""


def draw_seed(request: EngineRequest) -> int:
    """What a drawn answer to this request begins with: its seed, or the one of its id."""
    return seed_of(request.request_id) if request.seed is None else request.seed


def seed_of(text: str) -> int:
    """The seed that a text stands for, 0 to 2^31 - 1, which every server takes."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """What the model wrote, and how much it believed each candidate label."""

    text: str
    finish: Finish
    label_probabilities: Mapping[str, float] | None
    """Unnormalised probability of each candidate label where the answer starts, or None when the engine cannot tell."""
    prompt_tokens: int
    output_tokens: int
    shared_probability: float = 0.0
    """Of all labels together that are missing above because their tokens could not be told apart (candidates.py)."""


class EngineError(Exception):
    """Any failure of an engine. One of the three below says what to do about it."""


class EngineDeadError(EngineError):
    """The engine cannot answer any request any more. The worker exits uncommitted with a non-zero code."""


class RequestRejectedError(EngineError):
    """The engine refuses this very request, and always will. The event becomes a dead letter."""


class EngineBusyError(EngineError):
    """A passing failure: try again after a pause."""


class Engine(Protocol):
    """Answers questions about images, many at a time. Used from one event loop."""

    @property
    def model_version(self) -> str:
        """Names the weights: part of every decision's versions and of the reading cache's key. Known after start()."""

    async def start(self) -> None:
        """Load the model and answer one warm-up question.

        Raises:
            EngineDeadError: the model cannot be loaded; the message says what to do.
        """

    async def answer(self, request: EngineRequest) -> EngineAnswer:
        """Answer one question. Cancelling the task aborts the request in the engine.

        Raises:
            EngineDeadError: the engine is gone.
            RequestRejectedError: this request can never be answered.
            EngineBusyError: worth another try.
        """

    async def check_health(self) -> None:
        """Return if the engine lives.

        Raises:
            EngineDeadError: it does not.
        """

    async def close(self) -> None:
        """Stop the engine and free its device. Requests still running are aborted. May be called twice."""
