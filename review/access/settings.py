"""Settings of access: how long people stay signed in, how often they may try, how passwords are hashed, and OIDC."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

import argon2
from limits import parse_many
from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from review.access.roles import Role

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def _limits(text: str) -> str:
    try:
        parse_many(text)
    except ValueError as error:
        raise ValueError('must be like "5/minute;20/hour"') from error
    return text


Limits = Annotated[str, AfterValidator(_limits)]


class AccessSettings(BaseSettings):
    """Who gets in, read from `TIDEGATE_ACCESS_*`."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_ACCESS_", frozen=True, extra="ignore")

    session_idle_s: float = Field(7200.0, gt=0, description="signed out after so long without a request")
    session_longest_s: float = Field(43_200.0, gt=0, description="signed out after so long, whatever happens")
    secure_cookies: bool = Field(
        True, description="cookies over https only; turn it off for http on your own machine, nowhere else"
    )
    login_limits: Limits = Field(
        "5/minute;10/15 minutes;30/day",
        description="attempts to sign in under one name from one address; the wait grows from limit to limit",
    )
    address_limits: Limits = Field(
        "30/minute;120/hour;500/day", description="attempts to sign in from one address, under all names"
    )
    api_limits: Limits = Field("1200/minute", description="requests with one API token")
    token_longest_days: int = Field(366, gt=0, description="an API token must expire within so many days")
    password_time_cost: int = Field(argon2.DEFAULT_TIME_COST, gt=0, description="argon2id: passes over its memory")
    password_memory_kib: int = Field(argon2.DEFAULT_MEMORY_COST, ge=8, description="argon2id: memory of one hash")
    password_lanes: int = Field(argon2.DEFAULT_PARALLELISM, gt=0, description="argon2id: parallel lanes")
    write_timeout_s: float = Field(10.0, gt=0, description="of connecting to Kafka, and of one acknowledgement")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.session_idle_s > self.session_longest_s:
            raise ValueError("session_idle_s must not be above session_longest_s")
        if self.password_memory_kib < 8 * self.password_lanes:
            raise ValueError("password_memory_kib must be at least 8 for each of the password_lanes")
        return self


class OidcSettings(BaseSettings):
    """An OpenID Connect provider that vouches for people, read from `TIDEGATE_ACCESS_OIDC_*`."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_ACCESS_OIDC_", frozen=True, extra="ignore")

    issuer: str = Field("", description="address of the provider, exactly as it names itself; empty: there is none")
    client_id: str = Field("", description="how the provider knows this application")
    client_secret: SecretStr | None = Field(None, description="what proves that it is this application")
    redirect_url: str = Field("", description="where the provider sends people back to, as registered with it")
    scopes: str = Field("openid profile email", description="what is asked of the provider; must contain openid")
    name_claim: str = Field("preferred_username", min_length=1, description="claim that names a new account")
    roles_claim: str = Field("", description="claim with groups or roles; empty: an admin gives roles here")
    role_mapping: dict[str, Role] = Field(
        default_factory=dict, description='JSON: a word of the roles claim to a role here, {"mods": "moderator"}'
    )
    create_accounts: bool = Field(False, description="whether somebody new gets an account at their first sign-in")

    @property
    def enabled(self) -> bool:
        """Whether there is a provider."""
        return bool(self.issuer)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.issuer:
            return self
        if missing := [name for name in ("client_id", "redirect_url") if not getattr(self, name)]:
            raise ValueError(f"an issuer needs {' and '.join(missing)}")
        for name in ("issuer", "redirect_url"):
            require_https(name, getattr(self, name))
        if "openid" not in self.scopes.split():
            raise ValueError("scopes must contain openid")
        if self.roles_claim and not self.role_mapping:
            raise ValueError("roles_claim needs a role_mapping")
        return self


def require_https(what: str, address: str) -> None:
    """Refuse an address that others on the way could read or change; http is for the own machine.

    Raises:
        ValueError: it is one.
    """
    parts = urlsplit(address)
    local = parts.scheme == "http" and parts.hostname in _LOCAL
    if not parts.hostname or not (parts.scheme == "https" or local):
        raise ValueError(f"{what} must be an https address, and is {address!r}")
