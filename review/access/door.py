"""Who comes in: by password, by single sign-on, with a session's cookie or with an API token."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from calibration.settings import KafkaSettings
from review.access.account import Account
from review.access.accounts import AccountBook
from review.access.audit_log import AuditEntry, AuditLog
from review.access.limiting import Limiter
from review.access.passwords import Passwords
from review.access.refusals import ForbiddenError, SignInError
from review.access.roles import Permission, Role, allowed, refusal
from review.access.sessions import Session, Sessions
from review.access.settings import AccessSettings, OidcSettings
from review.access.sign_on import SingleSignOn
from review.access.store import Store
from review.access.tokens import Tokens
from review.durable import DurableWriter
from review.settings import ValkeySettings


@dataclass
class Visitor:
    """Somebody who was let in, for one request."""

    account: Account
    roles: frozenset[Role]
    """Those that count: a token may have fewer than its owner."""
    address: str
    session: Session | None = None
    """None: with a token."""
    token_id: str | None = None
    seen: list[str] = field(default_factory=list)
    """Event ids that the answer speaks of, for the audit log."""
    detail: str = ""

    @property
    def name(self) -> str:
        """Of the account."""
        return self.account.name

    def may(self, permission: Permission) -> bool:
        """Whether they may do this."""
        return allowed(self.roles, permission)

    def require(self, permission: Permission) -> None:
        """Raises ForbiddenError: they may not."""
        if (sentence := refusal(self.roles, permission)) is not None:
            raise ForbiddenError(sentence)

    def entry(self, action: str, *, refused: str = "") -> AuditEntry:
        """What the audit log is to say."""
        return AuditEntry(
            at=datetime.now(UTC),
            who=self.name,
            action=action,
            outcome="refused" if refused else "done",
            event_ids=tuple(self.seen),
            detail=(refused or self.detail)[:4000],
            address=self.address,
            token_id=self.token_id,
        )


class Door:
    """Everything that decides who is let in. From one event loop."""

    def __init__(
        self, kafka: KafkaSettings, valkey: ValkeySettings, settings: AccessSettings, oidc: OidcSettings
    ) -> None:
        """Raises ValueError: an address is none."""
        self.settings = settings
        self._store = Store(valkey)
        self._writer = DurableWriter(kafka, settings.write_timeout_s)
        self.book = AccountBook(kafka, self._writer)
        self.passwords = Passwords(settings)
        self.sessions = Sessions(self._store, settings)
        self.tokens = Tokens(self._store, self.book, settings)
        self.limiter = Limiter(self._store, settings)
        self.log = AuditLog(self._store, self._writer)
        self.sign_on = SingleSignOn(oidc, settings, self._store, self.book) if oidc.enabled else None

    async def start(self) -> None:
        """Read the accounts.

        Raises:
            AccessUnavailableError: they cannot be read.
        """
        await self.book.start()

    async def close(self) -> None:
        """Disconnect."""
        await self.book.close()
        self.passwords.close()
        self._writer.close()
        await self._store.close()

    async def sign_in(self, name: str, password: str, address: str) -> tuple[str, Session]:
        """A new session and its id, for who shows the password.

        Raises:
            SignInError: nobody is let in so. RateLimitedError: too many attempts.
            AccessUnavailableError: Kafka or Valkey does not serve.
        """
        await self.limiter.attempt(name, address)
        account = self.book.get(name)
        right = await self.passwords.verify(account.password_hash if account is not None else None, password)
        if account is None or not right or account.disabled:
            await self._log(name[:128], "sign_in", address, refused=True)
            raise SignInError("that name and password let nobody in")
        await self.limiter.succeeded(name, address)
        return await self.begin(account, address)

    async def begin(self, account: Account, address: str) -> tuple[str, Session]:
        """A new session for somebody who has shown who they are."""
        session_id, session = await self.sessions.begin(account, address)
        await self._log(account.name, "sign_in", address)
        return session_id, session

    async def sign_out(self, visitor: Visitor) -> None:
        """End a visitor's session."""
        if visitor.session is not None:
            await self.sessions.end(visitor.session)
        await self.log.write(visitor.entry("sign_out"))

    async def by_session(self, session_id: str, address: str) -> Visitor | None:
        """Who has this session; None where it has ended, or their account has changed since."""
        session = await self.sessions.find(session_id)
        if session is None:
            return None
        account = self.book.get(session.name)
        if account is None or account.disabled or account.generation != session.generation:
            await self.sessions.end(session)
            return None
        return Visitor(account, account.roles, address, session=session)

    async def by_token(self, text: str, address: str) -> Visitor:
        """Who has this API token.

        Raises:
            SignInError: nobody. RateLimitedError: too many requests with it, or wrong ones from this address.
        """
        found = await self.tokens.find(text)
        if found is None:
            await self.limiter.guess(address)
            raise SignInError("this API token lets nobody in: it is unknown, revoked or has ended")
        account, token = found
        await self.limiter.request(token.token_id)
        return Visitor(account, token.roles & account.roles, address, token_id=token.token_id)

    async def _log(self, who: str, action: str, address: str, *, refused: bool = False) -> None:
        await self.log.write(
            AuditEntry(
                at=datetime.now(UTC),
                who=who,
                action=action,
                outcome="refused" if refused else "done",
                address=address,
            )
        )
