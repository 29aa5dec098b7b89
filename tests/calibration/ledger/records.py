"""Decisions and verdicts as their writers make them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from calibration.audit import Audit
from calibration.outcome import ParseStatus, Signals
from calibration.routing import Reason, Route
from review.task import RecordPosition, UrlReference, Verdict, Versions
from worker.events import Decision, Timings

START = datetime(2026, 11, 1, tzinfo=UTC)
LABELS = ("awe", "contentment", "disgust", "fear", "sadness")
VERSIONS = Versions(model="m1", prompt="p1", decoder="d1", calibrator="c1", policy="pol1", gate="g1")


def signals(number: int) -> Signals:
    return Signals(
        parse_status=ParseStatus.OK,
        verbal_confidence=0.5 + (number % 50) / 100,
        label_probability=0.25 + (number % 70) / 100,
        label_margin=0.1,
        label_entropy=0.7,
        label_mass=0.99,
    )


def decision(number: int, **changes: Any) -> Decision:
    """Of event `event-<number>`, one minute after the one before; accepted, and not drawn for an audit."""
    at = START + timedelta(minutes=number)
    fields: dict[str, Any] = {
        "event_id": f"event-{number:06}",
        "position": RecordPosition(topic="images", partition=0, offset=number),
        "image": UrlReference(url=f"https://cdn.example.com/{number}.jpg"),
        "content_sha256": f"{number:064x}",
        "taxonomy": "emoset-8",
        "source": "app" if number % 2 else "web",
        "priority": 50,
        "label": LABELS[number % len(LABELS)],
        "signals": signals(number),
        "probability": 0.9,
        "interval": (0.8, 0.95),
        "route": Route.AUTO_ACCEPT,
        "reason": Reason.CERTIFIED,
        "audit": Audit(selected=False, propensity=0.02),
        "versions": VERSIONS,
        "timings": Timings(total=1.0),
        "created_at": at - timedelta(seconds=5),
        "decided_at": at,
    }
    return Decision.model_validate(fields | changes)


def audited(number: int, rate: float = 0.02, **changes: Any) -> Decision:
    """A would-be accept that was drawn for a blind review."""
    drawn = {"route": Route.REVIEW, "reason": Reason.AUDIT, "audit": Audit(selected=True, propensity=rate)}
    return decision(number, **drawn | changes)


def reviewed(number: int, **changes: Any) -> Decision:
    """Below the threshold, where no audits are drawn."""
    return decision(number, **{"route": Route.REVIEW, "reason": Reason.BELOW_THRESHOLD, "audit": None} | changes)


def verdict(of: Decision | int, label: str | None = "awe", hours: float = 2.0, **changes: Any) -> Verdict:
    """What a moderator said of a decision, some hours later."""
    said = reviewed(of) if isinstance(of, int) else of
    fields: dict[str, Any] = {
        "event_id": said.event_id,
        "reviewer": "ada",
        "label": label,
        "seconds_spent": 4.0,
        "blind": said.reason is Reason.AUDIT,
        "decided_label": said.label,
        "reason": said.reason,
        "taxonomy": said.taxonomy,
        "source": said.source,
        "signals": said.signals,
        "audit": said.audit,
        "versions": said.versions,
        "decided_at": said.decided_at,
        "given_at": said.decided_at + timedelta(hours=hours),
    }
    return Verdict.model_validate(fields | changes)
