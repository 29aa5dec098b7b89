"""The connection to Valkey or Redis (7 or later)."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from review.settings import ValkeySettings

_CONNECTIONS = 32


def connect(settings: ValkeySettings) -> Redis:
    """A client with a pool of its own; it connects at its first command. Close it with `aclose()`.

    Commands are never repeated behind the caller's back: after a lost answer only the caller knows whether doing it
    twice is harmless.

    Raises:
        ValueError: the address is none.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            settings.url,
            max_connections=_CONNECTIONS,
            timeout=settings.timeout_s,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise ValueError(f"TIDEGATE_VALKEY_URL is not the address of a server: {error}") from error
    return Redis.from_pool(pool)
