"""Readings of identical images, kept in Valkey: what was read once under the same versions is not read again.

A convenience, never a duty: without Valkey every image is read, and nothing waits for long or fails.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import json
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Generic, TypeVar

import structlog
from pydantic import BaseModel, ValidationError
from redis.asyncio.client import Pipeline

from review.settings import ValkeySettings
from review.valkey import connect
from worker import telemetry
from worker.reading.taxonomy import Taxonomy

log = structlog.get_logger()

R = TypeVar("R", bound=BaseModel)

_PATIENCE_S = 1.0
"""For one round trip: a cache that is slower than this is worth nothing."""


def reading_key(
    content_sha256: str, model_version: str, prompt_version: str, decoder_version: str, taxonomy: Taxonomy
) -> str:
    """Names a reading by everything it depends on: the image's bytes, every version, the taxonomy as it is worded."""
    return f"{_scope(model_version, prompt_version, decoder_version, taxonomy)}:{content_sha256}"


@lru_cache(maxsize=256)
def _scope(model_version: str, prompt_version: str, decoder_version: str, taxonomy: Taxonomy) -> str:
    terms = [model_version, prompt_version, decoder_version, taxonomy.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(terms).encode()).hexdigest()[:24]


class ReadingCache(Generic[R]):
    """A cache of one contract `R`, shared by all workers. Used from one event loop.

    Args:
        valkey: where it is.
        ttl_s: how long a reading is kept, in seconds; 0 turns the cache off.
        contract: what is cached.

    Raises:
        ValueError: the address of the server is none.
    """

    def __init__(self, valkey: ValkeySettings, ttl_s: int, contract: type[R]) -> None:
        patience_s = min(_PATIENCE_S, valkey.timeout_s)
        self._commands = _Commands(valkey.model_copy(update={"timeout_s": patience_s}))
        self._prefix = f"{valkey.key_prefix}:reading:"
        self._ttl_s = ttl_s
        self._contract = contract
        self._flights: dict[str, asyncio.Future[R | None]] = {}

    async def close(self) -> None:
        """Finish what is under way and disconnect."""
        await self._commands.close()

    async def get(self, key: str) -> R | None:
        """The reading, or None where there is none, it is damaged, or Valkey does not answer."""
        try:
            value = await self._commands.run(lambda pipeline: pipeline.get(self._prefix + key))
        except _CacheAwayError:
            telemetry.CACHE.labels("error").inc()
            return None
        if value is not None:
            try:
                reading = self._contract.model_validate_json(value)
            except ValidationError as error:
                log.warning("damaged reading in the cache", key=self._prefix + key, problems=error.error_count())
            else:
                telemetry.CACHE.labels("hit").inc()
                return reading
        telemetry.CACHE.labels("miss").inc()
        return None

    async def put(self, key: str, reading: R) -> None:
        """Keep a reading, if Valkey answers."""
        value = reading.model_dump_json()
        try:
            await self._commands.run(lambda pipeline: pipeline.set(self._prefix + key, value, ex=self._ttl_s))
        except _CacheAwayError:
            telemetry.CACHE.labels("error").inc()

    async def get_or_compute(
        self, key: str, compute: Callable[[], Awaitable[R]], cacheable: Callable[[R], bool]
    ) -> tuple[R, bool]:
        """The reading, and whether it was made for another event.

        Of identical images that come at the same time one is computed and the others wait for it. If that one fails or
        is cancelled, one of the others computes in its place; if its reading is not `cacheable`, each computes its own.

        Raises:
            Exception: whatever `compute` raises.
        """
        if self._ttl_s == 0:
            return await compute(), False
        while (flight := self._flights.get(key)) is not None:
            await asyncio.wait((flight,))
            if not flight.cancelled():
                reading = flight.result()
                if reading is None:
                    return await compute(), False
                telemetry.CACHE.labels("shared").inc()
                return reading, True
        self._flights[key] = flight = asyncio.get_running_loop().create_future()
        try:
            reading = await self.get(key)
            if reading is not None:
                flight.set_result(reading)
                return reading, True
            reading = await compute()
            if cacheable(reading):
                flight.set_result(reading)
                await self.put(key, reading)
            else:
                flight.set_result(None)
            return reading, False
        finally:
            del self._flights[key]
            flight.cancel()


class _CacheAwayError(Exception):
    """Valkey did not answer, or refused."""


class _Commands:
    """Sends the commands of many tasks together: each round trip takes along all that came up during the last one.

    Measured: 0.1 ms of processor time for a command of its own, 0.03 ms for one of sixteen.
    """

    def __init__(self, settings: ValkeySettings) -> None:
        self._client = connect(settings)
        self._patience_s = settings.timeout_s
        self._waiting: list[tuple[Callable[[Pipeline], object], asyncio.Future[bytes | None]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._sender is not None:
            await self._sender
        await self._client.aclose()

    async def run(self, command: Callable[[Pipeline], object]) -> bytes | None:
        """Add a command to the next round trip and wait for its reply.

        Raises:
            _CacheAwayError: there was none.
        """
        reply: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, reply))
        if self._sender is None or self._sender.done():
            # In a context of its own: its log lines are not about the event that happened to come first.
            self._sender = asyncio.create_task(self._send(), context=contextvars.Context())
        return await reply

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                async with asyncio.timeout(self._patience_s):
                    replies = await self._round_trip([command for command, _ in batch])
            except Exception as error:  # whatever it is, nobody may be left waiting
                replies = [error] * len(batch)
            failures = [reply for reply in replies if isinstance(reply, Exception)]
            if failures:
                log.warning("reading cache unavailable", commands=len(failures), error=repr(failures[0]))
            for (_, future), reply in zip(batch, replies, strict=True):
                if future.done():  # its task was cancelled
                    continue
                if isinstance(reply, Exception):
                    future.set_exception(_CacheAwayError(str(reply)))
                else:
                    future.set_result(reply)

    async def _round_trip(self, commands: list[Callable[[Pipeline], object]]) -> list[bytes | Exception | None]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            command(pipeline)
        replies: list[bytes | Exception | None] = await pipeline.execute(raise_on_error=False)
        return replies
