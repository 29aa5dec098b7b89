"""A web server for each test of the sources."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.worker.intake.site import Site, serving


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as running:
        yield running
