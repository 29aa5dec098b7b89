"""From files to the contents of a report."""

from __future__ import annotations

import platform
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from calibration.calibrator import Calibrator
from calibration.certificate import Promise
from calibration.gate import Gate
from calibration.offline.certification import certify_files
from calibration.offline.documents import read_document, read_either_document, sha256_of
from calibration.offline.files import OutcomeFile, ScoredFile, ScoredOutcomes, SignalFile, read_outcomes, read_signals
from calibration.offline.gathering import report_data
from calibration.offline.problems import FileError, Problem
from calibration.offline.report import Fact, Report
from calibration.policy import Policy


def report_files(
    outcomes: Path,
    calibrator: Path,
    *,
    traffic: Path | None,
    previous: Path | None,
    policy: Policy | None,
    thin: bool,
    made_at: datetime,
) -> Report:
    """The contents of a report on files.

    Raises:
        FileError: a file cannot be used; it says what is wrong.
    """
    document = read_document(calibrator, Calibrator)
    known = read_outcomes(outcomes)
    if not known.outcomes.signals.parsed.any():
        raise FileError(outcomes, [Problem("no row was parsed", "Give at least one with parse_ok true.", "parse_ok")])
    streaming = None if traffic is None else read_signals(traffic)
    before = None if previous is None else read_either_document(previous, Gate, Calibrator)
    promises: tuple[Promise, ...] = ()
    warnings: tuple[str, ...] = ()
    if policy is not None and streaming is not None:
        promises, warnings = _certify(document, known, streaming, policy, thin=thin)
    used = {"outcomes": outcomes, "calibrator": calibrator, "traffic": traffic, "previous": previous}
    return report_data(
        known.outcomes,
        document,
        traffic=None if streaming is None else streaming.signals,
        previous=before,
        policy=policy,
        promises=promises,
        warnings=warnings,
        provenance=_provenance(document, {name: path for name, path in used.items() if path is not None}, made_at),
    )


def _certify(
    calibrator: Calibrator, known: OutcomeFile, streaming: SignalFile, policy: Policy, *, thin: bool
) -> tuple[tuple[Promise, ...], tuple[str, ...]]:
    table = known.outcomes
    scored = ScoredOutcomes(
        known.path,
        known.sha256,
        label=table.signals.label,
        score=calibrator.score(table.signals).score,
        event_id=table.event_id,
        wrong=~table.correct,
        propensity=table.audit_propensity,
    )
    traffic = ScoredFile(
        streaming.path, streaming.sha256, streaming.signals.label, calibrator.score(streaming.signals).score
    )
    answer = certify_files(scored, traffic, policy, thin=thin)
    return answer.document.promises, answer.remarks


def _provenance(calibrator: Calibrator, used: dict[str, Path], made_at: datetime) -> tuple[Fact, ...]:
    facts = [
        Fact(
            name="made",
            value=f"{made_at:%d %b %Y %H:%M} UTC by tidegate {_version()}, Python {platform.python_version()}",
        ),
        Fact(name="calibrator", value=calibrator.calibrator_id, verbatim=True),
        Fact(name="calibrator made", value=f"{calibrator.created_at:%d %b %Y %H:%M} UTC"),
    ]
    for name, path in used.items():
        facts.append(Fact(name=f"{name} file", value=str(path)))
        facts.append(Fact(name="SHA-256", value=sha256_of(path), verbatim=True))
    return tuple(facts)


def _version() -> str:
    try:
        return version("tidegate")
    except PackageNotFoundError:
        return "(not installed)"
