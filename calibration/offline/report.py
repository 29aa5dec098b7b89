"""What a report says, apart from how it looks: numbers and sentences, for the page, for the console, for a program."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from calibration.certificate import LabelError
from calibration.contract import Contract, Versioned
from calibration.metrics import Figure, Metrics
from calibration.offline.curves import Bin, Passing, Share
from calibration.watch.drift import DriftLevel

Tone = Literal["good", "bad", "caution"]


class Headline(Contract):
    """One figure of merit with its 95 % interval, and what it means."""

    name: str
    figure: Figure
    unit: Literal["share", "number"]
    meaning: str


class GroupRow(Contract):
    """One label's, or one source's, readings."""

    name: str
    error: Share
    """Of its labelled readings that were parsed."""
    mean_score: float
    gap: float
    """mean_score minus the observed share correct."""
    off: bool
    """Whether the gap is larger than chance explains, all rows of the table taken together (Bonferroni, 5 %)."""
    traffic_share: float
    passing: Share | None
    """The error among those that the certificates would pass; None where they pass none of them."""
    brier: float | None
    auroc: float | None


class GroupTable(Contract):
    """All labels, or all sources."""

    rows: tuple[GroupRow, ...]
    rarer: int
    """Groups that have no row."""
    macro: Metrics
    """Means over all groups, each counting the same."""


class CertificateRow(Contract):
    """One promise of several, and what became of it."""

    labels: str
    status: str
    threshold: float | None
    coverage: float
    upper_bound: float | None
    labels_used: int
    labels_needed: int | None
    label_errors: tuple[LabelError, ...]
    capped: tuple[str, ...]
    """Labels that do not pass all the same, since their own error is above the cap."""


class PromiseShown(Contract):
    """The promise, and the certificate of it."""

    max_error: float
    confidence: float
    max_label_error: float | None
    """The cap on each label's own error."""
    threshold: float | None
    """Of the certificate, where there is exactly one."""
    passes: bool
    """Whether anything is certified."""
    coverage: float
    upper_bound: float | None
    tone: Tone
    heading: str
    sentence: str
    certificates: tuple[CertificateRow, ...]


class DriftRow(Contract):
    """How far a signal of the traffic lies from that of the labelled readings."""

    name: str
    psi: float
    ks: float | None
    level: DriftLevel
    words: str


class Change(Contract):
    """What was, and what is."""

    what: str
    before: str
    now: str


class CoverageRow(Contract):
    """What could have passed with an error no larger than this, had somebody known where to cut: no promise."""

    error: float
    coverage: Figure


class Fact(Contract):
    """Where the report comes from."""

    name: str
    value: str
    verbatim: bool = False
    """A hash or an id, to be shown letter by letter."""


class Report(Versioned):
    """Everything that the page shows."""

    title: str
    labelled: int
    first_decided: AwareDatetime
    last_decided: AwareDatetime
    traffic_rows: int | None
    warnings: tuple[str, ...]
    pooled: Metrics
    headlines: tuple[Headline, ...]
    coverages: tuple[CoverageRow, ...]
    promise: PromiseShown | None
    reliability: tuple[Bin, ...]
    curve: tuple[Passing, ...]
    labelled_scores: tuple[float, ...]
    """Share of the parsed labelled readings in each of the equal bins of [0, 1]."""
    traffic_scores: tuple[float, ...]
    """The same of the traffic; empty where there is none."""
    labels: GroupTable
    sources: GroupTable
    drift: tuple[DriftRow, ...]
    changes: tuple[Change, ...]
    provenance: tuple[Fact, ...]
