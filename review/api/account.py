"""Signing in and out, and what people change of their own account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi import Request as HttpRequest
from pydantic import BaseModel, Field

from review.access.account import ApiToken, Preferences
from review.access.door import Visitor
from review.access.meanings import MEANINGS
from review.access.refusals import AccountError, ForbiddenError, SignInError
from review.access.roles import MATRIX, Role
from review.access.sessions import cookie_attributes, cookie_name, csrf_token
from review.access.web import LoggedRoute, address_of, require_same_origin, signed_in
from review.api.parts import AtDoor
from review.api.requests import Request

router = APIRouter(tags=["account"], route_class=LoggedRoute)
_Me = Annotated[Visitor, Depends(signed_in)]


class SignInRequest(Request):
    """Name and password."""

    name: Annotated[str, Field(max_length=128)]
    password: Annotated[str, Field(max_length=1024)]


class PasswordRequest(Request):
    """The old and the new one."""

    old: Annotated[str, Field(max_length=1024)]
    new: Annotated[str, Field(max_length=1024)]


class TokenRequest(Request):
    """A new API token."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    roles: frozenset[Role]
    days: Annotated[int, Field(ge=1, le=3660)] = 90


class Me(BaseModel):
    """Who somebody is here, and what they may do."""

    name: str
    display_name: str
    roles: list[Role]
    permissions: list[str]
    has_password: bool
    """Whether there is one to change."""
    preferences: Preferences
    csrf_token: str | None
    """To be sent as the header X-CSRF-Token with everything but GET; None with an API token, which needs none."""


class PermissionView(BaseModel):
    """Something that can be done here, and who may."""

    permission: str
    group: str
    meaning: str
    roles: list[Role]


class TokenView(BaseModel):
    """An API token, without its secret."""

    token_id: str
    name: str
    roles: list[Role]
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None = None


class NewToken(TokenView):
    """The only time that its text is shown."""

    token: str


class SessionView(BaseModel):
    """Where somebody is signed in."""

    handle: str
    started_at: datetime
    ends_at: datetime
    address: str
    this_one: bool


@router.post("/sessions", status_code=201)
async def sign_in(wanted: SignInRequest, request: HttpRequest, response: Response, door: AtDoor) -> Me:
    """Sign in with a password: sets the session's cookie."""
    require_same_origin(request)
    session_id, _ = await door.sign_in(wanted.name, wanted.password, address_of(request))
    response.set_cookie(cookie_name(door.settings), session_id, **cookie_attributes(door.settings))
    visitor = await door.by_session(session_id, address_of(request))
    if visitor is None:
        raise SignInError("your account has changed in this moment: sign in again")
    return _me(visitor, csrf_token(session_id))


@router.get("/me")
async def me(request: HttpRequest, who: _Me, door: AtDoor) -> Me:
    """Who asks."""
    session_id = request.cookies.get(cookie_name(door.settings))
    return _me(who, None if who.session is None or session_id is None else csrf_token(session_id))


@router.get("/roles")
async def roles(who: _Me) -> list[PermissionView]:
    """What can be done here, and which roles may do it."""
    return [
        PermissionView(
            permission=permission.value,
            group=group,
            meaning=meaning,
            roles=[role for role in Role if role in MATRIX[permission]],
        )
        for permission, (group, meaning) in MEANINGS.items()
    ]


@router.put("/me/preferences")
async def prefer(wanted: Preferences, who: _Me, door: AtDoor) -> Preferences:
    """How the caller likes to work."""
    changed = await door.book.change(who.name, who.name, lambda known: known.model_copy(update={"preferences": wanted}))
    return changed.preferences


@router.post("/me/password", status_code=204)
async def change_password(wanted: PasswordRequest, who: _Me, door: AtDoor) -> None:
    """Change the caller's own password. They stay signed in here, and nowhere else."""
    own = _by_session(who)
    if who.account.password_hash is None:
        raise AccountError("you come in through single sign-on, and have no password here: an admin can give you one")
    await door.limiter.attempt(who.name, who.address)
    if not await door.passwords.verify(who.account.password_hash, wanted.old):
        raise AccountError("the old password is another one")
    await door.limiter.succeeded(who.name, who.address)
    kept = await door.passwords.hash(who.name, wanted.new)
    await door.sessions.end_all(who.name, but=own)
    await door.book.change(
        who.name, who.name, lambda known: known.model_copy(update={"password_hash": kept}), keep_sessions=True
    )
    await door.log.write(who.entry("change_password"))


@router.get("/me/sessions")
async def sessions(who: _Me, door: AtDoor) -> list[SessionView]:
    """Where the caller is signed in."""
    here = who.session.handle if who.session is not None else None
    return [
        SessionView(
            handle=each.handle,
            started_at=each.started_at,
            ends_at=each.ends_at,
            address=each.address,
            this_one=each.handle == here,
        )
        for each in await door.sessions.of(who.name)
        if each.generation == who.account.generation  # others let nobody in
    ]


@router.delete("/me/sessions", status_code=204)
async def end_sessions(who: _Me, door: AtDoor) -> None:
    """Sign the caller out everywhere else."""
    await door.sessions.end_all(who.name, but=_by_session(who))
    await door.log.write(who.entry("end_sessions"))


@router.get("/me/tokens")
async def tokens(who: _Me, door: AtDoor) -> list[TokenView]:
    """The caller's API tokens."""
    return [TokenView(**token_fields(token), last_used_at=used) for token, used in await door.tokens.listed(who.name)]


@router.post("/me/tokens", status_code=201)
async def create_token(wanted: TokenRequest, who: _Me, door: AtDoor) -> NewToken:
    """An API token for programs of the caller's. Its text is shown this once."""
    _by_session(who)
    until = datetime.now(UTC) + timedelta(days=wanted.days)
    token, text = await door.tokens.create(who.name, wanted.name, wanted.roles, until, who.name)
    who.detail = f"{token.token_id} {token.name}: {', '.join(sorted(token.roles))}"
    await door.log.write(who.entry("create_token"))
    return NewToken(**token_fields(token), token=text)


@router.delete("/me/tokens/{token_id}", status_code=204)
async def revoke_token(token_id: str, who: _Me, door: AtDoor) -> None:
    """End an API token of the caller's at once."""
    await door.tokens.revoke(who.name, token_id, who.name)
    who.detail = token_id
    await door.log.write(who.entry("revoke_token"))


def _me(who: Visitor, token: str | None) -> Me:
    return Me(
        name=who.name,
        display_name=who.account.display_name,
        roles=sorted(who.roles),
        permissions=sorted(permission.value for permission in MATRIX if who.may(permission)),
        has_password=who.account.password_hash is not None,
        preferences=who.account.preferences,
        csrf_token=token,
    )


def _by_session(who: Visitor) -> str:
    """The handle of the caller's session: an API token must not make others, or outlive a change of password.

    Raises:
        ForbiddenError: they came with a token.
    """
    if who.session is None:
        raise ForbiddenError("this is done in the console, not with an API token")
    return who.session.handle


def token_fields(token: ApiToken) -> dict[str, Any]:
    """What may be shown of a token."""
    return {
        "token_id": token.token_id,
        "name": token.name,
        "roles": sorted(token.roles),
        "created_at": token.created_at,
        "created_by": token.created_by,
        "expires_at": token.expires_at,
    }
