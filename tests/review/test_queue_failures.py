"""The queue when its server loses data, fills up, restarts or hangs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from redis.crc import key_slot
from structlog.testing import capture_logs

from deploy.local import EmbeddedValkey
from review.lease import NotWaitingError
from review.queue import PutResult, QueueFullError, QueueUnavailableError, ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from tests.review.tasks import claimed, decide, keys, make_task, runs_out, until


class TestDamage:
    @pytest.mark.parametrize("lost", ["tasks", "state"])
    async def test_a_lost_value_is_counted_and_skipped_and_put_again(
        self, queue: ReviewQueue, valkey: EmbeddedValkey, lost: str
    ) -> None:
        await queue.put(make_task("broken", priority=90))
        await queue.put(make_task("sound"))
        with keys(valkey) as server:
            server.hdel(f"{{tidegate}}:review:{lost}", "broken")
        with capture_logs() as logs:
            assert (await claimed(queue)).task.event_id == "sound"
        assert [entry["event_id"] for entry in logs] == ["broken"]
        figures = await queue.figures()
        assert (figures.depth, figures.damaged, figures.by_reason) == (1, 1, {"no_certificate": 1})
        assert await queue.put(make_task("broken")) is PutResult.ADDED
        assert (await claimed(queue)).task.event_id == "broken"
        figures = await queue.figures()
        assert (figures.depth, figures.damaged, figures.by_reason) == (2, 0, {"no_certificate": 2})

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("tasks", '{"schema_version": 9, "reason": "audit"}'),
            ("tasks", "not json"),
            ("state", "[1"),
            ("state", "{}"),
        ],
    )
    async def test_what_cannot_be_read_is_set_aside(
        self, queue: ReviewQueue, valkey: EmbeddedValkey, key: str, value: str
    ) -> None:
        await queue.put(make_task("broken"))
        with keys(valkey) as server:
            server.hset(f"{{tidegate}}:review:{key}", "broken", value)
            assert await queue.claim("ada") is None
            assert server.hexists("{tidegate}:review:damaged", "broken")
        figures = await queue.figures()
        assert (figures.depth, figures.damaged, figures.by_reason) == (0, 1, {})

    async def test_a_lost_index_is_mended_by_the_next_put(self, queue: ReviewQueue, valkey: EmbeddedValkey) -> None:
        await queue.put(make_task())
        with keys(valkey) as server:
            server.delete("{tidegate}:review:waiting")
        assert await queue.put(make_task()) is PutResult.ADDED
        assert (await claimed(queue)).task.event_id == "event-1"
        assert (await queue.figures()).by_reason == {"no_certificate": 1}

    async def test_a_lease_whose_task_was_lost_ends_as_damage(self, hasty: ReviewQueue, valkey: EmbeddedValkey) -> None:
        await hasty.put(make_task())
        claim = await claimed(hasty)
        with keys(valkey) as server:
            server.delete("{tidegate}:review:tasks", "{tidegate}:review:state")
        with pytest.raises(NotWaitingError):
            await hasty.extend("event-1", claim.lease.token)
        await runs_out(hasty)
        assert await hasty.claim("bob") is None
        assert (await hasty.figures()).damaged == 1

    async def test_a_task_of_an_earlier_release_is_claimed_and_decided(
        self, queue: ReviewQueue, valkey: EmbeddedValkey
    ) -> None:
        await queue.put(make_task())
        with keys(valkey) as server:
            state = json.loads(server.hget("{tidegate}:review:state", "event-1") or "")
            old = {name: state[name] for name in ("reason", "since", "score", "expiries")}
            server.hset("{tidegate}:review:state", "event-1", json.dumps(old))
            server.delete("{tidegate}:review:facets", "{tidegate}:review:counts")
        assert (await queue.waiting())[0].version == 1
        await decide(queue, await claimed(queue))
        assert (await queue.figures()).depth == 0


class TestServer:
    async def test_every_key_lies_in_one_hash_slot(self, queue: ReviewQueue, valkey: EmbeddedValkey) -> None:
        await queue.put(make_task())
        await claimed(queue)
        with keys(valkey) as server:
            names = server.keys()
        assert names
        assert len({key_slot(name) for name in names}) == 1

    async def test_a_full_server_takes_no_task_but_lets_moderators_work(self, tmp_path: Path) -> None:
        with EmbeddedValkey(tmp_path) as valkey, keys(valkey) as server:
            queue = ReviewQueue(ValkeySettings(url=valkey.url), ReviewSettings(undo_s=0.001))
            await queue.put(make_task("event-0"))
            server.config_set("maxmemory", server.info("memory")["used_memory"] + 1_000_000)
            count = 1
            with pytest.raises(QueueFullError, match="memory limit"):
                while count < 500:
                    await queue.put(make_task(f"event-{count}", uploader_id="u" * 20_000))
                    count += 1
            assert (await queue.figures()).depth == count
            assert (await queue.figures()).memory_ratio >= 1
            given_back = await claimed(queue)
            await queue.release(given_back.task.event_id, given_back.lease.token)
            for _ in range(count // 2):
                await decide(queue, await claimed(queue))
            assert await queue.put(make_task("event-again")) is PutResult.ADDED
            await queue.close()

    async def test_what_gives_way_by_itself_does_not_count_as_full(self, tmp_path: Path) -> None:
        with EmbeddedValkey(tmp_path) as valkey, keys(valkey) as server:
            queue = ReviewQueue(ValkeySettings(url=valkey.url), ReviewSettings())
            server.config_set("maxmemory-policy", "volatile-lru")
            server.config_set("maxmemory", limit := server.info("memory")["used_memory"] + 2_000_000)
            for number in range(100):
                server.set(f"reading-{number}", "r" * 50_000, ex=3600)
            assert server.dbsize() < 100  # some have given way
            await asyncio.gather(*(queue.put(make_task(f"event-{n}", uploader_id="u" * 20_000)) for n in range(50)))
            figures = await queue.figures()
            assert figures.depth == 50
            assert 50 * 20_000 < figures.memory_ratio * limit < 50 * 35_000
            await queue.close()

    async def test_a_restart_keeps_tasks_and_leases(self, tmp_path: Path) -> None:
        with EmbeddedValkey(tmp_path, fsync="always") as valkey:
            queue = ReviewQueue(ValkeySettings(url=valkey.url), ReviewSettings())
            await asyncio.gather(*(queue.put(make_task(f"event-{n}")) for n in range(5)))
            claim = await claimed(queue)
            valkey.kill()
            with pytest.raises(QueueUnavailableError, match="Valkey does not serve"):
                await queue.claim("bob")
            lost = await asyncio.gather(*(queue.put(make_task(f"late-{n}")) for n in range(3)), return_exceptions=True)
            assert all(isinstance(error, QueueUnavailableError) for error in lost)
            valkey.start()
            await decide(queue, claim)
            assert await queue.put(claim.task) is PutResult.ALREADY_DECIDED
            assert await queue.put(make_task("late-0")) is PutResult.ADDED
            assert (await queue.figures()).depth == 5
            await queue.close()

    async def test_a_server_that_hangs_is_unavailable(self, valkey: EmbeddedValkey) -> None:
        queue = ReviewQueue(ValkeySettings(url=valkey.url, timeout_s=0.1), ReviewSettings())
        await queue.put(make_task())
        with keys(valkey) as server:
            server.client_pause(300)
        with pytest.raises(QueueUnavailableError):
            await queue.put(make_task())

        async def serves_again() -> bool:
            try:
                return await queue.put(make_task()) is PutResult.ALREADY_WAITING
            except QueueUnavailableError:
                return False

        await until(serves_again)
        await queue.close()

    def test_an_address_that_is_none_is_named_without_its_password(self) -> None:
        with pytest.raises(ValueError, match="TIDEGATE_VALKEY_URL") as caught:
            ReviewQueue(ValkeySettings(url="valkey-at://:secret@example.com"), ReviewSettings())
        assert "secret" not in str(caught.value)
