"""The queue against a model of itself: any order of operations, with leases that run out and verdicts forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from calibration.gate import Reason
from deploy.local import EmbeddedValkey
from review.lease import AlreadyDecidedError, NotHeldError, NotWaitingError, QueueError, UndoRefusedError
from review.queue import PutResult, ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from tests.review.tasks import make_task

T = TypeVar("T")
AGEING_S = 600.0
START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)

EVENT_IDS = [f"event-{n}" for n in range(6)]
event_ids = st.sampled_from(EVENT_IDS)
minutes = st.integers(0, 200)
priorities = st.integers(0, 100)
reviewers = st.sampled_from(["ada", "bob", "eve"])
labels = st.sampled_from(["awe", "fear", None])
reasons = st.sampled_from([Reason.NO_CERTIFICATE, Reason.AUDIT, Reason.UNPARSED])
any_data = st.data()


@dataclass
class Modelled:
    """One task as the queue should have it."""

    reason: Reason
    score: float
    """Waiting since, in seconds after START, less what the priority is worth."""
    token: int | None = None
    holder: str | None = None
    where: str = "waiting"  # or "leased", or "overdue": leased, past its deadline, not yet noticed
    front: bool = False
    expiries: int = 0
    lead: bool = False
    reserved: bool = False
    barred: set[str] = field(default_factory=set)
    answers: list[tuple[str, str | None]] = field(default_factory=list)


class QueueMachine(RuleBasedStateMachine):
    """Does the same to the real queue and to a dictionary."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.prefix = uuid4().hex
        self.runner = asyncio.Runner()
        self.server: Redis = Redis.from_url(self.url)
        self.queue = ReviewQueue(
            ValkeySettings(url=self.url, key_prefix=self.prefix), ReviewSettings(lease_s=3600, ageing_s=AGEING_S)
        )
        self.tasks: dict[str, Modelled] = {}
        self.decided: set[str] = set()
        self.gone: dict[str, Modelled] = {}
        """Decided, and still to be taken back."""
        self.tokens: list[int] = []
        self.expired = 0

    def teardown(self) -> None:
        self.server.delete(*(key for key in self.server.scan_iter(f"*{self.prefix}*")))
        self.run(self.queue.close())
        self.runner.close()
        self.server.close()

    def key(self, name: str) -> str:
        return f"{{{self.prefix}}}:review:{name}"

    def run(self, operation: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await operation

        return self.runner.run(awaited())

    def notice_overdue(self) -> None:
        for task in self.tasks.values():
            if task.where == "overdue":
                task.where, task.front = "waiting", True
                if task.reserved:
                    task.token, task.holder, task.reserved = None, None, False
                task.expiries += 1

    def waiting(self, *, lead: bool = False) -> list[str]:
        """Those that returned to the front first, then by score; equal ones by event id."""
        there = [(name, task) for name, task in self.tasks.items() if task.where == "waiting" and task.lead is lead]
        return [name for *_, name in sorted((not task.front, task.score, name) for name, task in there)]

    def next_for(self, reviewer: str, *, lead: bool) -> str | None:
        handed = [name for name, task in self.tasks.items() if task.reserved and task.holder == reviewer]
        found = [*sorted(handed), *(self.waiting(lead=True) if lead else []), *self.waiting()]
        return next((name for name in found if reviewer not in self.tasks[name].barred), None)

    def free(self, event_id: str) -> None:
        task = self.tasks[event_id]
        task.token, task.holder, task.where, task.front = None, None, "waiting", False

    def somebody(self, data: st.DataObject) -> tuple[str, int]:
        """A task, mostly a claimed one, and a token, mostly the right one."""
        claimed = sorted(name for name, task in self.tasks.items() if task.token)
        event_id = data.draw(st.sampled_from(claimed * 9 + EVENT_IDS))
        task = self.tasks.get(event_id)
        tokens = [task.token] * 5 if task and task.token and not task.reserved else []
        return event_id, data.draw(st.sampled_from([*tokens, *self.tokens[:1], 7]))

    def refusal(self, event_id: str, token: int) -> type[Exception] | None:
        task = self.tasks.get(event_id)
        if task is None:
            return AlreadyDecidedError if event_id in self.decided else NotWaitingError
        return None if task.token == token else NotHeldError

    def attempt(self, operation: Awaitable[object], refusal: type[Exception] | None) -> bool:
        """Whether it was done; it must be refused exactly when and as the model says."""
        self.notice_overdue()
        try:
            self.run(operation)
        except QueueError as error:
            assert type(error) is refusal, error
            return False
        assert refusal is None
        return True

    @initialize(waiting=st.lists(st.tuples(event_ids, priorities, minutes, reasons), min_size=3))
    def put_some(self, waiting: list[tuple[str, int, int, Reason]]) -> None:
        for task in waiting:
            self.put(*task)

    @rule(event_id=event_ids, priority=priorities, minute=minutes, reason=reasons)
    def put(self, event_id: str, priority: int, minute: int, reason: Reason) -> None:
        since = START + timedelta(minutes=minute)
        task = make_task(event_id, priority=priority, reason=reason).model_copy(update={"decided_at": since})
        result = self.run(self.queue.put(task))
        if event_id in self.decided:
            assert result is PutResult.ALREADY_DECIDED
        elif event_id in self.tasks:
            assert result is PutResult.ALREADY_WAITING
        else:
            assert result is PutResult.ADDED
            self.tasks[event_id] = Modelled(reason, minute * 60 - priority / 10 * AGEING_S)
            self.gone.pop(event_id, None)

    @rule(reviewer=reviewers, lead=st.booleans())
    def claim(self, reviewer: str, lead: bool) -> None:
        self.notice_overdue()
        expected = self.next_for(reviewer, lead=lead)
        claim = self.run(self.queue.claim(reviewer, lead=lead))
        assert (claim and claim.task.event_id) == expected
        if claim is not None:
            task = self.tasks[claim.task.event_id]
            assert claim.lease.holder == reviewer
            assert claim.lease.token > max(self.tokens, default=0)
            assert (claim.task.reason, claim.entry.expiries) == (task.reason, task.expiries)
            assert [(each.reviewer, each.label) for each in claim.entry.answers] == task.answers
            self.tokens.append(claim.lease.token)
            task.token, task.holder, task.where = claim.lease.token, reviewer, "leased"
            task.front = task.reserved = False

    @rule(data=any_data)
    def extend(self, data: st.DataObject) -> None:
        event_id, token = self.somebody(data)
        if self.attempt(self.queue.extend(event_id, token), self.refusal(event_id, token)):
            self.tasks[event_id].where, self.tasks[event_id].front = "leased", False

    @rule(data=any_data, skip=st.booleans())
    def release(self, data: st.DataObject, skip: bool) -> None:
        event_id, token = self.somebody(data)
        give_back = self.queue.skip if skip else self.queue.release
        if self.attempt(give_back(event_id, token), self.refusal(event_id, token)):
            task = self.tasks[event_id]
            if skip:
                assert task.holder is not None
                task.barred.add(task.holder)
            self.free(event_id)

    @rule(data=any_data)
    def escalate(self, data: st.DataObject) -> None:
        event_id, token = self.somebody(data)
        if self.attempt(self.queue.escalate(event_id, token, "why"), self.refusal(event_id, token)):
            self.free(event_id)
            self.tasks[event_id].lead = True

    @rule(data=any_data, to=reviewers)
    def transfer(self, data: st.DataObject, to: str) -> None:
        event_id, token = self.somebody(data)
        refusal = self.refusal(event_id, token)
        if refusal is None and to in self.tasks[event_id].barred:
            refusal = QueueError
        if self.attempt(self.queue.transfer(event_id, token, to), refusal):
            task = self.tasks[event_id]
            task.token, task.holder, task.where, task.front, task.reserved = -1, to, "leased", False, True

    @rule(data=any_data, label=labels, second=st.booleans())
    def complete(self, data: st.DataObject, label: str | None, second: bool) -> None:
        event_id, token = self.somebody(data)
        if self.attempt(self.queue.complete(event_id, token, label, second=second), self.refusal(event_id, token)):
            task = self.tasks[event_id]
            assert task.holder is not None
            reviewer = task.holder
            task.answers.append((reviewer, label))
            said = [label for _, label in task.answers]
            again = len(said) == 1 and second and not task.lead
            differ = len(said) == 2 and said[0] != said[1] and not task.lead
            self.free(event_id)
            if again or differ:
                task.barred.add(reviewer)
                task.lead = differ
            else:
                self.gone[event_id] = self.tasks.pop(event_id)
                self.decided.add(event_id)

    @rule(event_id=event_ids, reviewer=reviewers, lead=st.booleans())
    def undo(self, event_id: str, reviewer: str, lead: bool) -> None:
        task = self.tasks.get(event_id) or self.gone.get(event_id)
        refusal: type[Exception] | None = None
        if task is None or not task.answers:
            refusal = UndoRefusedError if event_id in self.decided else NotWaitingError
        elif (task.answers[-1][0] != reviewer and not lead) or task.token is not None:
            refusal = UndoRefusedError
        if self.attempt(self.queue.undo(event_id, reviewer, lead=lead), refusal):
            assert task is not None
            if event_id in self.gone:
                self.tasks[event_id] = self.gone.pop(event_id)
                self.decided.remove(event_id)
            else:
                task.lead = False
            holder, _ = task.answers.pop()
            task.barred.discard(holder)
            (entry,) = [entry for entry in self.run(self.queue.claimed()) if entry.event_id == event_id]
            assert entry.lease is not None
            task.holder, task.token, task.where, task.front = holder, entry.lease.token, "leased", False
            self.tokens.append(entry.lease.token)

    @precondition(lambda self: any(task.where == "leased" for task in self.tasks.values()))
    @rule(data=any_data)
    def a_lease_runs_out(self, data: st.DataObject) -> None:
        leased = sorted(name for name, task in self.tasks.items() if task.where == "leased")
        event_id = data.draw(st.sampled_from(leased))
        assert self.server.zadd(self.key("leases"), {event_id: 1}, xx=True, ch=True) == 1
        self.tasks[event_id].where = "overdue"
        self.expired += 1

    @precondition(lambda self: bool(self.decided))
    @rule(data=any_data)
    def a_verdict_is_long_ago(self, data: st.DataObject) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.decided)))
        assert self.server.zadd(self.key("decided"), {event_id: 1}, xx=True, ch=True) == 1
        put = self.run(self.queue.put(make_task(event_id).model_copy(update={"decided_at": START})))
        assert put is PutResult.ADDED
        self.decided.remove(event_id)
        self.gone.pop(event_id, None)
        self.tasks[event_id] = Modelled(Reason.NO_CERTIFICATE, -50 / 10 * AGEING_S)

    @invariant()
    def they_agree(self) -> None:
        assert [entry.event_id for entry in self.run(self.queue.waiting())] == self.waiting()
        held = {entry.event_id: entry.lease and entry.lease.holder for entry in self.run(self.queue.claimed())}
        assert held == {name: task.holder for name, task in self.tasks.items() if task.where != "waiting"}
        assert [entry.event_id for entry in self.run(self.queue.for_leads())] == self.waiting(lead=True)
        figures = self.run(self.queue.figures())
        assert figures.reserved == sum(task.reserved for task in self.tasks.values())
        assert figures.depth == len(self.tasks)
        assert figures.claimed == sum(task.where == "leased" for task in self.tasks.values())
        assert figures.expired_leases == self.expired
        assert sum(figures.by_reason.values()) == len(self.tasks)
        for reason, count in figures.by_reason.items():
            assert count == sum(task.reason == reason for task in self.tasks.values())


def test_any_order_of_operations_does_what_the_model_does(valkey: EmbeddedValkey) -> None:
    class Here(QueueMachine):
        url = valkey.url

    run_state_machine_as_test(Here, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))
