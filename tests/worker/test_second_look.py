"""The second look: who gets one, what is asked, what comes of it, and that it never costs an event."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from calibration.outcome import ParseStatus, Signals
from review.task import Alternative
from worker import telemetry
from worker.engine.protocol import (
    EngineAnswer,
    EngineBusyError,
    EngineDeadError,
    EngineRequest,
    Finish,
    RequestRejectedError,
)
from worker.engine.scripted import Answer, Card, Faults, Script, ScriptedEngine
from worker.reader import Patience, Reader
from worker.reading.prompt import PROMPT_VERSION, build_prompt
from worker.reading.signals import Reading
from worker.reading.taxonomy import Taxonomy
from worker.second_look import NO_SECOND_LOOK, SecondLook, agreement
from worker.settings import SecondLookSettings

TAXONOMY = Taxonomy(name="t", labels=("awe", "fear", "joy"))
REQUEST = EngineRequest("event-1", build_prompt(TAXONOMY), np.zeros((28, 28, 3), np.uint8), "key")
LOOK = SecondLook(samples=4, temperature=0.7, low=0.3, high=0.9)


def reading(label: str | None = "awe", probability: float | None = None, verbal: float | None = None) -> Reading:
    status = ParseStatus.MISSING_TAG if label is None else ParseStatus.OK
    rest = [] if probability is None else [Alternative(label="fear", probability=1.0 - probability)]
    own = [] if probability is None or label is None else [Alternative(label=label, probability=probability), *rest]
    return Reading(
        label=label,
        alternatives=tuple(own),
        signals=Signals(parse_status=status, verbal_confidence=verbal, label_probability=probability),
    )


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (reading(probability=0.5, verbal=0.99), True),
        (reading(probability=0.3), True),
        (reading(probability=0.9), True),
        (reading(probability=0.29, verbal=0.5), False),
        (reading(probability=0.91), False),
        (reading(verbal=0.5), True),  # without a label probability the written confidence says
        (reading(verbal=0.95), False),
        (reading(None), False),
    ],
)
def test_only_doubtful_readings_are_looked_at_again(said: Reading, wanted: bool) -> None:
    assert LOOK.wanted(said) is wanted
    assert not NO_SECOND_LOOK.wanted(said)


def test_the_same_question_is_drawn_again_and_again_with_seeds_of_the_image() -> None:
    further = LOOK.requests(REQUEST)
    assert len({each.request_id for each in further} | {REQUEST.request_id}) == 5
    assert len({each.seed for each in further}) == 4
    assert {(each.image_key, each.temperature, each.constrained) for each in further} == {("key", 0.7, False)}
    other_event = EngineRequest("event-2", REQUEST.prompt, REQUEST.image, "key")
    assert [each.seed for each in LOOK.requests(other_event)] == [each.seed for each in further]
    other_image = EngineRequest("event-1", REQUEST.prompt, REQUEST.image, "another")
    assert [each.seed for each in LOOK.requests(other_image)] != [each.seed for each in further]


def test_agreement_is_the_mean_probability_of_the_label() -> None:
    awe, fear, unread, mute = reading("awe", 0.9), reading("fear", 0.8), reading(None), reading("awe")
    assert agreement("awe", [awe, awe]) == pytest.approx(0.9)
    assert agreement("awe", [awe, fear]) == pytest.approx(0.45)  # of awe the second says nothing
    assert agreement("fear", [awe, fear]) == pytest.approx((0.1 + 0.8) / 2)
    assert agreement("awe", [awe, unread]) == pytest.approx(0.45)
    assert agreement("awe", [mute, mute, fear, mute]) == pytest.approx(0.75)  # without probabilities, by its label
    assert agreement("awe", [unread]) == 0.0
    assert agreement("awe", []) is None


def test_every_setting_is_part_of_the_version_that_gates_are_certified_for() -> None:
    assert NO_SECOND_LOOK.prompt_version == PROMPT_VERSION
    assert SecondLook.of(SecondLookSettings()).prompt_version == PROMPT_VERSION
    assert LOOK.prompt_version == f"{PROMPT_VERSION}+look4@0.7[0.3,0.9]"
    changes: list[dict[str, Any]] = [{"samples": 5}, {"temperature": 1.0}, {"low": 0.2}, {"high": 0.95}]
    fields = {"samples": 4, "temperature": 0.7, "low": 0.3, "high": 0.9}
    versions = {SecondLook.of(SecondLookSettings.model_validate(fields | each)).prompt_version for each in changes}
    assert len(versions | {LOOK.prompt_version}) == 5


@pytest.mark.parametrize("wrong", [{"low": 0.9, "high": 0.3}, {"samples": -1}, {"temperature": 0}, {"high": 1.5}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SecondLookSettings.model_validate(wrong)


class Engine(ScriptedEngine):
    """Remembers what it was asked, and fails some of it."""

    def __init__(self, probability: float = 0.7, failing: dict[str, Exception] | None = None, **script: Any) -> None:
        answer = Answer(label="awe", confidence=0.8, label_probability=probability)
        super().__init__(Script(answers=(answer,), **script))
        self.asked: list[EngineRequest] = []
        self.failing = failing or {}

    async def answer(self, request: EngineRequest) -> EngineAnswer:
        self.asked.append(request)
        for ending, error in self.failing.items():
            if request.request_id.endswith(ending):
                raise error
        return await super().answer(request)


def reader(engine: Engine, look: SecondLook = LOOK) -> Reader:
    return Reader(engine, Patience(answer_timeout_s=5.0, attempts=1, outage_s=60.0), look)


def counted(result: str) -> float:
    return telemetry.SECOND_LOOK_SAMPLES.labels(result)._value.get()  # type: ignore[no-any-return]


async def test_a_doubtful_reading_gets_its_agreement_and_a_sure_one_does_not() -> None:
    before = counted("same") + counted("other")
    engine = Engine(0.7)
    doubtful = await reader(engine).read(REQUEST, TAXONOMY)
    assert doubtful.signals.agreement == pytest.approx(0.7)  # every sample believes the same of awe
    assert doubtful.signals.label_probability == pytest.approx(0.7)
    assert len(engine.asked) == 5
    assert counted("same") + counted("other") == before + 4
    for probability, look in ((0.95, LOOK), (0.7, NO_SECOND_LOOK)):
        sure = Engine(probability)
        assert (await reader(sure, look).read(REQUEST, TAXONOMY)).signals.agreement is None
        assert len(sure.asked) == 1


async def test_the_further_answers_are_asked_for_at_the_same_time() -> None:
    started = asyncio.get_running_loop().time()
    await reader(Engine(card=Card(latency_s=0.2))).read(REQUEST, TAXONOMY)
    assert asyncio.get_running_loop().time() - started < 0.8  # one after the other they would take 1 s


async def test_the_same_image_gets_the_same_second_look() -> None:
    engine = Engine(0.5, faults=Faults(unparsable=0.3))
    readings = [await reader(engine).read(REQUEST, TAXONOMY) for _ in range(2)]
    assert readings[0] == readings[1]


async def test_an_answer_that_does_not_parse_disagrees() -> None:
    before = counted("unparsed")
    first = await reader(Engine(faults=Faults(unparsable=1.0))).read(REQUEST, TAXONOMY)
    assert first.constrained  # the first answer was asked for again under a grammar, the further ones are free
    assert first.signals.agreement == 0.0
    assert counted("unparsed") == before + 4


@pytest.mark.parametrize("error", [EngineBusyError("full"), RequestRejectedError("no seeds here"), TimeoutError()])
async def test_an_answer_that_does_not_come_costs_no_event(error: Exception) -> None:
    some = reader(Engine(failing={"/look-0": error, "/look-2": error}))
    found = await some.read(REQUEST, TAXONOMY)
    assert found.signals.agreement == pytest.approx(0.7)
    assert some.is_whole(found)
    none = reader(Engine(failing={f"/look-{number}": error for number in range(4)}))
    found = await none.read(REQUEST, TAXONOMY)
    assert (found.label, found.signals.agreement) == ("awe", None)
    assert not none.is_whole(found)  # another try may get it: not to be kept for identical images
    assert reader(Engine(), NO_SECOND_LOOK).is_whole(found)


async def test_what_was_aborted_says_nothing() -> None:
    class Aborting(Engine):
        async def answer(self, request: EngineRequest) -> EngineAnswer:
            answer = await super().answer(request)
            if request.temperature is None:
                return answer
            return EngineAnswer("", Finish.ABORT, None, answer.prompt_tokens, answer.output_tokens)

    assert (await reader(Aborting()).read(REQUEST, TAXONOMY)).signals.agreement is None


async def test_a_dead_engine_is_passed_on() -> None:
    with pytest.raises(EngineDeadError):
        await reader(Engine(failing={"/look-3": EngineDeadError("gone")})).read(REQUEST, TAXONOMY)


def test_only_what_was_read_is_whole() -> None:
    assert not reader(Engine()).is_whole(reading(None))
    assert reader(Engine()).is_whole(reading(probability=0.95))
