"""The door as HTTP knows it: cookies, CSRF, bearer tokens, permissions, and the audit log behind every answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from review.access.door import Door, Visitor
from review.access.refusals import ForbiddenError, SignInError
from review.access.roles import Permission
from review.access.sessions import CSRF_HEADER, cookie_name, csrf_matches

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_UNLOGGED: Final = "unlogged"


def door_of(request: Request) -> Door:
    """The door of the app that a request has reached."""
    door = request.app.state.door
    assert isinstance(door, Door)
    return door


def address_of(request: Request) -> str:
    """Where a request comes from; behind a proxy that is trusted, what it says."""
    return request.client.host if request.client is not None else "unknown"


async def visitor_of(request: Request) -> Visitor | None:
    """Who asks, once for each request; None where nobody is signed in.

    Raises:
        SignInError: the API token lets nobody in. ForbiddenError: the session's CSRF token is missing.
        RateLimitedError, AccessUnavailableError: see there.
    """
    known = getattr(request.state, "visitor", None)
    if known is not None:
        assert isinstance(known, Visitor)
        return known
    door = door_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    visitor: Visitor | None = None
    if scheme.lower() == "bearer":
        visitor = await door.by_token(token.strip(), address_of(request))
    elif (session_id := request.cookies.get(cookie_name(door.settings))) is not None:
        visitor = await door.by_session(session_id, address_of(request))
        if visitor is not None and request.method not in _SAFE:
            given = request.headers.get(CSRF_HEADER)
            if given is None and request.headers.get("content-type", "").startswith("application/x-www-form"):
                given = str((await request.form()).get("csrf_token", ""))
            if not csrf_matches(session_id, given):
                raise ForbiddenError("this page is not the one you signed in with: reload it and try again")
    request.state.visitor = visitor
    return visitor


def require_same_origin(request: Request) -> None:
    """Of a form that is sent before there is a session.

    Raises:
        ForbiddenError: another site sends it.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ForbiddenError("this form was sent by another site")


def require(permission: Permission, *, logged: bool = True) -> Callable[[Request], Awaitable[Visitor]]:
    """A dependency: the visitor, who may do this.

    Args:
        logged: whether the audit log says that they did. Not of what pages ask for by themselves every few seconds.
    """

    async def allowed(request: Request) -> Visitor:
        visitor = await visitor_of(request)
        if visitor is None:
            raise SignInError("sign in first")
        request.state.action = permission.value if logged else _UNLOGGED
        visitor.require(permission)
        return visitor

    allowed.permission = permission  # type: ignore[attr-defined]  # for the test that goes through all routes
    return allowed


async def signed_in(request: Request) -> Visitor:
    """A dependency: the visitor, whatever they may do. What they do is not logged.

    Raises:
        SignInError: nobody is signed in.
    """
    visitor = await visitor_of(request)
    if visitor is None:
        raise SignInError("sign in first")
    request.state.action = _UNLOGGED
    return visitor


class LoggedRoute(APIRoute):
    """An answer leaves when the audit log has it: what cannot be logged is not shown."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls."""
        handle = super().get_route_handler()

        async def logged(request: Request) -> Response:
            try:
                response = await handle(request)
            except ForbiddenError as error:
                await _log(request, refused=str(error))
                raise
            await _log(request)
            return response

        return logged


async def _log(request: Request, *, refused: str = "") -> None:
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    action: str = getattr(request.state, "action", _UNLOGGED)
    if visitor is not None and (action != _UNLOGGED):
        await door_of(request).log.write(visitor.entry(action, refused=refused))
