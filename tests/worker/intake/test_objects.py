"""Images by key: from a local folder, and from a server that speaks as much S3 as a reader hears."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from review.task import KeyReference
from tests.worker.intake.site import Site, refusal, sources
from worker.events import DeadLetterReason
from worker.intake.refusal import ImageRefusedError, IntakeError
from worker.intake.source import ImageSources

SECRET = b"the secret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "store" / "sub").mkdir(parents=True)
    (tmp_path / "store" / "sub" / "a b%2F.jpg").write_bytes(b"image")
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "storehouse").write_bytes(SECRET)
    return tmp_path / "store"


@pytest.fixture
async def stored(folder: Path) -> AsyncIterator[ImageSources]:
    async with sources(object_store=folder.as_uri(), max_bytes=100) as opened:
        yield opened


async def test_an_object_is_found_by_its_key(stored: ImageSources) -> None:
    assert (await stored.fetch(KeyReference(key="sub/a b%2F.jpg"))).content == b"image"


@pytest.mark.parametrize("key", ["nothing", "sub", "sub/a b/.jpg", "sub/a%20b%2F.jpg"])
async def test_a_missing_object_is_not_found(stored: ImageSources, key: str) -> None:
    refused = await refusal(stored, KeyReference(key=key))
    assert refused.reason is DeadLetterReason.IMAGE_NOT_FOUND
    assert repr(key) in refused.detail


async def test_a_large_object_is_refused(stored: ImageSources, folder: Path) -> None:
    (folder / "large").write_bytes(bytes(101))
    (folder / "enough").write_bytes(bytes(100))
    assert len((await stored.fetch(KeyReference(key="enough"))).content) == 100
    assert (await refusal(stored, KeyReference(key="large"))).reason is DeadLetterReason.IMAGE_TOO_LARGE


TRAVERSALS = [
    "../secret", "sub/../../secret", "./../secret", "..", "/../secret", "//../secret", "../../../../../etc/passwd",
    "%2e%2e/secret", "..%2fsecret", "%2e%2e%2fsecret", "..\\secret", "sub\\..\\..\\secret", "..;/secret", ".../secret",
    "../storehouse", "house", "/etc/passwd", "file:///etc/passwd", "~/secret", "sub/\0/../../secret", "\u2025/secret",
]  # fmt: skip


@pytest.mark.parametrize("key", TRAVERSALS)
async def test_no_key_leads_out_of_the_folder(stored: ImageSources, key: str) -> None:
    refused = await refusal(stored, KeyReference(key=key))
    assert refused.reason in {DeadLetterReason.ADDRESS_FORBIDDEN, DeadLetterReason.IMAGE_NOT_FOUND}


PARTS = st.sampled_from(
    ["..", ".", "sub", "secret", "storehouse", "store", "/", "\\", "%2e", "%2f", "\0", "~", " ", ""]
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.one_of(st.lists(PARTS, min_size=1).map("/".join), st.lists(PARTS, min_size=1).map("".join), st.text()))
async def test_no_key_that_can_be_thought_up_leads_out(stored: ImageSources, key: str) -> None:
    if not 0 < len(key) <= 1024:
        return
    try:
        content = (await stored.fetch(KeyReference(key=key))).content
    except ImageRefusedError:
        return
    assert content == b"image"


async def test_a_folder_that_vanishes_does_not_make_its_images_missing(stored: ImageSources, folder: Path) -> None:
    shutil.rmtree(folder)
    refused = await refusal(stored, KeyReference(key="sub/a b%2F.jpg"))
    assert refused.reason is DeadLetterReason.IMAGE_UNREACHABLE
    assert "the object store is gone" in refused.detail


@pytest.mark.parametrize("address", ["file:///no/such/folder", "nonsense", "s3://", "ftp://host/x", "az://container/x"])
async def test_a_wrong_address_is_reported_at_the_start(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(IntakeError, match="TIDEGATE_INTAKE_OBJECT_STORE"):
        async with sources(object_store=address):
            pass


async def test_a_file_in_place_of_a_folder_is_reported_at_the_start(folder: Path) -> None:
    with pytest.raises(IntakeError, match="TIDEGATE_INTAKE_OBJECT_STORE"):
        async with sources(object_store=(folder.parent / "secret").as_uri()):
            pass


# S3


def says(status: int, code: str = "") -> web.Response:
    return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>", content_type="application/xml")


def holds(content: bytes) -> web.Response:
    return web.Response(body=content, headers={"ETag": '"1"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"})


@pytest.fixture
def s3(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A bucket without objects."""
    for name, value in (
        ("AWS_ENDPOINT", f"http://127.0.0.1:{site.port}"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "eu-west-1"),
    ):
        monkeypatch.setenv(name, value)
    site.answers(lambda: says(404, "NoSuchKey"))
    return site


async def test_s3_objects_are_read_under_the_prefix(s3: Site) -> None:
    async with sources(object_store="s3://bucket/some/prefix") as opened:
        s3.answers(lambda: holds(b"image"))
        assert (await opened.fetch(KeyReference(key="a/b.jpg"))).content == b"image"
        s3.answers(lambda: says(404, "NoSuchKey"))
        assert (await refusal(opened, KeyReference(key="c"))).reason is DeadLetterReason.IMAGE_NOT_FOUND
    assert s3.requests[1].path == "/bucket/some/prefix/a/b.jpg"
    assert len(s3.requests) == 3


async def test_s3_size_is_checked_before_the_body_is_read(s3: Site) -> None:
    async with sources(object_store="s3://bucket", max_bytes=1000) as opened:
        s3.answers(lambda: holds(bytes(5_000_000)))
        assert (await refusal(opened, KeyReference(key="a"))).reason is DeadLetterReason.IMAGE_TOO_LARGE


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalError"),
        (503, "SlowDown"),
        (403, "AccessDenied"),
        (401, ""),
        (404, "NoSuchBucket"),
        (400, "Weird"),
    ],
)
async def test_what_may_be_the_stores_fault_is_tried_again(s3: Site, status: int, code: str) -> None:
    async with sources(object_store="s3://bucket", fetch_attempts=3) as opened:
        s3.answers(lambda: says(status, code), lambda: says(status, code), lambda: holds(b"image"))
        assert (await opened.fetch(KeyReference(key="a"))).content == b"image"
        s3.answers(lambda: says(status, code))
        refused = await refusal(opened, KeyReference(key="a"))
        assert refused.reason is DeadLetterReason.IMAGE_UNREACHABLE
        assert "\n" not in refused.detail
    assert len(s3.requests) == 1 + 3 + 3


async def test_a_silent_store_is_given_up(s3: Site) -> None:
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with sources(object_store="s3://bucket", fetch_attempts=2, fetch_timeout_s=0.2) as opened:
        s3.handler = silent
        refused = await refusal(opened, KeyReference(key="a"))
    assert refused.reason is DeadLetterReason.IMAGE_UNREACHABLE
    assert "not fetched within 0.2 s" in refused.detail


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchBucket"), (500, "InternalError"), (401, "")])
async def test_a_bucket_that_cannot_be_used_is_reported_at_the_start(s3: Site, status: int, code: str) -> None:
    s3.answers(lambda: says(status, code))
    with pytest.raises(IntakeError, match="s3://bucket cannot be used"):
        async with sources(object_store="s3://bucket"):
            pass


async def test_a_bucket_that_may_be_read_but_not_listed_is_used(s3: Site) -> None:
    s3.answers(lambda: says(403, "AccessDenied"), lambda: holds(b"image"))
    async with sources(object_store="s3://bucket") as opened:
        assert (await opened.fetch(KeyReference(key="a"))).content == b"image"


async def test_missing_credentials_are_reported_at_the_start(s3: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{s3.port}/metadata")
    with pytest.raises(IntakeError, match="credentials"):
        async with sources(object_store="s3://bucket"):
            pass
