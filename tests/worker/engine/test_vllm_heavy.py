"""What takes an engine of its own to find out: a core that dies, and a server of vLLM behind the HTTP engine."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.engine.test_contract import CHECKPOINT, SCENES, Subject, engine_processes
from worker.engine.http import HttpEngine
from worker.engine.protocol import EngineDeadError
from worker.engine.vllm import VllmEngine
from worker.reading.signals import read_answer
from worker.settings import EngineSettings

pytestmark = [
    pytest.mark.engine,
    pytest.mark.heavy,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    gc.collect()


async def test_a_core_that_dies_ends_what_is_in_flight_and_the_engine() -> None:
    engine = VllmEngine(EngineSettings(model=str(CHECKPOINT), max_tokens=64), {SCENES.name: SCENES})
    await engine.start()
    subject = Subject(engine, SCENES)
    tasks = [asyncio.create_task(engine.answer(subject.ask(number))) for number in range(300)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for process in engine_processes():
        process.kill()
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert failures
    assert all(isinstance(failure, EngineDeadError) for failure in failures)
    with pytest.raises(EngineDeadError):
        await engine.check_health()
    await engine.close()


@pytest.fixture
def vllm_server(tmp_path: Path, free_port: int) -> Iterator[str]:
    """The address of an OpenAI-compatible server of vLLM that is starting."""
    flags = "--dtype float32 --enforce-eager --max-model-len 4096 --kv-cache-memory-bytes 536870912 --host 127.0.0.1"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(CHECKPOINT), *flags.split()]
    variables = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TORCHDYNAMO_DISABLE": "1"}
    log = tmp_path / "server.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [*command, *flags.split(), "--port", str(free_port)],
            env=os.environ | variables,
            stdout=output,
            stderr=output,
        ) as server,
    ):
        try:
            yield f"http://127.0.0.1:{free_port}/v1"
            assert server.poll() is None, log.read_text()[-3000:]
        finally:
            server.terminate()
            server.wait(60)


async def test_a_server_of_vllm_gives_readings_with_signals(vllm_server: str) -> None:
    settings = EngineSettings(kind="http", url=vllm_server, model=str(CHECKPOINT), revision="1", max_tokens=64)
    engine = HttpEngine(settings, {SCENES.name: SCENES})
    await started(engine, within_s=600)
    subject = Subject(engine, SCENES)
    for constrained in (False, True):
        reading = read_answer(await engine.answer(subject.ask(1, constrained=constrained)), SCENES)
        assert reading.label in SCENES.labels
        assert reading.signals.label_probability is not None
        assert reading.signals.label_margin is not None
    names = ["drawn", "drawn", *(f"drawn-{number}" for number in range(6))]
    drawn = [(await engine.answer(subject.draw(1, name))).text for name in names]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    await engine.close()


async def started(engine: HttpEngine, within_s: float) -> None:
    """Try to start an engine until its server is there."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                return await engine.start()
            except EngineDeadError:
                await engine.close()
                await asyncio.sleep(1)
