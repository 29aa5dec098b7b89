"""Steps that people take: shut, promote, roll back. Pure, but for `act`, which reads and writes the record.

They change what the loop itself would change, so that its next look goes on from there. By hand a gate may be shut or
given up at any time, and moved on before the loop would; what no certificate stands behind is never opened. Of policies
they know what the record says: where a newer one is stricter, the loop shuts at its next look, as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from calibration.gate import Gate
from calibration.loop.service import GatesChangedError, UnreadableRecordError, documents, publish_step
from calibration.loop.settings import LoopSettings
from calibration.loop.steps import (
    anew,
    at_least_as_strict,
    has_certificate,
    known_reader,
    rolled_back,
    to_canary,
    to_full,
)
from calibration.policy import Stage
from calibration.rollout import Rollout
from calibration.settings import KafkaSettings


class ByHandRefusedError(Exception):
    """It cannot be done; the message says why, and what can be done instead."""


def shut(rollout: Rollout, now: datetime, reason: str) -> Rollout:
    """Everything to review; it opens again only by a new certificate, made of what is decided from now on.

    Raises:
        ByHandRefusedError: nothing passes, nor is about to.
    """
    policy = rollout.live.policy
    if policy is None or not (has_certificate(rollout.live) or rollout.candidate):
        raise ByHandRefusedError(f"{rollout.taxonomy}: the gate is closed already, and no other is to come")
    return anew(rollout, policy, now, _said(reason), since=now)


def promote(rollout: Rollout, now: datetime, reason: str, settings: LoopSettings) -> Rollout:
    """The candidate's next stage, without the evidence for which the loop waits: from shadow to canary, then to full.

    Raises:
        ByHandRefusedError: there is no candidate, it has no certificate, or that has run out.
    """
    candidate = rollout.candidate
    if candidate is None:
        raise ByHandRefusedError(
            f"{rollout.taxonomy}: there is no candidate to promote. `tidegate calibrate run` makes one as soon as the "
            "audits certify it; nothing opens without a certificate"
        )
    policy = candidate.policy
    if policy is None or not has_certificate(candidate):
        raise ByHandRefusedError(
            f"{rollout.taxonomy}: candidate {candidate.gate_id} has no certificate, and nothing opens without one. "
            f"`tidegate calibrate rollback {rollout.taxonomy}` gives it up"
        )
    if candidate.stage is Stage.SHADOW:
        return to_canary(rollout, candidate, now, settings, _said(reason))
    if candidate.expires_at is not None and now >= candidate.expires_at:
        raise ByHandRefusedError(
            f"{rollout.taxonomy}: candidate {candidate.gate_id} expired at {_at(candidate.expires_at)}, since nobody "
            "answers its audits. Once they are answered `tidegate calibrate run` renews it, and it can be promoted"
        )
    return to_full(rollout, candidate, policy, now, settings, _said(reason))


def roll_back(rollout: Rollout, now: datetime, reason: str, settings: LoopSettings) -> Rollout:
    """The candidate is given up and the live gate stays; without a candidate, the gate before the live one is back.

    Evidence counts from now on, as after every roll-back: on the same labels the loop would certify the same gate
    again. So what was given up does not come back, neither by itself nor by rolling back once more.

    Raises:
        ByHandRefusedError: there is no candidate, and the gate before does not hold any more.
    """
    if rollout.candidate is not None:
        return rolled_back(rollout, rollout.candidate, now, _said(reason), since=now)
    previous = rollout.previous
    if previous is None or (why := _why_not(rollout, previous)) is not None:
        why = "there was no gate before the present one" if previous is None else why
        instead = (
            f"`tidegate calibrate shut {rollout.taxonomy}` sends everything to review instead"
            if has_certificate(rollout.live)
            else "nothing passes now, so there is nothing for `tidegate calibrate shut` to do either"
        )
        raise ByHandRefusedError(f"{rollout.taxonomy}: there is nothing to roll back to: {why}. {instead}")
    back = previous.model_copy(update={"expires_at": now + settings.valid_for})
    words = f"gate {back.gate_id}, of {_at(back.created_at)}, is the live one again"
    return rolled_back(rollout, rollout.live, now, _said(reason), words, since=now, live=back, previous=rollout.live)


def _why_not(rollout: Rollout, previous: Gate) -> str | None:
    """What stands against a gate that was live before; None where it may be so again."""
    if previous.policy is None or not has_certificate(previous) or not previous.passes_anything:
        return "the gate before let nothing pass"
    if rollout.since > previous.created_at:
        return (
            f"gate {previous.gate_id} was certified at {_at(previous.created_at)}, and what was decided before "
            f"{_at(rollout.since)} does not count any more: a gate was shut or rolled back then, or the reader changed"
        )
    if previous.reader is None or previous.reader != known_reader(rollout):
        return f"gate {previous.gate_id} speaks of another model, prompt or decoder"
    policy = rollout.live.policy
    if policy is None or not at_least_as_strict(previous.policy, policy):
        return (
            f"gate {previous.gate_id} was certified for policy {previous.policy.policy_id}, which does not keep all "
            f"that policy {rollout.live.policy_version} promises"
        )
    return None


def act(kafka: KafkaSettings, taxonomy: str, change: Callable[[Rollout], Rollout]) -> Rollout:
    """Take a step by hand: read the record of a taxonomy, change it, write it, and return what was written. Blocks.

    Raises:
        ByHandRefusedError: the change cannot be made, or there is nothing to change.
        UnreadableRecordError: this version cannot read the record, so it does not write over it.
        GatesChangedError: somebody else, as the loop, wrote a step meanwhile; look at it, and decide anew.
        kafka.errors.KafkaError: the record cannot be read, or the step may not be durable.
    """
    before = documents(kafka, "gates", Rollout).get(taxonomy)
    if before is None:
        raise ByHandRefusedError(
            f"{taxonomy}: it has no gates, so nothing passes. `tidegate calibrate policy FILE` and `tidegate calibrate "
            "run` make them"
        )
    if isinstance(before, UnreadableRecordError):
        raise before
    after = change(before)
    publish_step(kafka, before, after)
    # Between the check and the write there is a moment: what was written in it by somebody else is found here.
    present = documents(kafka, "gates", Rollout).get(taxonomy)
    if present != after and not (isinstance(present, Rollout) and present.sequence > after.sequence):
        raise GatesChangedError(
            f"{taxonomy}: somebody else wrote its gates at the same moment, and the step by hand is lost; do it again"
        )
    return after


def _said(reason: str) -> str:
    return f"by hand: {reason}"


def _at(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
