"""What `tidegate doctor` says of the gates: those that the settings name, and those that the `gates` topic holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from kafka.errors import KafkaError

from calibration.certificate import Certified
from calibration.gate import CertifiedThresholds, Gate, UncertifiedThreshold
from calibration.rollout import Rollout, StepKind
from calibration.settings import KafkaSettings
from worker.gates.configured import audit_key, configured_gate
from worker.gates.records import Refusal, RefusedRolloutError, strangers, take
from worker.gates.topic import read_all
from worker.reading.taxonomy import Taxonomy
from worker.settings import GateSettings

_READ_S = 10.0


class GateWord(NamedTuple):
    """One thing to say."""

    state: Literal["ok", "warning"]
    found: str
    advice: str = ""


def gate_words(
    settings: GateSettings, kafka: KafkaSettings | None, taxonomies: Mapping[str, Taxonomy]
) -> Iterator[GateWord]:
    """What applies to each taxonomy.

    Args:
        kafka: None where no broker answers.

    Raises:
        worker.gates.configured.ConfigurationError: a worker with these settings would not start.
    """
    gate = configured_gate(settings, taxonomies)
    if gate is not None:
        yield _of_gate(f"{gate.taxonomy or 'all taxonomies'}, by the settings", gate)
    elif kafka is None:
        yield GateWord("warning", "not looked at, since no broker answers", "start the broker, and ask again")
    else:
        yield from _of_topic(settings, kafka, taxonomies)


def _of_topic(settings: GateSettings, kafka: KafkaSettings, taxonomies: Mapping[str, Taxonomy]) -> Iterator[GateWord]:
    try:
        records = read_all(kafka, _READ_S)
    except KafkaError as error:
        yield GateWord("warning", f"everything goes to review: {error}", "workers try again until it can be read")
        return
    has_key = audit_key(settings) is not None
    rollouts: dict[str, Rollout] = {}
    for record in records:
        try:
            taken = take(record.key, record.value, rollouts, has_key=has_key)
        except RefusedRolloutError as error:
            where = f"{kafka.topic('gates')}[{record.partition}]@{record.offset}"
            advice = (
                "set it on all workers, and here"
                if error.refusal is Refusal.NO_AUDIT_KEY
                else "workers keep the last good one; whoever wrote this must write again"
            )
            yield GateWord("warning", f"{where} is refused ({error.refusal.value}): {error}", advice)
            continue
        if taken.rollout is None:
            rollouts.pop(taken.taxonomy, None)
        else:
            rollouts[taken.taxonomy] = taken.rollout
    for rollout in rollouts.values():
        yield _of_rollout(rollout)
        if (stranger := strangers(rollout, taxonomies)) is not None:
            yield GateWord("warning", f"{rollout.taxonomy}: {stranger}", "see TIDEGATE_WORKER_TAXONOMIES")
    if not records:
        yield GateWord("ok", "closed, as the gates topic is empty: everything goes to review")
    elif not rollouts:
        yield GateWord("warning", "closed: everything goes to review", "`tidegate calibrate run` opens gates")


def _of_rollout(rollout: Rollout) -> GateWord:
    state, found, advice = _of_gate(rollout.taxonomy, rollout.live)
    step = rollout.steps[-1]
    if (candidate := rollout.candidate) is not None:
        found += f"; {candidate.gate_id} is in {candidate.stage.value}{_coverage(candidate)}"
    found += f"; step {rollout.sequence}, {step.kind.value}"
    if step.kind in (StepKind.SHUT, StepKind.ROLLED_BACK):
        return GateWord("warning", found, "; ".join(step.reasons))
    return GateWord(state, found, advice)


def _of_gate(who: str, gate: Gate) -> GateWord:
    if isinstance(gate.rule, UncertifiedThreshold):
        found = f"{who}: {gate.gate_id}, a plain threshold without a certificate"
        return GateWord("warning", found, "nobody vouches for its error")
    if not gate.passes_anything:
        return GateWord("ok", f"{who}: {gate.gate_id}, closed: everything goes to review")
    found = f"{who}: {gate.gate_id} in {gate.stage.value}{_coverage(gate)}"
    if gate.expires_at is None:
        return GateWord("ok", f"{found}, without an end")
    until = f"{gate.expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if gate.expires_at <= datetime.now(UTC):
        return GateWord(
            "warning", f"{found}, expired {until}: everything goes to review", "does `tidegate calibrate run` run?"
        )
    return GateWord("ok", f"{found}, until {until}")


def _coverage(gate: Gate) -> str:
    """What share of the traffic may pass, in words."""
    promises = gate.rule.promises if isinstance(gate.rule, CertifiedThresholds) else ()
    shares = sorted(each.certificate.coverage for each in promises if isinstance(each.certificate, Certified))
    if not shares:
        return ""
    low, high = f"{shares[0]:.0%}", f"{shares[-1]:.0%}"
    words = f", certified for {low if low == high else f'{low} to {high}'} of the traffic"
    return words if len(promises) == 1 else f"{words} in {len(shares)} of {len(promises)} groups"
