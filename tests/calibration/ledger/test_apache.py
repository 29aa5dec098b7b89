"""The ledger and the compacted topics on Apache Kafka: what the embedded broker cannot do, or does otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, TopicPartition

from calibration.ledger.following import sync
from calibration.ledger.topic import TopicGapError, publish, read_latest
from calibration.settings import KafkaSettings, LedgerSettings
from tests.apache import ApacheKafka
from tests.calibration.ledger.records import decision, verdict
from tests.calibration.ledger.topics import PARTITIONS, Topics, ask, raw_rows
from worker.stream.topics import ensure_topics

pytestmark = [pytest.mark.apache, pytest.mark.timeout(300)]


@pytest.fixture
def topics(apache: ApacheKafka) -> Iterator[Topics]:
    kafka = KafkaSettings(bootstrap_servers=apache.start().bootstrap, topic_prefix=f"{uuid4().hex[:8]}.")
    with Topics(kafka) as made:
        yield made


@pytest.fixture
def admin(topics: Topics) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=topics.kafka.bootstrap_servers)
    yield client
    client.close()


def events(settings: LedgerSettings) -> list[str]:
    return [row["event_id"] for row in ask(settings, "SELECT event_id FROM decisions ORDER BY 1")]


def named(*numbers: int) -> list[str]:
    return sorted(decision(number).event_id for number in numbers)


def test_each_event_is_kept_once(topics: Topics, settings: LedgerSettings) -> None:
    topics.put(*map(decision, range(30)), verdict(3))
    first = sync(topics.kafka, settings)
    assert (first.decisions.added, first.verdicts.added) == (30, 1)
    topics.put(decision(3), decision(30))
    second = sync(topics.kafka, settings)
    assert (second.decisions.read, second.decisions.replaced) == (2, 1)
    third = sync(topics.kafka, settings)
    assert (third.decisions.read, third.verdicts.read) == (0, 0)
    assert events(settings) == named(*range(31))
    assert len(raw_rows(settings, "decisions")) == 31
    assert [row["event_id"] for row in ask(settings, "SELECT event_id FROM outcomes")] == named(3)


def test_a_topic_that_was_made_anew_is_refused_until_somebody_says_go_on(
    topics: Topics, settings: LedgerSettings
) -> None:
    topics.put(decision(1))
    sync(topics.kafka, settings)
    topics.recreate("decisions")
    topics.put(decision(2))
    with pytest.raises(TopicGapError, match="made anew"):
        sync(topics.kafka, settings)
    assert events(settings) == named(1)
    sync(topics.kafka, settings, accept_gap=True)
    assert events(settings) == named(1, 2)


def test_records_that_retention_took_before_they_were_read_are_missed_loudly(
    topics: Topics, settings: LedgerSettings, admin: KafkaAdminClient
) -> None:
    topics.put(*map(decision, range(20)))
    sync(topics.kafka, settings)
    topics.put(*map(decision, range(20, 60)))
    name = topics.kafka.topic("decisions")
    admin.delete_records({TopicPartition(name, number): -1 for number in range(PARTITIONS)})
    topics.put(*map(decision, range(60, 70)))
    with pytest.raises(TopicGapError):
        sync(topics.kafka, settings)
    assert events(settings) == named(*range(20))
    sync(topics.kafka, settings, accept_gap=True)
    assert events(settings) == named(*range(20), *range(60, 70))


def test_further_partitions_are_taken_in(topics: Topics, settings: LedgerSettings, admin: KafkaAdminClient) -> None:
    topics.put(decision(0))
    sync(topics.kafka, settings)
    admin.create_partitions({topics.kafka.topic("decisions"): PARTITIONS + 3})
    topics.put(*map(decision, range(1, 41)))
    sync(topics.kafka, settings)
    assert events(settings) == named(*range(41))


def test_the_newest_document_of_each_key_is_read_over_gaps(topics: Topics) -> None:
    ensure_topics(topics.kafka)
    for number in range(30):
        publish(topics.kafka, "gates", f"taxonomy-{number % 3}", b"%d" % number)
    newest = {f"taxonomy-{number % 3}": b"%d" % number for number in (27, 28, 29)}
    assert {key: value for key, (_, value) in read_latest(topics.kafka, "gates").items()} == newest
