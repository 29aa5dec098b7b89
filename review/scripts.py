"""The Lua scripts of the queue, as Valkey runs them: their keys, their words, and what redis-py raises in sentences."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis.exceptions import OutOfMemoryError, RedisError

from review.lease import QueueError
from review.settings import ValkeySettings
from review.valkey import connect

_KEYS = (
    *("tasks", "state", "waiting", "leads", "leases", "reserved", "facets", "barred", "since", "decided", "undoable"),
    *("damaged", "counts", "counters", "pictures", "handles", "likeness"),
)
_LUA = Path(__file__).parent / "lua"


class QueueUnavailableError(QueueError):
    """Valkey cannot be reached or refuses to serve: try again. The operation may or may not have happened."""


class QueueFullError(QueueError):
    """Valkey is at its memory limit and takes no more tasks until moderators have decided some: try again."""


class Scripts:
    """The scripts of `lua/` and a connection to run them on. Connects at the first call."""

    def __init__(self, valkey: ValkeySettings) -> None:
        self._valkey = connect(valkey)
        self._keys = {name: f"{{{valkey.key_prefix}}}:review:{name}" for name in _KEYS}
        self._scripts = {
            path.stem: self._valkey.register_script(_source(path))
            for path in sorted(_LUA.glob("*.lua"))
            if path.stem != "queue"
        }

    async def close(self) -> None:
        """Disconnect."""
        await self._valkey.aclose()

    async def call(self, name: str, *arguments: str | int) -> Any:
        """Run one script; it does all or nothing.

        Raises:
            QueueUnavailableError, QueueFullError: Valkey does not serve.
        """
        with sentences():
            return await self._scripts[name](keys=list(self._keys.values()), args=arguments)

    async def scan(self, key: str, cursor: int, count: int) -> tuple[int, list[str]]:
        """About `count` members of a sorted set, and the cursor to go on with: 0 at the end."""
        with sentences():
            cursor, found = await self._valkey.zscan(self._keys[key], cursor, count=count)
        return cursor, [member.decode() for member, _ in found if isinstance(member, bytes)]

    async def values(self, key: str, count: int) -> AsyncIterator[bytes]:
        """All values of a hash; those that come or go meanwhile may be missed or repeated."""
        cursor = 0
        while True:
            with sentences():
                cursor, found = await self._valkey.hscan(self._keys[key], cursor, count=count)
            assert isinstance(found, dict)
            for value in found.values():
                assert isinstance(value, bytes)
                yield value
            if not cursor:
                return

    async def memory_ratio(self) -> float:
        """Share of Valkey's maxmemory that nothing frees by itself; 0 when that is unlimited.

        Where keys that expire give way (`volatile-*`), cached readings fill whatever is left, and only the queue's own
        keys count, by an estimate from 50 of their values each.
        """
        with sentences():
            memory = await self._valkey.info("memory")
            limit = memory["maxmemory"]
            if not limit:
                return 0.0
            used = memory["used_memory"]
            if memory["maxmemory_policy"].startswith("volatile-"):
                async with self._valkey.pipeline(transaction=False) as pipeline:
                    for key in self._keys.values():
                        pipeline.memory_usage(key, samples=50)
                    used = sum(size or 0 for size in await pipeline.execute())
        return float(used / limit)


@contextmanager
def sentences() -> Iterator[None]:
    """Turn what redis-py raises into this module's errors."""
    try:
        yield
    except OutOfMemoryError as error:
        raise QueueFullError(
            "Valkey is at its memory limit and takes no new review tasks: decide some, or raise its maxmemory"
        ) from error
    except (RedisError, OSError) as error:
        raise QueueUnavailableError(f"the review queue's Valkey does not serve: {error}") from error


def _source(path: Path) -> str:
    """A script with the shared words before it; its first line must stay the first."""
    first, rest = path.read_text().split("\n", 1)
    return f"{first}\n{(_LUA / 'queue.lua').read_text()}\n{rest}"
