"""Single sign-on by OpenID Connect, with Authlib: code flow with PKCE, state and nonce.

What a sign-in needs until the provider sends somebody back is kept in Valkey under a cookie of its own.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from httpx import HTTPError
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from review.access.account import Account, OidcIdentity
from review.access.accounts import AccountBook, new_generation
from review.access.refusals import AccountError, SignInError
from review.access.roles import Role
from review.access.sessions import cookie_attributes, cookie_name
from review.access.settings import AccessSettings, OidcSettings
from review.access.store import Store, serving

log = structlog.get_logger()

_UNDER_WAY_S = 600


class SingleSignOn:
    """The provider, and what it says of people."""

    def __init__(self, settings: OidcSettings, access: AccessSettings, store: Store, book: AccountBook) -> None:
        self._settings = settings
        self._access = access
        self._store = store
        self._book = book
        self._cookie = cookie_name(access, "tidegate-sign-on")
        secret = settings.client_secret
        self._provider = OAuth().register(
            "provider",
            client_id=settings.client_id,
            client_secret=None if secret is None else secret.get_secret_value(),
            server_metadata_url=settings.issuer.rstrip("/") + "/.well-known/openid-configuration",
            client_kwargs={"scope": settings.scopes, "code_challenge_method": "S256", "timeout": 10.0},
        )

    async def begin(self, request: Request) -> Response:
        """Send somebody to the provider.

        Raises:
            SignInError: it does not answer. AccessUnavailableError: Valkey does not serve.
        """
        request.scope["session"] = {}
        try:
            response: Response = await self._provider.authorize_redirect(request, self._settings.redirect_url)
        except (AuthlibBaseError, HTTPError, ValueError) as error:
            log.warning("sign-on provider away", issuer=self._settings.issuer, error=repr(error))
            raise SignInError("the sign-on provider does not answer: try again, or sign in with a password") from error
        handle = secrets.token_urlsafe(32)
        with serving():
            await self._store.valkey.set(
                self._store.key("sign-on", handle), json.dumps(request.session), ex=_UNDER_WAY_S
            )
        response.set_cookie(self._cookie, handle, max_age=_UNDER_WAY_S, **cookie_attributes(self._access))
        return response

    async def finish(self, request: Request) -> Account:
        """Whom the provider has sent back.

        Raises:
            SignInError: nobody, or somebody who has no account here. AccountError, AccessUnavailableError: see there.
        """
        handle = request.cookies.get(self._cookie, "")
        with serving():
            kept = await self._store.valkey.getdel(self._store.key("sign-on", handle)) if handle else None
        if kept is None:
            raise SignInError("this sign-in was not begun here, or took too long: begin again")
        request.scope["session"] = json.loads(kept)
        try:
            token: dict[str, Any] = await self._provider.authorize_access_token(request)
        except (AuthlibBaseError, JoseError, HTTPError, ValueError) as error:
            log.warning("sign-on refused", issuer=self._settings.issuer, error=repr(error))
            raise SignInError("the sign-on provider did not say who you are: begin again") from error
        claims = token.get("userinfo")
        if not claims or not claims.get("sub"):
            raise SignInError("the sign-on provider did not say who you are: begin again")
        return await self._account(dict(claims))

    async def _account(self, claims: dict[str, Any]) -> Account:
        identity = OidcIdentity(issuer=self._settings.issuer, subject=str(claims["sub"]))
        account = self._book.of_identity(identity)
        roles = self._roles(claims)
        if account is None:
            return await self._new(identity, claims, roles or frozenset())
        if account.disabled:
            raise SignInError("your account is disabled: ask an admin")
        if roles is not None and roles != account.roles:
            account = await self._book.change(
                account.name, "sign-on", lambda known: known.model_copy(update={"roles": roles})
            )
        return account

    async def _new(self, identity: OidcIdentity, claims: dict[str, Any], roles: frozenset[Role]) -> Account:
        name = str(claims.get(self._settings.name_claim, ""))
        if not self._settings.create_accounts:
            raise SignInError(f"the provider knows you as {name or identity.subject}, and nobody here is: ask an admin")
        now = self._book.now()
        try:
            account = Account(
                name=name,
                display_name=str(claims.get("name", ""))[:128],
                roles=roles,
                oidc_subject=identity,
                generation=new_generation(),
                created_at=now,
                changed_at=now,
                changed_by="sign-on",
            )
        except ValueError as error:
            raise SignInError(
                f"the provider's claim {self._settings.name_claim} is no name that can be used"
            ) from error
        try:
            return await self._book.add(account)
        except AccountError as error:  # never taken over: who has the name may be somebody else
            raise SignInError(f"{error}. An admin can connect it with your identity") from error

    def _roles(self, claims: dict[str, Any]) -> frozenset[Role] | None:
        """The roles that the provider gives; None where it has no say in them."""
        if not self._settings.roles_claim:
            return None
        said = claims.get(self._settings.roles_claim, [])
        words = [said] if isinstance(said, str) else said
        return frozenset(self._settings.role_mapping[word] for word in words if word in self._settings.role_mapping)
