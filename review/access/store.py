"""What this package keeps in Valkey, and what its absence is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from review.access.refusals import AccessUnavailableError
from review.settings import ValkeySettings
from review.valkey import connect


class Store:
    """One connection pool and the names of the keys. Connects at the first command."""

    def __init__(self, settings: ValkeySettings) -> None:
        """Raises ValueError: the address is none."""
        self.valkey: Any = connect(settings)  # its commands answer with unions of everything
        self._prefix = f"{{{settings.key_prefix}}}:access"

    def key(self, *parts: str) -> str:
        """The full name of a key."""
        return ":".join((self._prefix, *parts))

    async def close(self) -> None:
        """Disconnect."""
        await self.valkey.aclose()


@contextmanager
def serving() -> Iterator[None]:
    """Turn what redis-py raises into a sentence."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise AccessUnavailableError(f"nobody can be let in now, since Valkey does not serve: {error}") from error
