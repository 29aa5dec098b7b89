"""What reviewers do with tasks beside deciding them: each promise of the queue by an example."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from calibration.gate import Reason
from deploy.local import EmbeddedValkey
from review.lease import (
    AlreadyDecidedError,
    Answer,
    NotHeldError,
    NotWaitingError,
    QueueError,
    UndoRefusedError,
    VersionConflictError,
)
from review.queue import Next, PutResult, ReviewQueue, Standing
from review.settings import ReviewSettings, ValkeySettings
from tests.review.tasks import blind_task, claimed, keys, make_task, runs_out, until


async def claimed_ids(queue: ReviewQueue, reviewer: str = "ada", **options: object) -> list[str]:
    found = []
    while (claim := await queue.claim(reviewer, **options)) is not None:  # type: ignore[arg-type]
        found.append(claim.task.event_id)
    return found


class TestFacets:
    async def test_tasks_are_claimed_by_what_they_are(self, queue: ReviewQueue) -> None:
        await queue.put(make_task("awe-old", waiting_s=900, priority=0))
        await queue.put(make_task("awe-urgent", priority=100))
        await queue.put(make_task("fear", label="fear", reason=Reason.BELOW_THRESHOLD, waiting_s=60))
        await queue.put(make_task("elsewhere", taxonomy="other", content_sha256="f" * 64))
        assert next(entry.event_id for entry in await queue.waiting()) == "awe-urgent"
        assert await claimed_ids(queue, reason="below_threshold") == ["fear"]
        assert await claimed_ids(queue, group="f" * 64) == ["elsewhere"]
        assert await claimed_ids(queue, label="fear") == []
        oldest = await queue.claim("ada", by="oldest")
        assert oldest is not None
        assert oldest.task.event_id == "awe-old"
        await queue.release("awe-old", oldest.lease.token)
        assert await claimed_ids(queue, label="awe") == ["awe-urgent", "awe-old"]

    async def test_a_blind_task_is_found_neither_by_label_nor_by_reason(self, queue: ReviewQueue) -> None:
        await queue.put(blind_task())
        assert await queue.claim("ada", label="awe") is None
        assert await queue.claim("ada", reason="audit") is None
        assert (await queue.figures()).by_label == {}
        assert await claimed_ids(queue, taxonomy="emoset-8") == ["event-1"]

    async def test_only_one_facet_at_a_time(self, queue: ReviewQueue) -> None:
        with pytest.raises(ValueError, match="one of"):
            await queue.claim("ada", label="awe", reason="audit")

    async def test_one_that_returned_comes_first_by_facet_too(self, hasty: ReviewQueue) -> None:
        await hasty.put(make_task("urgent", priority=100))
        await hasty.put(make_task("returned", priority=0))
        first = await hasty.claim("ada", label="awe")
        second = await hasty.claim("ada", label="awe")
        assert first is not None
        assert second is not None
        await hasty.release("urgent", first.lease.token)
        await runs_out(hasty)
        assert (await claimed_ids(hasty, label="awe"))[0] == "returned"


class TestSkip:
    async def test_a_skipped_task_is_never_shown_to_that_reviewer_again(self, queue: ReviewQueue) -> None:
        for number in range(40):
            await queue.put(make_task(f"event-{number}"))
        for _ in range(40):
            claim = await claimed(queue)
            await queue.skip(claim.task.event_id, claim.lease.token)
        await queue.put(make_task("last", priority=0))
        assert await claimed_ids(queue) == ["last"]
        assert len(await claimed_ids(queue, "bob")) == 40
        figures = await queue.figures()
        assert (figures.depth, figures.skips) == (41, 40)

    async def test_what_everybody_skipped_stays_in_sight(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        for reviewer in ("ada", "bob"):
            claim = await claimed(queue, reviewer)
            await queue.skip("event-1", claim.lease.token)
        (entry,) = await queue.waiting()
        assert entry.skips == 2


class TestHold:
    async def test_a_task_put_aside_is_held_with_its_note_while_others_are_claimed(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        claim = await claimed(queue)
        await queue.hold("event-1", claim.lease.token, 7200, "asking legal")
        assert await queue.claim("bob") is None
        (entry,) = await queue.claimed()
        assert entry.lease is not None
        assert entry.note is not None
        assert (entry.lease.kind, entry.note.text, entry.note.by) == ("hold", "asking legal", "ada")
        assert (entry.lease.deadline - entry.at).total_seconds() > 7000
        await queue.complete("event-1", claim.lease.token, "awe")

    async def test_a_hold_ends(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        claim = await claimed(queue)
        await queue.hold("event-1", claim.lease.token, 0.05, "soon")
        await runs_out(queue)
        assert (await claimed(queue, "bob")).entry.expiries == 1

    async def test_nobody_holds_for_ever(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        claim = await claimed(queue)
        with pytest.raises(QueueError, match="24 hours at most"):
            await queue.hold("event-1", claim.lease.token, 1e6, "later")


class TestTransfer:
    async def test_a_task_handed_over_is_the_others_next_and_nobody_elses(self, queue: ReviewQueue) -> None:
        await queue.put(make_task("handed", priority=0))
        claim = await claimed(queue)
        await queue.put(make_task("urgent", priority=100))
        await queue.transfer("handed", claim.lease.token, "bob", "you know the place")
        with pytest.raises(NotHeldError):
            await queue.complete("handed", claim.lease.token, "awe")
        assert (await queue.figures()).reserved == 1
        assert await claimed_ids(queue, "ada") == ["urgent"]
        assert await claimed_ids(queue, "bob", label="fear") == ["handed"]
        assert (await queue.figures()).reserved == 0

    async def test_unclaimed_it_is_everybodys_again(self, valkey_settings: ValkeySettings) -> None:
        queue = ReviewQueue(valkey_settings, ReviewSettings(transfer_s=0.05))
        await queue.put(make_task())
        claim = await claimed(queue)
        await queue.transfer("event-1", claim.lease.token, "bob")
        await runs_out(queue)
        assert await claimed_ids(queue, "eve") == ["event-1"]
        await queue.close()

    async def test_not_to_somebody_who_skipped_it(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        claim = await claimed(queue, "bob")
        await queue.skip("event-1", claim.lease.token)
        claim = await claimed(queue, "ada")
        with pytest.raises(QueueError, match="skipped or answered"):
            await queue.transfer("event-1", claim.lease.token, "bob")
        await queue.complete("event-1", claim.lease.token, "awe")


async def test_an_escalated_task_is_for_leads_and_comes_first_to_them(queue: ReviewQueue) -> None:
    await queue.put(make_task("hard", priority=0))
    claim = await claimed(queue)
    await queue.escalate("hard", claim.lease.token, "is this allowed?")
    await queue.put(make_task("urgent", priority=100))
    assert await claimed_ids(queue, "bob") == ["urgent"]
    assert [entry.event_id for entry in await queue.for_leads()] == ["hard"]
    figures = await queue.figures()
    assert (figures.depth, figures.for_leads) == (2, 1)
    lead = await queue.claim("lea", lead=True)
    assert lead is not None
    assert lead.entry.note is not None
    assert (lead.task.event_id, lead.entry.note.text) == ("hard", "is this allowed?")
    assert await queue.complete("hard", lead.lease.token, "awe", second=True) is Next.DECIDED


class TestSecondAnswers:
    async def test_the_second_is_somebody_elses_and_agreement_ends_it(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        first = await claimed(queue, "ada")
        assert await queue.complete("event-1", first.lease.token, "awe", second=True) is Next.SECOND
        assert await queue.claim("ada") is None
        second = await claimed(queue, "bob")
        assert second.entry.disagreement == ()
        assert await queue.complete("event-1", second.lease.token, "awe", second=True) is Next.DECIDED
        assert (await queue.figures()).depth == 0

    async def test_a_disagreement_goes_to_a_lead_who_sees_both(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        for reviewer, label in (("ada", "awe"), ("bob", None)):
            claim = await claimed(queue, reviewer)
            following = await queue.complete("event-1", claim.lease.token, label, second=True)
        assert following is Next.ADJUDICATION
        assert await queue.claim("eve") is None
        assert await queue.claim("bob", lead=True) is None  # a lead who answered does not judge
        lead = await queue.claim("lea", lead=True)
        assert lead is not None
        assert [(each.reviewer, each.label) for each in lead.entry.disagreement] == [("ada", "awe"), ("bob", None)]
        assert await queue.complete("event-1", lead.lease.token, "fear", second=True) is Next.DECIDED

    async def test_the_draw_keeps_to_its_share(self, valkey_settings: ValkeySettings) -> None:
        queue = ReviewQueue(valkey_settings, ReviewSettings(second_answer_share=0.25))
        drawn = sum(queue.wants_second_answer(f"event-{number}") for number in range(2000))
        assert 430 < drawn < 570


class TestVersion:
    async def test_a_verdict_on_something_else_than_was_seen_is_refused(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        claim = await claimed(queue)
        assert not await queue.force(make_task(), "lea", "look again, please")
        with pytest.raises(VersionConflictError, match="version 2"):
            await queue.complete("event-1", claim.lease.token, "awe", version=claim.entry.version)
        await queue.complete("event-1", claim.lease.token, "awe", version=2)


class TestUndo:
    async def decided(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        claim = await claimed(queue)
        await queue.complete("event-1", claim.lease.token, "awe")

    async def test_the_task_is_in_the_same_hands_again(self, queue: ReviewQueue) -> None:
        await self.decided(queue)
        assert (await queue.undoable("event-1", "ada")).entry.answers[-1].label == "awe"
        claim = await queue.undo("event-1", "ada")
        assert claim.entry.answers == ()
        assert await queue.put(make_task()) is PutResult.ALREADY_WAITING
        figures = await queue.figures()
        assert (figures.depth, figures.claimed, figures.decided, figures.by_label) == (1, 1, 0, {"awe": 1})
        await queue.complete("event-1", claim.lease.token, "fear")
        assert (await queue.figures()).by_label == {}

    async def test_only_its_reviewer_or_a_lead_may(self, queue: ReviewQueue) -> None:
        await self.decided(queue)
        with pytest.raises(UndoRefusedError, match="ada's"):
            await queue.undo("event-1", "bob")
        claim = await queue.undo("event-1", "lea", lead=True)
        assert claim.lease.holder == "ada"

    async def test_not_for_ever(self, valkey_settings: ValkeySettings) -> None:
        queue = ReviewQueue(valkey_settings, ReviewSettings(undo_s=0.001))
        await self.decided(queue)

        async def refused() -> bool:
            try:
                await queue.undoable("event-1", "ada")
            except UndoRefusedError as error:
                return "too late" in str(error)
            return False

        await until(refused)
        await queue.close()

    async def test_not_while_somebody_looks_at_it(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        claim = await claimed(queue)
        await queue.complete("event-1", claim.lease.token, "awe", second=True)
        second = await claimed(queue, "bob")
        with pytest.raises(UndoRefusedError, match="bob is looking"):
            await queue.undo("event-1", "ada")
        await queue.release("event-1", second.lease.token)
        again = await queue.undo("event-1", "ada")
        assert await queue.claim("bob") is None
        assert await queue.complete("event-1", again.lease.token, "fear", second=True) is Next.SECOND
        assert await queue.claim("ada") is None
        assert (await claimed(queue, "bob")).task.event_id == "event-1"


class TestForce:
    async def test_what_was_decided_comes_back_to_the_front(self, queue: ReviewQueue) -> None:
        await TestUndo().decided(queue)
        await queue.put(make_task("urgent", priority=100))
        assert await queue.force(make_task(), "lea", "the uploader complains")
        claim = await claimed(queue)
        assert claim.entry.note is not None
        assert (claim.task.event_id, claim.entry.note.text) == ("event-1", "the uploader complains")
        assert claim.entry.answers == ()

    async def test_what_waits_moves_to_the_front(self, queue: ReviewQueue) -> None:
        await queue.put(make_task("urgent", priority=100))
        await queue.put(make_task("event-1", priority=0))
        assert not await queue.force(make_task(), "lea", "now")
        assert (await claimed(queue)).task.event_id == "event-1"
        assert (await queue.figures()).depth == 2


class TestReconciling:
    async def test_where_events_stand_and_how_they_are_settled(self, queue: ReviewQueue) -> None:
        for name in ("waits", "held", "done"):
            await queue.put(make_task(name, priority={"waits": 0, "held": 50, "done": 100}[name]))
        done = await claimed(queue)
        await queue.complete("done", done.lease.token, "awe")
        held = await claimed(queue)
        names = ["waits", "held", "done", "never"]
        waiting, decided, unknown = Standing.WAITING, Standing.DECIDED, Standing.UNKNOWN
        assert await queue.standing(names) == [waiting, waiting, decided, unknown]
        assert sorted([name async for page in queue.scan(1) for name in page]) == ["held", "waits"]
        assert await queue.settle(dict.fromkeys(["held", "never"], datetime.now(UTC))) == 1
        assert await queue.standing(names) == [waiting, decided, decided, decided]
        with pytest.raises(AlreadyDecidedError):
            await queue.complete("held", held.lease.token, "awe")
        assert (await queue.figures()).by_label == {"awe": 1}
        assert await queue.standing([]) == []

    async def test_what_was_demanded_after_the_verdict_stays(self, queue: ReviewQueue) -> None:
        await queue.force(make_task(), "lea", "again")
        assert await queue.settle({"event-1": datetime.now(UTC) - timedelta(hours=1)}) == 0
        assert await queue.settle({"event-1": datetime.now(UTC) + timedelta(hours=1)}) == 1

    async def test_answers_are_recalled_once(self, queue: ReviewQueue) -> None:
        await queue.put(make_task())
        answers = [Answer("ada", "awe", datetime.now(UTC)), Answer("bob", None, datetime.now(UTC))]
        for _ in range(2):
            await queue.recall("event-1", answers)
        (entry,) = await queue.for_leads()
        assert [(each.reviewer, each.label) for each in entry.disagreement] == [("ada", "awe"), ("bob", None)]
        assert await queue.claim("eve") is None


def near(picture: str, *bits: int) -> str:
    """The same perceptual hash with these bits turned."""
    return f"{int(picture, 16) ^ sum(1 << bit for bit in bits):064x}"


class TestSimilar:
    async def test_near_duplicates_are_found_nearest_first(self, queue: ReviewQueue) -> None:
        picture = "0123456789abcdef" * 4
        pictures = {"one": picture, "copy": picture, "close": near(picture, 3, 200), "far": near(picture, *range(40))}
        for name, pdq in pictures.items():
            await queue.put(make_task(name, pdq=pdq))
        await queue.put(make_task("featureless", pdq=None))
        assert await queue.similar("one") == [("copy", 0), ("close", 2)]
        assert await queue.similar("one", most=1) == [("copy", 0)]
        assert await queue.similar("featureless") == []
        assert await queue.similar("never") == []
        assert len(await claimed_ids(queue, group=picture)) == 2
        assert await queue.similar("one") == [("close", 2)]

    @pytest.mark.parametrize("bits", [range(15), range(0, 256, 17), range(100, 131)])
    async def test_up_to_fifteen_bits_none_is_missed(self, queue: ReviewQueue, bits: range) -> None:
        picture = "f00dfeed" * 8
        await queue.put(make_task("one", pdq=picture))
        await queue.put(make_task("other", pdq=near(picture, *list(bits)[:15])))
        assert await queue.similar("one") == [("other", 15)]

    async def test_the_index_is_empty_once_all_are_decided(self, queue: ReviewQueue, valkey: EmbeddedValkey) -> None:
        picture = "0123456789abcdef" * 4
        for number in range(4):
            await queue.put(make_task(f"event-{number}", pdq=near(picture, number // 2)))
        while (claim := await queue.claim("ada")) is not None:
            await queue.complete(claim.task.event_id, claim.lease.token, "awe")
        with keys(valkey) as server:
            left = {
                server.exists(f"{{tidegate}}:review:{name}") for name in ("pictures", "handles", "likeness", "facets")
            }
        assert left == {0}

    async def test_a_certain_task_is_taken_if_it_is_anybodys(self, queue: ReviewQueue) -> None:
        for number in range(3):
            await queue.put(make_task(f"event-{number}"))
        assert (await queue.take("event-1", "ada")).task.event_id == "event-1"
        with pytest.raises(NotHeldError, match="ada holds it"):
            await queue.take("event-1", "bob")
        claim = await queue.take("event-2", "ada")
        await queue.skip("event-2", claim.lease.token)
        with pytest.raises(QueueError, match="skipped"):
            await queue.take("event-2", "ada")
        claim = await queue.take("event-0", "ada")
        await queue.escalate("event-0", claim.lease.token, "?")
        with pytest.raises(QueueError, match="lead"):
            await queue.take("event-0", "ada")
        with pytest.raises(NotWaitingError):
            await queue.take("never", "ada")
