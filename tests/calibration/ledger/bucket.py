"""A server on 127.0.0.1 that speaks as much S3 as the ledger needs, conditional writes included. It keeps a bucket in
memory, and every object's bytes can be looked at."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import web

_SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Bucket:
    """The bucket `bucket`."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "eu-west-1",
        }

    def keys(self, part: str = "") -> list[str]:
        return sorted(key for key in self.objects if part in key)

    def make_older(self, age: timedelta) -> None:
        """As if everything had been written so much earlier."""
        self.objects = {key: (content, at - age) for key, (content, at) in self.objects.items()}

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._runner is not None
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        application = web.Application(client_max_size=64_000_000)
        application.router.add_route("*", "/bucket", self._of_bucket)
        application.router.add_route("*", "/bucket/{key:.*}", self._of_object)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _of_bucket(self, request: web.Request) -> web.Response:
        if request.method == "POST" and "delete" in request.query:
            wanted = ElementTree.fromstring(await request.text())
            keys = [each.text or "" for each in wanted.iter() if each.tag.removeprefix(_SPACE) == "Key"]
            for key in keys:
                self.objects.pop(key, None)
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            return _xml(f"<DeleteResult>{deleted}</DeleteResult>")
        if request.method == "GET":
            return self._list(*(request.query.get(name, "") for name in ("prefix", "delimiter", "start-after")))
        return web.Response(status=501)

    def _list(self, prefix: str, delimiter: str, after: str) -> web.Response:
        entries, folders = "", set()
        for key, (content, at) in sorted(self.objects.items()):
            if not key.startswith(prefix) or key <= after:
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                continue
            entries += (
                f"<Contents><Key>{escape(key)}</Key><LastModified>{at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
                f"<ETag>{_etag(content)}</ETag><Size>{len(content)}</Size></Contents>"
            )
        common = "".join(
            f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(folders)
        )
        return _xml(f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}{common}</ListBucketResult>")

    async def _of_object(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        if not key:
            return await self._of_bucket(request)
        held = self.objects.get(key)
        if request.method == "PUT":
            content = await request.read()
            current = None if held is None else _etag(held[0])
            if "If-None-Match" in request.headers and held is not None:
                return _error(412, "PreconditionFailed")
            if request.headers.get("If-Match", current) != current:
                return _error(412, "PreconditionFailed")
            self.objects[key] = (content, datetime.now(UTC))
            return web.Response(headers={"ETag": _etag(content)})
        if request.method == "DELETE":
            self.objects.pop(key, None)
            return web.Response(status=204)
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=501)
        if held is None:
            return _error(404, "NoSuchKey")
        content, at = held
        headers = {"ETag": _etag(content), "Last-Modified": f"{at:%a, %d %b %Y %H:%M:%S} GMT"}
        if request.http_range.start is None and request.http_range.stop is None:
            return web.Response(body=content, headers=headers)
        whole = range(len(content))[request.http_range]
        headers["Content-Range"] = f"bytes {whole.start}-{whole.stop - 1}/{len(content)}"
        return web.Response(status=206, body=content[whole.start : whole.stop], headers=headers)


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _xml(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/xml")


def _error(status: int, code: str) -> web.Response:
    return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>", content_type="application/xml")
