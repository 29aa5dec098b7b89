"""Images by URL: what is fetched, what is refused, and what is tried again; from a real server on this machine."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
from collections.abc import Callable

import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from review.task import KeyReference, UrlReference
from tests.worker.intake.site import BODY, Names, Site, refusal, sources
from worker.events import DeadLetterReason, InlineImage
from worker.intake import guard


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_an_image_comes_by_url_and_is_counted(site: Site) -> None:
    before = counted("tidegate_fetch_bytes_total", source="url")
    async with sources() as opened:
        assert (await opened.fetch(UrlReference(url=site.url("/a%20b.jpg?sig=%2F%2b~|")))).content == BODY
    assert counted("tidegate_fetch_bytes_total", source="url") == before + len(BODY)
    (request,) = site.requests
    assert request.raw_path == "/a%20b.jpg?sig=%2F%2b~|"
    assert request.headers["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Authorization", "Referer"} & set(request.headers)


async def test_inline_bytes_are_what_they_are() -> None:
    async with sources(max_bytes=10) as opened:
        assert (await opened.fetch(InlineImage(data=b"0123456789"))).content == b"0123456789"
        assert (await refusal(opened, InlineImage(data=bytes(11)))).reason is DeadLetterReason.IMAGE_TOO_LARGE


async def test_a_key_without_a_store_is_refused_with_advice() -> None:
    async with sources() as opened:
        refused = await refusal(opened, KeyReference(key="a.jpg"))
    assert refused.reason is DeadLetterReason.ADDRESS_FORBIDDEN
    assert "TIDEGATE_INTAKE_OBJECT_STORE" in refused.detail


async def test_cookies_are_forgotten_and_proxies_of_the_environment_ignored(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    site.answers(lambda: web.Response(body=BODY, headers={"Set-Cookie": "a=b; Path=/"}))
    async with sources() as opened:
        for _ in range(2):
            await opened.fetch(UrlReference(url=site.url()))
    assert "Cookie" not in site.requests[1].headers


# Redirects


def redirect(target: str, status: int = 302) -> Callable[[], web.StreamResponse]:
    return lambda: web.Response(status=status, headers={"Location": target})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_relative_and_absolute(site: Site, status: int) -> None:
    site.answers(redirect("b", status), redirect(site.url("/c", "localhost"), status), lambda: web.Response(body=BODY))
    async with sources() as opened:
        assert (await opened.fetch(UrlReference(url=site.url("/x/a")))).content == BODY
    assert [request.path for request in site.requests] == ["/x/a", "/x/b", "/c"]


async def test_too_many_redirects_are_refused(site: Site) -> None:
    site.answers(redirect("/again"))
    async with sources(max_redirects=2) as opened:
        refused = await refusal(opened, site.url())
    assert (refused.reason, refused.detail) == (DeadLetterReason.ADDRESS_FORBIDDEN, "more than 2 redirects")
    assert len(site.requests) == 3


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2:{port}/", "https://evil.example/", "//evil.example/", "file:///etc/passwd", "ftp://localhost/",
        "http://user:password@127.0.0.1:{port}/", "http://[::1", "", "data:image/png;base64,AAAA", "gopher://127.0.0.1/",
    ],
)  # fmt: skip
async def test_a_redirect_is_checked_like_a_url(site: Site, target: str) -> None:
    site.answers(redirect(target.format(port=site.port)))
    async with sources(max_redirects=1) as opened:
        assert (await refusal(opened, site.url())).reason is DeadLetterReason.ADDRESS_FORBIDDEN
    assert set(site.reached_at) == {"127.0.0.1"}


# The address guard, with port checks out of the way


@pytest.fixture
def guarded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard is on; the test server's port counts as a web port, and 127.0.0.1 (alone) as a public address."""
    strict = guard.is_public

    def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return str(address) == "127.0.0.1" or strict(address)

    monkeypatch.setattr(guard, "_WEB_PORTS", frozenset({site.port}))
    monkeypatch.setattr(guard, "is_public", is_public)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.2"], ["127.0.0.2", "127.0.0.3"], ["::1", "127.0.0.2"], ["::ffff:127.0.0.2"], ["64:ff9b::7f00:2"]],
)
async def test_a_name_that_leads_to_a_private_address_is_refused_at_once(site: Site, addresses: list[str]) -> None:
    async with sources(resolver=Names(evil=[addresses]), allow_private_addresses=False) as opened:
        refused = await refusal(opened, site.url(host="evil.test"))
    assert refused.reason is DeadLetterReason.ADDRESS_FORBIDDEN
    assert "not an address on the public internet" in refused.detail
    assert site.requests == []


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "[::ffff:127.0.0.2]", "2130706434", "0x7f.2", "127.2"])
async def test_no_spelling_of_a_private_address_gets_through(site: Site, host: str) -> None:
    async with sources(allowed_hosts=["*"], allow_private_addresses=False, fetch_attempts=1) as opened:
        refused = await refusal(opened, site.url(host=host))
    assert refused.reason is DeadLetterReason.ADDRESS_FORBIDDEN
    assert site.requests == []


@pytest.mark.usefixtures("guarded")
async def test_a_redirect_to_a_private_address_is_refused(site: Site) -> None:
    site.answers(redirect(site.url(host="127.0.0.2")))
    async with sources(allowed_hosts=["*"], allow_private_addresses=False) as opened:
        refused = await refusal(opened, site.url())
    assert (refused.reason, len(site.requests)) == (DeadLetterReason.ADDRESS_FORBIDDEN, 1)
    assert "127.0.0.2" in refused.detail


@pytest.mark.usefixtures("guarded")
async def test_a_name_that_changes_its_answer_is_refused_when_it_does(site: Site) -> None:
    def closing() -> web.StreamResponse:
        response = web.Response(status=302, headers={"Location": "/secret"})
        response.force_close()
        return response

    site.answers(closing, lambda: web.Response(body=b"the secret"))
    resolver = Names(rebinding=[["127.0.0.1"], ["127.0.0.2"]])
    async with sources(resolver=resolver, allow_private_addresses=False) as opened:
        refused = await refusal(opened, site.url(host="rebinding.test"))
    assert (refused.reason, len(site.requests)) == (DeadLetterReason.ADDRESS_FORBIDDEN, 1)


@pytest.mark.usefixtures("guarded")
async def test_a_host_with_a_private_and_a_public_address_is_reached_at_the_public_one(site: Site) -> None:
    resolver = Names(mixed=[["127.0.0.2", "127.0.0.1"]])
    async with sources(resolver=resolver, allow_private_addresses=False) as opened:
        assert (await opened.fetch(UrlReference(url=site.url(host="mixed.test")))).content == BODY
    assert site.reached_at == ["127.0.0.1"]


# What the server answers


@pytest.mark.parametrize(
    ("status", "reason", "tries"),
    [
        (404, DeadLetterReason.IMAGE_NOT_FOUND, 1),
        (410, DeadLetterReason.IMAGE_NOT_FOUND, 1),
        (401, DeadLetterReason.IMAGE_UNREACHABLE, 1),
        (403, DeadLetterReason.IMAGE_UNREACHABLE, 1),
        (204, DeadLetterReason.IMAGE_UNREACHABLE, 1),
        (304, DeadLetterReason.IMAGE_UNREACHABLE, 1),
        (408, DeadLetterReason.IMAGE_UNREACHABLE, 3),
        (429, DeadLetterReason.IMAGE_UNREACHABLE, 3),
        (500, DeadLetterReason.IMAGE_UNREACHABLE, 3),
        (503, DeadLetterReason.IMAGE_UNREACHABLE, 3),
    ],
)
async def test_each_status_has_its_reason_and_its_tries(
    site: Site, status: int, reason: DeadLetterReason, tries: int
) -> None:
    site.answers(lambda: web.Response(status=status))
    async with sources(fetch_attempts=3) as opened:
        refused = await refusal(opened, site.url())
    assert (refused.reason, len(site.requests)) == (reason, tries)
    assert f"HTTP {status}" in refused.detail


async def test_a_passing_failure_is_tried_again_after_growing_pauses(site: Site) -> None:
    before, pauses = counted("tidegate_retries_total", part="fetch"), list[float]()
    site.answers(*[lambda: web.Response(status=503)] * 5, lambda: web.Response(body=BODY))
    async with sources(pauses=pauses, fetch_attempts=6) as opened:
        assert (await opened.fetch(UrlReference(url=site.url()))).content == BODY
    assert counted("tidegate_retries_total", part="fetch") == before + 5
    assert len(pauses) == 5
    assert all(0 <= pause <= 0.5 * 2**number for number, pause in enumerate(pauses))


async def test_a_host_out_of_reach_is_given_up_in_the_end(free_port: int) -> None:
    pauses: list[float] = []
    async with sources(pauses=pauses, resolver=Names()) as opened:
        for url in (f"http://127.0.0.1:{free_port}/", "http://unknown.test/"):
            refused = await refusal(opened, url)
            assert refused.reason is DeadLetterReason.IMAGE_UNREACHABLE
            assert refused.detail.startswith("after 4 tries: ")
    assert len(pauses) == 6


async def test_a_body_that_ends_early_is_tried_again(site: Site) -> None:
    async def short(request: web.Request) -> web.StreamResponse:
        if len(site.requests) > 1:
            return web.Response(body=BODY)
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"too little")
        assert request.transport is not None
        request.transport.close()
        return response

    site.handler = short
    async with sources() as opened:
        assert (await opened.fetch(UrlReference(url=site.url()))).content == BODY
    assert len(site.requests) == 2


async def test_the_byte_limit_holds_whatever_the_server_says(site: Site) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(10_000))
                sent += 10_000
        except ConnectionError:
            return response

    async with sources(max_bytes=len(BODY)) as opened:
        assert (await opened.fetch(UrlReference(url=site.url()))).content == BODY
        site.handler = endless
        refused = await refusal(opened, site.url())
        assert (refused.reason, refused.detail) == (DeadLetterReason.IMAGE_TOO_LARGE, "more than 2,560 bytes")
        site.answers(lambda: web.Response(body=bytes(10_000_000)))
        assert (await refusal(opened, site.url())).reason is DeadLetterReason.IMAGE_TOO_LARGE
    assert len(site.requests) == 3
    assert sent < 10_000_000


async def test_a_slow_drip_is_cut_off(site: Site) -> None:
    hung_up = asyncio.Event()

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000000"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b".")
                await asyncio.sleep(0.02)
        finally:
            hung_up.set()

    site.handler = drip
    async with sources(fetch_timeout_s=0.2, fetch_attempts=1) as opened:
        refused = await refusal(opened, site.url())
        await asyncio.wait_for(hung_up.wait(), 10)
    assert refused.reason is DeadLetterReason.IMAGE_UNREACHABLE
    assert "not fetched within 0.2 s" in refused.detail


async def test_compressed_content_is_neither_asked_for_nor_unpacked(site: Site) -> None:
    packed = gzip.compress(bytes(50_000_000))
    site.answers(lambda: web.Response(body=packed, headers={"Content-Encoding": "gzip"}))
    async with sources() as opened:
        refused = await refusal(opened, site.url())
    assert (refused.reason, refused.detail) == (DeadLetterReason.IMAGE_UNSUPPORTED, "sent with Content-Encoding gzip")


async def test_no_more_than_so_many_images_are_fetched_at_a_time(site: Site) -> None:
    now, most, release = 0, 0, asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        if now == 3:
            release.set()
        await asyncio.wait_for(release.wait(), 10)
        now -= 1
        return web.Response(body=BODY)

    site.handler = slow
    async with sources(fetch_concurrency=3) as opened:

        async def fetch() -> bytes:
            original = await opened.fetch(UrlReference(url=site.url()))
            content = original.content
            original.drop()
            return content

        assert await asyncio.gather(*(fetch() for _ in range(12))) == [BODY] * 12
    assert most == 3


async def test_an_original_keeps_its_place_until_it_is_dropped(site: Site) -> None:
    """However slow the decoders are, no more originals than that are in memory."""
    image = UrlReference(url=site.url())
    async with sources(fetch_concurrency=2) as opened:
        first, second = await opened.fetch(image), await opened.fetch(image)
        third = asyncio.create_task(opened.fetch(image))
        inline = await opened.fetch(InlineImage(data=BODY))  # counted by the window of the stream
        _, waiting = await asyncio.wait((third,), timeout=0.2)
        assert waiting
        assert len(site.requests) == 2
        first.drop()
        first.drop()
        inline.drop()
        assert (await third).content == BODY
        assert first.content == b""
        assert second.content == BODY


async def test_what_is_not_fetched_takes_no_place(site: Site) -> None:
    site.answers(
        lambda: web.Response(status=404), *[lambda: web.Response(status=503)] * 2, lambda: web.Response(body=BODY)
    )
    async with sources(fetch_concurrency=1, fetch_attempts=2) as opened:
        for _ in range(2):
            await refusal(opened, site.url())
        assert (await opened.fetch(UrlReference(url=site.url()))).content == BODY


async def test_a_cancelled_fetch_hangs_up(site: Site) -> None:
    arrived, hung_up = asyncio.Event(), asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        arrived.set()
        try:
            while True:
                await response.write(b".")
                await asyncio.sleep(0.01)
        finally:
            hung_up.set()

    site.handler = endless
    async with sources() as opened:
        task = asyncio.create_task(opened.fetch(UrlReference(url=site.url())))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(hung_up.wait(), 10)
