"""`tidegate bench queue`: what it prints, that its load waits for nobody, and that its yardstick is a queue."""

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from deploy.bench import queue as bench
from deploy.bench.postgres import LocalPostgres, postgres_binaries
from deploy.bench.queue_load import Crowd, Held, at_pace, tasks
from deploy.bench.queue_yardsticks import PostgresQueue
from deploy.local import EmbeddedServerError, is_free
from review.task import ReviewTask
from tests.waiting import eventually

app = typer.Typer()
app.command()(bench.queue)
SMALL = ["--waiting", "400", "--moderators", "20", "--seconds", "1", "--seconds-per-verdict", "0.1"]


def test_one_line_with_every_number() -> None:
    run = CliRunner().invoke(app, SMALL)
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert (result["bench"], result["waiting"], result["moderators"]) == ("queue", 400, 20)
    assert result["offered_per_s"] == 200
    names = ("claims_per_s", "verdicts_per_s", "p50_ms", "p99_ms", "p99_ms_10k", "complete_p99_ms", "puts_per_s")
    assert min(result[name] for name in names) > 0
    assert result["p50_ms"] <= result["p99_ms"]
    assert result["bytes_per_item"] > result["task_bytes"] > 1000
    assert result["arq"]["jobs_per_s"] > 0
    assert result["ratio_arq"] > 0
    assert (result["postgres"] is None) is (postgres_binaries() is None)
    if postgres := result["postgres"]:
        assert min(postgres[name] for name in ("turns_per_s", "turns_per_s_async_commit", "p99_ms", "p99_ms_10k")) > 0
        assert result["ratio_postgres"] > 0


def test_what_is_not_installed_is_null_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda _: None)
    run = CliRunner().invoke(app, SMALL)
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert {result[name] for name in ("arq", "postgres", "ratio_arq", "ratio_postgres")} == {None}
    assert result["p99_ms"] > 0
    assert "arq is not installed" in run.stderr
    assert "PostgreSQL or asyncpg is not installed" in run.stderr


def test_tasks_are_readable_different_and_the_same_again() -> None:
    made = list(itertools.islice(tasks(), 2000))
    assert [ReviewTask.model_validate_json(task.model_dump_json()) for task in made] == made
    assert len({task.event_id for task in made}) == len({task.content_sha256 for task in made}) == 2000
    assert all(
        len({getattr(task, field) for task in made}) > 1 for field in ("label", "reason", "priority", "taxonomy")
    )
    assert {task.blind for task in made if task.audit} == {True}
    assert next(tasks(1999)).event_id == made[1999].event_id


class _Stalled:
    """Answers nobody before as many have asked as it expects."""

    def __init__(self, expected: int) -> None:
        self.barrier = asyncio.Barrier(expected)
        self.held: set[str] = set()
        self.puts = 0

    async def fill(self, arrivals: Iterator[ReviewTask]) -> None:
        raise AssertionError("not part of the load")

    async def put(self, task: ReviewTask) -> None:
        self.puts += 1

    async def claim(self, moderator: str) -> Held | None:
        self.held.add(moderator)
        await self.barrier.wait()
        return Held(moderator, 1)

    async def complete(self, held: Held) -> None:
        self.held.remove(held.event_id)

    async def cpu_seconds(self) -> float:
        return 0.0


async def test_claims_come_while_earlier_ones_wait_and_their_waiting_counts() -> None:
    queue = _Stalled(50)
    async with asyncio.timeout(30):
        waits = await at_pace(queue, Crowd(50, 0.1), 0.1, tasks(), np.random.default_rng(0), lambda _: None)
    assert (queue.held, queue.puts, len(waits.claim)) == (set(), 50, 50)
    assert waits.claim[0] == max(waits.claim)  # who came first has waited for all others
    assert (waits.claim >= waits.lag).all()


async def test_an_empty_queue_ends_the_benchmark() -> None:
    class Empty(_Stalled):
        async def claim(self, moderator: str) -> Held | None:
            return None

    with pytest.raises(ExceptionGroup) as failed:
        await at_pace(Empty(1), Crowd(10, 0.1), 0.1, tasks(), np.random.default_rng(0), lambda _: None)
    assert "the queue ran empty" in str(failed.value.exceptions[0])


needs_postgres = pytest.mark.skipif(postgres_binaries() is None, reason="PostgreSQL is not installed")


@pytest.fixture(scope="module")
def postgres() -> Iterator[LocalPostgres]:
    binaries = postgres_binaries()
    assert binaries is not None
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        with LocalPostgres(Path(folder) / "postgres", binaries) as server:
            yield server


@needs_postgres
async def test_the_queue_in_postgres_gives_every_row_once_and_in_order(postgres: LocalPostgres) -> None:
    async with PostgresQueue.connected(postgres) as queue:
        await queue.make()
        some = list(itertools.islice(tasks(), 60))
        await queue.fill(iter(some[:50]))
        for task in some[40:]:
            await queue.put(task)  # ten of them again
        first = await queue.claim("ada")
        claims = await asyncio.gather(*(queue.claim(f"moderator-{number}") for number in range(59)))
        held = [first, *claims]
        assert {each.event_id for each in held if each} == {task.event_id for task in some}
        assert await queue.claim("ada") is None
        by_place = min(some, key=lambda task: task.decided_at.timestamp() - task.priority / 10 * 3600)
        assert first is not None
        assert first.event_id == by_place.event_id
        await queue.complete(first)
        with pytest.raises(RuntimeError, match="has lost a lease: DELETE 0"):
            await queue.complete(first)
        assert await queue.cpu_seconds() > 0


@needs_postgres
def test_a_stopped_postgres_comes_back_with_its_data(postgres: LocalPostgres) -> None:
    async def make() -> None:
        async with PostgresQueue.connected(postgres) as queue:
            await queue.make()
            await queue.put(next(tasks()))

    asyncio.run(make())
    postgres.stop()
    assert not postgres.running()
    postgres.start()
    assert asyncio.run(_claimed(postgres)) == next(tasks()).event_id


async def _claimed(postgres: LocalPostgres) -> str | None:
    async with PostgresQueue.connected(postgres) as queue:
        held = await queue.claim("ada")
        return held.event_id if held else None


_PROGRAM = """
import sys, time
from pathlib import Path
from deploy.bench.postgres import LocalPostgres, postgres_binaries
print(LocalPostgres(Path(sys.argv[1]), postgres_binaries()).start().port, flush=True)
time.sleep(60)
"""


@needs_postgres
def test_postgres_ends_with_who_started_it() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        arguments = [sys.executable, "-c", _PROGRAM, f"{folder}/postgres"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            port = int(program.stdout.readline())
            assert not is_free(port)
            program.kill()
        eventually(lambda: is_free(port))


@needs_postgres
def test_a_folder_that_cannot_hold_a_cluster_is_named(tmp_path: Path) -> None:
    binaries = postgres_binaries()
    assert binaries is not None
    (tmp_path / "data").write_text("a file where the server wants a folder")
    with pytest.raises(EmbeddedServerError, match=r"initdb could not make a cluster in .*data"):
        LocalPostgres(tmp_path, binaries).start()
