"""Reading and writing files of predictions: what is understood, and what a person is told when something is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.offline.content import read_content, refuse_unwritable, replacing, write_content
from calibration.offline.files import read_outcomes, read_scored_outcomes, read_signals, with_columns
from calibration.offline.problems import FileError
from tests.calibration.offline.predictions import predictions

SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".parquet"])


def refusal(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(FileError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def saved(table: pa.Table, path: Path) -> Path:
    write_content(path, table)
    return path


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


@SUFFIXES
def test_what_is_read_is_what_was_written(tmp_path: Path, suffix: str) -> None:
    table = predictions(200)
    read = read_outcomes(saved(table, tmp_path / f"outcomes{suffix}")).outcomes
    assert read.event_id.tolist() == table["event_id"].to_pylist()
    assert read.signals.label.tolist() == [label or "" for label in table["label"].to_pylist()]
    assert read.signals.source.tolist() == table["source"].to_pylist()
    assert read.signals.parsed.tolist() == table["parse_ok"].to_pylist()
    assert read.correct.tolist() == table["correct"].to_pylist()
    for name in ("verbal_confidence", "label_probability", "label_margin", "label_entropy"):
        wanted = np.array([np.nan if value is None else value for value in table[name].to_pylist()])
        np.testing.assert_allclose(getattr(read.signals, name), wanted, rtol=1e-12)
    assert np.array_equal(read.decided_at, table["decided_at"].to_numpy())
    assert read.decided_at.dtype == np.dtype("datetime64[us]")
    assert np.array_equal(read.propensity, np.ones(200))
    assert np.array_equal(read.audit_propensity, read.propensity)


def test_a_source_may_be_left_out(tmp_path: Path) -> None:
    read = read_signals(saved(predictions(3, source=False, outcomes=False), tmp_path / "signals.csv"))
    assert read.signals.source.tolist() == ["", "", ""]


@SUFFIXES
def test_the_agreement_of_a_second_look_may_be_left_out(tmp_path: Path, suffix: str) -> None:
    table = predictions(4)
    assert np.isnan(read_outcomes(saved(table, tmp_path / f"without{suffix}")).outcomes.signals.agreement).all()
    looked = table.append_column("agreement", pa.array([0.25, None, 1.0, None]))
    read = read_outcomes(saved(looked, tmp_path / f"with{suffix}"))
    np.testing.assert_equal(read.outcomes.signals.agreement, [0.25, np.nan, 1.0, np.nan])
    assert "agreement" in read.content.column_names
    wrong = saved(table.append_column("agreement", pa.array([25.0] * 4)), tmp_path / f"wrong{suffix}")
    assert "column agreement" in refusal(read_outcomes, wrong)


HEADER = (
    "event_id,label,verbal_confidence,label_probability,label_margin,label_entropy,parse_ok,"
    "correct,propensity,decided_at"
)
ROW = "a,joy,0.9,0.8,0.7,0.3,true,true,1,2026-11-01T12:00:00Z"


def csv_of(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("cell", "micros"),
    [
        ("2026-11-01T12:00:00Z", 0),
        ("2026-11-01 12:00:00", 0),  # without a zone: UTC
        ("2026-11-01T14:00:00+02:00", 0),
        ("2026-11-01T12:00:00.000250Z", 250),
    ],
)
def test_times_are_read_in_every_iso_form(tmp_path: Path, cell: str, micros: int) -> None:
    other = ROW.replace("a,", "b,", 1)  # beside a cell of another form
    path = csv_of(tmp_path / "times.csv", ROW.replace("2026-11-01T12:00:00Z", cell), other)
    noon = np.datetime64("2026-11-01T12:00:00", "us")
    assert read_outcomes(path).outcomes.decided_at.tolist() == [(noon + micros).item(), noon.item()]


def test_flags_are_read_in_every_usual_form(tmp_path: Path) -> None:
    cells = ["true", "FALSE", "1", "0", "True", " false"]
    path = csv_of(tmp_path / "flags.csv", *(f"{i},joy,,,,,true,{cell},1,2026-11-01" for i, cell in enumerate(cells)))
    assert read_outcomes(path).outcomes.correct.tolist() == [True, False, True, False, True, False]
    numbers = replaced(predictions(4), "correct", [1.0, 0.0, 1.0, 0.0])
    assert read_outcomes(saved(numbers, tmp_path / "flags.parquet")).outcomes.correct.tolist() == [True, False] * 2


WRONG_CELLS = [
    ("verbal_confidence", "1.2", r"line 3: '1.2' is above 1. Give a probability from 0 to 1"),
    ("verbal_confidence", "87 %", "line 3: '87 %' is not a number"),
    ("verbal_confidence", "nan", "line 3: 'nan' is no value. .* leave the cell empty"),
    ("label_probability", "-0.1", "line 3: '-0.1' is below 0"),
    ("label_probability", "inf", "line 3: 'inf' is not possible"),
    ("label_margin", "-1.5", "line 3: '-1.5' is below -1"),
    ("label_entropy", "-0.01", "line 3: '-0.01' is below 0. Give an entropy in nats"),
    ("parse_ok", "perhaps", "line 3: 'perhaps' is neither true nor false"),
    ("parse_ok", "", "line 3: no value"),
    ("correct", "", "line 3: no value. Give true or false, and leave rows out whose truth is not known"),
    ("propensity", "0", "line 3: '0' is not above 0"),
    ("propensity", "2", "line 3: '2' is above 1"),
    ("propensity", "", "line 3: no value"),
    ("decided_at", "yesterday", "line 3: 'yesterday' is not a time"),
    ("decided_at", "2026-13-01", "line 3: '2026-13-01' is not a time"),
    ("decided_at", "1923-01-01", "line 3: '1923-01-01' is not a time between 1970 and 2200"),
    ("decided_at", "", "line 3: no value"),
    ("event_id", "", "line 3: no value"),
    ("event_id", "a", "line 3: 'a' stood in an earlier row already"),
    ("label", "", "line 3: no value, though parse_ok is true"),
]


@pytest.mark.parametrize(("column", "cell", "message"), WRONG_CELLS)
def test_a_wrong_cell_is_named_with_its_line_and_what_to_do(
    tmp_path: Path, column: str, cell: str, message: str
) -> None:
    cells = ROW.replace("a,", "b,", 1).split(",")
    cells[HEADER.split(",").index(column)] = cell
    said = refusal(read_outcomes, csv_of(tmp_path / "wrong.csv", ROW, ",".join(cells)))
    assert re.search(f"column {column}, {message}", said), said
    assert "\n" not in said


def test_all_problems_are_said_at_once_and_rows_that_share_one_are_counted(tmp_path: Path) -> None:
    rows = [f"{i},joy,{1.5 if i < 100 else 0.5},0.8,7,0.3,true,true,1,2026-11-01" for i in range(120)]
    said = refusal(read_outcomes, csv_of(tmp_path / "many.csv", *rows))
    assert "2 problems" in said
    assert "column verbal_confidence, line 2: '1.5' is above 1 (also line 3, line 4, line 5 and 96 more)" in said
    assert "column label_margin, line 2: '7' is above 1 (also line 3, line 4, line 5 and 116 more)" in said


def test_rows_of_parquet_are_counted_from_one(tmp_path: Path) -> None:
    table = predictions(5)
    wrong = replaced(table, "propensity", [1.0, 1.0, -0.5, 1.0, 1.0])
    assert "column propensity, row 3: -0.5 is not above 0" in refusal(
        read_outcomes, saved(wrong, tmp_path / "w.parquet")
    )
    nans = replaced(table, "label_entropy", pa.array([0.1, float("nan"), 0.1, 0.1, 0.1], from_pandas=False))
    assert "column label_entropy, row 2: nan is no value" in refusal(read_outcomes, saved(nans, tmp_path / "n.parquet"))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("verbal_confidence", ["high", "low", "low"], "'high' is not a number (also row 2 and row 3)"),
        ("verbal_confidence", [[0.1], [0.2], [0.3]], "holds list<element: double>, not numbers"),
        ("label", [0.5, 0.1, 0.2], "holds double, not text"),
        ("correct", [b"x", b"y", b"z"], "holds binary, not true or false"),
        ("decided_at", [1, 2, 3], "holds int64, not times"),
        ("verbal_confidence", [True, True, False], "holds bool, not numbers"),
    ],
)
def test_columns_of_another_type_are_named(tmp_path: Path, column: str, values: list[Any], message: str) -> None:
    said = refusal(read_outcomes, saved(replaced(predictions(3), column, values), tmp_path / "types.parquet"))
    assert f"column {column}" in said
    assert message in said


@SUFFIXES
def test_missing_columns_are_named_with_what_belongs_there(tmp_path: Path, suffix: str) -> None:
    table = predictions(3).drop_columns(["label_margin", "correct"]).rename_columns({"propensity": "Propensity"})
    said = refusal(read_outcomes, saved(table, tmp_path / f"missing{suffix}"))
    assert "column label_margin: is missing. Add it." in said
    assert "let it be empty" in said
    assert "column correct: is missing. Add it. Give true or false" in said
    assert "column propensity: is missing. Rename 'Propensity' to it." in said


def test_semicolons_and_doubled_columns_are_recognised(tmp_path: Path) -> None:
    semicolons = csv_of(tmp_path / "s.csv", ROW.replace(",", ";"), header=HEADER.replace(",", ";"))
    assert "Separate the columns with commas, not semicolons" in refusal(read_outcomes, semicolons)
    doubled = csv_of(tmp_path / "d.csv", ROW + ",1", header=HEADER + ",correct")
    assert "column correct: stands there more than once" in refusal(read_outcomes, doubled)


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    quoted = '"c\nd",joy,,,,,true,true,1,2026-11-01'
    wrong = "f,joy,,,,,true,true,9,2026-11-01"
    path = csv_of(tmp_path / "lines.csv", ROW, "", quoted, "too,short", wrong)
    said = refusal(read_outcomes, path)
    assert "line 6 has 2 cells, the header 10" in said
    assert "column propensity, line 7: '9' is above 1" in said
    assert path.read_text().splitlines()[6] == wrong


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing.csv", b"", "the file is empty"),
        ("nothing.parquet", b"", "the file is empty"),
        ("header.csv", HEADER.encode() + b"\n", "there are no rows. Give at least one"),
        ("blank.csv", b"\n\n\n", "cannot be read as CSV"),
        ("latin.csv", HEADER.encode() + b"\na,caf\xe9,,,,,true,true,1,2026-11-01\n", "line 2 is not UTF-8"),
        ("not.parquet", b"event_id,label\n", "the content is not Parquet"),
        ("really.csv", b"PAR1....PAR1", "the content is Parquet"),
        ("damaged.parquet", b"PAR1" + bytes(40) + b"PAR1", "cannot be read as Parquet"),
        ("table.xlsx", b"PK", "the suffix is .xlsx. Name a .csv or .parquet file"),
        ("table", b"PK", "the suffix is missing"),
    ],
)
def test_what_is_no_table_is_refused_in_words(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert message in refusal(read_outcomes, path)


def test_what_is_no_file_is_refused_in_words(tmp_path: Path) -> None:
    assert "No such file" in refusal(read_outcomes, tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refusal(read_outcomes, tmp_path / "folder.csv")
    no_rows = saved(predictions(3).slice(0, 0), tmp_path / "rows.parquet")
    assert "there are no rows" in refusal(read_outcomes, no_rows)


def test_scored_outcomes_need_no_raw_signals(tmp_path: Path) -> None:
    path = csv_of(
        tmp_path / "scored.csv", "a,joy,0.9,true,1", "b,,,false,1", header="event_id,label,score,correct,propensity"
    )
    scored = read_scored_outcomes(path)
    assert scored.wrong.tolist() == [False, True]
    np.testing.assert_array_equal(scored.score, [0.9, np.nan])


@SUFFIXES
def test_every_column_survives_and_scores_are_added_or_replaced(tmp_path: Path, suffix: str) -> None:
    table = predictions(4).append_column("note", pa.array(["007", 'a "b", c', None, "x\ny"]))
    content = read_content(saved(table, tmp_path / f"in{suffix}")).table
    once = with_columns(content, {"score": np.array([0.5, np.nan, 0.25, 1.0])})
    twice = with_columns(once, {"score": np.array([0.1, 0.2, np.nan, 0.4])})
    again = read_content(saved(twice, tmp_path / f"out{suffix}")).table
    assert again.column_names == [*table.column_names, "score"]
    assert again.drop_columns(["score"]) == content
    assert again["note"].to_pylist() == ["007", 'a "b", c', None, "x\ny"]
    assert [None if cell is None else float(cell) for cell in again["score"].to_pylist()] == [0.1, 0.2, None, 0.4]


def test_a_file_that_could_not_be_finished_was_never_there(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"before")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.bin"]
    with replacing(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"


def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("x")
    with pytest.raises(FileError, match="there is no folder"):
        refuse_unwritable(tmp_path / "absent" / "out.csv")
    with pytest.raises(FileError, match="is an input too"):
        refuse_unwritable(tmp_path / "in.csv", tmp_path / "in.csv")
    with pytest.raises(FileError, match=r"cannot be written \(No such file or directory\)"):
        write_content(tmp_path / "absent" / "out.csv", predictions(1))
    nested = predictions(1).append_column("nested", pa.array([[1, 2]]))
    with pytest.raises(FileError, match=r"Write a \.parquet file"):
        write_content(tmp_path / "nested.csv", nested)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.csv"]


def test_what_the_tools_of_others_write_is_read(tmp_path: Path) -> None:
    """Dictionary columns, large and view strings, naive and coarse times, small floats, whole-number ids, a BOM."""
    table = predictions(6)
    others = {
        "label": table["label"].dictionary_encode(),
        "source": table["source"].cast(pa.string_view()),
        "event_id": pa.array(range(6), pa.int32()),
        "verbal_confidence": table["verbal_confidence"].cast(pa.float32()),
        "label_margin": pa.nulls(6),
        "propensity": pa.array([1] * 6, pa.int8()),
        "decided_at": pa.array(np.arange(6).astype("datetime64[D]")),
    }
    for name, column in others.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, tmp_path / "others.parquet")
    read = read_outcomes(tmp_path / "others.parquet").outcomes
    assert read.event_id.tolist() == ["0", "1", "2", "3", "4", "5"]
    assert np.isnan(read.signals.label_margin).all()
    assert read.decided_at.tolist() == np.arange(6).astype("datetime64[D]").astype("datetime64[us]").tolist()
    path = tmp_path / "bom.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{ROW}\r\n".encode())
    assert read_outcomes(path).outcomes.event_id.tolist() == ["a"]


def csv_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(predictions(5), sink)
    return bytes(sink.getvalue())


def parquet_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(predictions(5), sink)
    return bytes(sink.getvalue())


EDITS = st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=6)


@pytest.mark.parametrize(("suffix", "whole"), [(".csv", csv_bytes()), (".parquet", parquet_bytes())])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_no_damage_to_a_file_ends_in_a_traceback(
    tmp_path: Path, suffix: str, whole: bytes, edits: list[tuple[int, bytes, int]]
) -> None:
    content = bytearray(whole)
    for at, inserted, removed in edits:
        start = at % (len(content) + 1)
        content[start : start + removed] = inserted
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    try:
        assert len(read_outcomes(path).outcomes) >= 1
    except FileError as refused:
        assert refused.problems
        assert len(str(refused)) < 20_000
