"""The gates in force: which one routes an event, what is drawn for audits, and what a gate to come would have done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from calibration.audit import Audit, draw_audit
from calibration.gate import CertifiedThresholds, Gate, Reason, Route, Routing, ShadowRouting, closed_gate
from calibration.outcome import Reader, Signals
from calibration.rollout import Rollout, StepKind
from worker import telemetry
from worker.gates.records import strangers
from worker.reading.taxonomy import Taxonomy

log = structlog.get_logger()

_ALARMING = frozenset({StepKind.SHUT, StepKind.ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class Chosen:
    """The gates that have a say in one event."""

    routing: Gate
    shadow: Gate | None = None
    """One that is to come: it says what it would have done."""


@dataclass(frozen=True, slots=True)
class Routed:
    """What became of one reading."""

    gate: Gate
    """That routed it."""
    routing: Routing
    """After the audit draw."""
    audit: Audit | None
    shadow: ShadowRouting | None


class Applied:
    """A gate as a worker applies it. Its forms are made once, not for each event."""

    def __init__(self, gate: Gate, reader: Reader) -> None:
        self._until = gate.expires_at
        self._before = gate.in_force(reader, datetime.min.replace(tzinfo=UTC))
        self._after = self._before if self._until is None else gate.in_force(reader, self._until)

    def at(self, now: datetime) -> Gate:
        """What is in force at this time."""
        return self._before if self._until is None or now < self._until else self._after

    def expired(self, now: datetime) -> bool:
        """Whether it has shut itself, since its time is over."""
        return self.at(now) is not self._before


class Standing:
    """The gates of one taxonomy, as one worker applies them."""

    def __init__(self, live: Gate, reader: Reader, rollout: Rollout | None = None, key: bytes | None = None) -> None:
        """Arguments: rollout: of which `live` is the live gate. key: draws the share of its canary."""
        self.rollout = rollout
        self.live = Applied(live, reader)
        self._candidate = None if rollout is None or rollout.candidate is None else Applied(rollout.candidate, reader)
        self._key = key

    def choose(self, event_id: str, now: datetime) -> Chosen:
        """Which gates have a say in an event."""
        if self._candidate is None or self.rollout is None:
            return Chosen(self.live.at(now))
        candidate = self._candidate.at(now)
        if self._key is not None and self.rollout.gate_of(self._key, event_id) is self.rollout.candidate:
            return Chosen(candidate)
        return Chosen(self.live.at(now), candidate)


class GateBook:
    """What applies to each taxonomy. Read on the event loop; `publish` may be called from one other thread."""

    def __init__(self, reader: Reader, key: bytes | None, taxonomies: Mapping[str, Taxonomy]) -> None:
        """Everything is closed until something is published.

        Args:
            reader: what makes this worker's signals.
            key: of the audit draw, which draws the share of a canary too.
            taxonomies: those of this worker.
        """
        self._reader = reader
        self._key = key
        self._taxonomies = taxonomies
        self._closed = Standing(closed_gate(datetime.now(UTC)), reader)
        self._standings: Mapping[str, Standing] = {}
        self._observed: dict[str, tuple[Standing, Gate]] = {}

    def fix(self, gate: Gate) -> None:
        """Let one gate stand for all taxonomies of which it speaks."""
        standing = Standing(gate, self._reader)
        self._standings = {name: standing for name in self._taxonomies if gate.taxonomy in (None, name)}

    def publish(self, rollouts: Mapping[str, Rollout]) -> None:
        """Replace what applies, all at once, and log each change in one line."""
        before = self._standings
        after: dict[str, Standing] = {}
        for taxonomy, rollout in rollouts.items():
            known = before.get(taxonomy)
            if known is not None and known.rollout is rollout:
                after[taxonomy] = known
            else:
                after[taxonomy] = Standing(rollout.live, self._reader, rollout, self._key)
        self._standings = after
        for taxonomy in before.keys() - after.keys():
            telemetry.GATE_CHANGES.labels(taxonomy).inc()
            log.warning("gate withdrawn", taxonomy=taxonomy, note="everything goes to review")
        for taxonomy, standing in after.items():
            if standing is not before.get(taxonomy):
                telemetry.GATE_CHANGES.labels(taxonomy).inc()
                self._say(rollouts[taxonomy])

    def route(
        self, taxonomy: str, event_id: str, label: str | None, signals: Signals, source: str, now: datetime
    ) -> Routed:
        """Route the reading of one event by the gates that apply now."""
        chosen = self._standings.get(taxonomy, self._closed).choose(event_id, now)
        gate, shadow = chosen.routing, chosen.shadow
        routing, audit = self._audit(gate, event_id, gate.route(label, signals, source))
        if shadow is None:
            return Routed(gate, routing, audit, None)
        would = shadow.route(label, signals, source)
        return Routed(
            gate,
            routing,
            audit,
            ShadowRouting(gate=shadow.gate_id, route=would.route, reason=would.reason, probability=would.probability),
        )

    def _audit(self, gate: Gate, event_id: str, routing: Routing) -> tuple[Routing, Audit | None]:
        """Draw for a blind review, would-be accepts and others alike: the audits are a uniform sample of their region.

        Of what goes to a person anyway the draw only hides the model's answer.
        """
        if not routing.auditable or gate.audit_rate == 0.0:
            return routing, None
        assert self._key is not None  # no gate that draws is taken without one
        passes = routing.route is Route.AUTO_ACCEPT
        audit = draw_audit(self._key, event_id, gate.audit_rate, would_pass=passes, floor=gate.audit_floor)
        if audit.selected:
            routing = routing.model_copy(update={"route": Route.REVIEW, "reason": Reason.AUDIT})
        return routing, audit

    def observe(self, now: datetime) -> None:
        """Bring the gauges up to date, and say where a gate has expired since the last time."""
        standings = self._standings
        for taxonomy in {*self._taxonomies, *standings, *self._observed}:
            standing = standings.get(taxonomy, self._closed)
            gate = standing.live.at(now)
            seen, shown = self._observed.get(taxonomy, (None, None))
            if shown is gate and seen is standing:
                continue
            if shown is not None:
                telemetry.GATE.remove(taxonomy, *_identity(shown))
            if standing.live.expired(now):
                log.warning("gate expired", taxonomy=taxonomy, gate=gate.gate_id, note="everything goes to review")
            self._observed[taxonomy] = (standing, gate)
            certified = isinstance(gate.rule, CertifiedThresholds) and gate.passes_anything
            telemetry.GATE_CERTIFIED.labels(taxonomy).set(certified)
            telemetry.GATE_SEQUENCE.labels(taxonomy).set(standing.rollout.sequence if standing.rollout else 0)
            telemetry.GATE.labels(taxonomy, *_identity(gate)).set(1)

    def _say(self, rollout: Rollout) -> None:
        step, candidate = rollout.steps[-1], rollout.candidate
        (log.warning if step.kind in _ALARMING else log.info)(
            "gate",
            taxonomy=rollout.taxonomy,
            sequence=rollout.sequence,
            step=step.kind.value,
            gate=rollout.live.gate_id,
            certified=isinstance(rollout.live.rule, CertifiedThresholds),
            expires_at=None if rollout.live.expires_at is None else rollout.live.expires_at.isoformat(),
            candidate=None if candidate is None else candidate.gate_id,
            stage=None if candidate is None else candidate.stage.value,
            reasons=list(step.reasons),
        )
        if (stranger := strangers(rollout, self._taxonomies)) is not None:
            log.warning("gate of strangers", taxonomy=rollout.taxonomy, sequence=rollout.sequence, detail=stranger)
        for gate in _present(rollout.live, candidate):
            if gate.reader is not None and gate.reader != self._reader:
                log.warning(
                    "gate of another reader",
                    taxonomy=rollout.taxonomy,
                    gate=gate.gate_id,
                    speaks_of=gate.reader.model_dump(),
                    here=self._reader.model_dump(),
                    note="nothing passes by it here",
                )


def _identity(gate: Gate) -> tuple[str, str, str]:
    return gate.gate_id, gate.policy_version, gate.calibrator_version


def _present(*gates: Gate | None) -> Iterable[Gate]:
    return (gate for gate in gates if gate is not None)
