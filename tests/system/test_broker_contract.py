"""What the worker relies on from any broker, through kafka-python: the same tests on the embedded one and on Apache
Kafka. What only Apache Kafka can do is in test_apache_kafka.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import AsyncConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from kafka.errors import RebalanceInProgressError
from kafka.future import Future

from tests.system.cluster import QUICK_GROUP, SESSION_S, Cluster, Member, read
from tests.waiting import eventually

pytestmark = pytest.mark.system


@pytest.fixture(scope="module", params=["embedded", pytest.param("apache", marks=pytest.mark.apache)])
def bootstrap(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue("broker" if request.param == "embedded" else "apache")
    assert isinstance(server.bootstrap, str)
    return server.bootstrap


@pytest.fixture
def cluster(bootstrap: str) -> Iterator[Cluster]:
    with Cluster(bootstrap) as cluster:
        yield cluster


def test_records_come_back_as_they_were_sent(cluster: Cluster) -> None:
    topic = cluster.topic()
    producer = cluster.producer()
    sent = [
        (b"key", b'{"event_id": "1"}', [("schema", b"1"), ("trace", b"\x00\xff")]),
        (None, b"no key", []),
        ("k\u00e9y".encode(), b"", [("empty", b""), ("empty", b"twice")]),
        (b"undecodable", b"\xff\xfe\x00{", []),
        (b"tombstone", None, []),
    ]
    for key, value, headers in sent:
        producer.send(topic, value, key=key, headers=headers)
    producer.flush(10)

    records = read(cluster.reader(topic), len(sent))

    assert [(record.key, record.value, list(record.headers)) for record in records] == sent
    assert [record.offset for record in records] == list(range(len(sent)))


def test_an_acknowledgement_gives_the_position_of_the_record(cluster: Cluster) -> None:
    topic = cluster.topic(partitions=2)
    producer = cluster.producer()
    acknowledged = [producer.send(topic, b"v", partition=1).get(10) for _ in range(3)]
    assert [(at.topic, at.partition, at.offset) for at in acknowledged] == [(topic, 1, offset) for offset in range(3)]


def test_a_key_has_one_partition_and_its_order(cluster: Cluster) -> None:
    topic = cluster.topic(partitions=3)
    producer = cluster.producer(linger_ms=5)
    for n in range(300):
        producer.send(topic, b"%d" % n, key=b"key-%d" % (n % 10))
    producer.flush(10)

    partitions: dict[bytes, set[int]] = {}
    values: dict[bytes, list[int]] = {}
    for record in read(cluster.reader(topic, partitions=3), 300):
        partitions.setdefault(record.key, set()).add(record.partition)
        values.setdefault(record.key, []).append(int(record.value))

    assert all(len(found) == 1 for found in partitions.values())
    assert all(found == sorted(found) for found in values.values())
    assert len(set.union(*partitions.values())) > 1


def test_a_megabyte_is_carried_whole(cluster: Cluster) -> None:
    topic = cluster.topic()
    producer = cluster.producer()
    values = [bytes([n]) * 1_000_000 for n in range(5)]
    for value in values:
        producer.send(topic, value)
    producer.flush(10)
    assert [record.value for record in read(cluster.reader(topic), 5)] == values


def test_a_topic_may_allow_more_than_a_megabyte(cluster: Cluster) -> None:
    """A dead letter holds the original bytes and more. A fetch of one megabyte still brings such a record."""
    topic = cluster.topic(configs={"max.message.bytes": "3000000"})
    producer = cluster.producer(max_request_size=3_000_000)
    producer.send(topic, b"x" * 2_500_000).get(10)
    assert len(read(cluster.reader(topic), 1)[0].value) == 2_500_000


def test_compressed_records_are_read(cluster: Cluster) -> None:
    topic = cluster.topic()
    producer = cluster.producer(compression_type="gzip", linger_ms=20)
    for n in range(50):
        producer.send(topic, b"%d" % n * 1000)
    producer.flush(10)
    assert [record.value for record in read(cluster.reader(topic), 50)] == [b"%d" % n * 1000 for n in range(50)]


def test_lag_is_known_while_reading(cluster: Cluster) -> None:
    topic = cluster.topic()
    cluster.fill(topic, 10)
    consumer = cluster.reader(topic, max_poll_records=4)
    partition = TopicPartition(topic, 0)
    read(consumer, 4)
    assert consumer.highwater(partition) - consumer.position(partition) == 6


def test_a_group_goes_on_from_its_commit(cluster: Cluster) -> None:
    topic = cluster.topic()
    values = cluster.fill(topic, 10)
    partition = TopicPartition(topic, 0)
    first = cluster.consumer(topic, f"goes-on-{topic}")
    read(first, 10)
    first.commit({partition: OffsetAndMetadata(6, "", -1)})
    first.close()

    second = cluster.consumer(topic, f"goes-on-{topic}")
    assert [record.value for record in read(second, 4)] == values[6:]
    assert second.committed(partition) == 6


_COMMITS_FIVE = """
import json, sys
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
topic, options = sys.argv[1], json.loads(sys.argv[2])
consumer = KafkaConsumer(topic, enable_auto_commit=False, auto_offset_reset="earliest",
                         partition_assignment_strategy=[CooperativeStickyAssignor], **options)
seen = 0
while seen < 10:
    seen += sum(map(len, consumer.poll(5_000).values()))  # shorter, and a join that outlasts the poll is forgotten
consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(5, "", -1)})
print("committed", flush=True)
while True:
    consumer.poll(5_000)
"""


def test_what_a_killed_process_did_not_commit_comes_again(cluster: Cluster) -> None:
    topic = cluster.topic()
    values = cluster.fill(topic, 10)
    options = {"bootstrap_servers": cluster.bootstrap, "group_id": f"killed-{topic}", **QUICK_GROUP}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _COMMITS_FIVE, topic, json.dumps(options)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"committed\n"
        process.kill()

    heir = cluster.consumer(topic, f"killed-{topic}")
    assert [record.value for record in read(heir, 5)] == values[5:]


def test_a_paused_member_that_polls_stays_a_member(cluster: Cluster) -> None:
    topic = cluster.topic()
    values = cluster.fill(topic, 10)
    partition = TopicPartition(topic, 0)
    consumer = cluster.consumer(topic, f"paused-{topic}", max_poll_records=4, max_poll_interval_ms=1200)
    records = read(consumer, 4)
    generation = consumer.group_metadata().generation_id

    consumer.pause(partition)
    until = time.monotonic() + 2 * SESSION_S  # a member that does not poll is out after one
    while time.monotonic() < until:
        assert not consumer.poll(100)
    consumer.commit({partition: OffsetAndMetadata(4, "", -1)})
    assert consumer.group_metadata().generation_id == generation

    consumer.resume(partition)
    records += read(consumer, 6)
    assert [record.value for record in records] == values


class _Handover(AsyncConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """Waits for the events in flight, commits them, and only then lets the partitions go."""

    def __init__(self) -> None:
        self.member: Member | None = None
        self.waits = threading.Event()
        self.drained = Future()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if revoked and self.member is not None:
            self.waits.set()
            await self.drained
            await self.member.consumer.commit_async({partition: OffsetAndMetadata(7, "", -1) for partition in revoked})

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        pass


def test_a_partition_moves_with_what_its_owner_committed_last(cluster: Cluster) -> None:
    topic = cluster.topic(partitions=2)
    zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
    for partition in (zero, one):
        cluster.fill(topic, 10, partition.partition)
    handover = _Handover()

    with Member(cluster.consumer(topic, f"moves-{topic}", handover)) as stays:
        eventually(lambda: stays.owns == {zero, one}, 20)
        eventually(lambda: len(stays.records) == 20)
        handover.member = stays
        with Member(cluster.consumer(topic, f"moves-{topic}")) as comes:
            assert handover.waits.wait(20)
            # Draining may take longer than a session: heartbeats go on, so nobody takes the partitions meanwhile.
            held = time.monotonic() + 1.25 * SESSION_S
            eventually(lambda: time.monotonic() > held)
            assert not comes.records
            handover.drained.success(None)

            eventually(lambda: len(stays.owns) == len(comes.owns) == 1, 20)
            (moved,) = comes.owns
            eventually(lambda: len(comes.records) >= 3)
            assert [(record.partition, record.offset) for record in comes.records] == [
                (moved.partition, offset) for offset in (7, 8, 9)
            ]
        eventually(lambda: stays.owns == {zero, one}, 20)


def test_a_commit_for_a_partition_that_has_moved_is_accepted(cluster: Cluster) -> None:
    """Nobody but the worker itself keeps a late completion from moving the new owner's offset."""
    topic = cluster.topic(partitions=2)
    cluster.fill(topic, 10, 0)
    cluster.fill(topic, 10, 1)
    group = f"late-{topic}"
    with Member(cluster.consumer(topic, group)) as stays, Member(cluster.consumer(topic, group)) as comes:
        eventually(lambda: len(stays.owns) == len(comes.owns) == 1, 20)
        (theirs,) = comes.owns

        def committed() -> bool:
            try:
                stays.consumer.commit({theirs: OffsetAndMetadata(9, "", -1)})
            except RebalanceInProgressError:  # to be tried again, never fatal
                return False
            return True

        eventually(committed)
        assert comes.consumer.committed(theirs) == 9


_DECODES = """
import json, sys
from kafka import KafkaConsumer
consumer = KafkaConsumer(sys.argv[1], bootstrap_servers=sys.argv[2], auto_offset_reset="earliest",
                         enable_auto_commit=False, value_deserializer=json.loads)
good = {}
while not good:
    good = consumer.poll(100)
print(sum(map(len, good.values())), flush=True)
for _ in range(2):
    try:
        consumer.poll(100)
        print("returned", flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""


def test_a_deserializer_that_raises_hangs_the_consumer(cluster: Cluster, tmp_path: Path) -> None:
    """Why the worker decodes by itself. When this fails, the library has learned to step over such a record."""
    topic = cluster.topic()
    producer = cluster.producer(linger_ms=50)
    for value in (b"1", b"2", b"{", b"4"):
        producer.send(topic, value)
    producer.flush(10)
    output = tmp_path / "output"
    with output.open("wb") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _DECODES, topic, cluster.bootstrap], stdout=stdout
        )
    try:
        eventually(lambda: len(output.read_text().splitlines()) >= 2, 20)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
    finally:
        process.kill()
        process.wait()
    assert output.read_text().splitlines() == ["2", "JSONDecodeError"]
