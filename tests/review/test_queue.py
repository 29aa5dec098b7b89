"""The queue against a real Valkey: once each, in order, held by one, never hidden."""

from __future__ import annotations

import asyncio

import pytest

from calibration.gate import Reason
from deploy.local import EmbeddedValkey
from review.lease import AlreadyDecidedError, Claim, NotHeldError, NotWaitingError
from review.queue import PutResult, ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from tests.review.tasks import claimed, decide, keys, make_task, runs_out, until


class TestPut:
    async def test_a_task_comes_out_as_it_went_in(self, queue: ReviewQueue) -> None:
        task = make_task(event_id := "odd/event:{1}%\\", uploader_id='"ünïcode"\n\0')
        assert await queue.put(task) is PutResult.ADDED
        claim = await claimed(queue)
        assert claim.task == task
        assert claim.entry.event_id == event_id

    async def test_an_event_is_added_once_whether_it_waits_is_claimed_or_was_decided(self, queue: ReviewQueue) -> None:
        task = make_task()
        assert await queue.put(task) is PutResult.ADDED
        assert await queue.put(task) is PutResult.ALREADY_WAITING
        claim = await claimed(queue)
        assert await queue.put(task) is PutResult.ALREADY_WAITING
        await decide(queue, claim)
        assert await queue.put(task) is PutResult.ALREADY_DECIDED
        assert await queue.claim("ada") is None
        assert (await queue.figures()).depth == 0

    async def test_a_decided_event_is_forgotten_after_its_time(self, valkey_settings: ValkeySettings) -> None:
        queue = ReviewQueue(valkey_settings, ReviewSettings(decided_ttl_s=1))
        await queue.put(make_task())
        await decide(queue, await claimed(queue))

        async def comes_back() -> bool:
            return await queue.put(make_task()) is PutResult.ADDED

        await until(comes_back)
        await decide(queue, await claimed(queue))
        assert (await queue.figures()).decided == 1
        await queue.close()

    async def test_concurrent_puts_share_round_trips_and_each_gets_its_own_answer(
        self, queue: ReviewQueue, valkey: EmbeddedValkey
    ) -> None:
        await queue.put(make_task("event-7"))
        with keys(valkey) as server:
            before = server.info("commandstats")["cmdstat_evalsha"]["calls"]
            results = await asyncio.gather(*(queue.put(make_task(f"event-{n}")) for n in range(1000)))
            calls = server.info("commandstats")["cmdstat_evalsha"]["calls"] - before
        assert [n for n, result in enumerate(results) if result is not PutResult.ADDED] == [7]
        assert calls == 16

    async def test_a_put_that_is_cancelled_leaves_the_others_alone(self, queue: ReviewQueue) -> None:
        puts = [asyncio.create_task(queue.put(make_task(f"event-{n}"))) for n in range(3)]
        await asyncio.sleep(0)
        puts[1].cancel()
        results = await asyncio.gather(*puts, return_exceptions=True)
        assert results[0] == results[2] == PutResult.ADDED
        assert isinstance(results[1], asyncio.CancelledError)
        assert (await queue.figures()).depth == 3


class TestOrder:
    async def test_priority_first_then_age_and_waiting_makes_up_for_priority(self, queue: ReviewQueue) -> None:
        hour = 3600.0
        for event_id, priority, waiting_s in (
            ("fresh", 50, 0.0),
            ("older", 50, 0.2 * hour),
            ("urgent", 70, 0.0),
            ("patient", 50, 2.1 * hour),  # its wait is worth 21 points
            ("idle", 0, 4.9 * hour),
        ):
            await queue.put(make_task(event_id, priority=priority, waiting_s=waiting_s))
        expected = ["patient", "urgent", "older", "fresh", "idle"]
        assert [entry.event_id for entry in await queue.waiting()] == expected
        assert [(await claimed(queue)).task.event_id for _ in expected] == expected

    async def test_a_worker_whose_clock_is_ahead_gains_and_loses_nothing(self, queue: ReviewQueue) -> None:
        await queue.put(make_task("from-the-future", waiting_s=-9 * 3600))
        await queue.put(make_task("later"))
        assert (await claimed(queue)).task.event_id == "from-the-future"
        assert (await queue.figures()).oldest_s >= 0


class TestClaim:
    async def test_fifty_reviewers_share_two_hundred_tasks_without_a_double(self, queue: ReviewQueue) -> None:
        await asyncio.gather(*(queue.put(make_task(f"event-{n}", priority=n % 101)) for n in range(200)))
        seen: list[Claim] = []

        async def work(name: str) -> None:
            while claim := await queue.claim(name):
                seen.append(claim)
                if len(seen) % 2:
                    await decide(queue, claim)

        await asyncio.gather(*(work(f"reviewer-{n}") for n in range(50)))
        assert sorted(claim.task.event_id for claim in seen) == sorted(f"event-{n}" for n in range(200))
        assert len({claim.lease.token for claim in seen}) == 200
        figures = await queue.figures()
        assert (figures.depth, figures.claimed, figures.decided) == (100, 100, 100)

    async def test_an_empty_queue_has_nothing_to_give(self, queue: ReviewQueue) -> None:
        assert await queue.claim("ada") is None

    async def test_a_released_task_goes_back_to_its_place(self, queue: ReviewQueue) -> None:
        await queue.put(make_task("first", priority=60))
        await queue.put(make_task("second", priority=50))
        claim = await claimed(queue)
        await queue.put(make_task("urgent", priority=90))
        await queue.release("first", claim.lease.token)
        assert [entry.event_id for entry in await queue.waiting()] == ["urgent", "first", "second"]
        with pytest.raises(NotHeldError, match="first: nobody holds it"):
            await queue.complete("first", claim.lease.token)


class TestLease:
    async def test_a_lease_that_runs_out_sends_its_task_to_the_front_and_is_counted(
        self, queue: ReviewQueue, hasty: ReviewQueue
    ) -> None:
        await hasty.put(make_task("late"))
        await claimed(hasty, "ada")
        await hasty.put(make_task("urgent", priority=100, waiting_s=86400))
        await runs_out(queue)
        before = await queue.figures()
        assert (before.depth, before.expired_leases) == (2, 1)  # even before anybody claims
        claim = await claimed(queue, "bob")
        assert (claim.task.event_id, claim.entry.expiries, claim.lease.holder) == ("late", 1, "bob")
        assert (await queue.figures()).expired_leases == 1

    async def test_who_lost_the_task_is_told_who_has_it(self, queue: ReviewQueue, hasty: ReviewQueue) -> None:
        await hasty.put(make_task())
        lost = await claimed(hasty, "ada")
        await runs_out(queue)
        taken = await claimed(queue, "bob")
        assert taken.lease.token > lost.lease.token
        for attempt in (queue.extend, queue.release, queue.complete):
            with pytest.raises(NotHeldError, match="event-1: your lease ran out and bob holds it now"):
                await attempt("event-1", lost.lease.token)
        await decide(queue, taken)
        for attempt in (queue.extend, queue.release, queue.complete):
            with pytest.raises(AlreadyDecidedError):
                await attempt("event-1", lost.lease.token)

    async def test_a_slow_reviewer_keeps_a_task_that_nobody_took(self, queue: ReviewQueue, hasty: ReviewQueue) -> None:
        await hasty.put(make_task())
        slow = await claimed(hasty, "ada")
        await runs_out(queue)
        again = await queue.extend("event-1", slow.lease.token)
        assert again.lease.claimed_at == slow.lease.claimed_at
        assert await queue.claim("bob") is None
        assert (await queue.figures()).expired_leases == 1
        await decide(queue, slow)

    async def test_a_heartbeat_never_shortens_a_lease(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        claim = await claimed(queue)
        longer = await queue.extend("event-1", claim.lease.token, for_s=1000)
        shorter = await queue.extend("event-1", claim.lease.token, for_s=1)
        assert shorter.lease.deadline == longer.lease.deadline > claim.lease.deadline

    async def test_tasks_that_are_not_there_are_said_not_to_be(self, queue: ReviewQueue) -> None:
        with pytest.raises(NotWaitingError, match="ghost: there is no such task"):
            await queue.find("ghost")
        with pytest.raises(NotWaitingError, match="ghost: there is no such task"):
            await queue.complete("ghost", 1)

    async def test_a_token_from_before_a_flush_fits_nothing_after_it(
        self, queue: ReviewQueue, valkey: EmbeddedValkey
    ) -> None:
        await queue.put(make_task())
        old = await claimed(queue, "ada")
        with keys(valkey) as server:
            server.flushall()
        await queue.put(make_task())
        await claimed(queue, "bob")
        with pytest.raises(NotHeldError, match="bob holds it now"):
            await decide(queue, old)


class TestFigures:
    async def test_depth_reasons_age_and_memory(self, queue: ReviewQueue, valkey: EmbeddedValkey) -> None:
        await queue.put(make_task("one", reason=Reason.AUDIT, waiting_s=90))
        await queue.put(make_task("two", reason=Reason.UNPARSED))
        await queue.put(make_task("three", reason=Reason.UNPARSED))
        await claimed(queue)
        figures = await queue.figures()
        assert (figures.depth, figures.claimed) == (3, 1)
        assert figures.by_reason == {"audit": 1, "unparsed": 2}
        assert 90 <= figures.oldest_s < 120  # the claimed one
        assert figures.memory_ratio == 0
        with keys(valkey) as server:
            server.config_set("maxmemory", "1gb")
            assert 0 < (await queue.figures()).memory_ratio < 1
            server.config_set("maxmemory", 0)
        for _ in range(2):
            await decide(queue, await claimed(queue))
        assert (await queue.figures()).by_reason == {"audit": 1}

    async def test_the_lists_say_who_holds_what(self, queue: ReviewQueue) -> None:
        for name in ("one", "two", "three"):
            await queue.put(make_task(name))
        claim = await claimed(queue)
        (held,) = await queue.claimed()
        assert (held.event_id, held.held, held.lease) == (claim.task.event_id, True, claim.lease)
        assert len(await queue.waiting(limit=1)) == 1
        task, entry = await queue.find(claim.task.event_id)
        assert (task, entry.lease) == (claim.task, claim.lease)
