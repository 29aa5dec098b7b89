"""The accounts: the compacted topic `accounts`, followed into memory.

Every process that needs them follows the topic by itself, so that nobody waits for Kafka to be let in, an outage of it
lets in whom it let in before, and a change made elsewhere is known within a second. A change is written and
acknowledged before it counts. Of one name **the last record counts**; two admins who change the same account in the
same second in two processes are not told of each other.
"""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import Any

import structlog
from kafka.errors import KafkaError
from pydantic import ValidationError

from calibration.ledger.topic import Record, TopicGapError, TopicReader, identify
from calibration.settings import KafkaSettings
from review.access.account import Account, OidcIdentity
from review.access.refusals import (
    AccessUnavailableError,
    AccountChangedError,
    AccountExistsError,
    AccountNotWrittenError,
    LastAdminError,
    NoSuchAccountError,
)
from review.durable import DurableWriter

log = structlog.get_logger()

_POLL_MS = 200
_POLL_RECORDS = 1_000
_PAUSE_S = 2.0


class AccountBook:
    """All accounts. From one event loop."""

    def __init__(
        self, kafka: KafkaSettings, writer: DurableWriter, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._kafka = kafka
        self._writer = writer
        self._clock = clock
        self._taking = Lock()
        self._offsets: dict[str, int] = {}
        self._accounts: dict[str, Account] = {}
        self._owners: dict[str, str] = {}
        self._read_up = Event()
        self._why: BaseException | None = None
        self._stopping = Event()
        self._thread = Thread(target=self._follow, name="tidegate-accounts", daemon=True)
        self._changing = asyncio.Lock()

    def now(self) -> datetime:
        """The time."""
        return self._clock()

    async def start(self, patience_s: float = 30.0) -> None:
        """Begin to follow, and return when everything there is has been read.

        Raises:
            AccessUnavailableError: the topic could not be read in time.
        """
        self._thread.start()
        if not await asyncio.to_thread(self._read_up.wait, patience_s):
            why = self._why or f"{self._kafka.bootstrap_servers} does not answer"
            raise AccessUnavailableError(f"the accounts cannot be read from Kafka: {why}")

    async def close(self) -> None:
        """Stop following, after the change under way."""
        async with self._changing:
            self._stopping.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def get(self, name: str) -> Account | None:
        """An account; None where nobody has that name."""
        return self._accounts.get(name)

    def all(self) -> list[Account]:
        """Every account, by name."""
        return sorted(self._accounts.copy().values(), key=lambda account: account.name)

    def of_token(self, token_id: str) -> Account | None:
        """The account that has this token; None where none has."""
        return self._accounts.get(self._owners.get(token_id, ""))

    def of_identity(self, identity: OidcIdentity) -> Account | None:
        """The account of somebody whom a provider vouches for; None where none is."""
        return next((each for each in self.all() if each.oidc_subject == identity), None)

    async def add(self, account: Account) -> Account:
        """Add an account.

        Raises:
            AccountExistsError: somebody has this name, one that differs by case only, or this identity.
            AccountNotWrittenError: Kafka did not acknowledge it.
        """
        async with self._changing:
            if alike := [name for name in self._accounts if _folded(name) == _folded(account.name)]:
                raise AccountExistsError(f"{account.name}: there is the account {alike[0]!r} already")
            self._refuse_taken(account)
            await self._write(account.name, account)
        return account

    async def change(
        self,
        name: str,
        by: str,
        edit: Callable[[Account], Account],
        *,
        revision: int | None = None,
        keep_sessions: bool = False,
    ) -> Account:
        """Change an account, and return it. Sessions end where it matters: password, roles, identity, disabling.

        Args:
            by: who changes it.
            edit: makes the new account of the present one; what it raises is raised, and nothing has changed.
            revision: what the caller saw, where it matters.
            keep_sessions: the change gives no reason to end them, whatever it is.

        Raises:
            NoSuchAccountError, AccountChangedError: nothing has changed.
            LastAdminError: nobody else could manage accounts afterwards; nothing has changed.
            AccountNotWrittenError: Kafka did not acknowledge it.
        """
        async with self._changing:
            before = self._present(name)
            if revision is not None and before.revision != revision:
                raise AccountChangedError(f"{name}: {before.changed_by} has changed it since you read it: look again")
            edited = edit(before)
            kept = keep_sessions or _entitling(before) == _entitling(edited)
            fields = edited.model_dump() | {
                "name": before.name,
                "created_at": before.created_at,
                "revision": before.revision + 1,
                "generation": before.generation if kept else new_generation(),
                "changed_at": self._clock(),
                "changed_by": by,
            }
            after = Account.model_validate(fields)
            if before.administers and not after.administers:
                self._refuse_last(name)
            self._refuse_taken(after)
            await self._write(name, after)
        return after

    async def delete(self, name: str) -> None:
        """Delete an account with its tokens and preferences. What they did stays in the audit log under their name.

        Raises:
            As `change`.
        """
        async with self._changing:
            if self._present(name).administers:
                self._refuse_last(name)
            await self._write(name, None)

    def _present(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            raise NoSuchAccountError(f"{name}: there is no such account: `tidegate review users list`")
        return account

    def _refuse_last(self, name: str) -> None:
        if not any(each.administers for each in self.all() if each.name != name):
            raise LastAdminError(f"{name} is the last admin who can sign in: make somebody else one first")

    def _refuse_taken(self, account: Account) -> None:
        identity = account.oidc_subject
        if identity is not None and any(
            each.oidc_subject == identity for each in self.all() if each.name != account.name
        ):
            raise AccountExistsError(f"{account.name}: somebody else has this identity of the provider")

    async def _write(self, name: str, account: Account | None) -> None:
        document = None if account is None else account.model_dump_json().encode()
        try:
            offset = await asyncio.shield(self._writer.written("accounts", name, document))
        except (KafkaError, OSError) as error:
            raise AccountNotWrittenError(
                f"{name}: the change could not be written to the topic {self._kafka.topic('accounts')} ({error!r}). "
                "It may count or not: look at the account, and make it again"
            ) from error
        self._take(name, offset, account)

    def _follow(self) -> None:
        """Read the topic from its start, again and again where it breaks off; what is known already stays."""
        while not self._stopping.is_set():
            try:
                partitions = identify(self._kafka, "accounts").partitions
                with TopicReader(self._kafka, "accounts", partitions, {}, calm=True) as reader:
                    while not self._stopping.is_set():
                        for record in reader.poll(_POLL_MS, _POLL_RECORDS):
                            self._take_record(record)
                        if reader.read_up:
                            self._read_up.set()
            except TopicGapError as error:
                log.error("accounts topic made anew", error=str(error), note="what was known still counts")  # noqa: TRY400
                with self._taking:
                    self._offsets.clear()
            except (KafkaError, OSError) as error:
                self._why = error
                log.warning("accounts not followed", error=repr(error), again_in_s=_PAUSE_S)
            self._stopping.wait(_PAUSE_S)

    def _take_record(self, record: Record) -> None:
        name = (record.key or b"").decode(errors="replace")
        try:
            account = None if record.value is None else Account.model_validate_json(record.value)
            if account is not None and account.name != name:
                raise ValueError(f"it speaks of {account.name!r}")
        except ValidationError as error:
            places = sorted({".".join(map(str, each["loc"])) or "record" for each in error.errors(include_input=False)})
            log.error("account not readable", account=name, offset=record.offset, fields=places)  # noqa: TRY400
            account = None  # who cannot be read is not let in
        except ValueError as error:
            log.error("account not readable", account=name, offset=record.offset, error=str(error))  # noqa: TRY400
            account = None
        self._take(name, record.offset, account)

    def _take(self, name: str, offset: int, account: Account | None) -> None:
        """Take in a record, unless a later one of the same name is known: the topic may be read a second time."""
        with self._taking:
            if self._offsets.get(name, -1) >= offset:
                return
            self._offsets[name] = offset
            before = self._accounts.pop(name, None)
            for token in before.tokens if before is not None else ():
                self._owners.pop(token.token_id, None)
            if account is not None:
                self._accounts[name] = account
                self._owners |= {token.token_id: name for token in account.tokens}


def new_generation() -> str:
    """Another generation of sessions."""
    return secrets.token_hex(8)


def _entitling(account: Account) -> Iterable[Any]:
    return account.password_hash, account.roles, account.oidc_subject, account.disabled


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
