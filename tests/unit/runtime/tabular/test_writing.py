"""Tables become files again: what was read comes out as it went in, in bounded memory, while it grows."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from python_calamine import CalamineWorkbook

from runtime.errors import InputError, LimitExceeded
from runtime.limits import Limits
from runtime.tabular.columns import KIND_TYPES, Column
from runtime.tabular.reading import Loaded, load
from runtime.tabular.staging import Staging
from runtime.tabular.write import WriteFormat, WriteOptions
from runtime.tabular.writing import download, write_options, write_table
from runtime.tabular.xlsx import write_xlsx
from runtime.workers.pool import Workers

TEXT = (
    "id,code,amount,paid,day,note\r\n"
    '1,007,48.30,True,2024-02-29,"two\nlines, and ""quotes"""\r\n'
    "2,012,1.00,False,,=1+1\r\n"
    ",000,,,1999-12-31,\r\n"
)


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    pool = Workers(Limits())
    yield pool
    await pool.close()


async def loaded(workers: Workers, folder: Path, text: str = TEXT) -> tuple[Loaded, Path, str]:
    (folder / "in.csv").write_bytes(text.encode())
    found = await load(workers, folder / "in.csv", None, folder / "staging")
    listed = ", ".join(column.physical for column in found.columns)
    return found, folder / "staging", f"SELECT {listed} FROM d ORDER BY row_id"


async def written(workers: Workers, folder: Path, format: WriteFormat, **options: Any) -> Path:
    found, staging, sql = await loaded(workers, folder)
    target = folder / f"out.{format}"
    told = await write_table(
        workers, staging, sql, found.columns, format, target, options=options, live=False
    )
    assert told == {"rows": 3, "bytes": target.stat().st_size}
    assert not list(folder.glob("*.lines"))
    return target


async def test_csv_comes_out_byte_for_byte_as_it_went_in(workers: Workers, tmp_path: Path) -> None:
    assert (await written(workers, tmp_path, "csv")).read_bytes() == TEXT.encode()


async def test_formulas_are_made_harmless_only_when_asked(workers: Workers, tmp_path: Path) -> None:
    rows = list(
        csv.reader(io.StringIO((await written(workers, tmp_path, "csv", formula_safe=True)).read_text()))
    )
    assert rows[2][5] == "'=1+1"
    assert rows[1][2] == "48.30"


async def test_csv_has_a_mark_another_delimiter_or_no_header_when_asked(
    workers: Workers, tmp_path: Path
) -> None:
    data = (await written(workers, tmp_path, "csv", bom=True, delimiter=";", header=False)).read_bytes()
    assert data.startswith(b"\xef\xbb\xbf1;007;48.30;True;")


async def test_ndjson_has_typed_values(workers: Workers, tmp_path: Path) -> None:
    lines = (await written(workers, tmp_path, "ndjson")).read_text().splitlines()
    first = {
        "id": 1,
        "code": "007",
        "amount": 48.3,
        "paid": True,
        "day": "2024-02-29",
        "note": 'two\nlines, and "quotes"',
    }
    assert json.loads(lines[0]) == first
    assert json.loads(lines[2]) == {
        "id": None,
        "code": "000",
        "amount": None,
        "paid": None,
        "day": "1999-12-31",
        "note": "",
    }


async def test_parquet_has_typed_columns(workers: Workers, tmp_path: Path) -> None:
    target = await written(workers, tmp_path, "parquet")
    table = duckdb.sql(f"SELECT * FROM '{target}'")
    assert [str(kind) for kind in table.types] == [
        "BIGINT",
        "VARCHAR",
        "DOUBLE",
        "BOOLEAN",
        "DATE",
        "VARCHAR",
    ]
    assert table.fetchall()[2][1:4] == ("000", None, None)


async def test_a_workbook_has_typed_cells_and_no_formulas(workers: Workers, tmp_path: Path) -> None:
    target = await written(workers, tmp_path, "xlsx")
    with CalamineWorkbook.from_path(str(target)) as book:
        rows = book.get_sheet_by_name("Data").to_python()
    assert rows[1][:4] == [1.0, "007", 48.3, True]
    assert rows[1][4].isoformat() == "2024-02-29"
    assert rows[2][5] == "=1+1"


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet", "xlsx"])
async def test_a_file_that_was_written_reads_as_the_same_table(
    format: WriteFormat, workers: Workers, tmp_path: Path
) -> None:
    before, _, _ = await loaded(workers, tmp_path)
    again = await load(workers, await written(workers, tmp_path, format), None, tmp_path / "again")
    assert [(c.name, c.kind) for c in again.columns] == [(c.name, c.kind) for c in before.columns]
    assert again.rows == before.rows


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet", "xlsx"])
async def test_an_empty_table_is_a_file_too(format: WriteFormat, workers: Workers, tmp_path: Path) -> None:
    found, staging, sql = await loaded(workers, tmp_path, "a,b\n")
    target = tmp_path / "out"
    told = await write_table(workers, staging, sql, found.columns, format, target, live=False)
    assert told["rows"] == 0
    assert target.exists()


async def test_values_that_break_the_rule_of_their_column_are_kept_as_text(
    workers: Workers, tmp_path: Path
) -> None:
    kinds = ["integer", "real", "boolean", "date", "datetime", "blob"]
    columns = [Column(kind, f"c{n}", KIND_TYPES[kind], kind) for n, kind in enumerate(kinds)]  # type: ignore[arg-type]
    with Staging(tmp_path / "staging", len(kinds)) as staging:
        staging.add([["x"], ["y"], ["z"], ["soon"], ["2024-01-02T00:00:00Z"], [b"\xff"]], 1)
        staging.finish()
    sql = "SELECT c0, c1, c2, c3, c4, c5 FROM d"
    for form in ("csv", "ndjson", "parquet", "xlsx"):
        target = tmp_path / f"out.{form}"
        await write_table(workers, tmp_path / "staging", sql, columns, form, target, live=False)  # type: ignore[arg-type]
    (row,) = duckdb.sql(f"SELECT * FROM '{tmp_path / 'out.parquet'}'").fetchall()
    assert row == ("x", "y", "z", "soon", "2024-01-02T00:00:00Z", b"\xff")
    assert "x,y,z,soon,2024-01-02T00:00:00Z,/w==" in (tmp_path / "out.csv").read_text()


def test_a_table_that_is_longer_than_a_sheet_goes_on_in_the_next(tmp_path: Path) -> None:
    columns = [Column("n", "c0", "number", "integer")]
    rows: list[tuple[Any, ...]] = [(n,) for n in range(25)]
    target = tmp_path / "a.xlsx"
    assert write_xlsx(iter([rows]), columns, target, WriteOptions(), lambda _: None, sheet_rows=11) == 25
    with CalamineWorkbook.from_path(str(target)) as book:
        assert book.sheet_names == ["Data", "Data 2", "Data 3"]
        heights = [book.get_sheet_by_name(name).height for name in book.sheet_names]
    assert heights == [11, 11, 6]


def test_a_text_that_no_cell_of_a_workbook_holds_is_an_error(tmp_path: Path) -> None:
    columns = [Column("t", "c0", "string", "text")]
    with pytest.raises(LimitExceeded, match="32,767"):
        write_xlsx(iter([[("x" * 32_768,)]]), columns, tmp_path / "a.xlsx", WriteOptions(), lambda _: None)


def many(folder: Path, rows: int) -> tuple[Sequence[Column], Path, str]:
    with Staging(folder / "many", 2) as staging:
        staging.add([range(rows), [f"text {n}" for n in range(rows)]], rows)
        staging.finish()
    columns = [Column("n", "c0", "number", "integer"), Column("t", "c1", "string", "text")]
    return columns, folder / "many", "SELECT c0, c1 FROM d ORDER BY row_id"


async def test_a_download_is_the_file_and_leaves_nothing_behind(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    columns, file, sql = many(tmp_path, 50_000)
    released: list[bool] = []
    for form in ("csv", "ndjson", "parquet"):
        body = await download(
            workers,
            file,
            sql,
            columns,
            form,
            "table",
            hold=lambda: lambda: released.append(True),  # type: ignore[arg-type]
        )
        assert body.filename == f"table.{form}"
        data = b"".join([piece async for piece in body.chunks])
        if form != "parquet":
            assert data.count(b"\n") == 50_000 + (form == "csv")
        assert data
    assert released == [True] * 3
    assert not list(tmp_path.glob("duralite-export-*"))


async def test_a_reader_that_goes_away_ends_the_worker_and_removes_the_file(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    columns, file, _ = many(tmp_path, 1_000)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, 'some text to fill the file' FROM n"
    body = await download(workers, file, endless, columns, "csv", "table")
    first = await anext(aiter(body.chunks))
    assert first.startswith(b"n,t\r\n1,some text")
    await body.chunks.aclose()  # type: ignore[attr-defined]
    assert not list(tmp_path.glob("duralite-export-*"))
    assert workers.stats()[0].running == 0


async def test_what_fails_before_the_first_byte_is_an_error_and_no_cut_body(
    workers: Workers, tmp_path: Path
) -> None:
    columns, file, _ = many(tmp_path, 10)
    with pytest.raises(Exception, match="no such table"):
        await download(workers, file, "SELECT 1, 2 FROM nowhere", columns, "csv", "table")
    with pytest.raises(InputError, match="delimiter"):
        write_options({"delimiter": "too long"})


async def test_a_body_that_breaks_in_the_middle_is_cut_loudly(workers: Workers, tmp_path: Path) -> None:
    columns, file, _ = many(tmp_path, 10)
    breaks = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500000)"
        " SELECT i, CASE WHEN i = 400000 THEN abs(-9223372036854775807 - 1) ELSE 'x' END FROM n"
    )
    body = await download(workers, file, breaks, columns, "csv", "table")
    with pytest.raises(Exception, match="overflow"):
        async for _ in body.chunks:
            await asyncio.sleep(0)
