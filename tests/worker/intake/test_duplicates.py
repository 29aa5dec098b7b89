"""What was read once is not read again, and a cache that is broken or away costs nothing but the work it would save."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydantic import BaseModel, ConfigDict
from redis import Redis

from deploy.local import EmbeddedValkey
from review.settings import ValkeySettings
from worker.intake.duplicates import ReadingCache, reading_key
from worker.reading.taxonomy import Taxonomy


class Note(BaseModel):
    """Stands in for a reading."""

    model_config = ConfigDict(frozen=True)
    text: str
    parsed: bool = True


class Work:
    """What it takes to make a reading, counted; `gate` holds it up."""

    def __init__(self, *, parsed: bool = True) -> None:
        self.calls = 0
        self.most = 0
        self.now = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        self._parsed = parsed

    async def __call__(self) -> Note:
        self.calls += 1
        call = self.calls
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.gate.wait()
        finally:
            self.now -= 1
        if self.failures:
            raise self.failures.pop(0)
        return Note(text=f"reading {call}", parsed=self._parsed)


@asynccontextmanager
async def caching(settings: ValkeySettings, ttl_s: int = 100) -> AsyncIterator[ReadingCache[Note]]:
    cache = ReadingCache(settings, ttl_s, Note)
    try:
        yield cache
    finally:
        await cache.close()


@pytest.fixture
async def cache(valkey_settings: ValkeySettings) -> AsyncIterator[ReadingCache[Note]]:
    async with caching(valkey_settings) as opened:
        yield opened


@pytest.fixture
def server(valkey: EmbeddedValkey) -> Iterator[Redis]:
    with Redis.from_url(valkey.url) as client:
        yield client


def parsed(note: Note) -> bool:
    return note.parsed


def lookups(result: str) -> float:
    return REGISTRY.get_sample_value("tidegate_reading_cache_total", {"result": result}) or 0.0


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until something is true."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0)


TAXONOMY = Taxonomy(name="three", labels=("joy", "fear", "awe"))
SHA = "ab" * 32


def test_a_key_names_everything_that_a_reading_depends_on() -> None:
    keys = {
        reading_key(SHA, "m", "p", "d", TAXONOMY),
        reading_key("cd" * 32, "m", "p", "d", TAXONOMY),
        reading_key(SHA, "m2", "p", "d", TAXONOMY),
        reading_key(SHA, "m", "p2", "d", TAXONOMY),
        reading_key(SHA, "m", "p", "d2", TAXONOMY),
        reading_key(SHA, "mp", "", "d", TAXONOMY),
        *(
            reading_key(SHA, "m", "p", "d", TAXONOMY.model_copy(update=change))
            for change in ({"name": "other"}, {"labels": ("joy", "awe", "fear")}, {"question": "Which?"})
        ),
    }
    assert len(keys) == 9
    assert reading_key(SHA, "m", "p", "d", TAXONOMY) == reading_key(SHA, "m", "p", "d", TAXONOMY.model_copy())


async def test_a_reading_is_kept_for_every_worker_until_its_time_is_over(
    cache: ReadingCache[Note], valkey_settings: ValkeySettings, server: Redis
) -> None:
    work, hits = Work(), lookups("hit")
    assert await cache.get_or_compute("k", work, parsed) == (Note(text="reading 1"), False)
    async with caching(valkey_settings) as other:
        assert await other.get_or_compute("k", work, parsed) == (Note(text="reading 1"), True)
    assert work.calls == 1
    assert lookups("hit") == hits + 1
    assert 0 < server.ttl(f"{valkey_settings.key_prefix}:reading:k") <= 100


async def test_many_at_once_are_not_mixed_up(cache: ReadingCache[Note]) -> None:
    notes = {str(number): Note(text=f"of {number}") for number in range(500)}
    await asyncio.gather(*(cache.put(key, note) for key, note in notes.items()))
    found = await asyncio.gather(*(cache.get(key) for key in (*notes, "missing")))
    assert found == [*notes.values(), None]


async def test_identical_images_at_the_same_time_are_read_once(cache: ReadingCache[Note]) -> None:
    work, shared = Work(), lookups("shared")
    results = await asyncio.gather(*(cache.get_or_compute("k", work, parsed) for _ in range(50)))
    assert {note.text for note, _ in results} == {"reading 1"}
    assert [reused for _, reused in results].count(False) == 1
    assert lookups("shared") == shared + 49


async def test_different_images_do_not_wait_for_each_other(cache: ReadingCache[Note]) -> None:
    stuck, quick = Work(), Work()
    stuck.gate.clear()
    task = asyncio.create_task(cache.get_or_compute("stuck", stuck, parsed))
    await until(lambda: stuck.now == 1)
    assert (await cache.get_or_compute("quick", quick, parsed))[0].text == "reading 1"
    stuck.gate.set()
    await task


async def test_when_the_first_fails_one_of_the_others_takes_over(cache: ReadingCache[Note]) -> None:
    work = Work()
    work.failures = [RuntimeError("first"), RuntimeError("second")]
    results = await asyncio.gather(
        *(cache.get_or_compute("k", work, parsed) for _ in range(10)), return_exceptions=True
    )
    assert sorted(str(each) for each in results if isinstance(each, Exception)) == ["first", "second"]
    assert [each for each in results if isinstance(each, tuple)].count((Note(text="reading 3"), True)) == 7
    assert (work.calls, work.most) == (3, 1)


async def test_when_the_first_is_cancelled_one_of_the_others_takes_over(cache: ReadingCache[Note]) -> None:
    work = Work()
    work.gate.clear()
    tasks = [asyncio.create_task(cache.get_or_compute("k", work, parsed)) for _ in range(5)]
    await until(lambda: work.now == 1)
    tasks[0].cancel()
    await until(lambda: work.calls == 2)
    tasks[2].cancel()  # one that waits: nobody else is concerned
    work.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in results].count(asyncio.CancelledError) == 2
    assert [each for each in results if isinstance(each, tuple)].count((Note(text="reading 2"), True)) == 2
    assert work.calls == 2


async def test_what_is_not_worth_keeping_is_neither_kept_nor_shared(cache: ReadingCache[Note], server: Redis) -> None:
    work = Work(parsed=False)
    results = await asyncio.gather(*(cache.get_or_compute("k", work, parsed) for _ in range(5)))
    assert not any(reused for _, reused in results)
    assert len({note.text for note, _ in results}) == work.calls == 5
    assert server.keys("*:reading:*") == []


@pytest.mark.parametrize("damage", ["", "not json", "{}", '{"text": 1}', "\xff"])
async def test_a_damaged_value_is_a_miss_and_is_replaced(
    cache: ReadingCache[Note], server: Redis, valkey_settings: ValkeySettings, damage: str
) -> None:
    server.set(f"{valkey_settings.key_prefix}:reading:k", damage.encode("latin-1"))
    misses = lookups("miss")
    assert await cache.get_or_compute("k", Work(), parsed) == (Note(text="reading 1"), False)
    assert lookups("miss") == misses + 1
    assert await cache.get("k") == Note(text="reading 1")


async def test_a_key_of_another_type_is_an_error_that_costs_nothing_else(
    cache: ReadingCache[Note], server: Redis, valkey_settings: ValkeySettings
) -> None:
    server.lpush(f"{valkey_settings.key_prefix}:reading:k", "x")
    errors = lookups("error")
    await cache.put("good", Note(text="good"))
    bad, good = await asyncio.gather(cache.get_or_compute("k", Work(), parsed), cache.get("good"))
    assert bad == (Note(text="reading 1"), False)
    assert good == Note(text="good")
    assert lookups("error") == errors + 1


async def test_a_lifetime_of_zero_turns_the_cache_off(free_port: int) -> None:
    errors, work = lookups("error"), Work()
    async with caching(ValkeySettings(url=f"redis://127.0.0.1:{free_port}/0"), ttl_s=0) as cache:
        for _ in range(2):
            assert not (await cache.get_or_compute("k", work, parsed))[1]
    assert work.calls == 2
    assert lookups("error") == errors


async def test_valkey_going_away_and_coming_back_loses_no_reading(tmp_path: Path) -> None:
    errors, work = lookups("error"), Work()
    with EmbeddedValkey(tmp_path) as server:
        async with caching(ValkeySettings(url=server.url)) as cache:
            await cache.get_or_compute("before", work, parsed)
            server.kill()
            results = await asyncio.gather(*(cache.get_or_compute(str(key), work, parsed) for key in range(20)))
            assert not any(reused for _, reused in results)
            assert lookups("error") == errors + 40
            server.start()
            assert not (await cache.get_or_compute("after", work, parsed))[1]
            assert (await cache.get_or_compute("after", work, parsed))[1]


async def test_a_full_valkey_only_stops_new_readings_from_being_kept(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        async with caching(ValkeySettings(url=server.url)) as cache:
            await cache.get_or_compute("before", Work(), parsed)
            client.config_set("maxmemory", "1")
            errors = lookups("error")
            assert (await cache.get_or_compute("before", Work(), parsed))[1]
            assert await cache.get_or_compute("after", Work(), parsed) == (Note(text="reading 1"), False)
            assert lookups("error") == errors + 1


async def test_a_silent_valkey_is_not_waited_for_and_its_late_answers_go_nowhere(valkey: EmbeddedValkey) -> None:
    flowing, held = asyncio.Event(), asyncio.Event()
    flowing.set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if not flowing.is_set():
                    held.set()
                    await flowing.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # the other side has hung up: so does this one
        finally:
            writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection("127.0.0.1", valkey.port)
        await asyncio.gather(pump(reader, upstream[1]), pump(upstream[0], writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as proxy:
        url = f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/0"
        async with caching(ValkeySettings(url=url, timeout_s=0.2)) as cache:
            for key in ("one", "two"):
                await cache.put(key, Note(text=key))
            flowing.clear()
            assert await cache.get_or_compute("one", Work(), parsed) == (Note(text="reading 1"), False)
            assert held.is_set()
            flowing.set()
            assert await cache.get("two") == Note(text="two")
            assert await cache.get("one") == Note(text="one")


async def test_a_cancelled_look_up_leaves_the_others_alone(cache: ReadingCache[Note]) -> None:
    await cache.put("k", Note(text="kept"))
    tasks = [asyncio.create_task(cache.get("k")) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [Note(text="kept")] * 4
