"""The worker's HTTP port: /metrics for Prometheus, /live and /ready for the orchestrator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check: TypeAlias = Callable[[], list[str]]
"""Returns what is wrong, a sentence each; empty when all is well."""


class ProbeServer:
    """Serves the probes.

    live: the event loop answers, the stream polls, the engine is not dead, no partition is frozen for too long. Never
    Kafka or Valkey themselves: restarting a worker does not mend those. ready: the model is loaded and partitions are
    assigned.
    """

    def __init__(self, host: str, port: int, *, live: Check, ready: Check) -> None:
        self._host = host
        self._port = port
        app = web.Application()
        app.router.add_get("/metrics", _metrics)
        app.router.add_get("/live", _probe(live))
        app.router.add_get("/ready", _probe(ready))
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the port is taken.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _probe(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        problems = check()
        return web.json_response({"ok": not problems, "problems": problems}, status=503 if problems else 200)

    return answer
