from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from calibration.settings import KafkaSettings
from review.queue import ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from review.task import Verdict


@pytest.fixture
async def queue(valkey_settings: ValkeySettings) -> AsyncIterator[ReviewQueue]:
    queue = ReviewQueue(valkey_settings, ReviewSettings())
    yield queue
    await queue.close()


@pytest.fixture
async def hasty(valkey_settings: ValkeySettings) -> AsyncIterator[ReviewQueue]:
    """The same queue, for reviewers whose leases run out after 50 ms."""
    queue = ReviewQueue(valkey_settings, ReviewSettings(lease_s=0.05))
    yield queue
    await queue.close()


@pytest.fixture
def written(kafka_settings: KafkaSettings) -> Callable[[], list[Verdict]]:
    """All verdicts on the topic so far."""
    from tests.review.topic import create_topics, read_verdicts  # not before the client's own warnings are filtered

    create_topics(kafka_settings)
    return lambda: read_verdicts(kafka_settings)
