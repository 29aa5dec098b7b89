"""Roles, what the API can do, and which role may do it.

For whoever writes an API or a page: **a moderator sees nothing that unblinds.** A permission lets somebody ask; what a
blind task shows is decided by `review.blind.visible` for everybody who may claim, leads among them, whatever other
roles they have (`reviews`). Golden items are kept from moderators altogether; what those who manage them say of a
golden item is no measure of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Role(StrEnum):
    """What somebody is here for. A person may have several, or none, and then may do nothing."""

    MODERATOR = "moderator"
    LEAD = "lead"
    ANALYST = "analyst"
    ADMIN = "admin"


class Permission(StrEnum):
    """Everything that the API does."""

    CLAIM = "claim"
    DECIDE = "decide"
    SKIP = "skip"
    HOLD = "hold"
    RELEASE = "release"
    UNDO = "undo"
    SEE_TASK = "see_task"
    SEE_OVERVIEW = "see_overview"
    TRANSFER = "transfer"
    ESCALATE = "escalate"
    CLAIM_ESCALATED = "claim_escalated"
    ADJUDICATE = "adjudicate"
    FORCE_REVIEW = "force_review"
    UNDO_OTHERS = "undo_others"

    SEE_AGREEMENT = "see_agreement"
    MANAGE_GOLDEN = "manage_golden"

    SEE_FIGURES = "see_figures"
    WHAT_IF = "what_if"
    EXPORT = "export"
    PROPOSE_POLICY = "propose_policy"
    APPROVE_POLICY = "approve_policy"
    PROMOTE_GATE = "promote_gate"
    SHUT_GATE = "shut_gate"
    ROLL_BACK = "roll_back"

    MANAGE_USERS = "manage_users"
    ISSUE_TOKENS_FOR_OTHERS = "issue_tokens_for_others"
    SEE_AUDIT_LOG = "see_audit_log"
    ERASE_PERSON = "erase_person"
    SEE_SYSTEM = "see_system"


_TABLE = """
                          moderator  lead  analyst  admin

claim                     yes        yes   -        -
decide                    yes        yes   -        -
skip                      yes        yes   -        -
hold                      yes        yes   -        -
release                   yes        yes   -        -
undo                      yes        yes   -        -
see_task                  yes        yes   yes      -
see_overview              yes        yes   yes      yes
transfer                  yes        yes   -        -
escalate                  yes        yes   -        -
claim_escalated           -          yes   -        -
adjudicate                -          yes   -        -
force_review              -          yes   -        -
undo_others               -          yes   -        -

see_agreement             -          yes   yes      -
manage_golden             -          yes   yes      -

see_figures               -          yes   yes      -
what_if                   -          -     yes      -
export                    -          -     yes      -
propose_policy            -          -     yes      -
approve_policy            -          -     yes      yes
promote_gate              -          -     yes      -
shut_gate                 -          yes   yes      yes
roll_back                 -          -     yes      -

manage_users              -          -     -        yes
issue_tokens_for_others   -          -     -        yes
see_audit_log             -          -     -        yes
erase_person              -          -     -        yes
see_system                -          -     -        yes
"""
"""Shutting a gate is open to many, since it only sends more to people; opening one is not."""


def _read(table: str) -> Mapping[Permission, frozenset[Role]]:
    heading, *rows = (line.split() for line in table.splitlines() if line.strip())
    roles = [Role(word) for word in heading]
    matrix = {
        Permission(name): frozenset(role for role, word in zip(roles, words, strict=True) if word == "yes")
        for name, *words in rows
    }
    if missing := set(Permission) - matrix.keys():
        raise ValueError(f"no line for {', '.join(sorted(missing))}")
    return MappingProxyType(matrix)


MATRIX: Final = _read(_TABLE)
"""Who may do what: the roles that have each permission."""


def allowed(roles: Collection[Role], permission: Permission) -> bool:
    """Whether somebody with these roles may do this."""
    return not MATRIX[permission].isdisjoint(roles)


def reviews(roles: Collection[Role]) -> bool:
    """Whether they may be asked for a verdict, so that a blind task is blind for them."""
    return allowed(roles, Permission.CLAIM)


def refusal(roles: Collection[Role], permission: Permission) -> str | None:
    """A sentence on why somebody with these roles may not do this; None where they may."""
    if allowed(roles, permission):
        return None
    having = " or ".join(sorted(MATRIX[permission]))
    mine = ", ".join(sorted(roles)) or "none"
    return f"this needs the role {having}, and your roles are: {mine}. An admin can give it to you"


def approval_refusal(roles: Collection[Role], approver: str, proposer: str) -> str | None:
    """A sentence on why this person may not approve that one's policy; None where they may.

    Two people stand behind a policy: who proposed it does not approve it, whatever their roles.
    """
    if (sentence := refusal(roles, Permission.APPROVE_POLICY)) is not None:
        return sentence
    if not proposer:
        return "nobody is named as the one who proposed this policy, so nobody can be the second: propose it anew"
    if approver.casefold() == proposer.casefold():
        return "you proposed this policy yourself: somebody else has to approve it"
    return None
