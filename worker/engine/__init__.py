"""What answers: vLLM in this process, an OpenAI-compatible endpoint, or a script."""

from __future__ import annotations

from collections.abc import Mapping

from worker.engine.protocol import Engine, EngineDeadError
from worker.reading.taxonomy import Taxonomy
from worker.settings import EngineSettings


def make_engine(settings: EngineSettings, taxonomies: Mapping[str, Taxonomy]) -> Engine:
    """The engine that the settings ask for, not yet started. Only its own libraries are imported.

    Raises:
        EngineDeadError: its libraries or its script are missing; the message says what to do.
    """
    if settings.kind == "vllm":
        from worker.engine.vllm import VllmEngine  # noqa: PLC0415 - takes seconds and gigabytes

        return VllmEngine(settings, taxonomies)
    if settings.kind == "http":
        from worker.engine.http import HttpEngine  # noqa: PLC0415

        return HttpEngine(settings, taxonomies)
    from worker.engine.scripted import Script, ScriptedEngine  # noqa: PLC0415

    if settings.script is None:
        raise EngineDeadError("TIDEGATE_ENGINE_KIND is scripted: TIDEGATE_ENGINE_SCRIPT must name a YAML file")
    return ScriptedEngine(Script.load(settings.script))
