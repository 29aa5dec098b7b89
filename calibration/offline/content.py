"""The bytes of a file as a table, CSV or Parquet by suffix, and a table as bytes: written whole or not at all."""

from __future__ import annotations

import csv
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from calibration.offline.problems import FileError, Place, Problem

_PARQUET = b"PAR1"
_FIELD_LIMIT = 1 << 24


@dataclass(frozen=True)
class Content:
    """A file as a table. Columns of a CSV are text, in its own words; an empty cell is null."""

    table: pa.Table
    problems: tuple[Problem, ...] = ()
    """Of its form: rows of another width, doubled columns."""
    place: Callable[[], Place] = lambda: lambda row: f"row {row + 1}"
    """Made only when a problem must be pointed at, since the lines of a CSV have to be counted for it."""


def read_content(path: Path) -> Content:
    """The whole file.

    Raises:
        FileError: there is no such file, or it is neither CSV nor Parquet.
    """
    suffix = _suffix(path)
    try:
        if path.is_dir():
            raise FileError(path, [Problem("is a folder", "Name one .csv or .parquet file.")])
        with path.open("rb") as file:
            start = file.read(len(_PARQUET))
    except OSError as error:
        remedy = "Check the name and the permissions."
        raise FileError(path, [Problem(f"cannot be read ({error.strerror})", remedy)]) from error
    if not start:
        raise FileError(path, [Problem("the file is empty", "Give a header with the names of the columns, and rows.")])
    if (start == _PARQUET) != (suffix == ".parquet"):
        found = "Parquet" if start == _PARQUET else "not Parquet"
        raise FileError(path, [Problem(f"the content is {found}", "Give the file the suffix of what it is.")])
    try:
        return _read_parquet(path) if suffix == ".parquet" else _read_csv(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        kind = "Parquet" if suffix == ".parquet" else "CSV"
        reason = str(error).splitlines()[0][:200]
        remedy = "Write it again; its end or a part of it may be missing or damaged."
        raise FileError(path, [Problem(f"cannot be read as {kind} ({reason})", remedy)]) from error


def write_content(path: Path, table: pa.Table) -> None:
    """Write a table, CSV or Parquet by suffix: under another name first, so that nobody ever sees half a file.

    Raises:
        FileError: the suffix is neither, the folder is missing or closed, or a column does not fit into a CSV.
    """
    suffix = _suffix(path)
    try:
        with replacing(path) as file:
            if suffix == ".parquet":
                pq.write_table(table, file, compression="zstd")
            else:
                pa_csv.write_csv(table, file)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise FileError(path, [Problem(f"cannot hold this table ({reason})", "Write a .parquet file.")]) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only when it is complete and on disk.

    Raises:
        FileError: it cannot be written there.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with draft.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except pa.ArrowException:
        raise
    except OSError as error:
        remedy = "Name a file in a folder that exists and that you may write to."
        raise FileError(path, [Problem(f"cannot be written ({error.strerror or error})", remedy)]) from error


def refuse_unwritable(path: Path, *inputs: Path) -> None:
    """Say before the work, not after it, that the result has no place.

    Raises:
        FileError: the folder is missing, the name is a folder's, or the file is one of the inputs.
    """
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise FileError(path, [Problem(what, "Name a file in a folder that exists.")])
    if any(other.exists() and path.exists() and path.samefile(other) for other in inputs):
        raise FileError(path, [Problem("is an input too", "Name another file for the result.")])


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise FileError(path, [Problem(f"the suffix is {suffix or 'missing'}", "Name a .csv or .parquet file.")])
    return suffix


def _read_parquet(path: Path) -> Content:
    with pq.ParquetFile(path) as file:
        table = file.read()
    table.validate(full=True)  # text that is not UTF-8 would surface later, as a traceback
    return Content(table, _doubled(table.column_names))


def _read_csv(path: Path) -> Content:
    try:
        header = next(_records(path), (1, []))[1]
    except UnicodeDecodeError:
        header = []
    if (line := _undecodable(path)) is not None:
        remedy = "Save the file as UTF-8."
        raise FileError(path, [Problem(f"line {line} is not UTF-8", remedy)])
    skipped = 0

    def skip(_: pa_csv.InvalidRow) -> str:
        nonlocal skipped
        skipped += 1
        return "skip"

    table = pa_csv.read_csv(
        path,
        read_options=pa_csv.ReadOptions(block_size=_FIELD_LIMIT),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )
    problems = _doubled(table.column_names)
    if skipped:
        problems = (*problems, _other_width(path, len(header), skipped))
    return Content(table, problems, lambda: _lines(path, len(header)))


def _doubled(names: list[str]) -> tuple[Problem, ...]:
    doubled = sorted({name for name in names if names.count(name) > 1})
    return tuple(Problem("stands there more than once", "Keep one, or rename the others.", name) for name in doubled)


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line on which each record of a CSV begins, and its cells; the first is the header."""
    csv.field_size_limit(_FIELD_LIMIT)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        begins = 1
        for cells in reader:
            if cells:
                yield begins, cells
            begins = reader.line_num + 1


def _lines(path: Path, width: int) -> Place:
    records = _records(path)
    next(records)
    begins = [line for line, cells in records if len(cells) == width]
    return lambda row: f"line {begins[row]}" if row < len(begins) else f"row {row + 1}"


def _other_width(path: Path, width: int, count: int) -> Problem:
    odd = [(line, len(cells)) for line, cells in _records(path) if len(cells) != width]
    where = f"line {odd[0][0]} has {odd[0][1]} cells" if odd else f"{count} rows do not have {width} cells"
    more = f" ({len(odd) - 1:,} more rows likewise)" if len(odd) > 1 else ""
    remedy = "Give every row a cell for each column, and put text with commas in it in double quotes."
    return Problem(f"{where}, the header {width}{more}", remedy)


def _undecodable(path: Path) -> int | None:
    """The line that is not UTF-8, if one is not."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None
