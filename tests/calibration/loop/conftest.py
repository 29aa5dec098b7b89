"""One platform at moments of its life, and the topics of a cluster for the commands."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from calibration.rollout import StepKind
from calibration.settings import KafkaSettings
from deploy.bench.simulation import Platform
from tests.calibration.loop.platforms import live, platform
from worker.stream.topics import ensure_topics


@pytest.fixture(scope="package")
def _grown() -> dict[StepKind, Platform]:
    """One platform at three moments of its life."""
    found, moments = platform(), {}
    for kind in (StepKind.SHADOW, StepKind.CANARY, StepKind.FULL):
        live(found, kind)
        moments[kind] = deepcopy(found)
    return moments


@pytest.fixture
def in_shadow(_grown: dict[StepKind, Platform]) -> Platform:
    """A platform whose first gate is in shadow."""
    return deepcopy(_grown[StepKind.SHADOW])


@pytest.fixture
def in_canary(_grown: dict[StepKind, Platform]) -> Platform:
    """A platform whose first gate is in canary."""
    return deepcopy(_grown[StepKind.CANARY])


@pytest.fixture
def in_force(_grown: dict[StepKind, Platform]) -> Platform:
    """A platform whose first gate is in full force."""
    return deepcopy(_grown[StepKind.FULL])


@pytest.fixture
def replaced(in_force: Platform) -> Platform:
    """A platform whose second gate is in full force, in the place of the first, and no third is to come."""
    live(in_force, StepKind.FULL)
    in_force.rollout = in_force.rollout.model_copy(update={"candidate": None})
    return in_force


@pytest.fixture
def cluster(kafka_settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KafkaSettings:
    """Topics on the embedded broker, and the environment that names them."""
    ensure_topics(kafka_settings, partitions=1)
    monkeypatch.setenv("TIDEGATE_KAFKA_BOOTSTRAP_SERVERS", kafka_settings.bootstrap_servers)
    monkeypatch.setenv("TIDEGATE_KAFKA_TOPIC_PREFIX", kafka_settings.topic_prefix)
    monkeypatch.setenv("TIDEGATE_LEDGER_PATH", str(tmp_path / "ledger"))
    monkeypatch.setenv("COLUMNS", "200")
    return kafka_settings
