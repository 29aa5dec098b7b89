"""The same promises, kept by every engine: the scripted one, a server, and real vLLM on the tiny checkpoint."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
from numpy.typing import NDArray

import training
from calibration.outcome import ParseStatus
from tests.worker.engine.openai_server import LABELS, MODEL, OpenAiServer, serving
from worker.engine import make_engine
from worker.engine.finish import Finish
from worker.engine.protocol import Engine, EngineDeadError, EngineRequest, RequestRejectedError
from worker.reading.prompt import Prompt, build_prompt
from worker.reading.signals import read_answer
from worker.reading.taxonomy import Taxonomy, load_taxonomies
from worker.settings import EngineSettings

CHECKPOINT = Path(training.__file__).parent / "checkpoint"
SCENES = load_taxonomies()["scenes"]
MOODS = Taxonomy(name="moods", labels=LABELS)

VLLM = pytest.param("vllm", marks=pytest.mark.engine)
ONLY_VLLM = pytest.mark.parametrize("subject", [VLLM], indirect=True)

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # Of what vLLM and torch import, and of what vLLM leaves open.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning"),
    pytest.mark.timeout(600),
]


class Subject:
    """An engine under test, and a taxonomy that its model knows."""

    def __init__(self, engine: Engine, taxonomy: Taxonomy) -> None:
        self.engine = engine
        self.taxonomy = taxonomy
        self.prompt = build_prompt(taxonomy)

    def ask(self, number: int, *, constrained: bool = False) -> EngineRequest:
        """A question about the image of that number."""
        return EngineRequest(f"r{number}", self.prompt, image(number), f"k{number}", constrained=constrained)

    def draw(self, number: int, name: str, *, temperature: float = 1.5, seed: int | None = None) -> EngineRequest:
        """The same, to be answered at a temperature, as a request of that name."""
        return replace(self.ask(number), request_id=name, temperature=temperature, seed=seed)


def image(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (56, 56, 3), dtype=np.uint8)


def engine_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "EngineCore" in " ".join(child.cmdline())]


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["scripted", "http", VLLM],
)
async def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Subject]:
    environment = dict(os.environ)
    async with AsyncExitStack() as stack:
        taxonomy = MOODS
        if request.param == "http":
            server = await stack.enter_async_context(serving(OpenAiServer()))
            settings = EngineSettings(kind="http", url=server.url, model=MODEL, revision="1")
        elif request.param == "scripted":
            script = tmp_path_factory.mktemp("script") / "script.yaml"
            script.write_text("card: {latency_s: 0.02}\n")
            settings = EngineSettings(kind="scripted", script=script)
        else:
            settings = EngineSettings(model=str(CHECKPOINT), max_tokens=64)
            taxonomy = SCENES
        engine = make_engine(settings, {taxonomy.name: taxonomy})
        stack.push_async_callback(engine.close)
        await engine.start()
        yield Subject(engine, taxonomy)
    os.environ.clear()
    os.environ.update(environment)
    await asyncio.sleep(0)  # vLLM closes its sockets in the loop
    del engine, stack
    gc.collect()


async def test_an_answer_is_a_reading_with_signals(subject: Subject) -> None:
    answer = await subject.engine.answer(subject.ask(1))
    assert answer.finish is Finish.STOP
    reading = read_answer(answer, subject.taxonomy)
    signals = reading.signals
    assert signals.parse_status is ParseStatus.OK
    assert reading.label in subject.taxonomy.labels
    assert None not in (signals.label_probability, signals.label_margin, signals.label_entropy)
    assert signals.label_mass is not None
    assert 0.5 < signals.label_mass <= 1.0


async def test_the_weights_have_a_name(subject: Subject) -> None:
    assert subject.engine.model_version


async def test_the_same_image_gets_the_same_answer(subject: Subject) -> None:
    first, second = [await subject.engine.answer(subject.ask(2)) for _ in range(2)]
    assert first.text == second.text


async def test_drawn_answers_differ_from_each_other_and_are_the_same_again(subject: Subject) -> None:
    names = [f"draw-{number}" for number in range(12)]
    requests = [subject.draw(4, name) for name in names]
    drawn = [await asyncio.gather(*map(subject.engine.answer, requests)) for _ in range(2)]
    first, again = ([answer.text for answer in answers] for answers in drawn)
    assert first == again
    assert len(set(first)) > 1
    assert len({read_answer(answer, subject.taxonomy).label for answer in drawn[0]}) > 1


async def test_a_seed_decides_whatever_the_request_is_called(subject: Subject) -> None:
    asked = [subject.draw(4, f"seeded-{number}", seed=7) for number in range(2)]
    one, other = await asyncio.gather(*map(subject.engine.answer, asked))
    assert one.text == other.text


async def test_a_temperature_of_zero_is_the_usual_answer(subject: Subject) -> None:
    usual = await subject.engine.answer(subject.ask(5))
    assert (await subject.engine.answer(subject.draw(5, "cold", temperature=0.0))).text == usual.text


async def test_drawn_answers_come_with_untempered_probabilities(subject: Subject) -> None:
    """So near to 0 that only the likeliest is ever drawn: what is reported is still what the model believed."""
    usual = read_answer(await subject.engine.answer(subject.ask(6)), subject.taxonomy).signals
    cold = subject.draw(6, "near zero", temperature=0.02)
    drawn = read_answer(await subject.engine.answer(cold), subject.taxonomy).signals
    assert drawn.label_probability == pytest.approx(usual.label_probability, abs=1e-3)


async def test_a_constrained_answer_parses(subject: Subject) -> None:
    answer = await subject.engine.answer(subject.ask(3, constrained=True))
    assert read_answer(answer, subject.taxonomy).signals.parse_status is ParseStatus.OK


async def test_many_in_flight_each_get_their_own_answer(subject: Subject) -> None:
    alone = [await subject.engine.answer(subject.ask(number)) for number in range(10, 14)]
    together = await asyncio.gather(*(subject.engine.answer(subject.ask(number)) for number in range(10, 74)))
    assert [answer.text for answer in together[:4]] == [answer.text for answer in alone]
    assert all(answer.finish is Finish.STOP for answer in together)


async def test_cancelled_questions_leave_the_others_alone(subject: Subject) -> None:
    tasks = [asyncio.create_task(subject.engine.answer(subject.ask(number))) for number in range(100, 164)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert not any(isinstance(outcome, BaseException) for outcome in outcomes[1::2])
    await subject.engine.check_health()


@ONLY_VLLM
async def test_a_question_that_can_never_be_answered_is_refused_alone(subject: Subject) -> None:
    endless = Prompt(system="", user="word " * 20_000, labels=subject.taxonomy.labels)
    with pytest.raises(RequestRejectedError, match="r-long"):
        await subject.engine.answer(EngineRequest("r-long", endless, image(1), "k-long"))
    await subject.engine.check_health()


@ONLY_VLLM
async def test_ctrl_c_does_not_reach_the_processes_of_the_engine(subject: Subject) -> None:
    (core,) = engine_processes()
    core.send_signal(signal.SIGINT)
    assert (await subject.engine.answer(subject.ask(5))).finish is Finish.STOP


async def test_a_closed_engine_is_dead_has_no_processes_and_can_be_closed_again(subject: Subject) -> None:
    tasks = [asyncio.create_task(subject.engine.answer(subject.ask(number))) for number in range(200, 264)]
    await asyncio.sleep(0)
    await subject.engine.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(not isinstance(outcome, BaseException) or isinstance(outcome, EngineDeadError) for outcome in outcomes)
    await subject.engine.close()
    with pytest.raises(EngineDeadError):
        await subject.engine.answer(subject.ask(1))
    with pytest.raises(EngineDeadError):
        await subject.engine.check_health()
    assert not engine_processes()
