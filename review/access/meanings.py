"""What each permission lets somebody do, in a sentence for people who give roles or have them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from review.access.roles import Permission

_GROUPS: Final = {
    "Review": {
        Permission.CLAIM: "claim tasks, and see their images",
        Permission.DECIDE: "give verdicts on tasks that they hold",
        Permission.SKIP: "skip a task for good",
        Permission.HOLD: "put a task aside for a while",
        Permission.RELEASE: "give a task back undecided",
        Permission.UNDO: "take their own verdict back",
        Permission.SEE_TASK: "look at a task that they do not hold",
        Permission.SEE_OVERVIEW: "see how full the queue is, and who holds what",
        Permission.TRANSFER: "hand a task to a colleague",
        Permission.ESCALATE: "hand a task to a lead",
        Permission.CLAIM_ESCALATED: "claim what was escalated",
        Permission.ADJUDICATE: "settle tasks that were answered differently",
        Permission.FORCE_REVIEW: "have any event reviewed, before all others",
        Permission.UNDO_OTHERS: "take verdicts of others back",
    },
    "Reviewers": {
        Permission.SEE_AGREEMENT: "see how far reviewers agree",
        Permission.MANAGE_GOLDEN: "choose tasks whose answer is known, as checks",
    },
    "Figures and gates": {
        Permission.SEE_FIGURES: "see figures, gates and single events",
        Permission.WHAT_IF: "try other policies on what has happened",
        Permission.EXPORT: "export rows of the ledger",
        Permission.PROPOSE_POLICY: "propose a policy",
        Permission.APPROVE_POLICY: "approve a policy that somebody else proposed",
        Permission.PROMOTE_GATE: "take a gate a step further",
        Permission.SHUT_GATE: "shut a gate, so that everything goes to people",
        Permission.ROLL_BACK: "go back to an earlier gate",
    },
    "Administration": {
        Permission.MANAGE_USERS: "add, change and delete accounts",
        Permission.ISSUE_TOKENS_FOR_OTHERS: "make API tokens for others",
        Permission.SEE_AUDIT_LOG: "see who saw and did what",
        Permission.ERASE_PERSON: "delete a person's data",
        Permission.SEE_SYSTEM: "see how the parts of the system are",
    },
}


def _by_permission() -> Mapping[Permission, tuple[str, str]]:
    meanings = {each: (group, meaning) for group, entries in _GROUPS.items() for each, meaning in entries.items()}
    if missing := set(Permission) - meanings.keys():
        raise ValueError(f"no sentence for {', '.join(sorted(missing))}")
    return MappingProxyType(meanings)


MEANINGS: Final = _by_permission()
"""Group and meaning of every permission, in the order in which people are shown them."""
