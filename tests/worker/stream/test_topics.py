from __future__ import annotations

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from calibration.settings import KafkaSettings
from tests.worker.stream.rig import refused
from worker.stream.topics import TOPICS, Drift, ensure_topics


def test_missing_topics_are_made_once_and_as_declared(kafka: KafkaSettings) -> None:
    report = ensure_topics(kafka, partitions=2)
    assert set(report.created) == {kafka.topic(name) for name in TOPICS}
    assert report.drifts == ()
    again = ensure_topics(kafka)
    assert again.created == ()
    assert again.drifts == ()
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    try:
        found = admin.describe_topics(list(report.created))
        assert {each["name"]: len(each["partitions"]) for each in found} == {
            kafka.topic(topic.name): 1 if topic.partitions == 1 else 2 for topic in TOPICS.values()
        }
    finally:
        admin.close()


def test_what_exists_is_compared_and_left_alone(kafka: KafkaSettings) -> None:
    images, gates, verdicts = kafka.topic("images"), kafka.topic("gates"), kafka.topic("verdicts")
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    try:
        weak = {"max.message.bytes": "1000", "retention.ms": "-1", "cleanup.policy": "delete"}
        admin.create_topics({images: {"num_partitions": 1, "replication_factor": 1, "configs": weak}})
        lossy = {"max.message.bytes": "9000000", "cleanup.policy": "compact,delete", "min.insync.replicas": "1"}
        admin.create_topics({gates: {"num_partitions": 1, "replication_factor": 1, "configs": lossy}})
    finally:
        admin.close()
    report = ensure_topics(kafka, create=False)
    assert report.created == ()
    assert Drift(images, "max.message.bytes", "2000000", "1000") in report.drifts
    assert Drift(gates, "cleanup.policy", "compact", "compact,delete") in report.drifts
    assert Drift(verdicts, "topic", "exists", "missing") in report.drifts
    assert len(report.drifts) == 2 + len(TOPICS) - 2


@refused
@pytest.mark.usefixtures("refused_connections")
def test_a_cluster_that_does_not_answer(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stream.topics._BOOTSTRAP_MS", 300)
    with pytest.raises(KafkaError):
        ensure_topics(KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port}"))
