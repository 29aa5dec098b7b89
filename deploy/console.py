"""The API and the console on the settings of the environment, with the worker's guards around images."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
import uvicorn
from fastapi import FastAPI

from calibration.loop.settings import LoopSettings
from calibration.settings import KafkaSettings, LedgerSettings
from review.access.door import Door
from review.access.settings import AccessSettings, OidcSettings
from review.analysis.desk import Desk
from review.api.parts import Parts
from review.console.app import create_app
from review.queue import ReviewQueue
from review.settings import ConsoleSettings, ReviewSettings, ValkeySettings
from review.upkeep import Upkeep
from review.verdicts import VerdictWriter
from worker.intake.display import DisplayImages
from worker.settings import IntakeSettings

log = structlog.get_logger()


@asynccontextmanager
async def console_app(desk_kind: type[Desk] = Desk) -> AsyncIterator[FastAPI]:
    """The application on the settings of the environment, started; everything is closed at the end.

    Args:
        desk_kind: what answers analysts.

    Raises:
        AccessUnavailableError: the accounts cannot be read. IntakeError: images cannot be shown.
        ValueError: a setting is wrong.
    """
    kafka, valkey, ledger, console = KafkaSettings(), ValkeySettings(), LedgerSettings(), ConsoleSettings()
    review, loop = ReviewSettings(), LoopSettings()
    door = Door(kafka, valkey, AccessSettings(), OidcSettings())
    queue = ReviewQueue(valkey, review)
    writer = VerdictWriter(kafka)
    images = DisplayImages(IntakeSettings(), kafka)
    desk = desk_kind(kafka, ledger, loop, console)
    upkeep = Upkeep(kafka, queue, console)
    parts = Parts(
        kafka=kafka,
        valkey=valkey,
        ledger=ledger,
        loop=loop,
        review=review,
        console=console,
        queue=queue,
        writer=writer,
        images=images,
        desk=desk,
        upkeep=upkeep,
    )
    try:
        await images.start()
        await door.start()
        upkeep.start()
        yield create_app(parts, door)
    finally:
        await upkeep.close()
        await desk.close()
        await images.close()
        await queue.close()
        await asyncio.to_thread(writer.close)
        await door.close()


async def serve(started: Callable[[uvicorn.Server], None] = lambda _: None, desk_kind: type[Desk] = Desk) -> None:
    """Until the process is asked to stop. Raises as `console_app`.

    Args:
        started: is given the server before it listens: `should_exit` ends it.
        desk_kind: what answers analysts.
    """
    settings = ConsoleSettings()
    async with console_app(desk_kind) as app:
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=settings.trusted_proxies or None,
                server_header=False,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=10,
                lifespan="off",
            )
        )
        started(server)
        log.info("console", address=f"http://{settings.host}:{settings.port}")
        await server.serve()
