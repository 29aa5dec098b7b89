"""The gates topic, as whoever writes gates uses it."""

from __future__ import annotations

from kafka import KafkaAdminClient, KafkaProducer

from calibration.rollout import Rollout
from calibration.settings import KafkaSettings


def make_topic(kafka: KafkaSettings, partitions: int = 1) -> None:
    """Create it."""
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    try:
        options = {"num_partitions": partitions, "replication_factor": 1, "configs": {"cleanup.policy": "compact"}}
        admin.create_topics({kafka.topic("gates"): options}, wait_for_metadata=True)
    finally:
        admin.close()


def remove_topic(kafka: KafkaSettings) -> None:
    """Delete it."""
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    try:
        admin.delete_topics([kafka.topic("gates")])
    finally:
        admin.close()


def write(kafka: KafkaSettings, *values: Rollout | bytes | None, key: bytes = b"scenes") -> None:
    """Put records on it, one after the other."""
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    try:
        for value in values:
            record = value.model_dump_json().encode() if isinstance(value, Rollout) else value
            producer.send(kafka.topic("gates"), record, key).get(10)
    finally:
        producer.close()
