"""Accounts, sessions, tokens and limits on a real broker and Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from calibration.ledger.topic import publish, read_latest
from calibration.settings import KafkaSettings
from review.access.account import Account
from review.access.accounts import AccountBook, new_generation
from review.access.limiting import Limiter
from review.access.passwords import Passwords
from review.access.refusals import (
    AccountChangedError,
    AccountExistsError,
    LastAdminError,
    NoSuchAccountError,
    RateLimitedError,
    TokenError,
)
from review.access.roles import Role
from review.access.sessions import Sessions, csrf_matches, csrf_token
from review.access.settings import AccessSettings
from review.access.store import Store
from review.access.tokens import Tokens
from review.durable import DurableWriter
from review.settings import ValkeySettings
from tests.review.tasks import until

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
QUICK = AccessSettings(password_time_cost=1, password_memory_kib=8, password_lanes=1, login_limits="2/minute;5/hour")


def account(name: str, *roles: Role, **changes: Any) -> Account:
    fields = {"generation": new_generation(), "created_at": NOW, "changed_at": NOW, "changed_by": "test"}
    return Account(name=name, roles=frozenset(roles), **fields | changes)


@pytest.fixture
async def books(kafka_settings: KafkaSettings) -> AsyncIterator[Callable[[], Any]]:
    from worker.stream.topics import ensure_topics  # not before the client's own warnings are filtered

    ensure_topics(kafka_settings, partitions=1)
    writer = DurableWriter(kafka_settings, 10.0)

    @asynccontextmanager
    async def book() -> AsyncIterator[AccountBook]:
        book = AccountBook(kafka_settings, writer)
        await book.start()
        try:
            yield book
        finally:
            await book.close()

    yield book
    writer.close()


@pytest.fixture
async def store(valkey_settings: ValkeySettings) -> AsyncIterator[Store]:
    store = Store(valkey_settings)
    yield store
    await store.close()


async def test_one_book_follows_another(books: Any, kafka_settings: KafkaSettings) -> None:
    async with books() as one, books() as other:
        before = await one.add(account("ada", Role.MODERATOR))

        async def known() -> bool:
            return other.get("ada") is not None

        await until(known)
        for taken in ("ada", "ADA"):
            with pytest.raises(AccountExistsError):
                await one.add(account(taken))
        changed = await one.change("ada", "root", lambda known: known.model_copy(update={"roles": frozenset()}))
        assert (changed.revision, changed.changed_by) == (2, "root")
        assert changed.generation != before.generation  # sessions of before are over
        with pytest.raises(AccountChangedError):
            await one.change("ada", "root", lambda known: known, revision=1)
        await one.delete("ada")

        async def gone() -> bool:
            return other.get("ada") is None

        await until(gone)
        with pytest.raises(NoSuchAccountError):
            await other.change("ada", "root", lambda known: known)
    assert read_latest(kafka_settings, "accounts") == {}


async def test_the_last_admin_stays(books: Any) -> None:
    async with books() as book:
        await book.add(account("root", Role.ADMIN, password_hash="x"))
        await book.add(account("locked out", Role.ADMIN))
        changes: tuple[dict[str, Any], ...] = ({"roles": frozenset()}, {"disabled": True}, {"password_hash": None})
        for change in changes:
            with pytest.raises(LastAdminError):
                await book.change("root", "root", lambda known, change=change: known.model_copy(update=change))
        with pytest.raises(LastAdminError):
            await book.delete("root")
        await book.add(account("second", Role.ADMIN, password_hash="x"))
        await book.delete("root")


async def test_who_cannot_be_read_is_not_let_in(books: Any, kafka_settings: KafkaSettings) -> None:
    async with books() as book:
        await book.add(account("ada", Role.MODERATOR))
        publish(kafka_settings, "accounts", "ada", b'{"name": "ada", "roles": ["king"]}')

        async def gone() -> bool:
            return book.get("ada") is None

        await until(gone)


async def test_passwords(books: Any) -> None:
    passwords = Passwords(QUICK)
    kept = await passwords.hash("ada", "tide comes in twice")
    assert kept.startswith("$argon2id$")
    assert await passwords.verify(kept, "tide comes in twice")
    assert not await passwords.verify(kept, "tide comes in thrice")
    assert not await passwords.verify(None, "tide comes in twice")
    passwords.close()


async def test_sessions_end(store: Store) -> None:
    at = [NOW]
    sessions = Sessions(store, QUICK, clock=lambda: at[0])
    ada = account("ada")
    session_id, session = await sessions.begin(ada, "10.0.0.1")
    other_id, _ = await sessions.begin(ada, "10.0.0.2")
    found = await sessions.find(session_id)
    assert found == session
    assert found is not None
    assert found.generation == ada.generation
    assert await sessions.find("x" * 43) is None
    assert csrf_matches(session_id, csrf_token(session_id))
    assert not csrf_matches(session_id, csrf_token(other_id))
    assert await sessions.end_all("ada", but=session.handle) == 1
    assert await sessions.find(other_id) is None
    assert all(session_id.encode() not in key for key in await store.valkey.keys("*"))
    at[0] += timedelta(seconds=QUICK.session_longest_s)
    assert await sessions.find(session_id) is None


async def test_tokens(books: Any, store: Store) -> None:
    at = [NOW]
    async with books() as book:
        tokens = Tokens(store, book, QUICK, clock=lambda: at[0])
        await book.add(account("ada", Role.MODERATOR, Role.ANALYST))
        token, text = await tokens.create("ada", "export", [Role.ANALYST], NOW + timedelta(days=1), "root")
        assert await tokens.find(text) == (book.get("ada"), token)
        assert text.rpartition("_")[2] not in book.get("ada").model_dump_json()
        for wrong in (text[:-1] + ("a" if text[-1] != "a" else "b"), "tg_", "", text.replace("tg_", "gt_")):
            assert await tokens.find(wrong) is None
        for roles, days in (([Role.ADMIN], 1), ([], 1), ([Role.ANALYST], 5000), ([Role.ANALYST], -1)):
            with pytest.raises(TokenError):
                await tokens.create("ada", "more", roles, NOW + timedelta(days=days), "root")
        at[0] += timedelta(days=1)
        assert await tokens.find(text) is None
        at[0] = NOW
        await tokens.revoke("ada", token.token_id, "root")
        assert await tokens.find(text) is None


async def test_who_guesses_waits(store: Store) -> None:
    limiter = Limiter(store, QUICK)
    for _ in range(2):
        await limiter.attempt("ada", "10.0.0.1")
    with pytest.raises(RateLimitedError) as refused:
        await limiter.attempt("Ada", "10.0.0.1")
    assert 1 <= refused.value.retry_after_s <= 60
    await limiter.attempt("ada", "10.0.0.2")
    await limiter.succeeded("ada", "10.0.0.1")
    await limiter.attempt("ada", "10.0.0.1")
