"""`tidegate review users`: who may use the console and the API.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from calibration.settings import KafkaSettings
from review.access.account import Account, OidcIdentity
from review.access.accounts import AccountBook, new_generation
from review.access.passwords import Passwords
from review.access.refusals import AccessError
from review.access.roles import Role
from review.access.settings import AccessSettings, OidcSettings
from review.access.store import Store
from review.access.tokens import Tokens
from review.durable import DurableWriter
from review.panel import plain
from review.settings import ValkeySettings
from review.terminal import failure, print_json, settings_of, user_name

app = typer.Typer(no_args_is_help=True)
_Answer = TypeVar("_Answer")

Name = Annotated[str, typer.Argument(metavar="NAME")]
Roles = Annotated[list[Role] | None, typer.Option("--role", help="may be repeated")]


@app.command()
def add(
    name: Name,
    role: Roles = None,
    display_name: Annotated[str, typer.Option(help="as others see them")] = "",
    password: Annotated[
        bool, typer.Option(help="give them a password; without it they sign on through the provider")
    ] = True,
    subject: Annotated[
        str | None, typer.Option(help="their id (sub) at the provider of single sign-on", metavar="SUB")
    ] = None,
) -> None:
    """Add an account. Its first password is made here and printed once."""
    text = secrets.token_urlsafe(15) if password else None
    issuer = settings_of(OidcSettings).issuer
    if subject is not None and not issuer:
        raise failure("TIDEGATE_ACCESS_OIDC_ISSUER is not set, so there is no provider who knows them", 2)

    async def adding(book: AccountBook) -> None:
        now = datetime.now(UTC)
        await book.add(
            Account(
                name=name,
                display_name=display_name,
                roles=frozenset(role or ()),
                password_hash=None if text is None else await _hash(name, text),
                oidc_subject=None if subject is None else OidcIdentity(issuer=issuer, subject=subject),
                generation=new_generation(),
                created_at=now,
                changed_at=now,
                changed_by=user_name(None),
            )
        )

    _with_book(adding)
    typer.echo(f"{name}: added, as {', '.join(sorted(role or ())) or 'nobody in particular: give a --role'}.")
    if text is not None:
        typer.echo(f"Password: {text}")


@app.command("list")
def list_users(as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False) -> None:
    """All accounts."""

    async def all_of(book: AccountBook) -> list[Account]:
        return book.all()

    accounts = _with_book(all_of)
    if as_json:
        print_json([account.shown() for account in accounts])
        return
    table = Table("name", "roles", "sign-in", "tokens", "changed", "by")
    for account in accounts:
        ways = [
            word for word, there in (("password", account.password_hash), ("sign-on", account.oidc_subject)) if there
        ]
        how = "disabled" if account.disabled else ", ".join(ways) or "none"
        when = f"{account.changed_at:%Y-%m-%d %H:%M}"
        row = (account.name, ", ".join(sorted(account.roles)), how, str(len(account.tokens)), when, account.changed_by)
        table.add_row(*map(plain, row))
    Console().print(table)


@app.command()
def roles(name: Name, role: Roles = None) -> None:
    """Give somebody these roles and no others. They are signed out everywhere."""
    _change(name, lambda account: account.model_copy(update={"roles": frozenset(role or ())}))
    typer.echo(f"{name}: {', '.join(sorted(role or ())) or 'no role'}.")


@app.command()
def password(name: Name) -> None:
    """Give somebody a new password, printed once. They are signed out everywhere."""
    text = secrets.token_urlsafe(15)
    kept = asyncio.run(_hash(name, text))
    _change(name, lambda account: account.model_copy(update={"password_hash": kept}))
    typer.echo(f"Password: {text}")


@app.command()
def disable(name: Name) -> None:
    """Let somebody in no more; their account stays."""
    _change(name, lambda account: account.model_copy(update={"disabled": True}))
    typer.echo(f"{name}: disabled.")


@app.command()
def enable(name: Name) -> None:
    """Let somebody in again."""
    _change(name, lambda account: account.model_copy(update={"disabled": False}))
    typer.echo(f"{name}: enabled.")


@app.command()
def remove(name: Name) -> None:
    """Delete an account. Verdicts and the audit log keep their name."""
    _with_book(lambda book: book.delete(name))
    typer.echo(f"{name}: removed.")


@app.command()
def token(
    name: Name,
    role: Roles = None,
    label: Annotated[str, typer.Option(help="what it is for")] = "from the command line",
    days: Annotated[int, typer.Option(min=1, help="until it ends")] = 90,
) -> None:
    """An API token for a program that acts as somebody, printed once: `Authorization: Bearer tg_...`."""

    async def creating(book: AccountBook) -> str:
        store = Store(settings_of(ValkeySettings))
        try:
            tokens = Tokens(store, book, settings_of(AccessSettings))
            until = datetime.now(UTC) + timedelta(days=days)
            return (await tokens.create(name, label, role or (), until, user_name(None)))[1]
        finally:
            await store.close()

    typer.echo(_with_book(creating))


def _change(name: str, edit: Callable[[Account], Account]) -> None:
    by = user_name(None)
    _with_book(lambda book: book.change(name, by, edit))


async def _hash(name: str, text: str) -> str:
    passwords = Passwords(settings_of(AccessSettings))
    try:
        return await passwords.hash(name, text)
    finally:
        passwords.close()


def _with_book(work: Callable[[AccountBook], Awaitable[_Answer]]) -> _Answer:
    """Do one thing with the accounts, and turn what goes wrong into a sentence and an exit code."""
    kafka, settings = settings_of(KafkaSettings), settings_of(AccessSettings)

    async def working() -> _Answer:
        writer = DurableWriter(kafka, settings.write_timeout_s)
        book = AccountBook(kafka, writer)
        try:
            await book.start()
            return await work(book)
        finally:
            await book.close()
            await asyncio.to_thread(writer.close)

    try:
        return asyncio.run(working())
    except ValidationError as error:
        wrong = "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
        raise failure(wrong, 2) from error
    except AccessError as error:
        raise failure(str(error), 1) from error
