"""Accounts, the audit log, deletion of people's data, golden items, and how the parts are."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from calibration.ledger.topic import publish
from review.access.account import Account, UserName
from review.access.accounts import new_generation
from review.access.audit_log import AuditEntry
from review.access.door import Visitor
from review.access.roles import Permission, Role
from review.access.web import LoggedRoute, require
from review.analysis.refusals import NothingThereError
from review.api.account import NewToken, TokenRequest, TokenView, token_fields
from review.api.parts import AtDoor, AtHand
from review.api.requests import AskedEvent, Request
from review.erasure import ErasureReceipt, erase_person
from review.golden import GoldenItem, read_items, write_items
from review.task import EventId

router = APIRouter(tags=["administration"], route_class=LoggedRoute)
_Admin = Annotated[Visitor, Depends(require(Permission.MANAGE_USERS))]
_Name = Annotated[str, Query(min_length=1, max_length=128)]


class NewAccount(Request):
    """Somebody who is to get in."""

    name: UserName
    display_name: Annotated[str, Field(max_length=128)] = ""
    roles: frozenset[Role]
    password: Annotated[str, Field(max_length=1024)] | None = None
    """None: by single sign-on only, or until one is set."""


class AccountChange(Request):
    """What is to be another one; what is absent stays."""

    name: UserName
    revision: Annotated[int, Field(ge=1)]
    """That the caller saw."""
    display_name: Annotated[str, Field(max_length=128)] | None = None
    roles: frozenset[Role] | None = None
    disabled: bool | None = None
    password: Annotated[str, Field(max_length=1024)] | None = None


class TokenForOther(TokenRequest):
    """An API token of somebody else's."""

    owner: UserName


class Erasure(Request):
    """Whose data is to be deleted."""

    kind: Literal["event", "uploader"]
    id: Annotated[str, Field(min_length=1, max_length=1024)]


class GoldenRequest(Request):
    """An event whose answer is known, to be put among the others now and then."""

    event_id: EventId
    label: Annotated[str, Field(max_length=128)] | None
    """None: "cannot tell" is right."""
    note: Annotated[str, Field(max_length=2000)] = ""


class SystemView(BaseModel):
    """How the parts are."""

    queue: dict[str, Any]
    difference: dict[str, Any] | None
    """Between the queue and the topics, when they were last compared."""
    compared_at: datetime | None
    compared_every_s: float
    """0: never."""


@router.get("/users")
async def users(who: _Admin, door: AtDoor) -> list[dict[str, Any]]:
    """All accounts; no hash of anything."""
    who.detail = "list"
    return [account.shown() for account in door.book.all()]


@router.post("/users", status_code=201)
async def add_user(wanted: NewAccount, who: _Admin, door: AtDoor) -> dict[str, Any]:
    """Add an account."""
    now = door.book.now()
    kept = None if wanted.password is None else await door.passwords.hash(wanted.name, wanted.password)
    account = Account(
        name=wanted.name,
        display_name=wanted.display_name,
        roles=wanted.roles,
        password_hash=kept,
        generation=new_generation(),
        created_at=now,
        changed_at=now,
        changed_by=who.name,
    )
    who.detail = f"add {wanted.name}: {', '.join(sorted(wanted.roles))}"
    return (await door.book.add(account)).shown()


@router.patch("/users")
async def change_user(wanted: AccountChange, who: _Admin, door: AtDoor) -> dict[str, Any]:
    """Change an account. Its sessions end where password, roles or disabling change."""
    given = wanted.model_dump(exclude={"name", "revision", "password"}, exclude_none=True)
    changes = {name: getattr(wanted, name) for name in given}
    if wanted.password is not None:
        changes["password_hash"] = await door.passwords.hash(wanted.name, wanted.password)
    who.detail = f"change {wanted.name}: {'; '.join(_said(wanted)) or 'nothing'}"
    changed = await door.book.change(
        wanted.name, who.name, lambda known: known.model_copy(update=changes), revision=wanted.revision
    )
    return changed.shown()


@router.delete("/users", status_code=204)
async def delete_user(name: _Name, who: _Admin, door: AtDoor) -> None:
    """Delete an account with its tokens and settings. Their verdicts and the audit log keep their name."""
    who.detail = f"delete {name}"
    await door.book.delete(name)
    await door.sessions.end_all(name)


@router.get("/users/tokens")
async def tokens_of(name: _Name, who: _Admin, door: AtDoor) -> list[TokenView]:
    """Somebody's API tokens."""
    who.detail = f"tokens of {name}"
    return [TokenView(**token_fields(token), last_used_at=used) for token, used in await door.tokens.listed(name)]


@router.post("/users/tokens", status_code=201)
async def issue_token(
    wanted: TokenForOther,
    door: AtDoor,
    who: Annotated[Visitor, Depends(require(Permission.ISSUE_TOKENS_FOR_OTHERS))],
) -> NewToken:
    """An API token for somebody, as for a program without a console. Its text is shown this once."""
    until = datetime.now(UTC) + timedelta(days=wanted.days)
    token, text = await door.tokens.create(wanted.owner, wanted.name, wanted.roles, until, who.name)
    who.detail = f"{wanted.owner}: {token.token_id} {token.name}: {', '.join(sorted(token.roles))}"
    return NewToken(**token_fields(token), token=text)


@router.delete("/users/tokens", status_code=204)
async def revoke_token_of(
    name: _Name, token_id: Annotated[str, Query(max_length=64)], who: _Admin, door: AtDoor
) -> None:
    """End somebody's API token at once."""
    who.detail = f"revoke token {token_id} of {name}"
    await door.tokens.revoke(name, token_id, who.name)


@router.get("/audit-log")
async def audit_log(
    door: AtDoor,
    asker: Annotated[Visitor, Depends(require(Permission.SEE_AUDIT_LOG))],
    who: Annotated[str | None, Query(max_length=128)] = None,
    event_id: Annotated[EventId | None, Query()] = None,
    action: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 200,
) -> list[AuditEntry]:
    """Who saw and did what, the newest first, of the last 10,000; all of it is on the topic `audit-log`."""
    return await door.log.newest(limit, who=who, event_id=event_id, action=action)


@router.post("/erasures", status_code=201)
async def erase(
    wanted: Erasure, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.ERASE_PERSON))]
) -> ErasureReceipt:
    """Delete an event, or all events of an uploader, from queue, cache and ledger.

    The audit log says that there was a deletion, and not of whom.
    """
    who.detail = wanted.kind
    receipt = await erase_person(
        *(at.queue, at.valkey, at.kafka, at.ledger, wanted.kind, wanted.id), now=datetime.now(UTC)
    )
    at.images.forget()
    return receipt


@router.get("/golden")
async def golden(at: AtHand, who: Annotated[Visitor, Depends(require(Permission.MANAGE_GOLDEN))]) -> list[GoldenItem]:
    """All golden items."""
    return sorted((await asyncio.to_thread(read_items, at.kafka)).values(), key=lambda item: item.golden_id)


@router.post("/golden", status_code=201)
async def add_golden(
    wanted: GoldenRequest, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.MANAGE_GOLDEN))]
) -> GoldenItem:
    """Make a golden item of a decided event."""
    who.seen.append(wanted.event_id)
    task = await at.desk.task_of(wanted.event_id)
    item = GoldenItem(
        golden_id=wanted.event_id,
        image=task.image,
        taxonomy=task.taxonomy,
        labels=task.labels,
        label=wanted.label,
        note=wanted.note,
        author=who.name,
        added_at=datetime.now(UTC),
    )
    await asyncio.to_thread(write_items, at.kafka, [item])
    return item


@router.delete("/golden", status_code=204)
async def remove_golden(
    event_id: AskedEvent, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.MANAGE_GOLDEN))]
) -> None:
    """Remove a golden item. Tasks made of it that wait stay, and are still checks."""
    if event_id not in await asyncio.to_thread(read_items, at.kafka):
        raise NothingThereError(f"{event_id}: there is no such golden item")
    who.seen.append(event_id)
    await asyncio.to_thread(publish, at.kafka, "golden", event_id, None)


@router.get("/system")
async def system(
    at: AtHand, who: Annotated[Visitor, Depends(require(Permission.SEE_SYSTEM, logged=False))]
) -> SystemView:
    """How the parts are."""
    figures = await at.queue.figures()
    compared = at.upkeep.difference
    return SystemView(
        queue={"depth": figures.depth, "damaged": figures.damaged, "memory_ratio": figures.memory_ratio},
        difference=None if compared is None else {name: getattr(compared, name) for name in compared.__slots__},
        compared_at=at.upkeep.compared_at,
        compared_every_s=at.console.check_queue_every_s,
    )


def _said(wanted: AccountChange) -> list[str]:
    """What changes, for the audit log. What somebody is called and their password are not written down."""
    said = [] if wanted.roles is None else [f"roles {', '.join(sorted(wanted.roles)) or 'none'}"]
    if wanted.disabled is not None:
        said.append("disabled" if wanted.disabled else "enabled")
    if wanted.display_name is not None:
        said.append("display name")
    return said if wanted.password is None else [*said, "password"]
