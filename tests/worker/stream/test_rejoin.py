"""New partitions reach the worker however long its group takes to share them out."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.coordinator.base import BaseCoordinator

from calibration.settings import KafkaSettings
from tests.apache import ApacheKafka
from tests.worker.stream.rig import Rig, committed, fill, make_topic, until


@pytest.mark.apache
async def test_a_join_that_outlasts_its_poll_is_finished(apache: ApacheKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/system/test_apache_kafka.py shows how the client forgets it. Where a group has several members every join
    lasts that long: it waits for all of them."""
    kafka = KafkaSettings(bootstrap_servers=apache.bootstrap, topic_prefix=f"{uuid4().hex[:8]}.")
    make_topic(kafka)
    slow = False
    join = BaseCoordinator._do_join_and_sync_async

    async def join_over_a_slow_line(self: BaseCoordinator) -> Any:
        assignment = await join(self)
        if slow:
            await self._net.sleep(0.3)
        return assignment

    monkeypatch.setattr(BaseCoordinator, "_do_join_and_sync_async", join_over_a_slow_line)
    monkeypatch.setitem(KafkaConsumer.DEFAULT_CONFIG, "metadata_max_age_ms", 300)
    async with Rig(kafka) as rig:
        rig.finish_all()
        await until(lambda: rig.stream.assigned == (0,))
        slow = True
        admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        admin.create_partitions({kafka.topic("images"): 2})
        admin.close()
        await until(lambda: rig.stream.assigned == (0, 1), 20)
        fill(kafka, 3, partition=1)
        await until(lambda: committed(kafka, 1) == 3, 20)
