"""The columns that files of predictions have, and the check of their values.

A column is checked as a whole; what is wrong with it is gathered, not raised, so that a person sees all of it at once.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from calibration.offline.problems import Problem

_SHOWN_TEXT = 40


@dataclass(frozen=True)
class Column:
    """What one column of a file holds."""

    name: str
    kind: Literal["text", "number", "flag", "time"]
    remedy: str
    """What its values are, as advice to somebody whose value is refused."""
    optional: bool = False
    """May be left out altogether."""
    nullable: bool = False
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    """Whether `low` itself is refused."""


def _signal(name: str, remedy: str, low: float, high: float, *, optional: bool = False) -> Column:
    return Column(name, "number", remedy, optional, nullable=True, low=low, high=high)


_PROBABILITY = "Give a probability from 0 to 1 (0.87, not 87), and leave the cell empty where there is none."

EVENT_ID = Column("event_id", "text", "Give every row the id of its event.")
LABEL = Column(
    "label", "text", "Give the label that the model answered; empty where it could not be read.", nullable=True
)
SOURCE = Column("source", "text", "Give a word for where images come from.", optional=True, nullable=True)
PARSE_OK = Column("parse_ok", "flag", "Give true where the model's answer could be read, false where it could not.")
CORRECT = Column("correct", "flag", "Give true or false, and leave rows out whose truth is not known.")
PROPENSITY = Column(
    "propensity",
    "number",
    "Give the probability with which an event like this came before a person: above 0, at most 1 (1 = all did).",
    low=0.0,
    high=1.0,
    above_low=True,
)
AUDIT_PROPENSITY = Column(
    "audit_propensity",
    "number",
    "Give the probability of the blind audit that drew the row: above 0, at most 1; empty where it was not drawn.",
    optional=True,
    nullable=True,
    low=0.0,
    high=1.0,
    above_low=True,
)
DECIDED_AT = Column(
    "decided_at",
    "time",
    "Give the time of the decision, as 2026-11-23T12:00:00Z; without a zone it is UTC.",
)
SIGNALS = (
    EVENT_ID,
    LABEL,
    SOURCE,
    _signal("verbal_confidence", _PROBABILITY, 0.0, 1.0),
    _signal("label_probability", _PROBABILITY, 0.0, 1.0),
    _signal("label_margin", "Give a difference of two probabilities, -1 to 1, or leave the cell empty.", -1.0, 1.0),
    _signal("label_entropy", "Give an entropy in nats, 0 or more, or leave the cell empty.", 0.0, math.inf),
    _signal("agreement", _PROBABILITY, 0.0, 1.0, optional=True),
    PARSE_OK,
)
OUTCOMES = (*SIGNALS, CORRECT, PROPENSITY, AUDIT_PROPENSITY, DECIDED_AT)
SCORE = _signal("score", "Score the file with `tidegate calibrate apply`.", 0.0, 1.0)
SCORED_TRAFFIC = (LABEL, SCORE)
SCORED_OUTCOMES = (EVENT_ID, LABEL, SCORE, CORRECT, PROPENSITY, AUDIT_PROPENSITY)

Values = NDArray[Any]
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_EARLIEST, _LATEST = np.datetime64("1970-01-01", "us"), np.datetime64("2200-01-01", "us")


def check(column: Column, data: pa.ChunkedArray) -> tuple[Values, list[Problem]]:
    """The values of a column in numpy, and what is wrong with them.

    Returns:
        text: objects, "" where missing; number: float64, nan where missing; flag: bool; time: datetime64[us], UTC.
    """
    if pa.types.is_dictionary(data.type):
        data = data.cast(data.type.value_type)
    if pa.types.is_null(data.type):
        data = data.cast(pa.string())
    match column.kind:
        case "text":
            values, wrong = _text(column, data)
        case "number":
            values, wrong = _number(column, data)
        case "flag":
            values, wrong = _flag(column, data)
        case "time":
            values, wrong = _time(column, data)
        case _ as never:
            assert_never(never)
    absent = data.is_null().to_numpy()
    if column.kind == "text":
        absent = absent | (values == "")
    return values, [*([] if column.nullable else _where(column, data, absent, "no value")), *wrong]


def _text(column: Column, data: pa.ChunkedArray) -> tuple[Values, list[Problem]]:
    if pa.types.is_integer(data.type):
        data = data.cast(pa.string())
    if not _is_text(data.type):
        return np.full(len(data), "-", np.object_), [_wrong_type(column, data, "text")]
    coded = pc.fill_null(data.cast(pa.large_string()), "").combine_chunks().dictionary_encode()
    words = coded.dictionary.to_numpy(zero_copy_only=False)
    return words[coded.indices.to_numpy(zero_copy_only=False)], []  # one object for equal words


def _number(column: Column, data: pa.ChunkedArray) -> tuple[Values, list[Problem]]:
    unread = np.zeros(len(data), np.bool_)
    if _is_text(data.type):
        values, unread = _parsed(data, [pa.float64()], _to_float, math.nan)
    elif pa.types.is_integer(data.type) or pa.types.is_floating(data.type) or pa.types.is_decimal(data.type):
        values = data.cast(pa.float64(), safe=False).to_numpy()
    else:
        return np.full(len(data), math.nan), [_wrong_type(column, data, "numbers")]
    finite = np.isfinite(values)
    too_low = values <= column.low if column.above_low else values < column.low
    return np.where(finite, values, math.nan), [
        *_where(column, data, unread, "is not a number"),
        *_where(column, data, np.isnan(values) & data.is_valid().to_numpy() & ~unread, "is no value"),
        *_where(column, data, np.isinf(values), "is not possible"),
        *_where(column, data, finite & too_low, f"is {'not above' if column.above_low else 'below'} {column.low:g}"),
        *_where(column, data, finite & (values > column.high), f"is above {column.high:g}"),
    ]


def _flag(column: Column, data: pa.ChunkedArray) -> tuple[Values, list[Problem]]:
    if pa.types.is_boolean(data.type):
        return pc.fill_null(data, False).to_numpy(), []
    if not (_is_text(data.type) or pa.types.is_integer(data.type) or pa.types.is_floating(data.type)):
        return np.zeros(len(data), np.bool_), [_wrong_type(column, data, "true or false")]
    coded = data.combine_chunks().dictionary_encode()
    meanings = [_FLAGS.get(str(word).strip().lower()) for word in coded.dictionary.to_pylist()]
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    values = np.array([*(bool(meaning) for meaning in meanings), False])[codes]
    unread = np.array([*(meaning is None for meaning in meanings), False])[codes]
    return values, _where(column, data, unread, "is neither true nor false")


def _time(column: Column, data: pa.ChunkedArray) -> tuple[Values, list[Problem]]:
    unread = np.zeros(len(data), np.bool_)
    if _is_text(data.type):
        values, unread = _parsed(data, [pa.timestamp("us", "UTC"), pa.timestamp("us")], _to_utc, None)
    elif pa.types.is_timestamp(data.type) or pa.types.is_date(data.type):
        zone = data.type.tz if pa.types.is_timestamp(data.type) else None
        values = data.cast(pa.timestamp("us", zone), safe=False).to_numpy()
    else:
        return np.full(len(data), np.datetime64("NaT", "us")), [_wrong_type(column, data, "times")]
    values = values.astype("datetime64[us]")
    outside = (values < _EARLIEST) | (values >= _LATEST)
    return values, [
        *_where(column, data, unread, "is not a time"),
        *_where(column, data, outside, "is not a time between 1970 and 2200"),
    ]


def _parsed(
    data: pa.ChunkedArray, kinds: Sequence[pa.DataType], parse: Callable[[str], Any], missing: Any
) -> tuple[Values, NDArray[np.bool_]]:
    """Values of text cells, and which could not be read: all at once where all are of one kind, else one by one."""
    unread = np.zeros(len(data), np.bool_)
    for kind in kinds:
        with contextlib.suppress(pa.ArrowInvalid):  # some cell needs a closer look
            return data.cast(kind).to_numpy(), unread
    values: list[Any] = []
    for row, cell in enumerate(data.to_pylist()):
        value = missing
        if cell is not None:
            try:
                value = parse(cell)
            except (ValueError, OverflowError):
                unread[row] = True
        values.append(value)
    return pa.array(values, kinds[-1], from_pandas=False).to_numpy(zero_copy_only=False), unread


def _to_float(cell: str) -> float:
    if "_" in cell:
        raise ValueError
    return float(cell)


def _to_utc(cell: str) -> datetime:
    """Without its zone, as numpy keeps times."""
    time = datetime.fromisoformat(cell.strip())
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _wrong_type(column: Column, data: pa.ChunkedArray, wanted: str) -> Problem:
    return Problem(f"holds {data.type}, not {wanted}", column.remedy, column.name)


def _where(column: Column, data: pa.ChunkedArray, mask: NDArray[np.bool_], what: str) -> list[Problem]:
    rows = np.flatnonzero(mask)
    if not len(rows):
        return []
    cell = data[int(rows[0])].as_py()
    shown = (
        "" if cell is None or cell == "" else f"{str(cell)[:_SHOWN_TEXT]!r} " if isinstance(cell, str) else f"{cell} "
    )
    return [Problem.of_rows(column.name, rows.tolist(), shown + what, column.remedy)]
