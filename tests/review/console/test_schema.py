"""The API against its own description, with inputs that nobody would send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from review.access.roles import Role
from tests.review.console.platform import PASSWORD, Platform

UNASKED = {"/api/v1/sessions", "/api/v1/me/sessions", "/api/v1/me/password", "/api/v1/me/tokens/{token_id}"}
"""What would end the session of the test itself, or lock it out."""


@pytest.fixture(scope="module")
def token(platform: Platform) -> Iterator[str]:
    platform.add("fuzz", *Role)
    with httpx.Client(base_url=platform.url) as client:
        let_in = client.post("/api/v1/sessions", json={"name": "fuzz", "password": PASSWORD}).json()
        client.headers["x-csrf-token"] = let_in["csrf_token"]
        wanted = {"name": "fuzz", "roles": [role.value for role in Role], "days": 1}
        yield client.post("/api/v1/me/tokens", json=wanted).json()["token"]


@pytest.mark.parametrize("examples", [2, pytest.param(60, marks=[pytest.mark.heavy, pytest.mark.timeout(1200)])])
def test_nothing_that_is_sent_breaks_it(platform: Platform, token: str, examples: int) -> None:
    bearer = {"authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_url(f"{platform.url}/api/v1/openapi.json")
    asked: Counter[str] = Counter()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path in UNASKED:
            continue

        @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(GenerationMode.POSITIVE) | operation.as_strategy(GenerationMode.NEGATIVE))
        def ask(case: schemathesis.Case[Any]) -> None:
            answer = case.call(headers=bearer, timeout=60.0)
            assert answer.status_code not in range(500, 503), f"{case.as_curl_command()}: {answer.text[:500]}"
            asked[case.operation.label] += 1

        ask()
    assert len(asked) > 40
