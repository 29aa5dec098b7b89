"""Sessions of the console: who is signed in is known to Valkey only, so a flush signs everybody out.

A session has a random id of 32 bytes, which is in the browser's cookie and nowhere else: its key is the id's SHA-256.
Its CSRF token is a MAC under that id, so a page of ours can be given it and nobody else can make it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import AwareDatetime

from calibration.contract import Contract
from review.access.account import Account
from review.access.settings import AccessSettings
from review.access.store import Store, serving

CSRF_HEADER: Final = "x-csrf-token"
_COOKIE: Final = "tidegate-session"


def cookie_name(settings: AccessSettings, base: str = _COOKIE) -> str:
    """A browser takes a `__Host-` cookie over https only, from this host only; http on the own machine cannot."""
    return f"__Host-{base}" if settings.secure_cookies else base


def cookie_attributes(settings: AccessSettings) -> dict[str, Any]:
    """Of every cookie that is set, as Starlette's `set_cookie` and `delete_cookie` take them."""
    return {"path": "/", "secure": settings.secure_cookies, "httponly": True, "samesite": "lax"}


class Session(Contract):
    """Somebody who is signed in."""

    handle: str
    """SHA-256 of the id, hexadecimal: tells sessions apart and lets nobody in."""
    name: str
    generation: str
    """Of the account, when they signed in."""
    started_at: AwareDatetime
    ends_at: AwareDatetime
    """At the latest."""
    address: str


def handle_of(session_id: str) -> str:
    """What may be kept and logged of a session id."""
    return hashlib.sha256(session_id.encode()).hexdigest()


def csrf_token(session_id: str) -> str:
    """What a page sends back with every unsafe request, in the header `X-CSRF-Token`."""
    return hmac.new(session_id.encode(), b"tidegate csrf", hashlib.sha256).hexdigest()


def csrf_matches(session_id: str, token: str | None) -> bool:
    """Whether a token is the session's, compared in constant time."""
    return hmac.compare_digest(csrf_token(session_id).encode(), (token or "").encode(errors="replace"))


def _now() -> datetime:
    return datetime.now(UTC)


class Sessions:
    """Begins, finds and ends sessions."""

    def __init__(self, store: Store, settings: AccessSettings, clock: Callable[[], datetime] = _now) -> None:
        self._store = store
        self._idle = timedelta(seconds=settings.session_idle_s)
        self._longest = timedelta(seconds=settings.session_longest_s)
        self._clock = clock

    async def begin(self, account: Account, address: str) -> tuple[str, Session]:
        """A new session and its id, which only the browser keeps."""
        session_id, now = secrets.token_urlsafe(32), self._clock()
        session = Session(
            handle=handle_of(session_id),
            name=account.name,
            generation=account.generation,
            started_at=now,
            ends_at=now + self._longest,
            address=address,
        )
        mine = self._of(account.name)
        with serving():
            async with self._store.valkey.pipeline(transaction=True) as pipeline:
                pipeline.set(self._key(session.handle), session.model_dump_json(), px=_ms(self._idle))
                pipeline.zremrangebyscore(mine, "-inf", now.timestamp())
                pipeline.zadd(mine, {session.handle: session.ends_at.timestamp()})
                pipeline.pexpire(mine, _ms(self._longest))
                await pipeline.execute()
        return session_id, session

    async def find(self, session_id: str) -> Session | None:
        """The session of an id, which is idle no more; None where it has ended or never was.

        Whether the account still lets it go on is for the caller to see: `Session.generation`.
        """
        handle = handle_of(session_id)
        with serving():
            document = await self._store.valkey.get(self._key(handle))
        if document is None:
            return None
        session = Session.model_validate_json(document)
        left = session.ends_at - self._clock()
        if left <= timedelta(0):
            await self.end(session)
            return None
        with serving():  # one that was ended meanwhile does not come back by this
            await self._store.valkey.pexpire(self._key(handle), _ms(min(self._idle, left)))
        return session

    async def of(self, name: str) -> list[Session]:
        """Where somebody is signed in, the oldest first."""
        with serving():
            handles = await self._store.valkey.zrange(self._of(name), 0, -1)
            documents = await self._store.valkey.mget([self._key(each.decode()) for each in handles]) if handles else []
        return [Session.model_validate_json(document) for document in documents if document is not None]

    async def end(self, session: Session) -> None:
        """Sign out there."""
        with serving():
            await self._store.valkey.delete(self._key(session.handle))
            await self._store.valkey.zrem(self._of(session.name), session.handle)

    async def end_all(self, name: str, *, but: str | None = None) -> int:
        """Sign somebody out everywhere, except in the session of this handle; how many sessions there were."""
        ended = [session for session in await self.of(name) if session.handle != but]
        for session in ended:
            await self.end(session)
        return len(ended)

    def _key(self, handle: str) -> str:
        return self._store.key("session", handle)

    def _of(self, name: str) -> str:
        return self._store.key("sessions", name)


def _ms(span: timedelta) -> int:
    return max(1, int(span.total_seconds() * 1000))
