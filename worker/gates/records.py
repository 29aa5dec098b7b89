"""What a worker takes from the `gates` topic, and what it refuses. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import ValidationError

from calibration.gate import Gate
from calibration.policy import Stage
from calibration.rollout import Rollout
from worker.gates.configured import NO_AUDIT_KEY, needs_key
from worker.reading.taxonomy import Taxonomy


class Refusal(StrEnum):
    """Why a record is not taken; the last good one stays."""

    DAMAGED = "damaged"  # not a rollout, or one that contradicts itself
    OTHER_SCHEMA = "other_schema"  # of a version that this worker does not know
    WRONG_KEY = "wrong_key"  # its key is not the taxonomy of which it speaks
    EARLIER = "earlier"  # not a step after the present one
    NO_AUDIT_KEY = "no_audit_key"  # audits would be drawn, and there is no key to draw by


class RefusedRolloutError(Exception):
    """A record is not taken; the message says why."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Taken:
    """What a record says of one taxonomy."""

    taxonomy: str
    rollout: Rollout | None
    """None: withdrawn, and everything goes to review."""


def take(key: bytes | None, value: bytes | None, present: Mapping[str, Rollout], *, has_key: bool) -> Taken:
    """Read one record, after those that led to `present`.

    A record that lets nothing pass is taken whatever its number: of two writers at odds the more careful one is right.

    Args:
        has_key: whether this worker can draw audits.

    Raises:
        RefusedRolloutError: it is not to be taken.
    """
    taxonomy = (key or b"").decode(errors="replace")
    if not taxonomy:
        raise RefusedRolloutError(Refusal.WRONG_KEY, "it has no key, which must be a taxonomy")
    if value is None:
        return Taken(taxonomy, None)
    rollout = _read(value)
    if rollout.taxonomy != taxonomy:
        raise RefusedRolloutError(Refusal.WRONG_KEY, f"its key is {taxonomy!r}, and it speaks of {rollout.taxonomy!r}")
    routing = _routing(rollout)
    before = present.get(taxonomy)
    if before == rollout:
        return Taken(taxonomy, before)
    if before is not None and rollout.sequence <= before.sequence and any(gate.passes_anything for gate in routing):
        detail = f"it is step {rollout.sequence}, and step {before.sequence} was read before"
        raise RefusedRolloutError(Refusal.EARLIER, detail)
    if not has_key and any(needs_key(gate) for gate in routing):
        raise RefusedRolloutError(Refusal.NO_AUDIT_KEY, NO_AUDIT_KEY)
    return Taken(taxonomy, rollout)


def _read(value: bytes) -> Rollout:
    try:
        return Rollout.model_validate_json(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        detail = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'record'}: {each['msg']}" for each in problems[:5])
        other = any(problem["loc"][-1:] == ("schema_version",) for problem in problems)
        raise RefusedRolloutError(Refusal.OTHER_SCHEMA if other else Refusal.DAMAGED, detail) from error
    except Exception as error:  # a defect of ours that a record brings out must not hide those after it: one may shut
        raise RefusedRolloutError(Refusal.DAMAGED, f"{type(error).__name__}: {error}") from error


def _routing(rollout: Rollout) -> list[Gate]:
    """The gates that route."""
    candidate = rollout.candidate
    canary = [candidate] if candidate is not None and candidate.stage is Stage.CANARY else []
    return [rollout.live, *canary]


def strangers(rollout: Rollout, taxonomies: Mapping[str, Taxonomy]) -> str | None:
    """A sentence on a taxonomy or labels that this worker does not have; None where it has all."""
    taxonomy = taxonomies.get(rollout.taxonomy)
    if taxonomy is None:
        return f"the taxonomy {rollout.taxonomy} is not configured here: no event can be of it"
    named: set[str] = set()
    for gate in (rollout.live, rollout.candidate):
        if gate is not None:
            named |= gate.severe_labels | (gate.policy.severe_labels if gate.policy else frozenset())
            named |= {label for promise in getattr(gate.rule, "promises", ()) for label in promise.labels}
    unknown = sorted(named - set(taxonomy.labels))
    return (
        f"labels that {taxonomy.name} does not have here: {', '.join(unknown)}; is one misspelt?" if unknown else None
    )
