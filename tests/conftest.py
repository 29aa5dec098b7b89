"""The servers that tests of every room share, and settings that keep the tests out of each other's way."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
from xdist.scheduler import LoadScopeScheduling

from calibration.settings import KafkaSettings
from deploy import local
from deploy.local import EmbeddedBroker, EmbeddedValkey
from review.settings import ValkeySettings

if TYPE_CHECKING:
    from tests.apache import ApacheKafka

_ROOT = Path(__file__).parent.parent
_HEAVY = re.compile(r"mark\.(engine|apache)\b")


class TwoProcesses(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """A module stays in one process, and so do all with the engine or Apache Kafka: neither fits here twice."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "engine or apache" if _HEAVY.search((_ROOT / module).read_text(encoding="utf-8")) else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TwoProcesses:
    """What shares the modules out."""
    return TwoProcesses(config, log)


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    """What a developer's shell says about their own cluster has no say in the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in tuple(os.environ):
            if name.startswith("TIDEGATE_"):
                patch.delenv(name)
        yield


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    return local.free_port()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A fresh embedded broker for each test module: groups that go wrong in one do not slow down another."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture
def kafka_settings(broker: EmbeddedBroker) -> KafkaSettings:
    """How to reach the embedded broker; topics have a prefix of their own in each test."""
    return KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=f"{uuid4().hex[:8]}.")


@pytest.fixture(scope="session")
def _valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey(_valkey_server: EmbeddedValkey) -> EmbeddedValkey:
    """A Valkey server, emptied before each test. A test that stops or kills servers starts one of its own."""
    with redis.Redis.from_url(_valkey_server.url) as client:
        client.flushall()
    return _valkey_server


@pytest.fixture
def valkey_settings(valkey: EmbeddedValkey) -> ValkeySettings:
    """How to reach the emptied Valkey server."""
    return ValkeySettings(url=valkey.url)


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """Apache Kafka, running: a test that stops or kills it starts it again. Mark its users with `apache`."""
    from tests.apache import ApacheKafka, missing_parts

    if missing := missing_parts():
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with ApacheKafka(tmp_path_factory.mktemp("apache-kafka")) as server:
        yield server
