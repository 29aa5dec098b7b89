"""The queue against the topics: whatever is lost in Valkey comes back, and what is done does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaProducer
from redis import Redis
from typer.testing import CliRunner

from calibration.gate import Reason
from calibration.settings import KafkaSettings
from deploy.local import EmbeddedValkey
from review.cli import app
from review.lease import Answer
from review.queue import ReviewQueue
from review.reconcile import Difference, Rebuilt, compare, rebuild
from review.settings import ReviewSettings, ValkeySettings
from review.task import ReviewTask
from review.truth import Truth, closes
from review.verdicts import VerdictWriter, give_verdict, take_back
from tests.review.tasks import blind_task, claimed, make_task
from tests.system.cluster import Cluster

NOW = datetime.now(UTC)


@pytest.fixture
def topics(kafka_settings: KafkaSettings) -> KafkaSettings:
    """Both topics, of two partitions."""
    with Cluster(kafka_settings.bootstrap_servers) as cluster:
        new = {"num_partitions": 2, "replication_factor": 1}
        cluster.admin.create_topics(
            {kafka_settings.topic("decisions"): new, kafka_settings.topic("verdicts"): new}, wait_for_metadata=True
        )
    return kafka_settings


@pytest.fixture
def producer(topics: KafkaSettings) -> Iterator[Any]:
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap_servers)
    yield producer
    producer.close()


@pytest.fixture
def writer(topics: KafkaSettings) -> Iterator[VerdictWriter]:
    writer = VerdictWriter(topics)
    yield writer
    writer.close()


@pytest.fixture
async def twice(valkey_settings: ValkeySettings) -> AsyncIterator[ReviewQueue]:
    """The queue where all is answered twice."""
    queue = ReviewQueue(valkey_settings, ReviewSettings(second_answer_share=1.0))
    yield queue
    await queue.close()


class World:
    """Decisions on their topic and their tasks in the queue, as a worker leaves them."""

    def __init__(self, kafka: KafkaSettings, producer: Any, queue: ReviewQueue) -> None:
        self.kafka, self.producer, self.queue = kafka, producer, queue

    def decide(self, *tasks: ReviewTask, route: str = "review") -> None:
        for task in tasks:
            fields = task.model_dump(mode="json") | {"route": route, "later_field": 1}
            self.write("decisions", task.event_id, json.dumps(fields).encode())

    def write(self, name: Any, event_id: str, value: bytes) -> None:
        self.producer.send(self.kafka.topic(name), key=event_id.encode(), value=value).get(10)

    async def arrive(self, *tasks: ReviewTask) -> None:
        for task in tasks:
            await self.queue.put(task)
        self.decide(*tasks)

    def truth(self) -> Truth:
        return Truth(self.kafka, self.queue.wants_second_answer)

    async def rebuilt(self) -> Rebuilt:
        return await rebuild(self.truth(), self.queue)

    async def compared(self) -> Difference:
        return await compare(self.truth(), self.queue, timedelta(0), datetime.now(UTC))


@pytest.fixture
def world(topics: KafkaSettings, producer: Any, queue: ReviewQueue) -> World:
    return World(topics, producer, queue)


def flush(valkey: EmbeddedValkey) -> None:
    with Redis.from_url(valkey.url) as server:
        server.flushall()


async def test_a_flush_loses_nothing_and_brings_nothing_back(
    world: World, writer: VerdictWriter, valkey: EmbeddedValkey
) -> None:
    queue = world.queue
    tasks = [make_task(f"event-{number}", waiting_s=1000 - number) for number in range(8)]
    await world.arrive(*tasks, blind_task("audit"))
    world.decide(make_task("passed"), route="auto_accept")
    for _ in range(3):
        claim = await claimed(queue)
        await give_verdict(queue, writer, claim.task.event_id, claim.lease.token, "awe")
    assert (await world.compared()).agrees
    left = [entry.event_id for entry in await queue.waiting()]
    flush(valkey)
    found = await world.compared()
    assert (found.open, found.missing, len(found.missing_ids), found.overdue) == (6, 6, 5, 0)
    done = await world.rebuilt()
    assert (done.decisions, done.verdicts, done.open, done.added, done.unreadable) == (10, 3, 6, 6, 0)
    assert [entry.event_id for entry in await queue.waiting()] == left
    assert (await queue.find("audit"))[0].blind
    assert (await world.compared()).agrees
    assert (await world.rebuilt()).added == 0


async def test_a_verdict_whose_task_stayed_takes_it_out(
    world: World, writer: VerdictWriter, valkey_settings: ValkeySettings
) -> None:
    class CrashError(Exception):
        pass

    class Crashing(ReviewQueue):
        async def complete(self, *arguments: Any, **options: Any) -> Any:
            raise CrashError

    await world.arrive(make_task("answered"), make_task("open"))
    crashing = Crashing(valkey_settings, ReviewSettings())
    claim = await claimed(crashing)
    with pytest.raises(CrashError):
        await give_verdict(crashing, writer, "answered", claim.lease.token, "awe")
    await crashing.close()
    found = await world.compared()
    assert (found.overdue_ids, found.missing) == (("answered",), 0)
    assert (await world.rebuilt()).settled == 1
    assert (await world.compared()).agrees
    assert [entry.event_id for entry in await world.queue.waiting()] == ["open"]


async def test_a_review_on_demand_is_not_ended_by_a_verdict_from_before(world: World, writer: VerdictWriter) -> None:
    await world.arrive(make_task())
    claim = await claimed(world.queue)
    await give_verdict(world.queue, writer, "event-1", claim.lease.token, "awe")
    await world.queue.force(claim.task, "lea", "again")
    assert (await world.compared()).agrees
    assert (await world.rebuilt()).settled == 0
    assert (await claimed(world.queue)).entry.forced


async def test_a_withdrawn_verdict_leaves_its_event_open(
    world: World, writer: VerdictWriter, valkey: EmbeddedValkey
) -> None:
    await world.arrive(make_task())
    claim = await claimed(world.queue)
    await give_verdict(world.queue, writer, "event-1", claim.lease.token, "awe")
    await take_back(world.queue, writer, "event-1", "ada")
    flush(valkey)
    assert (await world.rebuilt()).added == 1
    assert (await claimed(world.queue, "bob")).entry.answers == ()


async def test_a_crash_between_withdrawal_and_queue_is_mended(world: World, writer: VerdictWriter) -> None:
    await world.arrive(make_task())
    claim = await claimed(world.queue)
    given = await give_verdict(world.queue, writer, "event-1", claim.lease.token, "awe")
    await writer.give(given.model_copy(update={"withdrawn": True}))
    assert await world.queue.claim("bob") is None
    assert (await world.rebuilt()).added == 1
    assert (await claimed(world.queue, "bob")).task.event_id == "event-1"


async def test_answers_are_remembered(
    topics: KafkaSettings, producer: Any, twice: ReviewQueue, writer: VerdictWriter, valkey: EmbeddedValkey
) -> None:
    world = World(topics, producer, twice)
    await world.arrive(make_task())
    for reviewer, label in (("ada", "awe"), ("bob", "fear")):
        flush(valkey)
        assert (await world.rebuilt()).added == 1
        claim = await claimed(twice, reviewer)
        await give_verdict(twice, writer, "event-1", claim.lease.token, label)
        assert (await world.compared()).agrees
        flush(valkey)
        assert (await world.rebuilt()).added == 1
        assert await twice.claim(reviewer) is None
    lead = await twice.claim("lea", lead=True)
    assert lead is not None
    assert [each.label for each in lead.entry.disagreement] == ["awe", "fear"]
    await give_verdict(twice, writer, "event-1", lead.lease.token, "fear")
    flush(valkey)
    assert (await world.rebuilt()).open == 0


async def test_what_nobody_can_read_is_counted_and_what_the_topic_forgot_stays(world: World) -> None:
    await world.queue.put(make_task("older-than-the-topic"))
    for value in (b"", b"[]", b"{}", b'{"route": "review"}', b"\xff"):
        world.write("decisions", "broken", value)
    world.write("verdicts", "broken", b"no")
    world.decide(make_task("sound"))
    done = await world.rebuilt()
    assert (done.unreadable, done.added, done.settled) == (6, 1, 0)
    assert (await world.queue.figures()).depth == 2


async def test_the_commands(
    world: World, valkey: EmbeddedValkey, valkey_settings: ValkeySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_VALKEY_URL", valkey_settings.url)
    monkeypatch.setenv("TIDEGATE_KAFKA_BOOTSTRAP_SERVERS", world.kafka.bootstrap_servers)
    monkeypatch.setenv("TIDEGATE_KAFKA_TOPIC_PREFIX", world.kafka.topic_prefix)
    await world.arrive(make_task())

    def run(*arguments: str) -> Any:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as thread:  # the command has an event loop of its own
            return thread.submit(CliRunner().invoke, app, arguments).result()

    assert "agree: 1 events" in run("check", "--grace-s", "0").stdout
    flush(valkey)
    result = run("check", "--grace-s", "0")
    assert result.exit_code == 1
    assert "not in the queue: event-1" in result.stdout
    assert json.loads(run("check", "--json").stdout)["agrees"]  # younger than its grace
    assert "1 put back" in run("rebuild").stdout
    assert json.loads(run("rebuild", "--json").stdout)["already_there"] == 1
    world.decide(make_task("passed", reason=Reason.CERTIFIED), route="auto_accept")
    assert "will be reviewed" in run("force", "passed", "--note", "complaint", "--by", "lea").stdout
    assert "waiting already" in run("force", "passed", "--note", "again").stdout
    claim = await claimed(world.queue)
    assert claim.entry.note is not None
    assert (claim.task.event_id, claim.entry.note.text, claim.entry.forced) == ("passed", "again", True)
    unknown = run("force", "never", "--note", "?")
    assert (unknown.exit_code, "no decision on it" in unknown.stderr) == (1, True)
    monkeypatch.setenv("TIDEGATE_KAFKA_TOPIC_PREFIX", "nowhere.")
    result = run("rebuild")
    assert result.exit_code == 1
    assert "topics apply" in result.stderr


labels = st.lists(st.sampled_from(["awe", "fear", None]), max_size=4)


@given(labels)
def test_one_answer_closes_or_two_that_agree_or_three(labels: list[str | None]) -> None:
    answers = [Answer(f"reviewer-{number}", label, NOW) for number, label in enumerate(labels)]
    assert closes(answers, second=False) is (len(answers) > 0)
    agreed = len(answers) == 2 and labels[0] == labels[1]
    assert closes(answers, second=True) is (agreed or len(answers) > 2)
