"""Why somebody does not get in or may not do something. Every message is a sentence for the person who asked."""

from __future__ import annotations


class AccessError(Exception):
    """Somebody does not get in or may not do something; the message says why."""


class AccessUnavailableError(AccessError):
    """Valkey or Kafka does not serve: nobody is let in and nothing is done until it does."""


class NotLoggedError(AccessUnavailableError):
    """What was done could not be written to the audit log, so its answer is withheld."""


class AccountNotWrittenError(AccessUnavailableError):
    """Kafka did not acknowledge a change of an account. It may count or not: look, and make it again."""


class AccountError(AccessError):
    """An account cannot be had or changed so."""


class NoSuchAccountError(AccountError):
    """Nobody has an account of that name."""


class AccountExistsError(AccountError):
    """Somebody has an account of that name already, or of one that looks like it."""


class AccountChangedError(AccountError):
    """The account is not any more what the caller saw."""


class LastAdminError(AccountError):
    """Nobody would be left who can manage accounts."""


class WeakPasswordError(AccountError):
    """A password that is not taken."""


class TokenError(AccountError):
    """A token cannot be made or found so."""


class SignInError(AccessError):
    """Somebody is not who they say, or cannot be let in. Never tells a stranger which names exist."""


class ForbiddenError(AccessError):
    """Somebody is known, and may not do this."""


class RateLimitedError(AccessError):
    """Somebody asked too often."""

    def __init__(self, sentence: str, retry_after_s: int) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s
