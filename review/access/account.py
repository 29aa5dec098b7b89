"""What is kept of a person: the record of the compacted topic `accounts`, keyed by their name."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from calibration.contract import Contract, Versioned
from review.access.roles import Role

MAX_TOKENS = 50


def _name(text: str) -> str:
    if not text.isprintable() or text != text.strip() or text != unicodedata.normalize("NFC", text):
        raise ValueError("a name has 1 to 128 printable characters, composed (NFC), with no space at its ends")
    return text


UserName = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_name)]
"""Stable for ever: it is the `reviewer` of verdicts."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Preferences(Contract):
    """How somebody likes to work. Images are blurred and grey until they say otherwise."""

    theme: Literal["system", "light", "dark"] = "system"
    blur: bool = True
    grey: bool = True
    break_minutes: Annotated[int, Field(ge=0, le=480)] = 50
    """A break is proposed after so many minutes of work; 0: never."""
    submit_at_once: bool = False
    """A label's key gives the verdict, without a second key; it can be taken back."""


class ApiToken(Contract):
    """A key for programs that act as its owner. Of its secret only the hash is kept."""

    token_id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    name: Annotated[str, Field(min_length=1, max_length=128)]
    secret_sha256: Annotated[Sha256, Field(repr=False)]
    roles: frozenset[Role]
    """At most these; those that its owner has lost do not count."""
    created_at: AwareDatetime
    created_by: str
    expires_at: AwareDatetime


class OidcIdentity(Contract):
    """Somebody as an OpenID Connect provider knows them."""

    issuer: Annotated[str, Field(min_length=1, max_length=2048)]
    subject: Annotated[str, Field(min_length=1, max_length=255)]


class Account(Versioned):
    """A person. A record of the `accounts` topic, keyed by name; the last one counts."""

    name: UserName
    display_name: Annotated[str, Field(max_length=128)] = ""
    roles: frozenset[Role] = frozenset()
    password_hash: Annotated[str | None, Field(repr=False)] = None
    """argon2id, as PHC string; None: no password lets them in."""
    oidc_subject: OidcIdentity | None = None
    disabled: bool = False
    tokens: Annotated[tuple[ApiToken, ...], Field(max_length=MAX_TOKENS)] = ()
    preferences: Preferences = Preferences()
    generation: Annotated[str, Field(min_length=1, repr=False)]
    """Changes with password, roles, identity and disabling: a session of an earlier one is over."""
    revision: Annotated[int, Field(ge=1)] = 1
    """Counts the changes."""
    created_at: AwareDatetime
    changed_at: AwareDatetime
    changed_by: str

    @property
    def administers(self) -> bool:
        """Whether they can get in and manage accounts."""
        way_in = self.password_hash is not None or self.oidc_subject is not None
        return way_in and not self.disabled and Role.ADMIN in self.roles

    def shown(self) -> dict[str, Any]:
        """What an admin may see, as JSON values: no hash of anything."""
        hidden: dict[str, Any] = {"password_hash": True, "generation": True, "tokens": {"__all__": {"secret_sha256"}}}
        return self.model_dump(mode="json", exclude=hidden) | {"has_password": self.password_hash is not None}
