"""Compacted topics, read from their start and written one record at a time."""

from __future__ import annotations

import pytest
from kafka.errors import KafkaError, UnknownTopicOrPartitionError

from calibration.ledger.topic import TopicGapError, TopicReader, identify, publish, read_latest
from calibration.settings import KafkaSettings
from tests.calibration.ledger.topics import Topics


def test_the_newest_record_of_each_key_counts(topics: Topics) -> None:
    topics.create("gates", partitions=1)
    assert read_latest(topics.kafka, "gates") == {}
    offsets = [publish(topics.kafka, "gates", key, value) for key, value in (("a", b"1"), ("b", b"2"), ("a", b"3"))]
    assert offsets == [0, 1, 2]
    assert read_latest(topics.kafka, "gates") == {"a": (2, b"3"), "b": (1, b"2")}
    topics.put_bytes("gates", None, b"a")
    assert read_latest(topics.kafka, "gates") == {"b": (1, b"2")}


def test_everything_is_read_though_it_takes_many_polls(topics: Topics) -> None:
    for number in range(200):
        topics.put_bytes("decisions", b"x" * 20_000, b"%d" % number)
    assert len(read_latest(topics.kafka, "decisions")) == 200


def test_a_topic_that_is_not_there_is_named(topics: Topics) -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match=r"policies does not exist: `tidegate topics apply`"):
        read_latest(topics.kafka, "policies")


def test_a_cluster_that_is_away_is_an_error(free_port: int) -> None:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port}")
    with pytest.raises(KafkaError):
        publish(kafka, "gates", "a", b"1", timeout_s=0.5)


def test_a_position_behind_the_end_is_not_waited_at(topics: Topics) -> None:
    topics.put_bytes("decisions", b"1", b"a")
    partitions = identify(topics.kafka, "decisions").partitions
    with (
        TopicReader(topics.kafka, "decisions", partitions, dict.fromkeys(partitions, 5)) as reader,
        pytest.raises(TopicGapError, match="tidegate ledger rebuild"),
    ):
        while not reader.read_up:
            reader.poll(50, 10)


def test_topics_of_one_name_are_told_apart(topics: Topics) -> None:
    first = identify(topics.kafka, "decisions")
    assert identify(topics.kafka, "decisions") == first
    topics.recreate("decisions")
    assert identify(topics.kafka, "decisions").topic_id != first.topic_id
