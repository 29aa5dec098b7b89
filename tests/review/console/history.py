"""Eight days of a platform: first everything goes to people, then a gate passes most of it, and some of it is audited.

Readings are right as often as the gate's calibrator says. All of it comes about as in the real system: decisions and
verdicts are on their topics, and the ledger has followed them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from pydantic import BaseModel

from calibration.audit import draw_audit
from calibration.calibrator import Calibrator, content_id
from calibration.gate import Gate, Provenance, ShadowRouting
from calibration.ledger.following import sync
from calibration.ledger.topic import publish
from calibration.loop.advance import first_rollout
from calibration.outcome import ParseStatus, Signals
from calibration.policy import AuditRates, Policy, Stage
from calibration.rollout import Rollout, StepKind
from calibration.routing import Reason, Route
from calibration.settings import LedgerSettings
from review.task import Alternative, KeyReference, RecordPosition, Round, Verdict, Versions
from review.truth import task_for
from tests.calibration.gates import READER, certified, certified_gate, make_calibrator
from tests.review.console.platform import Platform
from worker.events import Decision, Timings

LABELS = ("amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness")
SOURCES = ("app", "partner", "web")
REVIEWERS = ("ada", "bob", "cem")
_KEY = b"history"
_CLOSED, _OPEN = timedelta(days=8), timedelta(days=6)
"""How long ago the first reading came, and the gate began to pass."""


@dataclass(frozen=True)
class History:
    """What was written."""

    policy: Policy
    rollout: Rollout
    decisions: tuple[Decision, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def gate(self) -> Gate:
        """The live one."""
        return self.rollout.live


def fill(
    platform: Platform, taxonomy: str = "scenes", *, readings: int = 3_000, waiting: int = 6, seed: int = 1
) -> History:
    """Give a platform this history, up to now.

    Args:
        waiting: so many of the newest unanswered reviews stand in the queue, each with an image.
    """
    history = make_history(taxonomy, datetime.now(UTC), readings, seed)
    publish(platform.kafka, "policies", taxonomy, history.policy.model_dump_json().encode())
    publish(platform.kafka, "gates", taxonomy, history.rollout.model_dump_json().encode())
    _write(platform, "decisions", history.decisions)
    _write(platform, "verdicts", history.verdicts)
    sync(platform.kafka, LedgerSettings(path=platform.environment["TIDEGATE_LEDGER_PATH"]))
    answered = {each.event_id for each in history.verdicts}
    unanswered = [
        each for each in history.decisions if each.route is Route.REVIEW and each.event_id not in answered
    ]  # fmt: skip
    newest = unanswered[len(unanswered) - waiting :]
    platform.put(*(task_for(each.model_dump_json().encode()) for each in newest))
    return history


def make_history(taxonomy: str, now: datetime, readings: int, seed: int = 1) -> History:
    """The same without a platform. Deterministic but for the time at which it ends."""
    rng = np.random.default_rng(seed)
    policy = Policy(
        policy_id=f"{taxonomy}-1",
        taxonomy=taxonomy,
        created_at=now - _CLOSED,
        author="analyst",
        max_error=0.05,
        audit_rates=AuditRates(closed=0.5, canary=0.2, full=0.1),
    )
    rollout = first_rollout(policy, now - _CLOSED)
    closed = rollout.live
    calibrator = _calibrator(now - _OPEN)
    live = _gate("gate-1", 0.9, policy, calibrator, now - _OPEN, now)
    rollout = rollout.step(
        live.created_at, StepKind.FULL, live.gate_id, "412 audits with 9 errors", live=live, previous=closed
    )
    candidate = _gate("gate-2", 0.86, policy, calibrator, now - timedelta(days=1), now, stage=Stage.SHADOW)
    rollout = rollout.step(
        candidate.created_at,
        StepKind.SHADOW,
        candidate.gate_id,
        "certified on 388 audits: at most 4.7 % wrong",
        candidate=candidate,
    )
    decisions: list[Decision] = []
    verdicts: list[Verdict] = []
    for number, at in enumerate(_times(rng, now, readings)):
        gate = live if at >= live.created_at else closed
        shadow = candidate if at >= candidate.created_at else None
        said = _decision(rng, taxonomy, number, at, gate, shadow)
        decisions.append(said)
        right = calibrator.score_one(said.label or "", said.source, said.signals)[0] if said.label else 0.5
        if said.route is Route.REVIEW and rng.random() < 0.92:
            truth = said.label if rng.random() < right else str(rng.choice(LABELS))
            verdicts += _verdicts(rng, said, truth, now)
    return History(policy, rollout, tuple(decisions), tuple(verdicts))


def _calibrator(at: datetime) -> Calibrator:
    made = make_calibrator(LABELS, SOURCES)
    changes: dict[str, Any] = {
        "created_at": at,
        "labels": tuple(each.model_copy(update={"value": 0.25 * ((n % 3) - 1)}) for n, each in enumerate(made.labels)),
        "sources": tuple(each.model_copy(update={"value": 0.2 * (1 - n)}) for n, each in enumerate(made.sources)),
    }
    changed = made.model_copy(update=changes)
    return changed.model_copy(update={"calibrator_id": content_id(changed)})


def _gate(
    name: str,
    threshold: float,
    policy: Policy,
    calibrator: Calibrator,
    created_at: datetime,
    now: datetime,
    stage: Stage = Stage.FULL,
) -> Gate:
    return certified_gate(
        name,
        certified(threshold, *LABELS),
        taxonomy=policy.taxonomy,
        created_at=created_at,
        stage=stage,
        policy=policy,
        calibrator=calibrator,
        audit_rate=policy.audit_rates.full,
        expires_at=now + timedelta(days=5),
        provenance=Provenance(
            fitted_on=300,
            certified_on=412,
            certifying_from=now - _CLOSED,
            certifying_until=now - _OPEN,
            unreviewed=3,
            attempt=1,
            confidence=0.95,
            traffic=700,
            software="test",
        ),
    )


def _times(rng: np.random.Generator, now: datetime, n: int) -> list[datetime]:
    """n moments, more of them by day than by night; the last ones a moment ago."""
    ago = np.sort(rng.random(4 * n))[::-1] * _CLOSED.total_seconds()
    hour = np.array([(now - timedelta(seconds=float(each))).hour for each in ago])
    busy = 0.6 + 0.4 * np.sin((hour - 8) / 24 * 2 * np.pi)
    chosen = np.sort(rng.choice(4 * n, n, replace=False, p=busy / busy.sum()))
    return [now - timedelta(seconds=float(each) + 2.0) for each in ago[chosen]]


def _decision(
    rng: np.random.Generator, taxonomy: str, number: int, at: datetime, gate: Gate, shadow: Gate | None
) -> Decision:
    label: str | None = LABELS[int(rng.choice(len(LABELS), p=np.array([5, 2, 4, 6, 1, 3, 2, 2]) / 25))]
    source = str(rng.choice(SOURCES, p=[0.5, 0.15, 0.35]))
    logit = rng.normal(1.9, 1.1)
    token = 1 / (1 + np.exp(-(logit + rng.normal(0, 0.5))))
    signals = Signals(
        parse_status=ParseStatus.OK,
        verbal_confidence=round(float(1 / (1 + np.exp(-(logit + rng.normal(0, 0.6))))), 2),
        label_probability=float(token),
        label_margin=float(max(0.0, 2 * token - 1)),
        label_entropy=float(-(token * np.log(token) + (1 - token) * np.log1p(-token))),
        label_mass=0.99,
    )
    if rng.random() < 0.01:
        label, signals = None, Signals(parse_status=ParseStatus.UNKNOWN_LABEL)
    routed = gate.route(label, signals, source)
    passes = routed.route is Route.AUTO_ACCEPT
    event_id = f"{taxonomy}-{number:05}"
    audit = draw_audit(_KEY, event_id, gate.audit_rate, would_pass=passes) if routed.auditable else None
    drawn = audit is not None and audit.selected
    seen = None if shadow is None else shadow.route(label, signals, source)
    return Decision(
        event_id=event_id,
        position=RecordPosition(topic="images", partition=0, offset=number),
        image=KeyReference(key=f"photos/{event_id}.jpg"),
        content_sha256=f"{number:064x}",
        taxonomy=taxonomy,
        source=source,
        priority=80 if drawn else 50,
        labels=LABELS,
        label=label,
        alternatives=() if label is None else (Alternative(label=label, probability=float(token)),),
        signals=signals,
        probability=routed.probability,
        interval=routed.interval,
        route=Route.REVIEW if drawn else routed.route,
        reason=Reason.AUDIT if drawn else routed.reason,
        audit=audit,
        shadow=None
        if shadow is None or seen is None
        else ShadowRouting(gate=shadow.gate_id, route=seen.route, reason=seen.reason, probability=seen.probability),
        versions=Versions(
            model=READER.model,
            prompt=READER.prompt,
            decoder=READER.decoder,
            calibrator=gate.calibrator_version,
            policy=gate.policy_version,
            gate=gate.gate_id,
        ),
        timings=Timings(total=0.4),
        created_at=at - timedelta(seconds=1),
        decided_at=at,
    )


def _verdicts(rng: np.random.Generator, said: Decision, truth: str | None, now: datetime) -> Iterable[Verdict]:
    """One, or two by different people, and a lead's where these differ; those that are given by now."""
    people = [str(each) for each in rng.permutation(REVIEWERS)]
    first = _at_work(rng, said.decided_at + timedelta(hours=float(rng.exponential(3.0))))
    answers = [(people[0], Round.FIRST, first, _answer(rng, truth))]
    if rng.random() < 0.15:
        answers.append((people[1], Round.SECOND, first + timedelta(minutes=7), _answer(rng, truth)))
        if answers[0][3] != answers[1][3]:
            answers.append(("lead", Round.ADJUDICATION, first + timedelta(minutes=20), truth))
    for reviewer, round_, at, label in answers:
        if at <= now:
            yield Verdict(
                event_id=said.event_id,
                reviewer=reviewer,
                label=label,
                round=round_,
                seconds_spent=float(np.round(rng.gamma(4.0, 1.5), 1)),
                blind=said.reason is Reason.AUDIT or round_ is Round.SECOND,
                decided_label=said.label,
                reason=said.reason,
                taxonomy=said.taxonomy,
                source=said.source,
                signals=said.signals,
                audit=said.audit,
                versions=said.versions,
                decided_at=said.decided_at,
                given_at=at,
            )


def _answer(rng: np.random.Generator, truth: str | None) -> str | None:
    """What somebody says, who errs now and then, and sometimes cannot tell."""
    return None if rng.random() < 0.01 else str(rng.choice(LABELS)) if rng.random() < 0.02 else truth


def _at_work(rng: np.random.Generator, at: datetime) -> datetime:
    """Not by night, in UTC."""
    if at.hour >= 19:
        at += timedelta(days=1)
    if at.hour >= 19 or at.hour < 7:
        at = at.replace(hour=7 + int(rng.integers(0, 4)), minute=int(rng.integers(0, 60)))
    return at


def _write(platform: Platform, topic: str, records: Iterable[Decision | Verdict]) -> None:
    from kafka import KafkaProducer  # not before the client's own warnings are filtered

    producer: Any = KafkaProducer(**platform.kafka.connection(), acks="all", linger_ms=20)
    try:
        for record in records:
            assert isinstance(record, BaseModel)
            producer.send(
                platform.kafka.topic_prefix + topic, record.model_dump_json().encode(), record.event_id.encode()
            )
        producer.flush()
    finally:
        producer.close()
