"""What a report says, apart from how it looks: numbers and sentences, for the page, for the console, for a program."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from calibration.contract import Contract, Versioned
from calibration.offline.curves import Bin, Passing, Share


class Headline(Contract):
    """One figure of merit with its 95 % interval, and what it means."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: Literal["share", "number"]
    meaning: str

    def shown(self, value: float) -> str:
        """The value as a person reads it."""
        return f"{100 * value:.1f} %" if self.unit == "share" else f"{value:.4f}"


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
    passing: Share
    """The error among those that the certificate would pass."""


class CertificateRow(Contract):
    """One promise of several, and what became of it."""

    labels: str
    status: str
    threshold: float | None
    coverage: float
    upper_bound: float | None
    labels_used: int
    labels_needed: int | None


class PromiseShown(Contract):
    """The promise, and the certificate of it."""

    max_error: float
    confidence: float
    threshold: float | None
    """Of the certificate, where there is exactly one."""
    passes: bool
    """Whether anything is certified."""
    coverage: float
    upper_bound: float | None
    tone: Literal["good", "bad", "caution"]
    heading: str
    sentence: str
    certificates: tuple[CertificateRow, ...]


class DriftRow(Contract):
    """How far a signal of the traffic lies from that of the labelled readings."""

    name: str
    psi: float
    ks: float
    word: str


class Change(Contract):
    """What was, and what is."""

    what: str
    before: str
    now: str


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
    headlines: tuple[Headline, ...]
    promise: PromiseShown | None
    reliability: tuple[Bin, ...]
    curve: tuple[Passing, ...]
    labelled_scores: tuple[float, ...]
    """Share of the parsed labelled readings in each of the equal bins of [0, 1]."""
    traffic_scores: tuple[float, ...]
    """The same of the traffic; empty where there is none."""
    labels: tuple[GroupRow, ...]
    rarer_labels: int
    sources: tuple[GroupRow, ...]
    rarer_sources: int
    drift: tuple[DriftRow, ...]
    changes: tuple[Change, ...]
    provenance: tuple[Fact, ...]
