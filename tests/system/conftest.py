"""Plants for whole workers: on the embedded broker, and on Apache Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.local import EmbeddedBroker, EmbeddedValkey

if TYPE_CHECKING:
    from tests.apache import ApacheKafka
    from tests.system.plant import Plant


@pytest.fixture
async def plant(tmp_path: Path, broker: EmbeddedBroker, valkey: EmbeddedValkey) -> AsyncIterator[Plant]:
    """On the embedded broker."""
    from tests.system.plant import Plant

    async with Plant(tmp_path, broker, valkey) as plant:
        yield plant


@pytest.fixture
async def apache_plant(tmp_path: Path, apache: ApacheKafka, valkey: EmbeddedValkey) -> AsyncIterator[Plant]:
    """On Apache Kafka: started again, should a test before have failed while it was down."""
    from tests.system.plant import Plant

    async with Plant(tmp_path, apache.start(), valkey) as plant:
        yield plant
