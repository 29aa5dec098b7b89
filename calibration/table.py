"""Readings and outcomes in columns: what the mathematics of this room works on.

A missing number is nan, a missing label or source the empty string. Rows keep their order everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibration.outcome import ParseStatus, Signals

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Texts = NDArray[np.object_]
Times = NDArray[np.datetime64]
Rows = NDArray[np.bool_] | NDArray[np.intp] | slice


class Table:
    """Columns of one length; subclasses are frozen dataclasses of arrays, or of further tables."""

    def __post_init__(self) -> None:
        lengths = {column.name: len(getattr(self, column.name)) for column in fields(self)}  # type: ignore[arg-type]
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def take(self, rows: Rows) -> Self:
        """The rows of a mask, of indices or of a slice, in that order."""
        columns: dict[str, Any] = {column.name: getattr(self, column.name) for column in fields(self)}  # type: ignore[arg-type]
        return type(self)(
            **{
                name: column.take(rows) if isinstance(column, Table) else column[rows]
                for name, column in columns.items()
            }
        )


@dataclass(frozen=True)
class SignalTable(Table):
    """n readings: the label that the model gave, where the image came from, and the raw signals.

    Units and missing values as in `calibration.outcome.Signals`.
    """

    label: Texts
    source: Texts
    """The platform's own word for where images come from; empty where it says none."""
    parsed: Bools
    """Whether the answer could be read (parse status `ok`)."""
    verbal_confidence: Floats
    label_probability: Floats
    label_margin: Floats
    label_entropy: Floats
    agreement: Floats = field(default_factory=lambda: np.empty(0))
    """Left out: nobody looked twice, nan in every row."""

    def __post_init__(self) -> None:
        if not len(self.agreement):
            object.__setattr__(self, "agreement", np.full(len(self.label), np.nan))
        super().__post_init__()

    @property
    def looked(self) -> Bools:
        """(n,): whether a second look was taken and answered."""
        known: Bools = ~np.isnan(self.agreement)
        return known

    @classmethod
    def of(cls, readings: Iterable[tuple[str | None, str, Signals]]) -> Self:
        """Columns of (label, source, signals)."""
        rows = list(readings)

        def column(name: str) -> Floats:
            return np.array([getattr(signals, name) for _, _, signals in rows], np.float64)  # None becomes nan

        return cls(
            label=np.array([label or "" for label, _, _ in rows], np.object_),
            source=np.array([source for _, source, _ in rows], np.object_),
            parsed=np.array([signals.parse_status is ParseStatus.OK for _, _, signals in rows], np.bool_),
            verbal_confidence=column("verbal_confidence"),
            label_probability=column("label_probability"),
            label_margin=column("label_margin"),
            label_entropy=column("label_entropy"),
            agreement=column("agreement"),
        )


@dataclass(frozen=True)
class OutcomeTable(Table):
    """n readings whose truth is known."""

    event_id: Texts
    signals: SignalTable
    correct: Bools
    """Whether the model's label is the person's."""
    propensity: Floats
    """(0, 1]: the probability with which an event like this came before a person; its inverse is the weight."""
    audit_propensity: Floats
    """(0, 1]: that with which it was drawn for a blind audit, where it was drawn; nan for all other rows.

    Only drawn rows may certify or be monitored: they are a uniform sample of the region that is audited.
    """
    decided_at: Times
    """datetime64[us], UTC, when the worker decided."""
