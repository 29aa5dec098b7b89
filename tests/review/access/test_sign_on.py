"""Single sign-on through the running console, with a provider that tells the truth, and with one that does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from calibration.settings import KafkaSettings
from deploy.local import EmbeddedBroker, EmbeddedValkey
from review.settings import ValkeySettings
from tests.review.access.provider import Provider, providing
from tests.review.console.platform import Platform, serving


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture(scope="module")
def platform(
    broker: EmbeddedBroker,
    _valkey_server: EmbeddedValkey,
    provider: Provider,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    from worker.stream.topics import ensure_topics  # not before the client's own warnings are filtered

    name = uuid4().hex[:8]
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=f"{name}.")
    ensure_topics(kafka, partitions=1)
    valkey = ValkeySettings(url=_valkey_server.url, key_prefix=name)
    platform = Platform(kafka, valkey, tmp_path_factory.mktemp("console"))
    settings = {
        "ISSUER": provider.issuer,
        "CLIENT_ID": "tidegate",
        "CLIENT_SECRET": "between the two of us",
        "REDIRECT_URL": f"{platform.url}/login/back",
        "ROLES_CLAIM": "groups",
        "ROLE_MAPPING": json.dumps({"mods": "moderator", "numbers": "analyst"}),
        "CREATE_ACCOUNTS": "true",
    }
    with serving(platform, **{f"TIDEGATE_ACCESS_OIDC_{name}": value for name, value in settings.items()}):
        yield platform


def sign_on(platform: Platform) -> tuple[httpx.Response, dict[str, Any]]:
    """The last answer of a browser that follows everything, and who the console then takes it for."""
    with httpx.Client(base_url=platform.url, follow_redirects=True, timeout=20.0) as client:
        last = client.get("/login/sign-on")
        return last, client.get("/api/v1/me").json()


def test_somebody_new_comes_in_with_the_roles_that_the_provider_gives(platform: Platform, provider: Provider) -> None:
    last, me = sign_on(platform)
    assert (last.status_code, last.url.path) == (200, "/review")
    assert (me["name"], me["roles"], me["has_password"]) == ("ida", ["moderator"], False)
    provider.claims["groups"] = ["numbers"]
    try:
        _, me = sign_on(platform)
    finally:
        provider.claims["groups"] = ["mods"]
    assert (me["name"], me["roles"]) == ("ida", ["analyst"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": "another"},
        {"state": "another"},
        {"key": True},
        {"aud": "somebody else"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"sub": ""},
        {"sub": "s-18", "preferred_username": "ida"},
        {"sub": "s-19", "preferred_username": " "},
    ],
)
def test_a_provider_that_cannot_be_believed_lets_nobody_in(
    platform: Platform, provider: Provider, wrong: dict[str, Any]
) -> None:
    sign_on(platform)  # so that there is an ida
    provider.wrong = wrong
    try:
        last, me = sign_on(platform)
    finally:
        provider.wrong = {}
    assert (last.status_code, me["code"]) == (401, "sign_in"), last.text
    assert "Sign in" in last.text


def test_a_sign_in_that_was_not_begun_here_is_refused(platform: Platform) -> None:
    with httpx.Client(base_url=platform.url) as client:
        answer = client.get("/login/back", params={"code": "code-0", "state": "x"})
    assert (answer.status_code, "was not begun here" in answer.text) == (401, True)
