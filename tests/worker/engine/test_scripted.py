"""The scripted engine keeps to its script: capacity, latency, answers and faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.outcome import ParseStatus
from worker.engine.protocol import EngineBusyError, EngineDeadError, EngineRequest, RequestRejectedError
from worker.engine.scripted import Answer, Card, Faults, Script, ScriptedEngine
from worker.reading.prompt import build_prompt
from worker.reading.signals import read_answer
from worker.reading.taxonomy import Taxonomy

TAXONOMY = Taxonomy(name="moods", labels=("awe", "fear", "joy"))
PROMPT = build_prompt(TAXONOMY)
IMAGE = np.zeros((28, 28, 3), dtype=np.uint8)


def ask(number: int, *, constrained: bool = False) -> EngineRequest:
    return EngineRequest(f"r{number}", PROMPT, IMAGE, f"k{number}", constrained=constrained)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer: an hour of a card passes in an instant."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def simulated_seconds(card: Card, requests: int) -> float:
    """How long the card takes for so many requests that are all there at once."""

    async def serve() -> float:
        engine = ScriptedEngine(Script(card=card))
        await asyncio.gather(*(engine.answer(ask(number)) for number in range(requests)))
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(serve())


def test_a_full_card_reaches_its_throughput_exactly() -> None:
    assert simulated_seconds(Card(images_per_s=60, in_flight=256, latency_s=4), 3000) == pytest.approx(50, rel=0.005)


def test_a_card_that_has_room_answers_after_its_latency() -> None:
    assert simulated_seconds(Card(images_per_s=60, in_flight=256, latency_s=4), 100) == pytest.approx(4)


def test_too_few_in_flight_bound_the_throughput() -> None:
    assert simulated_seconds(Card(images_per_s=1000, in_flight=10, latency_s=1), 100) == pytest.approx(10)


async def test_the_same_image_gets_the_same_answer_from_any_engine_with_that_script() -> None:
    first, second = ScriptedEngine(Script(seed=3)), ScriptedEngine(Script(seed=3))
    answers = [await engine.answer(ask(7)) for engine in (first, first, second)]
    assert answers[0] == answers[1] == answers[2]
    assert first.model_version == second.model_version != ScriptedEngine(Script(seed=4)).model_version
    reading = read_answer(answers[0], TAXONOMY)
    assert reading.signals.label_mass == pytest.approx(1.0)
    assert reading.signals.label_probability is not None


async def test_given_answers_are_given() -> None:
    script = Script(answers=(Answer(label="joy", confidence=0.9, label_probability=0.8),))
    reading = read_answer(await ScriptedEngine(script).answer(ask(1)), TAXONOMY)
    assert (reading.label, reading.signals.verbal_confidence) == ("joy", 0.9)
    assert reading.signals.label_probability == pytest.approx(0.8)


@pytest.mark.parametrize(("temperature", "joy", "others"), [(1.0, 0.8, 0.1), (0.5, 0.64, 0.01), (2.0, 0.894, 0.316)])
async def test_at_a_temperature_labels_are_drawn_as_the_script_believes(
    temperature: float, joy: float, others: float
) -> None:
    engine = ScriptedEngine(Script(answers=(Answer(label="joy", confidence=0.9, label_probability=0.8),)))
    asked = [replace(ask(1), request_id=f"draw-{number}", temperature=temperature) for number in range(2000)]
    readings = [read_answer(await engine.answer(each), TAXONOMY) for each in asked]
    counts = Counter(reading.label for reading in readings)
    share = joy / (joy + 2 * others)
    assert counts["joy"] / 2000 == pytest.approx(share, abs=0.04)
    assert counts["awe"] / 2000 == pytest.approx((1 - share) / 2, abs=0.04)
    probability = {"joy": 0.8, "awe": 0.1, "fear": 0.1}
    for reading in readings[:50]:
        assert reading.label is not None
        assert reading.signals.label_probability == pytest.approx(probability[reading.label])


async def test_a_script_that_is_certain_draws_its_label() -> None:
    engine = ScriptedEngine(Script(answers=(Answer(label="joy", confidence=1.0, label_probability=1.0),)))
    asked = [replace(ask(1), request_id=f"draw-{number}", temperature=2.0) for number in range(50)]
    assert {read_answer(await engine.answer(each), TAXONOMY).label for each in asked} == {"joy"}


async def test_shares_of_faults_are_kept() -> None:
    engine = ScriptedEngine(Script(faults=Faults(rejected=0.2, unparsable=0.3, busy=0.1)))
    seen = {"rejected": 0, "busy": 0, "unparsable": 0, "ok": 0}
    for number in range(2000):
        try:
            answer = await engine.answer(ask(number))
        except RequestRejectedError:
            seen["rejected"] += 1
        except EngineBusyError:
            seen["busy"] += 1
        else:
            status = read_answer(answer, TAXONOMY).signals.parse_status
            seen["ok" if status is ParseStatus.OK else "unparsable"] += 1
    assert seen == pytest.approx({"rejected": 360, "busy": 200, "unparsable": 540, "ok": 900}, abs=75)


async def test_a_constrained_answer_parses() -> None:
    engine = ScriptedEngine(Script(faults=Faults(unparsable=1.0)))
    assert read_answer(await engine.answer(ask(1)), TAXONOMY).label is None
    assert read_answer(await engine.answer(ask(1, constrained=True)), TAXONOMY).label is not None


async def test_death_ends_what_is_in_flight() -> None:
    engine = ScriptedEngine(Script(card=Card(latency_s=60), faults=Faults(die_after=20)))
    outcomes = await asyncio.gather(*(engine.answer(ask(number)) for number in range(30)), return_exceptions=True)
    assert all(isinstance(outcome, EngineDeadError) for outcome in outcomes)
    with pytest.raises(EngineDeadError):
        await engine.check_health()


@pytest.mark.parametrize("content", ["card: {images_per_s: -1}", "answers: 3", "[unclosed"])
def test_a_broken_script_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(content)
    with pytest.raises(EngineDeadError, match=r"script\.yaml is not a script"):
        Script.load(path)
