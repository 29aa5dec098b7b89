"""How far the gates of one taxonomy have come: the record of the `gates` topic, which workers follow.

One record holds all that a worker needs, so that no crash between two writes can leave half a step behind. It grows by
one step at a time, each with its reasons, so that a person can read how the gate came to be what it is.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, model_validator

from calibration.audit import drawn
from calibration.contract import Contract, Versioned
from calibration.gate import Gate
from calibration.outcome import Reader
from calibration.policy import Stage

_STEPS_KEPT = 50


class StepKind(StrEnum):
    """What happened to the gates of a taxonomy."""

    COLLECTING = "collecting"  # nothing passes; blind reviews are drawn for the first certificate, or the next
    REFUSED = "refused"  # an attempt to certify did not succeed
    SHADOW = "shadow"  # a new gate scores beside the live one
    CANARY = "canary"  # it routes a share
    FULL = "full"  # it is the live one
    RENEWED = "renewed"  # its audits are watched and well, or it is in shadow and routes nothing: it lasts longer
    EXPIRED = "expired"  # they are not answered: nothing passes until they are
    ROLLED_BACK = "rolled_back"  # a gate was given up: the live one stays, or, by hand, the one before it is back
    SHUT = "shut"  # everything to review


class Step(Contract):
    """One of them."""

    at: AwareDatetime
    kind: StepKind
    gate_id: str
    reasons: tuple[str, ...]
    """Sentences with numbers."""


class Attempts(Contract):
    """The attempts to certify one policy for one reader, and their evidence: what the next may spend."""

    policy: str = ""
    """Id of the policy."""
    reader: Reader | None = None
    made: Annotated[int, Field(ge=0)] = 0
    labels: Annotated[int, Field(ge=0)] = 0
    """Audits that were ripe at the last one."""


class Rollout(Versioned):
    """A record of the `gates` topic, keyed by taxonomy."""

    taxonomy: Annotated[str, Field(min_length=1, max_length=128)]
    sequence: Annotated[int, Field(ge=1)]
    """One more with each step. A worker never goes back to an earlier one."""
    since: AwareDatetime
    """Decisions from before say nothing of what comes in now: an alarm, or another reader, has been since."""
    live: Gate
    """What routes: certified, or closed."""
    candidate: Gate | None = None
    """In shadow or canary."""
    previous: Gate | None = None
    """The live gate before this one."""
    attempts: Attempts = Attempts()
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    """The newest last."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for gate in (self.live, self.candidate):
            if gate is not None and gate.taxonomy != self.taxonomy:
                raise ValueError(f"gate {gate.gate_id} speaks of {gate.taxonomy}, not of {self.taxonomy}")
        if self.candidate is not None and self.candidate.stage is Stage.FULL:
            raise ValueError("a candidate is in shadow or canary")
        if self.live.stage is not Stage.FULL:
            raise ValueError("the live gate is in full force, or closed")
        return self

    def gate_of(self, key: bytes, event_id: str) -> Gate:
        """The gate that routes an event: the candidate in canary for its share, drawn by key; else the live one."""
        candidate = self.candidate
        if candidate is None or candidate.stage is not Stage.CANARY or candidate.policy is None:
            return self.live
        return candidate if drawn(key, f"canary {event_id}", candidate.policy.canary_share) else self.live

    def step(self, at: datetime, kind: StepKind, gate_id: str, *reasons: str, **changes: object) -> Rollout:
        """The record after one more step.

        Raises:
            pydantic.ValidationError: the changes do not fit together.
        """
        steps = (*self.steps, Step(at=at, kind=kind, gate_id=gate_id, reasons=reasons))[-_STEPS_KEPT:]
        fields = {name: getattr(self, name) for name in Rollout.model_fields}
        return Rollout.model_validate(fields | changes | {"sequence": self.sequence + 1, "steps": steps})
