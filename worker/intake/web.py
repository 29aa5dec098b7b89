"""Images by URL: fetched from allowed hosts at public addresses, with every redirect checked anew."""

from __future__ import annotations

import asyncio
import errno

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from worker.events import DeadLetterReason
from worker.intake.guard import UrlPolicy, guarded_socket
from worker.intake.refusal import ImageRefusedError, ImageUnreachableError, check_size
from worker.settings import IntakeSettings

_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 421, 425, 429}
"""Client errors that say "later" rather than "never"; so does everything from 500 on."""
_HEADERS = {"User-Agent": "tidegate", "Accept": "image/*", "Accept-Encoding": "identity"}


class WebImages:
    """Fetches from the web, without cookies, credentials or proxies. Used from one event loop."""

    def __init__(self, settings: IntakeSettings, resolver: AbstractResolver | None = None) -> None:
        self._settings = settings
        self._policy = UrlPolicy(settings.allowed_hosts, any_port=settings.allow_private_addresses)
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the connection pool; nothing is connected yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # bounded before a fetch begins, so that waiting for a turn is not taken for slowness
                use_dns_cache=False,
                resolver=self._resolver,
                socket_factory=None if self._settings.allow_private_addresses else guarded_socket,
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        if self._session is not None:
            await self._session.close()

    async def get(self, url: str) -> bytes:
        """Try once to fetch an image.

        Raises:
            ImageRefusedError: it may not be fetched, is not there, or is too large.
            ImageUnreachableError: it did not come through this time.
        """
        target = self._policy.check(url)
        limit = self._settings.fetch_timeout_s
        try:
            async with asyncio.timeout(limit):
                return await self._follow(target)
        except TimeoutError as error:
            raise ImageUnreachableError(f"not fetched within {limit:g} s") from error
        except aiohttp.ClientConnectorError as error:
            if error.os_error.errno == errno.EACCES:  # of the guard, also where aiohttp merged several of its refusals
                raise ImageRefusedError(DeadLetterReason.ADDRESS_FORBIDDEN, str(error.os_error)) from error
            raise ImageUnreachableError(str(error)) from error
        except ValueError as error:  # aiohttp.InvalidURL, or a name that DNS cannot spell
            raise ImageRefusedError(DeadLetterReason.ADDRESS_FORBIDDEN, f"not a usable URL: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ImageUnreachableError(f"{type(error).__name__}: {error}") from error

    async def _follow(self, target: URL) -> bytes:
        assert self._session is not None, "start() comes first"
        for _ in range(self._settings.max_redirects + 1):
            async with self._session.get(target, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return await self._content(response)
                target = self._policy.check(response.headers.get("Location", ""), base=target)
        raise ImageRefusedError(
            DeadLetterReason.ADDRESS_FORBIDDEN, f"more than {self._settings.max_redirects} redirects"
        )

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        answer = f"HTTP {response.status} {response.reason}"
        if response.status in {404, 410}:
            raise ImageRefusedError(DeadLetterReason.IMAGE_NOT_FOUND, answer)
        if response.status in _PASSING or response.status >= 500:
            raise ImageUnreachableError(answer)
        if response.status != 200:
            raise ImageRefusedError(DeadLetterReason.IMAGE_UNREACHABLE, answer)
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":  # unasked for, and a few kilobytes may unpack to gigabytes
            raise ImageRefusedError(DeadLetterReason.IMAGE_UNSUPPORTED, f"sent with Content-Encoding {encoding}")
        limit = self._settings.max_bytes
        check_size(response.content_length or 0, limit)
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            check_size(size, limit)
        return b"".join(chunks)
