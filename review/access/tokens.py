"""API tokens: `tg_<id>_<secret>`. The secret is shown once; kept is its SHA-256, on its owner's account.

A secret has 256 random bits, so a plain hash tells nothing of it. When a token was last used is in Valkey only.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from review.access.account import MAX_TOKENS, Account, ApiToken
from review.access.accounts import AccountBook
from review.access.refusals import NoSuchAccountError, TokenError
from review.access.roles import Role
from review.access.settings import AccessSettings
from review.access.store import Store, serving

_SHAPE = re.compile(r"tg_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.ASCII)


def _now() -> datetime:
    return datetime.now(UTC)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Tokens:
    """Makes, finds and revokes tokens."""

    def __init__(
        self, store: Store, book: AccountBook, settings: AccessSettings, clock: Callable[[], datetime] = _now
    ) -> None:
        self._store = store
        self._book = book
        self._longest = timedelta(days=settings.token_longest_days)
        self._clock = clock

    async def create(
        self, owner: str, name: str, roles: Collection[Role], expires_at: datetime, by: str
    ) -> tuple[ApiToken, str]:
        """A new token and its text, which nobody can show again.

        Args:
            roles: some of its owner's.

        Raises:
            TokenError: it would have roles that its owner has not, or expire too late, or be one too many.
            AccountError, AccessUnavailableError: as `AccountBook.change`.
        """
        now = self._clock()
        if not now < expires_at <= now + self._longest:
            raise TokenError(f"a token must expire within {self._longest.days} days: say when")
        token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        try:
            token = ApiToken(
                token_id=token_id,
                name=name,
                secret_sha256=_hash(secret),
                roles=frozenset(roles),
                created_at=now,
                created_by=by,
                expires_at=expires_at,
            )
        except ValidationError as error:
            raise TokenError("a token has a name of 1 to 128 characters, and known roles") from error

        def with_token(account: Account) -> Account:
            if foreign := sorted(token.roles - account.roles):
                raise TokenError(f"{owner} has not the role {', '.join(foreign)}, so no token of theirs can have it")
            if not token.roles:
                raise TokenError("a token without a role can do nothing: give it one of its owner's")
            valid = tuple(each for each in account.tokens if each.expires_at > now)
            if len(valid) >= MAX_TOKENS:
                raise TokenError(f"{owner} has {MAX_TOKENS} tokens: revoke one first")
            return account.model_copy(update={"tokens": (*valid, token)})

        await self._book.change(owner, by, with_token)
        return token, f"tg_{token_id}_{secret}"

    async def revoke(self, owner: str, token_id: str, by: str) -> ApiToken:
        """End a token at once.

        Raises:
            TokenError: they have none of that id.
            AccountError, AccessUnavailableError: as `AccountBook.change`.
        """
        revoked: list[ApiToken] = []

        def without(account: Account) -> Account:
            revoked[:] = [each for each in account.tokens if each.token_id == token_id]
            if not revoked:
                raise TokenError(f"{owner} has no token {token_id}")
            return account.model_copy(
                update={"tokens": tuple(each for each in account.tokens if each.token_id != token_id)}
            )

        await self._book.change(owner, by, without)
        with serving():
            await self._store.valkey.hdel(self._used, token_id)
        return revoked[0]

    async def listed(self, owner: str) -> list[tuple[ApiToken, datetime | None]]:
        """Somebody's tokens, and when each was last used, where that is known.

        Raises:
            NoSuchAccountError: nobody has that name.
        """
        account = self._book.get(owner)
        if account is None:
            raise NoSuchAccountError(f"{owner}: there is no such account: `tidegate review users list`")
        if not account.tokens:
            return []
        with serving():
            used = await self._store.valkey.hmget(self._used, [each.token_id for each in account.tokens])
        at = [None if each is None else datetime.fromtimestamp(float(each), UTC) for each in used]
        return list(zip(account.tokens, at, strict=True))

    async def find(self, text: str) -> tuple[Account, ApiToken] | None:
        """The token of this text and its owner; None where there is none, or it has ended."""
        shape = _SHAPE.fullmatch(text)
        if shape is None:
            return None
        token_id, secret = shape.groups()
        account = self._book.of_token(token_id)
        found = [each for each in account.tokens if each.token_id == token_id] if account is not None else []
        kept = found[0].secret_sha256 if found else _hash("")  # no text has an empty secret
        if not hmac.compare_digest(kept, _hash(secret)):
            return None
        assert account is not None
        now = self._clock()
        if account.disabled or found[0].expires_at <= now:
            return None
        with serving():
            await self._store.valkey.hset(self._used, token_id, str(now.timestamp()))
        return account, found[0]

    @property
    def _used(self) -> str:
        return self._store.key("token-used")
