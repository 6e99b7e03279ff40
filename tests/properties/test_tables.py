"""Whatever stands in a delimited file: nothing of it is lost on the way through, and nothing is read in its place."""

from __future__ import annotations

import csv
import io
import sqlite3
import tempfile
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.errors import DuraliteError
from runtime.tabular.blocks import split
from runtime.tabular.load import load
from runtime.tabular.sniff import Dialect
from runtime.tabular.write import write

NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(-(2**65), 2**65).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["007", "+1", "-0", "0.10", "1E5", "1e-05", "12345678901234567890", "9007199254740993", "1_000", ".5", "5."]),
)  # fmt: skip
DATES = st.one_of(st.dates().map(str), st.sampled_from(["2023-02-29", "0000-00-00", "2024-01-02T03:04:05Z"]))
WORDS = st.one_of(
    st.sampled_from(["", "", "true", "false", "True", "NULL", "é", "a,b", 'say "x"', "two\nlines", "a\rb", " x ", "=1", "\x1f"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cc", "Cs")), max_size=8),
)  # fmt: skip
COLUMN = st.sampled_from(
    [NUMBERS, DATES, WORDS, st.sampled_from(["1", "2.5", ""]), st.sampled_from(["true", "false", ""])]
)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    """Draw rows; a column is mostly of one sort, and sometimes has a cell of another near its end."""
    cells = draw(st.lists(COLUMN, min_size=1, max_size=4))
    count = draw(st.integers(1, 30))
    columns = [draw(st.lists(cell, min_size=count, max_size=count)) for cell in cells]
    for column in columns:
        if draw(st.booleans()) and draw(st.booleans()):
            column[-1] = draw(st.one_of(NUMBERS, DATES, WORDS))
    return [list(row) for row in zip(*columns, strict=True)]


@given(
    rows=tables(),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    end=st.sampled_from(["\n", "\r\n"]),
    ahead=st.booleans(),
)
@example(rows=[["1"], ["9007199254740993"], ["0.5"]], delimiter=",", end="\n", ahead=True)
@example(rows=[["0.50"], ["x"]], delimiter=",", end="\n", ahead=False)
@settings(max_examples=250, deadline=None)
def test_a_file_comes_out_as_it_went_in(rows: list[list[str]], delimiter: str, end: str, ahead: bool) -> None:
    names = [f"h{n}" for n in range(len(rows[0]))]
    out = io.StringIO()
    # The module writes a lone return bare where lines end otherwise.
    bare = end == "\n" and any("\r" in cell for row in rows for cell in row)
    quoting = csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([names, *rows])
    with tempfile.TemporaryDirectory() as folder:
        source, staging, target = (Path(folder) / name for name in ("in.csv", "staging", "out.csv"))
        source.write_bytes(out.getvalue().encode())
        options = {"delimiter": delimiter, "quote": '"', "header": True, "encoding": "utf-8"}
        told = loaded(source, staging, options, ahead=ahead)
        assert (told["rows"], told["rejected"]) == (len(rows), 0)
        listed = ", ".join(column["physical"] for column in told["columns"])
        write(
            {
                "file": str(staging),
                "sql": f"SELECT {listed} FROM d ORDER BY row_id",
                "columns": told["columns"],
                "format": "csv",
                "target": str(target),
                "live": False,
            },
            lambda _: None,
        )
        with target.open(newline="", encoding="utf-8") as file:
            again = list(csv.reader(file))
    assert again[0] == names
    for before, after in zip(rows, again[1:], strict=True):
        for column, one, other in zip(told["columns"], before, after, strict=True):
            assert one == other or (column["type"] == "number" and same(one, other)), (column, one, other)


def same(one: str, other: str) -> bool:
    """Tell whether two texts are one number, or the first is what a program wrote of the second with more digits."""
    exact = Decimal(one)
    return Decimal(other) == exact or exact == Decimal(f"{float(other):.{len(exact.as_tuple().digits)}g}")


def loaded(source: Path, staging: Path, options: dict[str, Any], *, ahead: bool) -> dict[str, Any]:
    """Load with or without a look ahead at all rows, and in slices of a few of them."""
    from runtime.tabular import delimited, fill, lines

    before = fill._AHEAD_CELLS, delimited._CELLS, lines._PIECE
    try:
        fill._AHEAD_CELLS, delimited._CELLS, lines._PIECE = (1_000_000 if ahead else 1), 1, 64
        return load({"path": str(source), "options": options, "staging": str(staging)}, lambda _: None)
    finally:
        fill._AHEAD_CELLS, delimited._CELLS, lines._PIECE = before


@given(data=st.one_of(st.binary(max_size=300), st.text("a1,;\t\"\n\r'| #", max_size=120).map(str.encode)))
@example(data=b"a,b\n\xc3\xa9,\xc2\x81\n\xff\xff\xff,1\n")
@example(data=b"\xe2\x81")
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_a_table_or_one_clear_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, staging = Path(folder) / "in", Path(folder) / "staging"
        source.write_bytes(data)
        try:
            told = load(
                {"path": str(source), "options": {"format": "csv"}, "staging": str(staging)}, lambda _: None
            )
        except DuraliteError as error:
            assert error.hint
            assert not staging.exists()
            return
        with closing(sqlite3.connect(staging)) as raw:
            (count,) = raw.execute("SELECT count(*) FROM d").fetchone()
            width = len(raw.execute("SELECT * FROM d LIMIT 0").description) - 1
        assert count == told["rows"]
        assert width == len(told["columns"])
        names = [column["name"].casefold() for column in told["columns"]]
        assert len(set(names)) == len(names)


@given(
    text=st.text("a1,; \r\n\"'\x1e", max_size=40).map(lambda text: text + "\n"),
    width=st.integers(1, 4),
    dialect=st.builds(
        Dialect,
        st.sampled_from([",", ";", " "]),
        st.sampled_from(['"', "'", None]),
        st.booleans(),
        st.booleans(),
    ),
)
@example(text="1,2,3\n4\n5\n6,7,8\n", width=3, dialect=Dialect())
@example(text="1,2\n\n", width=1, dialect=Dialect(";"))
@settings(max_examples=2_000, deadline=None)
def test_what_is_cut_by_the_block_is_what_the_reader_makes_of_it(
    text: str, width: int, dialect: Dialect
) -> None:
    columns = split(text, dialect, width)
    if columns is not None:
        rows = list(csv.reader(io.StringIO(text, newline=""), **dialect.reader_options(), strict=True))
        assert list(zip(*columns, strict=True)) == [tuple(row) for row in rows]
