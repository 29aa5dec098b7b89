"""Every role at every page and endpoint, against the matrix; and what keeps strangers out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from calibration.ledger.topic import read_latest
from review.access.roles import MATRIX, Permission, Role
from review.api import account, administration, analysis, health, overview, publishing, tasks
from review.console import pages
from review.truth import records
from tests.review.console.platform import PASSWORD, Platform
from tests.review.tasks import blind_task, make_task

API = (account, tasks, overview, analysis, publishing, administration)
FOR_EVERYBODY = {"/sessions", "/login", "/login/sign-on", "/login/back", "/healthz", "/ready", "/metrics"}
FOR_WHO_IS_SIGNED_IN = {
    "/",
    "/me",
    "/logout",
    "/roles",
    "/me/preferences",
    "/me/password",
    "/me/sessions",
    "/me/tokens",
}


def permission_of(dependant: Dependant) -> Permission | None:
    for each in dependant.dependencies:
        asked = getattr(each.call, "permission", None) or permission_of(each)
        if asked is not None:
            assert isinstance(asked, Permission)
            return asked
    return None


def routes() -> Iterator[tuple[str, str, Permission | None]]:
    for prefix, router in [*(("/api/v1", module.router) for module in API), ("", health.router), ("", pages.router)]:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for method in route.methods:
                yield method, prefix + route.path, permission_of(route.dependant)


GUARDED = [(method, path, asked) for method, path, asked in routes() if asked is not None]


def test_what_asks_for_no_permission_is_named_here() -> None:
    open_paths = {re.sub(r"^/api/v1|/\{.*\}$", "", path) or "/" for _, path, asked in routes() if asked is None}
    assert open_paths <= FOR_EVERYBODY | FOR_WHO_IS_SIGNED_IN
    assert {asked for *_, asked in GUARDED} >= set(Permission) - {Permission.ADJUDICATE, Permission.CLAIM_ESCALATED,
                                                                  Permission.UNDO_OTHERS}  # fmt: skip # inside others


@pytest.mark.parametrize("role", Role)
def test_every_role_at_every_page_and_endpoint(platform: Platform, role: Role) -> None:
    wrong = []
    with platform.client(role.value) as client:
        for method, path, asked in GUARDED:
            answer = client.request(method, path.format(chart="traffic"), json=None if method == "GET" else {})
            refused = answer.status_code == 403
            if (answer.status_code >= 500 and answer.status_code != 503) or refused != (role not in MATRIX[asked]):
                wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
    assert not wrong


def test_strangers_are_let_in_nowhere(platform: Platform) -> None:
    with httpx.Client(base_url=platform.url) as client:
        for method, path, _ in GUARDED:
            answer = client.request(method, path.format(chart="traffic"), json=None if method == "GET" else {})
            if path.startswith("/api/"):
                assert answer.status_code == 401, path
            else:
                assert (answer.status_code, answer.headers["location"][:6]) == (303, "/login"), path


def test_a_session_needs_its_csrf_token(platform: Platform) -> None:
    with platform.client("admin") as client:
        del client.headers["x-csrf-token"]
        for headers in ({}, {"x-csrf-token": "0" * 64}):
            answer = client.post("/api/v1/users", json={"name": "eve", "roles": ["admin"]}, headers=headers)
            assert (answer.status_code, "reload it" in answer.json()["detail"]) == (403, True)
        assert "eve" not in {user["name"] for user in client.get("/api/v1/users").json()}


def test_signing_in(platform: Platform) -> None:
    with httpx.Client(base_url=platform.url) as client:
        form = {"name": "ada", "password": PASSWORD, "next": "https://evil.example/"}
        foreign = client.post("/login", data=form, headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403
        for wrong in ({"name": "ada", "password": "wrong"}, {"name": "nobody", "password": PASSWORD}):
            refused = client.post("/api/v1/sessions", json=wrong)
            assert (refused.status_code, refused.json()["detail"]) == (401, "that name and password let nobody in")
        let_in = client.post("/login", data=form)
        assert (let_in.status_code, let_in.headers["location"]) == (303, "/")
        cookie = let_in.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie


@pytest.mark.parametrize("path", ["/login", "/review", "/static/console.css", "/api/v1/queue", "/nowhere", "/healthz"])
def test_every_answer_says_what_a_browser_may_do(platform: Platform, path: str) -> None:
    with httpx.Client(base_url=platform.url) as client:
        headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["cross-origin-opener-policy"]) == ("nosniff", "same-origin")
    assert "server" not in headers


def test_what_is_too_large_or_for_another_host_is_refused(platform: Platform) -> None:
    with httpx.Client(base_url=platform.url) as client:
        assert client.post("/api/v1/sessions", content=b"x" * 1_000_001).status_code == 413
        assert client.post("/api/v1/sessions", content=iter([b"x"])).status_code == 413  # of no said length
        assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 400


def test_a_token_acts_as_its_owner_within_its_roles_until_it_is_revoked(platform: Platform) -> None:
    platform.add("robot", Role.MODERATOR, Role.ANALYST)
    with platform.client("admin") as admin, httpx.Client(base_url=platform.url) as program:
        wanted = {"owner": "robot", "name": "nightly export", "roles": ["analyst"], "days": 7}
        made = admin.post("/api/v1/users/tokens", json=wanted).json()
        program.headers["authorization"] = f"Bearer {made['token']}"
        assert program.get("/api/v1/policies").status_code == 200
        assert program.post("/api/v1/claims", json={}).status_code == 403
        assert program.get("/api/v1/me").json()["roles"] == ["analyst"]
        accounts = read_latest(platform.kafka, "accounts")
        assert made["token"].rpartition("_")[2].encode() not in accounts["robot"][1]
        gone = {"name": "robot", "token_id": made["token_id"]}
        assert admin.delete("/api/v1/users/tokens", params=gone).status_code == 204
        assert program.get("/api/v1/policies").status_code == 401


def test_blind_tasks_say_nothing_to_those_who_may_judge_them(platform: Platform) -> None:
    platform.put(blind_task("hidden-1"), make_task("open-1", priority=1))
    with platform.client("lead") as lead:
        claimed = lead.post("/api/v1/claims", json={}).json()
        assert claimed["task"]["event_id"] == "hidden-1"
        texts = [lead.get(path).text for path in ("/api/v1/claims", "/api/v1/queue/entries")] + [str(claimed)]
        held = {"event_id": "hidden-1", "token": claimed["lease"]["token"]}
        assert lead.post("/api/v1/releases", json=held).status_code == 204
    assert not any(word in text for text in texts for word in ("grey cliff", "probability", "verbal", "audit", ".jpg"))


def test_who_saw_and_did_what_is_on_the_topic(platform: Platform) -> None:
    platform.put(make_task("seen-1", priority=99))
    with platform.client("bob") as bob:
        task = bob.post("/api/v1/claims", json={}).json()
        assert bob.get("/api/v1/image", params={"event_id": "seen-1"}).headers["content-type"] == "image/jpeg"
        held = {"event_id": "seen-1", "token": task["lease"]["token"]}
        assert bob.post("/api/v1/verdicts", json=held | {"label": "awe"}).status_code == 201
        assert bob.get("/api/v1/audit-log").status_code == 403
    said: list[Any] = [record.value for record in records(platform.kafka, "audit-log", {}) if record.key == b"bob"]
    with platform.client("admin") as admin:
        shown = admin.get("/api/v1/audit-log", params={"who": "bob"}).json()
    assert len(said) == len(shown)
    acts = [(each["action"], each["outcome"], each["event_ids"]) for each in reversed(shown)]
    assert acts[-4:] == [
        ("claim", "done", ["seen-1"]),
        ("see_task", "done", ["seen-1"]),
        ("decide", "done", ["seen-1"]),
        ("see_audit_log", "refused", []),
    ]
