"""Topics of one test on the embedded broker, and a ledger that follows them into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from calibration.settings import KafkaSettings, LedgerSettings
from tests.calibration.ledger.topics import Topics


@pytest.fixture
def topics(kafka_settings: KafkaSettings) -> Iterator[Topics]:
    with Topics(kafka_settings) as made:
        yield made


@pytest.fixture
def settings(tmp_path: Path) -> LedgerSettings:
    return LedgerSettings(path=str(tmp_path / "ledger"))
