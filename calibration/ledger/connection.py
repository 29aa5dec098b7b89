"""Making a Kafka client without leaving its threads and sockets behind when the cluster cannot be reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer

_NetworkClient = KafkaConsumer.DEFAULT_CONFIG["kafka_client"]


def connect(kind: Callable[..., Any], **options: Any) -> Any:
    """Make a `KafkaConsumer`, `KafkaProducer` or `KafkaAdminClient`.

    The clients of kafka-python start their network part before they try to reach the cluster, and drop it as it is when
    they cannot. Hence it is kept here, to close it then.

    Raises:
        kafka.errors.KafkaError: what the client raised; KafkaTimeoutError where no broker answered in time.
    """
    parts: list[Any] = []

    def network(**settings: Any) -> Any:
        parts.append(_NetworkClient(**settings))
        return parts[-1]

    try:
        return kind(kafka_client=network, **options)
    except BaseException:
        for part in parts:
            part.close()
        raise
