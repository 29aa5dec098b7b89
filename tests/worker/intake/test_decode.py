"""A hostile image costs its own decoding process at most; every other image comes through."""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from tests.waiting import eventually
from tests.worker.intake.pictures import BUDGET, bomb, encode, picture, png
from tests.worker.intake.test_pixels import damaged
from worker.events import DeadLetterReason
from worker.intake.decode import DecoderPool, Prepared, decode_image, decode_limits
from worker.intake.decoder import Decoder, DecoderLostError
from worker.intake.refusal import ImageRefusedError, IntakeError
from worker.settings import IntakeSettings

IMAGE = encode(picture(), "JPEG")
ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def running(**changes: float) -> AsyncIterator[DecoderPool]:
    pool = DecoderPool(
        IntakeSettings.model_validate({"decode_processes": 2, "decode_timeout_s": 60, **changes}), BUDGET
    )
    try:
        await pool.start()
        yield pool
    finally:
        await pool.close()


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    async with running() as started:
        yield started


def processes(parent: int | str = "self") -> list[int]:
    """The ids of a process's decoding processes, those that ended left out."""
    children = [
        int(pid) for task in Path(f"/proc/{parent}/task").iterdir() for pid in (task / "children").read_text().split()
    ]
    return sorted(pid for pid in children if b"worker.intake.sandbox" in _proc(pid, "cmdline"))


def _proc(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def killed(cause: str) -> float:
    return REGISTRY.get_sample_value("tidegate_decoders_killed_total", {"cause": cause}) or 0.0


async def refusal(pool: DecoderPool, data: bytes) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as refused:
        await pool.prepare(data)
    return refused.value


async def test_the_pool_gives_the_same_pixels_as_this_process(pool: DecoderPool) -> None:
    for data in (IMAGE, encode(picture(300, 200), "PNG"), encode(picture(1, 1), "GIF")):
        theirs, ours = await pool.prepare(data), decode_image(data, decode_limits(IntakeSettings()), BUDGET)
        assert np.array_equal(theirs.pixels, ours.pixels)
        assert theirs.pixels.flags.writeable
        for name in ("width", "height", "format", "animated", "blank", "tiny"):
            assert getattr(theirs, name) == getattr(ours, name)


async def test_refusals_come_back_with_their_reason_and_cost_no_process(pool: DecoderPool) -> None:
    before = processes()
    assert (await refusal(pool, b"")).reason is DeadLetterReason.IMAGE_UNSUPPORTED
    assert (await refusal(pool, IMAGE[:300])).reason is DeadLetterReason.IMAGE_UNDECODABLE
    assert (await refusal(pool, png(9000, 9000, 8, 2, b""))).reason is DeadLetterReason.IMAGE_LIMITS
    assert (await refusal(pool, bytes(20_000_001))).reason is DeadLetterReason.IMAGE_TOO_LARGE
    assert processes() == before


async def test_more_images_than_processes_wait_their_turn(pool: DecoderPool) -> None:
    images = [encode(picture(28 * (1 + number % 4), 28), "PNG") for number in range(40)]
    prepared = await asyncio.gather(*map(pool.prepare, images))
    assert [each.width for each in prepared] == [28 * (1 + number % 4) for number in range(40)]
    assert len(processes()) == 2


async def test_a_process_killed_at_work_fails_neither_its_image_nor_the_others(pool: DecoderPool) -> None:
    before, victim = killed("crash"), processes()[0]
    os.kill(victim, signal.SIGSTOP)
    tasks = [asyncio.create_task(pool.prepare(IMAGE)) for _ in range(8)]
    pending = set(tasks)
    while len(pending) > 1:
        _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    os.kill(victim, signal.SIGKILL)
    for task in tasks:
        assert (await task).pixels.shape == (84, 112, 3)
    assert killed("crash") == before + 1
    assert len(processes()) == 2
    assert victim not in processes()


async def test_a_process_that_died_while_idle_is_replaced_unnoticed(pool: DecoderPool) -> None:
    for process in processes():
        os.kill(process, signal.SIGKILL)
    eventually(lambda: not processes())
    assert (await pool.prepare(IMAGE)).format == "JPEG"


HOSTILE = """
import os, sys
sys.path.insert(0, {root!r})
from worker.intake import pixels
decode = pixels.decode
def hostile(data, limits, budget):
    if data == b"crash":
        os.abort()
    while data == b"hang":
        pass
    return decode(data, limits, budget)
pixels.decode = hostile
"""


async def test_an_image_that_takes_down_two_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOSTILE.format(root=str(ROOT)))
    monkeypatch.setattr("worker.intake.decoder._ROOT", tmp_path)
    async with running() as pool:
        before = killed("crash")
        neighbours = asyncio.gather(*(pool.prepare(IMAGE) for _ in range(8)))
        refused = await refusal(pool, b"crash")
        assert refused.reason is DeadLetterReason.DECODE_TIMEOUT
        assert (
            refused.detail
            == f"2 decoding processes were lost over it: the decoding process ended with {-signal.SIGABRT}"
        )
        assert len(await neighbours) == 8
        assert killed("crash") == before + 2


async def test_an_image_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOSTILE.format(root=str(ROOT)))
    monkeypatch.setattr("worker.intake.decoder._ROOT", tmp_path)
    async with running(decode_timeout_s=1, decode_processes=1) as pool:
        refused, prepared = await asyncio.gather(refusal(pool, b"hang"), pool.prepare(IMAGE))
        assert refused.reason is DeadLetterReason.DECODE_TIMEOUT
        assert prepared.format == "JPEG"


async def test_a_hung_decoder_is_killed_and_its_neighbours_never_notice() -> None:
    async with running(decode_timeout_s=2) as pool:
        before, victim = killed("timeout"), processes()[0]
        os.kill(victim, signal.SIGSTOP)
        outcomes = await asyncio.gather(*(pool.prepare(IMAGE) for _ in range(8)), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, ImageRefusedError)]
        assert [each.reason for each in refused] == [DeadLetterReason.DECODE_TIMEOUT]
        assert refused[0].detail == "decoding took longer than 2 s"
        assert sum(isinstance(outcome, Prepared) for outcome in outcomes) == 7
        assert killed("timeout") == before + 1
        await asyncio.gather(*(pool.prepare(IMAGE) for _ in range(4)))
        assert victim not in processes()


@pytest.mark.parametrize("data", [bomb(5000), png(60_000, 60_000, 8, 2, b"")], ids=["a real bomb", "a huge claim"])
async def test_memory_is_limited(data: bytes) -> None:
    async with running(decode_memory_mb=128, max_pixels=10_000_000_000, decode_processes=1) as pool:
        before = killed("memory")
        refused = await refusal(pool, data)
        assert (refused.reason, refused.detail) == (
            DeadLetterReason.DECODE_TIMEOUT,
            "decoding takes more than 128 MB of memory",
        )
        assert killed("memory") == before + 1
        assert (await pool.prepare(IMAGE)).format == "JPEG"


async def test_a_cancelled_image_leaves_the_pool_usable() -> None:
    async with running(decode_processes=1) as pool:
        os.kill(processes()[0], signal.SIGSTOP)
        task = asyncio.create_task(pool.prepare(IMAGE))
        waiting = asyncio.create_task(pool.prepare(IMAGE))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await waiting).format == "JPEG"


async def test_signals_for_the_worker_do_not_reach_the_decoders(pool: DecoderPool) -> None:
    before = processes()
    for process in before:
        os.kill(process, signal.SIGINT)
        os.kill(process, signal.SIGTERM)
        assert os.getsid(process) != os.getsid(0)
    assert (await pool.prepare(IMAGE)).format == "JPEG"
    assert processes() == before


def test_decoders_load_little() -> None:
    script = "import sys, worker.intake.sandbox; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "PIL" in loaded.stdout.split()
    assert not {"numpy", "pydantic", "aiohttp", "asyncio", "torch", "vllm"} & set(loaded.stdout.split())


async def test_decoders_see_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_GATE_AUDIT_KEY", "secret")
    async with running(decode_processes=1):
        names = {line.partition(b"=")[0] for line in _proc(processes()[0], "environ").split(b"\0") if line}
        assert names <= {b"PATH", b"LD_LIBRARY_PATH", b"PYTHONHOME", b"PYTHONPATH"}


async def test_closing_fails_what_is_under_way_and_leaves_nothing_behind() -> None:
    async with running(decode_processes=1) as pool:
        os.kill(processes()[0], signal.SIGSTOP)
        tasks = [asyncio.create_task(pool.prepare(IMAGE)) for _ in range(3)]
        await asyncio.sleep(0)
        await pool.close()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {IntakeError}
        assert processes() == []
        await pool.close()


async def test_a_process_that_cannot_start_is_reported_with_advice() -> None:
    with pytest.raises(IntakeError, match="TIDEGATE_INTAKE_DECODE_MEMORY_MB"):
        async with running(decode_memory_mb=1):
            pass
    assert processes() == []


PARENT = """
import asyncio
from tests.worker.intake.test_decode import running
async def main():
    async with running():
        print("ready", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def test_decoders_die_with_the_worker_even_when_hung() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        children = processes(parent.pid)
        assert len(children) == 2
        os.kill(children[0], signal.SIGSTOP)
        parent.kill()
    eventually(lambda: not any(_proc(child, "cmdline") for child in children))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.one_of(damaged(), st.binary(max_size=200)))
async def test_no_bytes_disturb_the_pool(pool: DecoderPool, data: bytes) -> None:
    try:
        prepared = await pool.prepare(data)
    except ImageRefusedError as refused:
        assert refused.reason is not DeadLetterReason.DECODE_TIMEOUT
    else:
        assert prepared.pixels.shape[2] == 3


@pytest.fixture(scope="module")
def shared() -> Iterator[mmap.mmap]:
    with mmap.mmap(-1, 30_000_000) as memory:
        yield memory


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
FIELDS = ("shape", "width", "height", "format", "animated", "blank", "tiny", "refused", "detail")


ANSWERS = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)).map(
    lambda fields: json.dumps(fields).encode()
)


@settings(deadline=None)
@given(answer=st.binary() | ANSWERS)
def test_nothing_that_a_decoder_says_is_trusted(shared: mmap.mmap, answer: bytes) -> None:
    try:
        prepared = Decoder(IntakeSettings(), BUDGET)._prepared(shared, answer)
    except (ImageRefusedError, DecoderLostError):
        return
    assert prepared.pixels.size > 0


def test_nonsense_does_not_keep_the_shared_memory_open() -> None:
    memory = mmap.mmap(-1, 30_000_000)
    for nonsense in (
        b'{"shape": [-28, -28]}',
        b'{"shape": [28, 28], "width": null}',
        b'{"shape": [28, 28], "tiny": 1}',
    ):
        with pytest.raises(DecoderLostError) as lost:
            Decoder(IntakeSettings(), BUDGET)._prepared(memory, nonsense)
        assert lost.value.cause == "crash"
    memory.close()
