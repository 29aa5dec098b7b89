"""What this room reads of a decision and of a verdict; the other fields are their writers' business."""

from __future__ import annotations

from pydantic import AwareDatetime

from calibration.audit import Audit
from calibration.contract import Versioned
from calibration.outcome import Probability, Reader, Signals
from calibration.routing import Route, ShadowRouting


class GateVersions(Reader):
    """The reader, and the documents that routed."""

    calibrator: str
    policy: str
    gate: str


class DecisionRecord(Versioned):
    """A record of the `decisions` topic."""

    event_id: str
    taxonomy: str
    source: str = ""
    uploader_id: str | None = None
    content_sha256: str | None
    label: str | None
    signals: Signals
    constrained: bool = False
    probability: Probability | None = None
    interval: tuple[Probability, Probability] | None = None
    route: Route
    reason: str
    """As `calibration.routing.Reason` says it; a newer worker may know more of them."""
    audit: Audit | None = None
    shadow: ShadowRouting | None = None
    versions: GateVersions
    created_at: AwareDatetime
    decided_at: AwareDatetime


class VerdictRecord(Versioned):
    """A record of the `verdicts` topic."""

    event_id: str
    reviewer: str
    label: str | None
    """None means "cannot tell"."""
    withdrawn: bool = False
    """Its reviewer took it back: until the next one the event has none."""
    seconds_spent: float
    blind: bool
    decided_label: str | None
    reason: str
    taxonomy: str
    source: str = ""
    signals: Signals
    audit: Audit | None
    versions: GateVersions
    decided_at: AwareDatetime
    given_at: AwareDatetime
