"""The reader's patience with an engine, on the scripted one."""

from typing import Any

import numpy as np
import pytest

from calibration.outcome import ParseStatus
from worker.engine.protocol import EngineDeadError, EngineRequest, RequestRejectedError
from worker.engine.scripted import Card, Faults, Script, ScriptedEngine
from worker.reader import Patience, Reader
from worker.reading.prompt import build_prompt
from worker.reading.taxonomy import Taxonomy

TAXONOMY = Taxonomy(name="t", labels=("awe", "fear"))
REQUEST = EngineRequest("event-1", build_prompt(TAXONOMY), np.zeros((28, 28, 3), np.uint8), "key")


def reader(patience: dict[str, Any] | None = None, **script: Any) -> Reader:
    fields = {"answer_timeout_s": 5.0, "attempts": 3, "outage_s": 60.0} | (patience or {})
    return Reader(ScriptedEngine(Script(**script)), Patience(**fields))


async def test_an_answer_is_read() -> None:
    reading = await reader().read(REQUEST, TAXONOMY)
    assert reading.label in TAXONOMY.labels
    assert not reading.constrained


async def test_an_answer_that_does_not_parse_is_asked_for_again_under_a_grammar() -> None:
    reading = await reader(faults=Faults(unparsable=1.0)).read(REQUEST, TAXONOMY)
    assert reading.signals.parse_status is ParseStatus.OK
    assert reading.constrained


async def test_an_engine_that_stays_busy_leaves_the_event_to_a_person() -> None:
    reading = await reader(faults=Faults(busy=1.0)).read(REQUEST, TAXONOMY)
    assert reading.label is None
    assert reading.signals.parse_status is ParseStatus.ABORTED


async def test_an_answer_that_takes_too_long_counts_as_busy() -> None:
    slow = reader({"answer_timeout_s": 0.05, "attempts": 1}, card=Card(latency_s=60))
    assert (await slow.read(REQUEST, TAXONOMY)).signals.parse_status is ParseStatus.ABORTED


async def test_an_engine_that_answers_nobody_for_too_long_is_dead() -> None:
    with pytest.raises(EngineDeadError, match="no answer for"):
        await reader({"outage_s": 0.0}, faults=Faults(busy=1.0)).read(REQUEST, TAXONOMY)


async def test_what_the_engine_refuses_and_its_death_are_passed_on() -> None:
    with pytest.raises(RequestRejectedError):
        await reader(faults=Faults(rejected=1.0)).read(REQUEST, TAXONOMY)
    with pytest.raises(EngineDeadError):
        await reader(faults=Faults(die_after=0)).read(REQUEST, TAXONOMY)
