"""The review room's topics, as something other than it sees them."""

from __future__ import annotations

from calibration.settings import KafkaSettings, TopicName
from review.task import Verdict
from tests.system.cluster import Cluster, read

_NAMES: tuple[TopicName, ...] = ("verdicts", "checks", "golden")


def create_topics(kafka: KafkaSettings) -> None:
    """Create those that moderators write to, with one partition each."""
    with Cluster(kafka.bootstrap_servers) as cluster:
        topics = {kafka.topic(name): {"num_partitions": 1, "replication_factor": 1} for name in _NAMES}
        cluster.admin.create_topics(topics, wait_for_metadata=True)


def read_verdicts(kafka: KafkaSettings) -> list[Verdict]:
    """All verdicts on their topic, in order; each must have its event as key."""
    topic = kafka.topic("verdicts")
    with Cluster(kafka.bootstrap_servers) as cluster:
        # A record of our own marks the end: the embedded broker does not tell where that is.
        cluster.producer().send(topic, key=b"end", value=b"").get(10)
        reader = cluster.reader(topic)
        records = read(reader, 1)
        while records[-1].key != b"end":
            records += read(reader, 1)
    found = [(record.key, Verdict.model_validate_json(record.value)) for record in records if record.key != b"end"]
    assert all(key == verdict.event_id.encode() for key, verdict in found)
    return [verdict for _, verdict in found]
