"""The first questions to an engine: whatever is missing is missed at the start, and not at the first image."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import structlog

from worker.engine.protocol import Engine, EngineDeadError, EngineError, EngineRequest
from worker.reading.prompt import build_prompt
from worker.reading.resize import load_pixel_budget, smart_resize
from worker.reading.taxonomy import Taxonomy
from worker.settings import EngineSettings

log = structlog.get_logger()


async def warm_up(
    engine: Engine, settings: EngineSettings, taxonomies: Mapping[str, Taxonomy], *, temperature: float | None = None
) -> None:
    """Ask about a grey image, freely and under the grammar, which engines compile at its first use.

    Args:
        temperature: where one is given, ask for one answer drawn at it, and nothing else.

    Raises:
        EngineDeadError: it does not answer.
    """
    budget = load_pixel_budget(settings)
    side = math.isqrt(budget.min_pixels)
    grey = np.full((*smart_resize(side, side, budget), 3), 128, dtype=np.uint8)
    prompt = build_prompt(next(iter(taxonomies.values())))
    for constrained in (False, True) if temperature is None else (False,):
        request = EngineRequest("warm-up", prompt, grey, "warm-up", constrained=constrained, temperature=temperature)
        try:
            answer = await engine.answer(request)
        except EngineError as error:
            raise EngineDeadError(f"{settings.model} does not answer: {error}") from error
        log.debug("warm-up answered", constrained=constrained, finish=answer.finish.value, text=answer.text[:200])
