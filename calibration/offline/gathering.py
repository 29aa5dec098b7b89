"""The contents of a report, worked out from outcomes, a calibrator and traffic. Pure: no files, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from calibration.calibrator import Calibrator
from calibration.certificate import Promise
from calibration.fitting.fingerprint import canonical_order, sha256_of_outcomes
from calibration.fitting.weighting import inverse_propensity
from calibration.gate import Gate
from calibration.metrics import evaluate
from calibration.offline.changes import changes_since
from calibration.offline.curves import histogram, reliability, risk_coverage, share
from calibration.offline.drifted import drift_rows
from calibration.offline.groups import Scored, group_table
from calibration.offline.headlines import coverages, headlines
from calibration.offline.passing import passing
from calibration.offline.promised import promise_shown
from calibration.offline.report import Fact, Report
from calibration.policy import Policy
from calibration.table import Floats, OutcomeTable, SignalTable, Texts


class Streaming(NamedTuple):
    """m readings of the traffic, scored: nan where not parsed."""

    signals: SignalTable
    score: Floats

    @property
    def parsed_score(self) -> Floats:
        """Without those that were not parsed."""
        scores: Floats = self.score[~np.isnan(self.score)]
        return scores

    def parsed(self, words: Texts) -> Texts:
        """Labels or sources of those that were."""
        kept: Texts = words[~np.isnan(self.score)]
        return kept


def report_data(
    outcomes: OutcomeTable,
    calibrator: Calibrator,
    *,
    traffic: SignalTable | None = None,
    previous: Gate | Calibrator | None = None,
    policy: Policy | None = None,
    promises: Sequence[Promise] = (),
    warnings: Sequence[str] = (),
    provenance: Sequence[Fact] = (),
) -> Report:
    """Everything that a report says.

    Args:
        outcomes: readings whose truth is known; at least one was parsed.
        calibrator: what scores them, and the traffic.
        traffic: readings of all traffic.
        previous: what the calibrator and its promise are compared with.
        policy: the promise, where one is asked for,
        promises: and the certificates of it, over that traffic.
        warnings: what a reader must know first.
        provenance: where everything comes from.

    Raises:
        ValueError: no outcome was parsed.
    """
    every = calibrator.score(outcomes.signals).score
    parsed = ~np.isnan(every)
    if not parsed.any():
        raise ValueError("no outcome was parsed")
    every_weight = inverse_propensity(outcomes.propensity)
    known, score, weight = outcomes.take(parsed), every[parsed], every_weight[parsed]
    label, source = known.signals.label, known.signals.source
    scored = Scored(score, known.correct, weight, passing(promises, label, score, policy))
    streaming = None if traffic is None else Streaming(traffic, calibrator.score(traffic).score)
    coverage = 0.0
    if streaming is not None:
        coverage = float(np.mean(passing(promises, streaming.signals.label, streaming.score, policy)))
    metrics = evaluate(every, outcomes.correct, every_weight)
    decided = outcomes.decided_at.astype("datetime64[s]")
    return Report(
        title="How far this model can be trusted",
        labelled=len(outcomes),
        first_decided=_time(decided.min()),
        last_decided=_time(decided.max()),
        traffic_rows=None if streaming is None else len(streaming.score),
        warnings=(*_seen_before(calibrator, outcomes), *warnings),
        pooled=metrics,
        headlines=headlines(metrics, share(~parsed, every_weight)),
        coverages=coverages(metrics),
        promise=None if policy is None else promise_shown(policy, promises, coverage),
        reliability=reliability(score, known.correct, weight),
        curve=risk_coverage(
            score,
            known.correct,
            weight,
            None if streaming is None else streaming.parsed_score,
            float(every_weight.sum()) if streaming is None else float(len(streaming.score)),
        ),
        labelled_scores=histogram(score, weight),
        traffic_scores=() if streaming is None else histogram(streaming.parsed_score),
        labels=group_table(label, scored, None if streaming is None else streaming.parsed(streaming.signals.label)),
        sources=group_table(source, scored, None if streaming is None else streaming.parsed(streaming.signals.source)),
        drift=()
        if streaming is None
        else drift_rows(outcomes.signals, every, every_weight, streaming.signals, streaming.score),
        changes=changes_since(previous, calibrator, known, weight, policy, promises),
        provenance=tuple(provenance),
    )


def _seen_before(calibrator: Calibrator, outcomes: OutcomeTable) -> tuple[str, ...]:
    """A calibrator looks too good on the outcomes that it learned from."""
    as_many = len(outcomes) == calibrator.n + calibrator.unparsed
    if as_many and sha256_of_outcomes(outcomes.take(canonical_order(outcomes))) == calibrator.data_sha256:
        return (
            "The calibrator was fitted on these very outcomes: every figure here is too good, and no certificate "
            "holds. Judge it on other outcomes.",
        )
    if calibrator.decided_until is None:
        return ()
    until = np.datetime64(calibrator.decided_until.astimezone(UTC).replace(tzinfo=None), "us")
    if not (older := int((outcomes.decided_at <= until).sum())):
        return ()
    return (
        f"The calibrator learned from outcomes decided until {calibrator.decided_until.astimezone(UTC):%d %b %Y %H:%M} "
        f"UTC, and {older:,} of these {len(outcomes):,} are no newer. If it learned from them, every figure here is "
        "too good, and no certificate holds.",
    )


def _time(seconds: np.datetime64) -> datetime:
    return datetime.fromtimestamp(int(seconds.astype(np.int64)), UTC)
