"""A web server whose answers a test sets, host names that a test invents, and image sources that never pause."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from review.task import UrlReference
from worker.events import ImageSource
from worker.intake.refusal import ImageRefusedError
from worker.intake.source import ImageSources
from worker.settings import IntakeSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY = bytes(range(256)) * 10


@dataclass
class Site:
    """A web server on 127.0.0.1 and 127.0.0.2 whose answers a test sets."""

    port: int = 0
    handler: Handler | None = None
    requests: list[web.Request] = field(default_factory=list)
    reached_at: list[str] = field(default_factory=list)
    """The server's address in each request."""

    def url(self, path: str = "/image", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def answers(self, *answers: Callable[[], web.StreamResponse]) -> None:
        """One after the other; the last one for ever."""
        left = list(answers)

        async def answer(_: web.Request) -> web.StreamResponse:
            return (left.pop(0) if len(left) > 1 else left[0])()

        self.handler = answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        assert request.transport is not None
        self.reached_at.append(request.transport.get_extra_info("sockname")[0])
        assert self.handler is not None
        return await self.handler(request)


@asynccontextmanager
async def serving() -> AsyncIterator[Site]:
    """A running site that answers everything with `BODY`."""
    made = Site()
    made.answers(lambda: web.Response(body=BODY))
    application = web.Application()
    application.router.add_get("/{path:.*}", made.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as first:
        made.port = first.getsockname()[1]
        with socket.create_server(("127.0.0.2", made.port)) as second:
            for listener in (first, second):
                await web.SockSite(runner, listener).start()
            yield made
            await runner.cleanup()


class Names(AbstractResolver):
    """Host names with addresses that change from look-up to look-up."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = answers

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        answers = self._answers.get(host.removesuffix(".test"))
        if answers is None:
            raise OSError(None, f"no such host: {host}")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def sources(
    *, resolver: AbstractResolver | None = None, pauses: list[float] | None = None, **changes: object
) -> AsyncIterator[ImageSources]:
    """Without the address guard unless `allow_private_addresses` is false; pauses are noted instead of waited out."""
    noted: list[float] = [] if pauses is None else pauses

    async def sleep(seconds: float) -> None:
        noted.append(seconds)

    defaults = {"allowed_hosts": ["127.0.0.1", "localhost", "*.test"], "allow_private_addresses": True}
    made = ImageSources(
        IntakeSettings.model_validate(defaults | changes), resolver=resolver, jitter=random.Random(1), sleep=sleep
    )
    try:
        await made.start()
        yield made
    finally:
        await made.close()


async def refusal(opened: ImageSources, image: ImageSource | str) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as refused:
        await opened.fetch(UrlReference(url=image) if isinstance(image, str) else image)
    return refused.value
