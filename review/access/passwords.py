"""Passwords: argon2id, in threads of their own, two at once at most, since one takes 64 MiB and four lanes."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from review.access.refusals import WeakPasswordError
from review.access.settings import AccessSettings

log = structlog.get_logger()

SHORTEST = 12
LONGEST = 1024
_AT_ONCE = 2


class Passwords:
    """Hashes and verifies. From one event loop."""

    def __init__(self, settings: AccessSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.password_time_cost,
            memory_cost=settings.password_memory_kib,
            parallelism=settings.password_lanes,
        )
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="tidegate-passwords")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    async def hash(self, name: str, password: str) -> str:
        """The hash to keep of somebody's new password.

        Raises:
            WeakPasswordError: it is too short, too long, or their name.
        """
        if not SHORTEST <= len(password) <= LONGEST:
            raise WeakPasswordError(f"a password has {SHORTEST} to {LONGEST} characters")
        if _plain(password).casefold() == _plain(name).casefold():
            raise WeakPasswordError("a password must not be your name")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._hasher.hash, _plain(password))

    async def verify(self, kept: str | None, password: str) -> bool:
        """Whether a password is the one of which a hash was kept. Where none was (None) it takes as long."""
        if len(password) > LONGEST:
            return False  # nobody's, so this tells nothing
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._verify, kept, _plain(password))

    def outdated(self, kept: str) -> bool:
        """Whether this hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(kept)

    @cached_property
    def _nobodys(self) -> str:
        """What nobody's password is compared with."""
        return self._hasher.hash(secrets.token_urlsafe(32))

    def _verify(self, kept: str | None, password: str) -> bool:
        nobodys = self._nobodys  # made at the first password of anybody, known or not
        try:
            return self._hasher.verify(nobodys if kept is None else kept, password) and kept is not None
        except InvalidHashError:
            log.error("password hash not readable")  # noqa: TRY400 - nothing of it belongs in a log
            return False
        except VerificationError:
            return False


def _plain(text: str) -> str:
    """The same password, however a keyboard composes its characters."""
    return unicodedata.normalize("NFKC", text)
