"""What an analyst sees of one taxonomy as it runs: figures, series for charts, and the items behind them."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from calibration.certificate import Count
from calibration.contract import Contract
from calibration.offline.curves import Bin, Passing
from calibration.offline.report import GroupTable
from calibration.outcome import Probability, Reader
from calibration.policy import NonNegative, Policy, Stage
from calibration.watch.drift import Drift

Shut = Literal["no_certificate", "expired", "other_reader"]


class GateStanding(Contract):
    """A gate, as it is in force now."""

    gate_id: str
    stage: Stage
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    policy: str
    """Id of the policy that it was made for,"""
    calibrator: str
    """and of what it scores with; `none` where there is none."""
    max_error: Probability | None
    """What its certificates promise; None where it has none."""
    confidence: Probability | None
    audit_rate: Probability
    passes: bool
    """Whether anything passes under it now; of a gate in shadow: would pass."""
    shut: Shut | None
    """Why nothing passes; None where something does."""


class Hour(Contract):
    """The decisions of one hour, or of several."""

    start: AwareDatetime
    """UTC."""
    readings: Count
    accepted: Count
    """Passed without a person; and all others were"""
    reviewed: Count
    """sent to one, audits among them."""
    audits: Count
    """Drawn for a blind review, whether they would have passed or not."""


class Traffic(Contract):
    """The last hours, the present one included."""

    hours: tuple[Hour, ...]
    """Every hour, also those without a decision; the oldest first."""
    readings: Count
    accepted: Count
    reviewed: Count
    audits: Count
    accepted_share: Probability | None
    """None where nothing was decided."""
    newest: AwareDatetime | None
    """Time of the newest decision of these hours."""


class ErrorPoint(Contract):
    """The error as it was known after one answered audit."""

    at: AwareDatetime
    """When the verdict was given."""
    audits: Count
    wrong: Count
    error: Probability
    low: Probability
    high: Probability


class Observed(Contract):
    """What audits say of an error."""

    answered: Count
    wrong: Count
    """Another label, or "cannot tell"."""
    error: Probability | None
    """The share of them; None before the first."""
    low: Probability
    high: Probability
    """An interval that holds at all times at once, so that it may be looked at after every audit: 0 to 1 before the
    first. Each such interval stands for itself."""
    evidence: NonNegative | None
    """Against the promise, the largest so far: its logarithm, as a share of where the alarm is raised. From 1 on it is
    raised, and stays so. None where nothing is promised."""
    series: tuple[ErrorPoint, ...]
    """After each answered audit, in the order of verdicts; of many, 200 at equal distances, and 50 for each promise."""


class PromiseStanding(Observed):
    """One certified promise of a gate, and the audits of its labels."""

    labels: tuple[str, ...]
    threshold: Probability
    upper_bound: Probability
    """Of the error, by its certificate."""


class ErrorStanding(Observed):
    """The error of what passed under one gate, by the audits drawn of it."""

    gate_id: str
    max_error: Probability | None
    """The promise."""
    alarms: tuple[str, ...]
    """A sentence for each promise that does not hold any more."""
    waiting: Count
    """Drawn of what would have passed, and not answered;"""
    overdue: Count
    """of these, longer than the loop is patient."""
    overdue_share: Probability
    """Of the audits that should have been answered by now."""
    promises: tuple[PromiseStanding, ...]
    """Where the gate has several that are certified; empty where it has one or none."""


class AuditStanding(Contract):
    """The audits drawn by whatever gate since the loop's evidence begins, would-be accepts or not."""

    since: AwareDatetime
    drawn: Count
    done: Count
    due: Count
    """Not answered;"""
    overdue: Count
    """of these, longer than the loop is patient."""
    oldest_due_hours: NonNegative | None
    """Age of the one that has waited longest; None where none waits."""


class Forecast(Contract):
    """What becomes of the queue, if images come and people work as they have done lately."""

    arrivals_per_hour: NonNegative
    """To review, over the last 24 h; over less where the ledger begins later."""
    capacity_per_hour: NonNegative | None
    """Verdicts of all reviewers together while one was at work, in the last 7 days: in spans of five minutes with at
    least one verdict. None where there was none."""
    worked_hours_per_day: NonNegative
    """The time in such spans, of a mean day."""
    backlog: Count | None
    """Images that wait now; None where nobody counted them."""
    growth_per_hour: float | None
    """While reviewers are at work: what comes in beyond what is done. Negative where the queue shrinks."""
    growth_per_day: float | None
    """The same over a mean day, nights included."""
    hours_to_clear: NonNegative | None
    """Of work, until nothing waits; None where that never is, or what it takes to tell is not known."""


class Standing(Contract):
    """How one taxonomy stands."""

    taxonomy: str
    as_of: AwareDatetime
    policy: Policy
    """The newest; a gate may still stand for an earlier one."""
    reader: Reader | None
    """What makes the readings now; None while there are none."""
    live: GateStanding
    candidate: GateStanding | None
    traffic: Traffic
    error: ErrorStanding
    """Of what passed under the live gate,"""
    candidate_error: ErrorStanding | None
    """and under the candidate, once it routes a share."""
    audits: AuditStanding
    forecast: Forecast
    drift: tuple[Drift, ...]
    """The newest readings against those that the live gate was certified on; empty while it has no such."""


class Diagrams(Contract):
    """How good the scores are, by what people have said since: for the figures of `calibration.offline.figures`.

    Everything of labelled readings is weighted by inverse propensity. Where there is none, tuples are empty, histograms
    are all 0, and the tables are None.
    """

    taxonomy: str
    as_of: AwareDatetime
    scored_by: Literal["live", "candidate", "label_probability"]
    """Whose calibrator scored all readings anew; where neither gate has one, the model's own probability did."""
    gate_id: str
    """Of the gate that `passing` in the tables speaks of."""
    calibrator: str | None
    since: AwareDatetime
    """Readings decided after this count: none that the calibrator may have learned from."""
    labelled: Count
    """Readings with a verdict and a score; of"""
    unscored: Count
    """further ones the answer could not be read;"""
    left_out: Count
    """and these are older ones, which the calibrator may have learned from."""
    traffic_rows: Count
    """Newest readings, with a verdict or not, by which coverage is counted."""
    max_error: Probability
    """What the certificates of this gate promise; where it has none, what the policy asks for."""
    threshold: Probability | None
    """Of the certificate, where there is exactly one,"""
    certified: tuple[Probability, Probability] | None
    """and its coverage and the bound of its error."""
    reliability: tuple[Bin, ...]
    curve: tuple[Passing, ...]
    labelled_scores: tuple[float, ...]
    """Share in each of the equal bins of [0, 1]."""
    traffic_scores: tuple[float, ...]
    labels: GroupTable | None
    sources: GroupTable | None


class ItemVerdict(Contract):
    """What a person said of an item: the verdict that counts."""

    label: str | None
    """None means "cannot tell"."""
    reviewer: str
    given_at: AwareDatetime
    blind: bool
    wrong: bool
    """Whether it is another label than the item's, or "cannot tell"."""
    contradicted: bool
    """Whether verdicts on this event differ."""


class Item(Contract):
    """One event, by the decision that counts."""

    event_id: str
    taxonomy: str
    decided_at: AwareDatetime
    label: str | None
    """None where the answer could not be read."""
    probability: Probability | None
    """By the gate that decided."""
    route: str
    reason: str
    source: str
    gate: str
    audited: bool
    """Whether it was drawn for a blind review."""
    would_pass: bool
    """Whether it passed, or would have, had it not been drawn."""
    content_sha256: str | None
    partition: int
    """Of the `decisions` topic: where the record of the decision lies."""
    offset: int
    verdict: ItemVerdict | None
