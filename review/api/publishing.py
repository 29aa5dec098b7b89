"""Policies and gates: proposed, approved, published, promoted, shut and rolled back by people."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from calibration.gate import Gate
from calibration.loop.advance import coverage
from calibration.loop.by_hand import act, promote, roll_back, shut
from calibration.loop.service import GatesChangedError
from calibration.policy import Policy
from calibration.rollout import Rollout, Step
from review.access.door import Visitor
from review.access.refusals import ForbiddenError
from review.access.roles import Permission, approval_refusal
from review.access.web import LoggedRoute, require
from review.analysis.proposals import Proposal, ProposalState, decide, propose, read_proposals
from review.analysis.refusals import AnalysisError, NothingThereError
from review.api.parts import AtHand, Parts
from review.api.requests import Request

router = APIRouter(tags=["policies and gates"], route_class=LoggedRoute)
_Seer = Annotated[Visitor, Depends(require(Permission.SEE_FIGURES, logged=False))]
_Reason = Annotated[str, Field(min_length=3, max_length=2000)]
_Taxonomy = Annotated[str, Field(min_length=1, max_length=128)]
_SET_HERE = frozenset({"policy_id", "created_at", "author", "note", "schema_version", "taxonomy"})


class ProposalRequest(Request):
    """A policy, and why. Its id, author, time and note are set here."""

    taxonomy: _Taxonomy
    terms: dict[str, Any]
    """Fields of the policy that are to be another than in the one in force; all that is needed, where there is none."""
    reason: _Reason


class ProposalDecision(Request):
    """What a second person says of an open proposal."""

    taxonomy: _Taxonomy
    proposal_id: Annotated[str, Field(min_length=1, max_length=64)]
    approve: bool
    remark: Annotated[str, Field(max_length=2000)] = ""


class ByHand(Request):
    """Whose gate, and why."""

    taxonomy: _Taxonomy
    sequence: Annotated[int, Field(ge=0)]
    """Of the rollout that the caller saw: a step on what has changed since is refused."""
    reason: _Reason


class PolicyView(BaseModel):
    """What is promised of a taxonomy, and what is proposed."""

    policy: Policy | None
    proposal: Proposal | None
    needs_approval: bool


class GateView(BaseModel):
    """A gate in short."""

    gate_id: str
    stage: str
    created_at: datetime
    passes: bool
    coverage: float
    max_error: float | None
    confidence: float | None
    policy: str
    calibrator: str
    audit_rate: float
    expires_at: datetime | None


class RolloutView(BaseModel):
    """What is in force for a taxonomy, what is to come, and how it came to that."""

    taxonomy: str
    sequence: int
    live: GateView
    candidate: GateView | None
    previous: GateView | None
    steps: list[Step]
    """The newest first."""


@router.get("/policies")
async def policies(at: AtHand, who: _Seer) -> dict[str, PolicyView]:
    """Every taxonomy's policy, and its newest proposal."""
    in_force = await at.desk.in_force()
    proposals = await asyncio.to_thread(read_proposals, at.kafka)
    return {
        name: PolicyView(
            policy=in_force[name].policy if name in in_force else None,
            proposal=proposals.get(name),
            needs_approval=at.console.policies_need_approval,
        )
        for name in sorted(in_force.keys() | proposals.keys())
    }


@router.post("/policies", status_code=201)
async def propose_policy(
    wanted: ProposalRequest, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.PROPOSE_POLICY))]
) -> Proposal:
    """Propose a policy; it is published at once where nobody else must approve it."""
    present = (await at.desk.in_force()).get(wanted.taxonomy)
    policy = _policy(wanted, None if present is None else present.policy)
    who.detail = f"{wanted.taxonomy}: {wanted.reason}"
    proposal = await asyncio.to_thread(
        propose,
        *(at.kafka, policy, _id_of(None if present is None else present.policy), who.name, wanted.reason),
        datetime.now(UTC),
        needs_approval=at.console.policies_need_approval,
    )
    at.desk.changed()
    return proposal


@router.post("/policies/decisions", status_code=201)
async def decide_proposal(
    said: ProposalDecision, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.APPROVE_POLICY))]
) -> Proposal:
    """Publish or reject an open proposal; who made it cannot approve it, but may take it back."""
    proposal = (await asyncio.to_thread(read_proposals, at.kafka)).get(said.taxonomy)
    if proposal is None or proposal.state is not ProposalState.OPEN:
        raise NothingThereError(f"{said.taxonomy}: there is no open proposal")
    if said.approve and (sentence := approval_refusal(who.roles, who.name, proposal.proposed_by)) is not None:
        raise ForbiddenError(sentence)
    present = (await at.desk.in_force()).get(said.taxonomy)
    who.detail = f"{said.taxonomy}: {said.proposal_id} {'approved' if said.approve else 'rejected'} {said.remark}"
    decided = await asyncio.to_thread(
        decide,
        *(at.kafka, said.taxonomy, said.proposal_id, _id_of(None if present is None else present.policy), who.name),
        datetime.now(UTC),
        yes=said.approve,
        remark=said.remark,
    )
    at.desk.changed()
    return decided


@router.get("/gates")
async def gates(
    at: AtHand, who: _Seer, taxonomy: Annotated[str | None, Query(max_length=128)] = None
) -> list[RolloutView]:
    """What is in force for each taxonomy, or for one, with its last fifty steps."""
    found = await at.desk.in_force() if taxonomy is None else {taxonomy: await at.desk.of(taxonomy)}
    return [rollout_view(each.rollout) for _, each in sorted(found.items())]


@router.get("/gates/document")
async def gate_document(at: AtHand, who: _Seer, taxonomy: Annotated[str, Query(max_length=128)]) -> Rollout:
    """The record that workers apply, whole."""
    return (await at.desk.of(taxonomy)).rollout


@router.post("/gates/shut", status_code=201)
async def shut_gate(
    wanted: ByHand, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.SHUT_GATE))]
) -> RolloutView:
    """Everything to review, within a poll of the workers. It opens again only by a new certificate."""
    return await _act(at, who, wanted, shut)


@router.post("/gates/promote", status_code=201)
async def promote_gate(
    wanted: ByHand, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.PROMOTE_GATE))]
) -> RolloutView:
    """The candidate goes on to canary, or to full, without waiting for more evidence."""
    return await _act(at, who, wanted, lambda rollout, now, reason: promote(rollout, now, reason, at.loop))


@router.post("/gates/roll-back", status_code=201)
async def roll_back_gate(
    wanted: ByHand, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.ROLL_BACK))]
) -> RolloutView:
    """The candidate is given up; without one, the gate before the live one is put back, where it still holds."""
    return await _act(at, who, wanted, lambda rollout, now, reason: roll_back(rollout, now, reason, at.loop))


async def _act(
    at: Parts, who: Visitor, wanted: ByHand, change: Callable[[Rollout, datetime, str], Rollout]
) -> RolloutView:
    reason = f"{who.name}: {wanted.reason}"
    who.detail = f"{wanted.taxonomy}: {wanted.reason}"

    def changed(rollout: Rollout) -> Rollout:
        if rollout.sequence != wanted.sequence:
            raise GatesChangedError(f"{wanted.taxonomy}: its gates have changed since you saw them: look again")
        return change(rollout, datetime.now(UTC), reason)

    after = await asyncio.to_thread(act, at.kafka, wanted.taxonomy, changed)
    at.desk.changed()
    return rollout_view(after)


def rollout_view(rollout: Rollout) -> RolloutView:
    """A rollout for people."""
    return RolloutView(
        taxonomy=rollout.taxonomy,
        sequence=rollout.sequence,
        live=_gate_view(rollout.live),
        candidate=rollout.candidate and _gate_view(rollout.candidate),
        previous=rollout.previous and _gate_view(rollout.previous),
        steps=list(reversed(rollout.steps)),
    )


def _gate_view(gate: Gate) -> GateView:
    policy = gate.policy
    return GateView(
        gate_id=gate.gate_id,
        stage=gate.stage.value,
        created_at=gate.created_at,
        passes=gate.passes_anything,
        coverage=coverage(gate),
        max_error=None if policy is None else policy.max_error,
        confidence=None if policy is None else policy.confidence,
        policy=gate.policy_version,
        calibrator=gate.calibrator_version,
        audit_rate=gate.audit_rate,
        expires_at=gate.expires_at,
    )


def _policy(wanted: ProposalRequest, present: Policy | None) -> Policy:
    """The policy in force with the terms that were given.

    Raises:
        AnalysisError: a term is none. pydantic.ValidationError: they do not fit together.
    """
    if wrong := sorted(wanted.terms.keys() - (Policy.model_fields.keys() - _SET_HERE)):
        raise AnalysisError(f"no such terms: {', '.join(wrong)}")
    before = {} if present is None else present.model_dump(mode="json", exclude=set(_SET_HERE))
    fields = before | wanted.terms
    draft = {"policy_id": "draft", "taxonomy": wanted.taxonomy, "created_at": datetime.now(UTC).isoformat()}
    return Policy.model_validate(draft | fields)


def _id_of(policy: Policy | None) -> str:
    return "none" if policy is None else policy.policy_id
