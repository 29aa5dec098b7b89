"""`tidegate calibrate fit|apply|certify|report`: from files to files, for predictions of anybody's model.

Exit codes: 0 done (a refusal to certify is an answer, too), 2 wrong usage, files or values. What is meant for a program
stands on standard output, what is meant for a person on standard error. Files are written whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

# Numerics take seconds to load: they are imported by the commands that need them, not by every `tidegate --help`.
if TYPE_CHECKING:
    from calibration.metrics import Figure
    from calibration.policy import Policy

Calibrator = Annotated[Path, typer.Option("--calibrator", help="JSON that `fit` wrote", metavar="FILE")]
MaxError = Annotated[
    float | None,
    typer.Option(help="the promise: at most this share of what passes is wrong, as 0.05", metavar="SHARE"),
]
Confidence = Annotated[
    float | None, typer.Option(help="how sure that must be, above 0.5 and below 1; 0.9 unless told", metavar="SHARE")
]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        help="JSON of a policy, instead of --max-error: promises by label or group, caps, severe labels",
        metavar="FILE",
    ),
]
Thin = Annotated[
    bool,
    typer.Option("--thin", help="where propensities differ, drop rows by a hash of the event id until they are equal"),
]


def fit(
    outcomes: Annotated[Path, typer.Option(help="readings whose truth is known: .csv or .parquet", metavar="FILE")],
    out: Annotated[Path, typer.Option(help="where the calibrator goes: one JSON document", metavar="FILE")],
) -> None:
    """Learn from outcomes how far the signals can be trusted.

    Columns: event_id, label, source (optional), verbal_confidence,
    label_probability, label_margin, label_entropy (empty where the model gives
    none), agreement (optional), parse_ok, correct, propensity, decided_at. A row
    with propensity 0.1 stands for ten, nine of which nobody looked at.

    tidegate calibrate fit --outcomes reviewed.csv --out calibrator.json
    """
    from calibration.fitting.hierarchical import fit_calibrator  # noqa: PLC0415
    from calibration.offline.content import refuse_unwritable  # noqa: PLC0415
    from calibration.offline.documents import write_document  # noqa: PLC0415
    from calibration.offline.files import read_outcomes  # noqa: PLC0415

    with _refusals():
        refuse_unwritable(out, outcomes)
        read = read_outcomes(outcomes)
        calibrator = fit_calibrator(read.outcomes, created_at=datetime.now(UTC))
        write_document(out, calibrator)
    unread = f", {calibrator.unparsed:,} of them left out: not parsed" if calibrator.unparsed else ""
    _say(f"{out}: calibrator {calibrator.calibrator_id}, of {len(read.outcomes):,} outcomes{unread}")
    if calibrator.metrics is not None:
        brier, auroc = calibrator.metrics.brier, calibrator.metrics.auroc
        _say(
            f"on the newest {calibrator.metrics.n:,}, fitted without them: Brier score {_figure(brier)}, "
            f"AUROC {_figure(auroc)}"
        )
    if not calibrator.converged:
        _say("the fit did not converge: do not use it; look for a signal that separates right from wrong altogether")


def apply(
    calibrator: Calibrator,
    signals: Annotated[
        Path, typer.Option(help="readings to score: .csv or .parquet; outcomes are readings, too", metavar="FILE")
    ],
    out: Annotated[Path, typer.Option(help="where the scored file goes: .csv or .parquet", metavar="FILE")],
) -> None:
    """Score readings: add the columns score (probability that the label is right), low and high (its interval).

    All other columns stay as they are. Rows whose answer could not be read get
    no score: they belong to people.

    tidegate calibrate apply --calibrator calibrator.json
    --signals today.parquet --out scores.parquet
    """
    import calibration.calibrator as calibrators  # noqa: PLC0415
    from calibration.offline.content import refuse_unwritable, write_content  # noqa: PLC0415
    from calibration.offline.documents import read_document  # noqa: PLC0415
    from calibration.offline.files import read_signals, with_columns  # noqa: PLC0415

    with _refusals():
        refuse_unwritable(out, calibrator, signals)
        document = read_document(calibrator, calibrators.Calibrator)
        read = read_signals(signals)
        scores = document.score(read.signals)
        added = {"score": scores.score, "low": scores.low, "high": scores.high}
        if replaced := sorted(added.keys() & set(read.content.column_names)):
            _say(f"{signals}: its columns {', '.join(replaced)} are replaced in {out}")
        write_content(out, with_columns(read.content, added))
    _say(
        f"{out}: {len(read.signals):,} rows, {int((~read.signals.parsed).sum()):,} of them without a score (not parsed)"
    )


def certify(
    outcomes: Annotated[
        Path, typer.Option(help="scored outcomes, a uniform sample of the traffic: .csv or .parquet", metavar="FILE")
    ],
    traffic: Annotated[Path, typer.Option(help="scores of all traffic, labelled or not", metavar="FILE")],
    max_error: MaxError = None,
    confidence: Confidence = None,
    policy: PolicyFile = None,
    thin: Thin = False,
) -> None:
    """Find the threshold above which the error is certified, and print one JSON object.

    Its status is certified, insufficient_labels (too few labels for any
    certificate) or no_certifiable_threshold (enough labels, but they show too
    many errors).

    The labels must not be those that fitted the calibrator, and every event
    must have had the same chance to be labelled: mixed propensities are
    refused, unless --thin makes them equal.

    tidegate calibrate certify --outcomes scored.parquet
    --traffic scores.parquet --max-error 0.05 --confidence 0.9
    """
    terms = _terms(max_error, confidence, policy)
    from calibration.offline.certification import certify_files  # noqa: PLC0415
    from calibration.offline.files import read_scored_outcomes, read_scored_traffic  # noqa: PLC0415

    with _refusals():
        answer = certify_files(read_scored_outcomes(outcomes), read_scored_traffic(traffic), terms, thin=thin)
    for remark in answer.remarks:
        _say(remark)
    typer.echo(answer.document.model_dump_json())


def report(
    outcomes: Annotated[
        Path,
        typer.Option(
            help="readings whose truth is known: .csv or .parquet; best those that the calibrator has not seen",
            metavar="FILE",
        ),
    ],
    calibrator: Calibrator,
    out: Annotated[Path, typer.Option(help="where the page goes: .html", metavar="FILE")],
    traffic: Annotated[
        Path | None,
        typer.Option(help="readings of all traffic: coverage, certificate and drift need it", metavar="FILE"),
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(help="JSON of the last gate or calibrator, to say what changed", metavar="FILE")
    ] = None,
    max_error: MaxError = None,
    confidence: Confidence = None,
    policy: PolicyFile = None,
    thin: Thin = False,
) -> None:
    """Write one HTML page, without network or scripts, on how good the scores are and what could pass.

    Reliability diagram, risk and coverage with the promise, histograms, errors
    by label and source, drift, what changed since the last gate, where it comes
    from. With --max-error or --policy, and --traffic, also a certificate.

    tidegate calibrate report --outcomes newest.csv --calibrator calibrator.json
    --traffic today.parquet --max-error 0.05 --out report.html
    """
    terms = _terms(max_error, confidence, policy) if (max_error, confidence, policy) != (None, None, None) else None
    if terms is not None and traffic is None:
        raise typer.BadParameter("a promise is certified over traffic: give --traffic", param_hint="--max-error")
    from calibration.offline.content import refuse_unwritable  # noqa: PLC0415
    from calibration.offline.documents import write_text  # noqa: PLC0415
    from calibration.offline.page import render  # noqa: PLC0415
    from calibration.offline.reporting import report_files  # noqa: PLC0415

    with _refusals():
        refuse_unwritable(out, outcomes, calibrator, *filter(None, (traffic, previous, policy)))
        data = report_files(
            outcomes, calibrator, traffic=traffic, previous=previous, policy=terms, thin=thin, made_at=datetime.now(UTC)
        )
        write_text(out, render(data))
    for warning in data.warnings:
        _say(warning)
    _say(f"{out}: {data.labelled:,} labelled readings")


def _terms(max_error: float | None, confidence: float | None, path: Path | None) -> Policy:
    """The promise asked for, as a policy."""
    from calibration.offline.documents import read_document  # noqa: PLC0415
    from calibration.policy import Policy  # noqa: PLC0415

    if path is not None:
        if (max_error, confidence) != (None, None):
            raise typer.BadParameter("the policy states the promise: leave out --max-error and --confidence")
        with _refusals():
            return read_document(path, Policy)
    if max_error is None:
        raise typer.BadParameter("state the promise: --max-error, or --policy", param_hint="--max-error")
    confidence = 0.9 if confidence is None else confidence
    if not 0.0 < max_error < 1.0:
        raise typer.BadParameter("a share above 0 and below 1, as 0.05 for 5 %", param_hint="--max-error")
    if not 0.5 < confidence < 1.0:
        raise typer.BadParameter("above 0.5 and below 1, as 0.9", param_hint="--confidence")
    return Policy(
        policy_id="command-line",
        taxonomy="any",
        created_at=datetime.now(UTC),
        max_error=max_error,
        confidence=confidence,
    )


@contextmanager
def _refusals() -> Iterator[None]:
    """What is wrong with a file is said to a person, without a traceback."""
    from calibration.offline.problems import FileError  # noqa: PLC0415

    try:
        yield
    except FileError as error:
        _say(str(error))
        raise typer.Exit(2) from error


def _figure(figure: Figure) -> str:
    if figure.value is None:
        return "not defined"
    interval = "" if figure.low is None else f" ({figure.low:.4f} to {figure.high:.4f})"
    return f"{figure.value:.4f}{interval}"


def _say(words: str) -> None:
    typer.echo(words, err=True)
