"""Policies on their way: proposed by one person, approved by a second where that is asked for, then published.

The compacted topic `proposals` has the newest proposal of each taxonomy, open or not.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import structlog
from pydantic import AwareDatetime, Field, ValidationError

from calibration.contract import Versioned
from calibration.ledger.topic import publish, read_latest
from calibration.policy import Policy
from calibration.settings import KafkaSettings
from review.analysis.refusals import AnalysisError, NothingThereError

log = structlog.get_logger()


class ProposalState(StrEnum):
    """What became of a proposal."""

    OPEN = "open"
    PUBLISHED = "published"
    REJECTED = "rejected"


class Proposal(Versioned):
    """A policy, who wants it and why."""

    proposal_id: Annotated[str, Field(min_length=1, max_length=64)]
    policy: Policy
    replaces: str
    """Id of the policy that was in force when it was proposed; "none" where there was none."""
    proposed_by: str
    reason: str
    proposed_at: AwareDatetime
    state: ProposalState = ProposalState.OPEN
    decided_by: str | None = None
    decided_at: AwareDatetime | None = None
    remark: str = ""


def read_proposals(kafka: KafkaSettings) -> dict[str, Proposal]:
    """The newest proposal of each taxonomy. Blocks.

    Raises:
        kafka.errors.KafkaError: they cannot be read.
    """
    found = {}
    for taxonomy, (offset, document) in read_latest(kafka, "proposals").items():
        try:
            found[taxonomy] = Proposal.model_validate_json(document)
        except ValidationError as error:
            log.error("proposal not readable", taxonomy=taxonomy, offset=offset, error=str(error)[:500])  # noqa: TRY400
    return found


def propose(
    kafka: KafkaSettings, policy: Policy, replaces: str, by: str, reason: str, now: datetime, *, needs_approval: bool
) -> Proposal:
    """Write a proposal, and where nobody else must approve it, the policy. Blocks.

    A new one takes the place of an open one. Repeating it is harmless.

    Raises:
        kafka.errors.KafkaError: it may be written or not.
    """
    given = f"{policy.model_dump_json(exclude={'policy_id', 'created_at'})} {now.isoformat()}"
    policy_id = f"p-{hashlib.sha256(given.encode()).hexdigest()[:12]}"
    named = policy.model_copy(update={"policy_id": policy_id, "created_at": now, "author": by, "note": reason})
    proposal = Proposal(
        proposal_id=f"proposal-{policy_id}",
        policy=named,
        replaces=replaces,
        proposed_by=by,
        reason=reason,
        proposed_at=now,
    )
    _write(kafka, proposal)
    return proposal if needs_approval else _published(kafka, proposal, by, now, "")


def decide(
    kafka: KafkaSettings,
    taxonomy: str,
    proposal_id: str,
    in_force: str,
    by: str,
    now: datetime,
    *,
    yes: bool,
    remark: str,
) -> Proposal:
    """Publish or reject an open proposal. Blocks. Whether this person may is for the caller to see.

    Args:
        in_force: id of the present policy; "none" where there is none.

    Raises:
        NothingThereError: it is not open any more. AnalysisError: it was made for another policy than the present one.
        kafka.errors.KafkaError: it may have happened or not: look again.
    """
    proposal = read_proposals(kafka).get(taxonomy)
    if proposal is None or proposal.proposal_id != proposal_id or proposal.state is not ProposalState.OPEN:
        raise NothingThereError(f"{taxonomy}: this proposal is not open any more: look at it again")
    if not yes:
        rejected = proposal.model_copy(
            update={"state": ProposalState.REJECTED, "decided_by": by, "decided_at": now, "remark": remark}
        )
        _write(kafka, rejected)
        return rejected
    if proposal.replaces != in_force:
        raise AnalysisError(
            f"{taxonomy}: the policy in force is {in_force} by now, and this was proposed in the place of "
            f"{proposal.replaces}: propose it anew"
        )
    return _published(kafka, proposal, by, now, remark)


def _published(kafka: KafkaSettings, proposal: Proposal, by: str, now: datetime, remark: str) -> Proposal:
    """The policy first: a proposal that is still open after a crash can be approved again, which changes nothing."""
    policy = proposal.policy
    publish(kafka, "policies", policy.taxonomy, policy.model_dump_json().encode())
    published = proposal.model_copy(
        update={"state": ProposalState.PUBLISHED, "decided_by": by, "decided_at": now, "remark": remark}
    )
    _write(kafka, published)
    return published


def _write(kafka: KafkaSettings, proposal: Proposal) -> None:
    publish(kafka, "proposals", proposal.policy.taxonomy, proposal.model_dump_json().encode())
