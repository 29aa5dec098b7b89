from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser

from calibration.settings import KafkaSettings
from deploy.browser import chromium
from deploy.local import EmbeddedBroker, EmbeddedValkey
from review.access.roles import Role
from review.settings import ValkeySettings
from tests.review.console.platform import Platform, serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """While it is there, the test's thread has Playwright's event loop, and no other can run in it."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def platform(
    broker: EmbeddedBroker, _valkey_server: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A running console, and one person for each role, named by it; `ada` and `bob` are moderators, too."""
    from worker.stream.topics import ensure_topics  # not before the client's own warnings are filtered

    name = uuid4().hex[:8]
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=f"{name}.")
    ensure_topics(kafka, partitions=1)
    valkey = ValkeySettings(url=_valkey_server.url, key_prefix=name)
    platform = Platform(kafka, valkey, tmp_path_factory.mktemp("console"))
    for role in Role:
        platform.add(role.value, role)
    for moderator in ("ada", "bob"):
        platform.add(moderator, Role.MODERATOR)
    with serving(platform):
        yield platform
