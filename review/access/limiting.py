"""How often somebody may try: counted in Valkey by moving windows, so that all processes count together.

Several windows stand behind one another, as in "5/minute;10/15 minutes;30/day": who goes on guessing waits a minute
first, then a quarter of an hour, then until the next day. An attempt that is refused is not counted. Where Valkey does
not serve nothing can be counted, and then nobody is let in.
"""

from __future__ import annotations

import hashlib
import math
import time
from ipaddress import IPv6Address, ip_address

from limits import RateLimitItem, parse_many
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from review.access.refusals import RateLimitedError
from review.access.settings import AccessSettings
from review.access.store import Store, serving

_HOME_PREFIX = 64
"""Bits of an IPv6 address that one household or machine has to itself."""


class Limiter:
    """Counts attempts to sign in and requests with tokens."""

    def __init__(self, store: Store, settings: AccessSettings) -> None:
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=store.key("limits"),
            connection_pool=store.valkey.connection_pool,
        )
        self._limiter = MovingWindowRateLimiter(storage)
        self._login = parse_many(settings.login_limits)
        self._address = parse_many(settings.address_limits)
        self._api = parse_many(settings.api_limits)

    async def attempt(self, name: str, address: str) -> None:
        """Count an attempt to sign in, before anything is looked up.

        Raises:
            RateLimitedError: there were too many.
            AccessUnavailableError: it cannot be counted.
        """
        home = _home(address)
        await self._hit(self._address, "from this address", "address", home)
        await self._hit(self._login, "for this name", "login", _digest(name.casefold(), home))

    async def succeeded(self, name: str, address: str) -> None:
        """Somebody has shown who they are: their attempts under this name do not count any more."""
        with serving():
            for item in self._login:
                await self._limiter.clear(item, "login", _digest(name.casefold(), _home(address)))

    async def guess(self, address: str) -> None:
        """Count a wrong token or identity as an attempt from an address.

        Raises:
            As `attempt`.
        """
        await self._hit(self._address, "from this address", "address", _home(address))

    async def request(self, token_id: str) -> None:
        """Count a request with a token.

        Raises:
            As `attempt`.
        """
        await self._hit(self._api, "with this token", "api", token_id)

    async def _hit(self, items: list[RateLimitItem], whose: str, *identifiers: str) -> None:
        with serving():
            for item in sorted(items, key=lambda item: item.get_expiry(), reverse=True):
                if await self._limiter.hit(item, *identifiers):
                    continue
                stats = await self._limiter.get_window_stats(item, *identifiers)
                wait_s = max(1, math.ceil(stats.reset_time - time.time()))
                raise RateLimitedError(f"too many attempts {whose}: try again in {_span(wait_s)}", wait_s)


def _home(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return _digest(address)
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else f"{int(parsed) >> (128 - _HOME_PREFIX):x}"
    return str(parsed)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{math.ceil(seconds / 60)} min"
