from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from uuid import uuid4

import pytest

from calibration.settings import KafkaSettings


@pytest.fixture(scope="package", autouse=True)
def _heavy_libraries_are_set_aside() -> None:
    """What earlier tests have loaded, torch and TRL among it: looking through all of it again and again would cost
    these tests a second of heartbeats each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", params=["embedded", pytest.param("apache", marks=pytest.mark.apache)])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """The same tests on the embedded broker and on Apache Kafka."""
    server = request.getfixturevalue("broker" if request.param == "embedded" else "apache")
    assert isinstance(server.bootstrap, str)
    return server.bootstrap


@pytest.fixture
def kafka(bootstrap: str) -> KafkaSettings:
    """How to reach the broker; topics have a prefix of their own in each test."""
    return KafkaSettings(bootstrap_servers=bootstrap, topic_prefix=f"{uuid4().hex[:8]}.")


@pytest.fixture
def refused_connections(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let the garbage collector find the sockets that kafka-python leaves behind when a connection is refused, in the
    test they come from, which must be marked with `rig.refused`."""
    caplog.set_level(logging.CRITICAL + 1, "kafka")  # captured log records would hold on to them
    yield
    gc.collect()
