"""The topics of the system: what they are, and how they come to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import structlog
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAlreadyExistsError

from calibration.ledger.connection import connect
from calibration.settings import KafkaSettings, TopicName

log = structlog.get_logger()

_BOOTSTRAP_MS = 10_000


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it should be. Operators may give it more: partitions, retention, size or replicas."""

    name: TopicName
    retention: timedelta | Literal["latest of each key"]
    partitions: int = 12
    max_message_bytes: int = 1_048_588  # Kafka's own default

    def configs(self, replicas: int) -> dict[str, str]:
        """Topic settings in Kafka's words. With three replicas one may fail and writes still go on."""
        configs = {
            "cleanup.policy": "delete",
            "max.message.bytes": str(self.max_message_bytes),
            "min.insync.replicas": str(max(1, replicas - 1)),
        }
        if isinstance(self.retention, timedelta):
            return configs | {"retention.ms": str(int(self.retention.total_seconds() * 1000))}
        return configs | {"cleanup.policy": "compact"}


TOPICS: Mapping[TopicName, Topic] = {
    topic.name: topic
    for topic in (
        # An event is 1 MB at most, and producers may add headers of their own.
        Topic("images", timedelta(days=7), max_message_bytes=2_000_000),
        # The review queue and the ledger can be rebuilt from these for as long as they are kept.
        Topic("decisions", timedelta(days=30), max_message_bytes=2_000_000),
        Topic("verdicts", timedelta(days=90)),
        # A dead letter is a whole event of the images topic, and the reason beside it.
        Topic("dead-letters", timedelta(days=30), partitions=3, max_message_bytes=3_000_000),
        Topic("policies", "latest of each key", partitions=1),
        Topic("proposals", "latest of each key", partitions=1),
        Topic("gates", "latest of each key", partitions=1, max_message_bytes=2_000_000),
        # Images with known answers, and what reviewers said of them without knowing which they are.
        Topic("golden", "latest of each key", partitions=1),
        Topic("checks", timedelta(days=400), partitions=1),
        # Who may use the console, and what they saw and did there.
        Topic("accounts", "latest of each key", partitions=1),
        Topic("audit-log", timedelta(days=400), partitions=1),
    )
}


@dataclass(frozen=True, slots=True)
class Drift:
    """A setting of an existing topic that gives less than was declared."""

    topic: str
    setting: str
    declared: str
    actual: str


@dataclass(frozen=True, slots=True)
class TopicReport:
    """What `ensure_topics` did and found; full names."""

    created: tuple[str, ...]
    drifts: tuple[Drift, ...]


def ensure_topics(
    kafka: KafkaSettings, *, partitions: int | None = None, replicas: int | None = None, create: bool = True
) -> TopicReport:
    """Create the topics that are missing. What exists is compared, never altered or deleted. Blocks.

    Args:
        partitions: of topics that are spread (default: as declared); compacted ones have one.
        replicas: of each partition (default: three, or as many as there are brokers).
        create: without it, missing topics are reported as drifts.

    Raises:
        kafka.errors.KafkaError: the cluster does not answer or refuses.
    """
    options = kafka.connection() | {"bootstrap_timeout_ms": _BOOTSTRAP_MS}
    admin = connect(KafkaAdminClient, **options)
    try:
        replicas = replicas or min(3, len(admin.describe_cluster()["brokers"]))
        existing = set(admin.list_topics())
        missing = [topic for topic in TOPICS.values() if kafka.topic(topic.name) not in existing]
        created = [_create(admin, kafka, topic, partitions, replicas) for topic in missing] if create else []
        drifts = [] if create else [Drift(kafka.topic(topic.name), "topic", "exists", "missing") for topic in missing]
        for topic in TOPICS.values():
            if kafka.topic(topic.name) in existing:
                drifts += _drifts(admin, kafka.topic(topic.name), topic.configs(replicas))
        return TopicReport(tuple(name for name in created if name is not None), tuple(drifts))
    finally:
        admin.close()


def _create(admin: Any, kafka: KafkaSettings, topic: Topic, partitions: int | None, replicas: int) -> str | None:
    """Create one topic and wait until it can be used; its name, or None when somebody else was faster."""
    name = kafka.topic(topic.name)
    spread = topic.partitions if partitions is None or topic.partitions == 1 else partitions
    options = {"num_partitions": spread, "replication_factor": replicas, "configs": topic.configs(replicas)}
    try:
        admin.create_topics({name: options}, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        return None
    log.info("topic created", topic=name, partitions=spread, replicas=replicas)
    return name


def _drifts(admin: Any, name: str, declared: Mapping[str, str]) -> list[Drift]:
    try:
        answer = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
        actual = {key: entry["value"] for key, entry in answer["topic"][name].items()}
    except KafkaError as error:
        log.warning("topic not checked", topic=name, error=repr(error))
        return []
    return [
        Drift(name, key, wanted, actual[key])
        for key, wanted in declared.items()
        if key in actual and not _enough(key, wanted, actual[key])
    ]


def _enough(key: str, wanted: str, actual: str) -> bool:
    """Whether an actual setting gives at least what was declared. A broker may not know a setting, or hide it."""
    if key == "cleanup.policy":
        return set(actual.split(",")) == {wanted}
    return int(actual) == -1 or int(actual) >= int(wanted)
