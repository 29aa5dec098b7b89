"""Predictions in files: Parquet or CSV in, checked tables out, and files back, whole or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from calibration.offline import columns
from calibration.offline.columns import Column, Values, check
from calibration.offline.content import Content, read_content
from calibration.offline.documents import sha256_of
from calibration.offline.problems import FileError, Problem
from calibration.table import Bools, Floats, OutcomeTable, SignalTable, Texts


@dataclass(frozen=True)
class SignalFile:
    """Readings, and the file that they came from."""

    path: Path
    sha256: str
    content: pa.Table
    """Every column of the file, as it was."""
    event_id: Texts
    signals: SignalTable


@dataclass(frozen=True)
class OutcomeFile:
    """Readings whose truth is known."""

    path: Path
    sha256: str
    content: pa.Table
    outcomes: OutcomeTable


@dataclass(frozen=True)
class ScoredFile:
    """Scored traffic: n events."""

    path: Path
    sha256: str
    label: Texts
    score: Floats
    """nan where the answer could not be read."""


@dataclass(frozen=True)
class ScoredOutcomes(ScoredFile):
    """Scored readings whose truth is known; only rows that were drawn (a propensity that is not nan) may certify."""

    event_id: Texts
    wrong: Bools
    propensity: Floats


def read_signals(path: Path) -> SignalFile:
    """Read readings.

    Raises:
        FileError: the file cannot be used; it lists what is wrong.
    """
    content, values = _read(path, columns.SIGNALS)
    return SignalFile(path, sha256_of(path), content.table, values["event_id"], _signals(values))


def read_outcomes(path: Path) -> OutcomeFile:
    """Read readings whose truth is known. Without a column `audit_propensity`, every row counts as drawn.

    Raises:
        FileError: the file cannot be used; it lists what is wrong.
    """
    content, values = _read(path, columns.OUTCOMES)
    outcomes = OutcomeTable(
        event_id=values["event_id"],
        signals=_signals(values),
        correct=values["correct"],
        propensity=values["propensity"],
        audit_propensity=values.get("audit_propensity", values["propensity"]),
        decided_at=values["decided_at"],
    )
    return OutcomeFile(path, sha256_of(path), content.table, outcomes)


def read_scored_traffic(path: Path) -> ScoredFile:
    """Read scored traffic: only its labels and scores.

    Raises:
        FileError: the file cannot be used; it lists what is wrong.
    """
    _, values = _read(path, columns.SCORED_TRAFFIC)
    return ScoredFile(path, sha256_of(path), values["label"], values["score"])


def read_scored_outcomes(path: Path) -> ScoredOutcomes:
    """Read scored readings whose truth is known: ids, labels, scores, truths and propensities.

    Raises:
        FileError: the file cannot be used; it lists what is wrong.
    """
    _, values = _read(path, columns.SCORED_OUTCOMES)
    return ScoredOutcomes(
        path,
        sha256_of(path),
        label=values["label"],
        score=values["score"],
        event_id=values["event_id"],
        wrong=~values["correct"],
        propensity=values.get("audit_propensity", values["propensity"]),
    )


def with_columns(table: pa.Table, added: dict[str, Floats]) -> pa.Table:
    """The table with further columns of numbers, null where nan; a column of that name is replaced in its place."""
    for name, numbers in added.items():
        column = pa.array(numbers, pa.float64(), mask=np.isnan(numbers))
        at = table.schema.get_field_index(name)
        table = table.append_column(name, column) if at < 0 else table.set_column(at, name, column)
    return table


def _read(path: Path, wanted: Sequence[Column]) -> tuple[Content, dict[str, Values]]:
    """The wanted columns, checked; optional ones that are absent are left out."""
    content = read_content(path)
    problems: list[Problem] = list(content.problems)
    names = content.table.column_names
    values: dict[str, Values] = {}
    for column in wanted:
        if column.name in names:
            values[column.name], found = check(column, content.table.column(names.index(column.name)))
            problems += found
        elif not column.optional:
            problems.append(_absent(column, names))
    if not content.table.num_rows:
        problems.append(Problem("there are no rows", "Give at least one."))
    problems += _contradictions(wanted, values)
    if problems:
        raise FileError(path, problems, content.place())
    return content, values


def _absent(column: Column, present: Sequence[str]) -> Problem:
    plain = {name.strip().lower().replace(" ", "_"): name for name in present}
    near = difflib.get_close_matches(column.name, plain, 1, 0.8)
    if near:
        return Problem("is missing", f"Rename {plain[near[0]]!r} to it.", column.name)
    if len(present) == 1 and ";" in present[0]:
        return Problem("is missing", "Separate the columns with commas, not semicolons.", column.name)
    empty = " Where nothing is known, let it be empty." if column.nullable else ""
    return Problem("is missing", f"Add it. {column.remedy}{empty}", column.name)


def _contradictions(wanted: Sequence[Column], values: dict[str, Values]) -> list[Problem]:
    """What is wrong between columns and between rows."""
    problems = []
    if {"parse_ok", "label"} <= values.keys():
        unnamed = np.flatnonzero(values["parse_ok"] & (values["label"] == ""))
        if len(unnamed):
            remedy = "Give the label that the model answered, or set parse_ok to false."
            problems.append(Problem.of_rows("label", unnamed.tolist(), "no value, though parse_ok is true", remedy))
    if columns.CORRECT in wanted and "event_id" in values:
        repeats = _repeats(values["event_id"])
        if len(repeats):
            what = f"{values['event_id'][repeats[0]]!r} stood in an earlier row already"
            remedy = "Keep one outcome for each event: labels that count twice would make a certificate false."
            problems.append(Problem.of_rows("event_id", repeats.tolist(), what, remedy))
    return problems


def _repeats(values: Values) -> NDArray[np.intp]:
    """The rows whose value, if it is one, stood in an earlier row."""
    codes = pa.array(values, pa.string()).dictionary_encode().indices.to_numpy()  # numbered as they first appear
    new = np.diff(np.maximum.accumulate(codes), prepend=-1) > 0
    return np.flatnonzero(~new & (values != ""))


def _signals(values: dict[str, Values]) -> SignalTable:
    label = values["label"]
    return SignalTable(
        label=label,
        source=values.get("source", np.full(len(label), "", np.object_)),
        parsed=values["parse_ok"],
        verbal_confidence=values["verbal_confidence"],
        label_probability=values["label_probability"],
        label_margin=values["label_margin"],
        label_entropy=values["label_entropy"],
        agreement=values.get("agreement", np.empty(0)),
    )
