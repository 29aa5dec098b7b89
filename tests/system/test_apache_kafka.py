"""What the worker relies on that only Apache Kafka can show: durability, restarts, topic settings, lag, logins."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from uuid import uuid4

import kafka.codec
import pytest
from kafka import KafkaAdminClient, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaTimeoutError, UnsupportedCodecError
from kafka.structs import MemberState
from pydantic import SecretStr

from calibration.settings import KafkaSettings
from tests.apache import ApacheKafka
from tests.system.cluster import Cluster, Member, read
from tests.waiting import eventually
from worker.stream.topics import TOPICS, Drift, TopicReport, ensure_topics

pytestmark = [
    pytest.mark.system,
    pytest.mark.apache,
    # A refused connection leaves its socket to the garbage collector, in kafka-python 3.0.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(name="apache")
def running(apache: ApacheKafka) -> ApacheKafka:
    """Started again, should a test before have failed while it was down."""
    return apache.start()


@pytest.fixture
def cluster(apache: ApacheKafka) -> Iterator[Cluster]:
    with Cluster(apache.bootstrap) as cluster:
        yield cluster


def test_a_killed_broker_comes_back_with_records_and_offsets_and_its_clients_go_on(
    apache: ApacheKafka, cluster: Cluster
) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    group = f"survives-{topic}"
    producer = cluster.producer()
    for n in range(10):
        producer.send(topic, b"%d" % n).get(10)
    with Member(cluster.consumer(topic, group)) as member:
        eventually(lambda: len(member.records) == 10, 20)
        member.consumer.commit({partition: OffsetAndMetadata(6, "", -1)})

        apache.kill()
        unsent = producer.send(topic, b"sent while nobody listens")
        apache.start()

        assert unsent.get(60).offset == 10
        # A member whose session ended meanwhile joins anew, and reads again from what was committed.
        eventually(lambda: member.records[-1].offset == 10, 90)
        assert member.consumer.committed(partition) == 6
    heir = cluster.consumer(topic, group)
    assert [record.value for record in read(heir, 5)] == [b"6", b"7", b"8", b"9", b"sent while nobody listens"]


def test_an_idempotent_producer_leaves_no_duplicate_over_a_restart(apache: ApacheKafka, cluster: Cluster) -> None:
    topic = cluster.topic()
    producer = cluster.producer(max_in_flight_requests_per_connection=5)
    count = 3000
    reached = threading.Event()

    def stream() -> None:
        for n in range(count):
            producer.send(topic, b"%d" % n)
            if n == count // 3:
                reached.set()

    thread = threading.Thread(target=stream)
    thread.start()
    assert reached.wait(20)
    apache.kill()
    apache.start()
    thread.join(60)
    producer.flush(60)
    assert [int(record.value) for record in read(cluster.reader(topic), count, 30)] == list(range(count))


def test_compaction_keeps_the_last_value_of_a_key_and_leaves_gaps(cluster: Cluster) -> None:
    """What may be committed is counted from the offsets that were received, never by adding one."""
    quick = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "100"}
    topic = cluster.topic(configs=quick)
    partition = TopicPartition(topic, 0)
    producer, reader = cluster.producer(), cluster.reader(topic)
    for n in range(5):
        producer.send(topic, b"%d" % n, key=b"gate").get(10)

    def gates() -> list[ConsumerRecord]:
        producer.send(topic, b"", key=b"filler").get(10)  # only what lies before the last segment is compacted
        reader.seek(partition, 0)
        end = reader.end_offsets([partition])[partition]
        records: list[ConsumerRecord] = []
        while reader.position(partition) < end:
            records += [record for batch in reader.poll(50).values() for record in batch]
        return [record for record in records if record.key == b"gate"]

    eventually(lambda: len(gates()) == 1, 30, every_s=0.2)
    assert [(record.offset, record.value) for record in gates()] == [(4, b"4")]


def test_the_end_of_a_partition_is_known_without_reading(cluster: Cluster) -> None:
    topic = cluster.topic()
    cluster.fill(topic, 7)
    partition = TopicPartition(topic, 0)
    reader = cluster.reader(topic)
    assert reader.end_offsets([partition]) == {partition: 7}
    reader.seek_to_end(partition)
    assert reader.position(partition) == 7


def test_an_aborted_transaction_is_hidden_and_leaves_a_gap(cluster: Cluster) -> None:
    topic = cluster.topic()
    partition = TopicPartition(topic, 0)
    producer = cluster.producer(transactional_id=f"platform-{topic}")
    producer.init_transactions()
    for value, ends in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.send(topic, value).get(10)
        ends()
    reader = cluster.reader(topic, isolation_level="read_committed")
    assert [(record.offset, record.value) for record in read(reader, 1)] == [(2, b"committed")]
    eventually(lambda: reader.poll(50) or reader.position(partition) == 4)


@pytest.mark.parametrize("login", ["plain", "scram", "mutual_tls"])
def test_the_settings_reach_a_guarded_cluster(apache: ApacheKafka, login: str) -> None:
    settings: KafkaSettings = getattr(apache, login)
    client = KafkaAdminClient(**settings.connection())
    try:
        assert [broker["port"] for broker in client.describe_cluster()["brokers"]] == [
            int(settings.bootstrap_servers.split(":")[1])
        ]
    finally:
        client.close()


@pytest.mark.parametrize(
    ("login", "changes", "reason"),
    [
        ("plain", {"sasl_password": SecretStr("wrong")}, "Invalid username or password|socket disconnected"),
        ("scram", {"sasl_password": SecretStr("wrong")}, "invalid credentials|socket disconnected"),
        ("scram", {"ssl_cafile": None}, "certificate verify failed"),
        ("mutual_tls", {"ssl_certfile": None, "ssl_keyfile": None}, "(?i)certificate.required|bad.certificate"),
    ],
)
def test_a_failed_login_is_a_time_out_and_only_the_log_says_more(
    apache: ApacheKafka,
    login: str,
    changes: dict[str, object],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client tries again and again, and what it raises in the end names no reason. The log may have no more than a
    lost connection: the broker hangs up right after its answer.
    """
    settings = getattr(apache, login).model_copy(update=changes)
    with pytest.raises(KafkaTimeoutError, match="Unable to bootstrap"):
        KafkaAdminClient(**settings.connection(), bootstrap_timeout_ms=1500)
    assert re.search(reason, caplog.text)


def test_a_rejoin_that_outlasts_a_poll_is_forgotten(cluster: Cluster) -> None:
    """A leader that learns of new partitions joins again. When that join ends after its poll has returned, no later
    poll picks it up: no assignment, no heartbeat, no error, for good. Asking once more for a rejoin heals it.

    It happens at a start too, where the first join does not know the partitions yet. When this test fails, the library
    has learned to finish such a join, and the worker's guard may go.
    """
    topic = cluster.topic(partitions=1)
    consumer = cluster.consumer(topic, f"forgets-{topic}")
    eventually(lambda: consumer.poll(100) or consumer.assignment(), 20)

    coordinator = consumer._coordinator
    join = coordinator._do_join_and_sync_async

    async def join_over_a_slow_line() -> bytes:
        assignment: bytes = await join()
        await coordinator._net.sleep(0.3)
        return assignment

    coordinator._do_join_and_sync_async = join_over_a_slow_line
    cluster.admin.create_partitions({topic: 2})
    consumer.topics()  # what a refresh of the metadata would do after some minutes
    eventually(lambda: consumer.poll(50) or coordinator._join_task, 20)
    eventually(lambda: consumer.poll(50) or coordinator._join_task.is_done, 20)
    for _ in range(20):
        consumer.poll(50)
    assert consumer.group_metadata().state is MemberState.REBALANCING
    assert len(consumer.assignment()) == 1

    coordinator._do_join_and_sync_async = join
    coordinator.request_rejoin()
    eventually(lambda: consumer.poll(50) or len(consumer.assignment()) == 2, 20)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_what_other_producers_compress_is_read_or_the_missing_library_is_named(cluster: Cluster, codec: str) -> None:
    """The broker compresses again by the topic's setting, as a producer in another language would have."""
    topic = cluster.topic(configs={"compression.type": codec})
    cluster.fill(topic, 10)
    reader = cluster.reader(topic)
    if getattr(kafka.codec, f"has_{codec}")():
        assert len(read(reader, 10)) == 10
    else:
        with pytest.raises(UnsupportedCodecError, match=codec):
            read(reader, 10)


def test_the_topics_of_the_system_are_what_was_declared(apache: ApacheKafka, cluster: Cluster) -> None:
    settings = KafkaSettings(bootstrap_servers=apache.bootstrap, topic_prefix=f"{uuid4().hex[:8]}.")
    assert set(ensure_topics(settings, partitions=2).created) == {settings.topic(name) for name in TOPICS}

    resources = [ConfigResource(ConfigResourceType.TOPIC, settings.topic(name)) for name in TOPICS]
    actual = cluster.admin.describe_configs(resources, config_filter="all")["topic"]
    for name, topic in TOPICS.items():
        shown = {key: entry["value"] for key, entry in actual[settings.topic(name)].items()}
        assert shown.items() >= topic.configs(replicas=1).items()

    images = settings.topic("images")
    assert ensure_topics(settings, partitions=2) == TopicReport((), ())
    cluster.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, images, {"retention.ms": "1000"})])
    drift = Drift(images, "retention.ms", TOPICS["images"].configs(1)["retention.ms"], "1000")
    eventually(lambda: ensure_topics(settings, partitions=2) == TopicReport((), (drift,)))
