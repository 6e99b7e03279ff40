"""Workbooks, JSON and Parquet: typed values arrive without loss, and hostile files are refused."""

from __future__ import annotations

import json
import zipfile
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import xlsxwriter

from runtime.errors import DuraliteError, InputError, LimitExceeded
from runtime.tabular import load as tasks
from tests.unit.runtime.tabular.reading import read

_FORMATS = {
    date: "yyyy-mm-dd",
    datetime: "yyyy-mm-dd hh:mm:ss",
    time: "hh:mm:ss",
    timedelta: "[h]:mm:ss",
}


def workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    book = xlsxwriter.Workbook(str(path), {"strings_to_formulas": False})
    for name, rows in sheets.items():
        sheet = book.add_worksheet(name)
        for y, row in enumerate(rows):
            for x, cell in enumerate(row):
                if type(cell) in _FORMATS:
                    sheet.write_datetime(y, x, cell, book.add_format({"num_format": _FORMATS[type(cell)]}))
                elif cell is not None:
                    sheet.write(y, x, cell)
        if name.startswith("Hidden"):
            sheet.hide()
        else:
            sheet.activate()
            sheet.set_first_sheet()
    book.close()
    return path


def test_a_workbook_keeps_its_types(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "a.xlsx",
        Data=[
            ["id", "zip", "price", "paid", "day", "at", "time", "left"],
            [1, "00123", 1.5, True, date(2024, 2, 29), datetime(2024, 1, 2, 3, 4, 5), time(6, 7, 8), timedelta(hours=30)],
            [2, "", 2, False, date(1999, 12, 31), datetime(2024, 1, 2), time(1, 2, 3), timedelta(minutes=5)],
        ],
    )  # fmt: skip
    table = read(tmp_path, path)
    assert table.kinds == {
        "id": "integer", "zip": "text", "price": "real", "paid": "boolean",
        "day": "date", "at": "datetime", "time": "text", "left": "text",
    }  # fmt: skip
    assert table.rows[0] == (1, "00123", 1.5, 1, "2024-02-29", "2024-01-02T03:04:05", "06:07:08", "30:00:00")
    assert table.rows[1][:4] == (2, "", 2.0, 0)


def test_a_column_of_several_types_is_text_and_told(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "a.xlsx", Data=[["a", "b"], [1, "x"], ["two", "y"], [2.5, 3], [True, date(2024, 1, 2)]]
    )
    table = read(tmp_path, path)
    assert [row[0] for row in table.rows] == ["1", "two", "2.5", "true"]
    assert [row[1] for row in table.rows] == ["x", "y", "3", "2024-01-02"]
    assert any("'a' is text" in warning for warning in table.told["warnings"])


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("<c><f>1+1</f><v></v></c>", True),
        ("<c><f>1+1</f></c>", True),
        ('<c><f t="shared" si="0"/><v /></c>', True),
        ("<c><f>1+1</f><v>2</v></c>", False),
        ('<c t="str"><f>""</f><v></v></c>', False),
    ],
)
def test_a_formula_that_nobody_computed_is_told(cell: str, told: bool, tmp_path: Path) -> None:
    """Programs that cannot compute write formulas without a value; their cells are not silently empty."""
    path = workbook(tmp_path / "a.xlsx", Data=[["a", "b"], [1, 7]])
    changed = tmp_path / "b.xlsx"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            text = old.read(name).decode()
            new.writestr(name, text.replace('<c r="B2"><v>7</v></c>', cell.replace("<c", '<c r="B2"', 1)))
    table = read(tmp_path, changed)
    assert table.rows[0][0] == 1
    assert any("no values" in warning for warning in table.told["warnings"]) is told


def test_sheets_are_chosen_by_name_or_number_and_hidden_ones_are_not_the_first(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", Hidden=[["h"], [1]], One=[["a"], [1]], Two=[["b"], [2]])
    assert read(tmp_path, path).kinds == {"a": "integer"}
    assert read(tmp_path, path, sheet="two").kinds == {"b": "integer"}
    assert read(tmp_path, path, sheet=1).kinds == {"h": "integer"}
    assert read(tmp_path, path).told["sheets"][0] == {"name": "Hidden", "visible": False}
    years = workbook(tmp_path / "b.xlsx", **{"2024": [["a"], [1]], "2023": [["b"], [2]]})
    assert (
        read(tmp_path, years, sheet=2023).kinds == read(tmp_path, years, sheet="2").kinds == {"b": "integer"}
    )
    with pytest.raises(InputError, match="no sheet 'Three'") as refused:
        read(tmp_path, path, sheet="Three")
    assert "Hidden, One, Two" in str(refused.value.hint)


def test_titles_empty_rows_and_columns_around_a_table_are_left_out(tmp_path: Path) -> None:
    rows = [
        [None, None],
        [None, None, "Sales of the year"],
        [],
        [None, None, "id", "name", "n"],
        [None, None, 1, "x", 2],
        [],
        [None, None, 3, "y", 4],
    ]
    table = read(tmp_path, workbook(tmp_path / "a.xlsx", Data=rows))
    assert (list(table.kinds), table.rows) == (["id", "name", "n"], [(1, "x", 2), (3, "y", 4)])


def test_a_range_of_a_sheet_is_counted_as_the_sheet_counts(tmp_path: Path) -> None:
    rows = [
        [None] * 5,
        [None, "a", "b", "c", "d"],
        [None, 1, 2, 3, 4],
        [None, 5, 6, 7, 8],
        [None, 9, 9, 9, 9],
    ]
    path = workbook(tmp_path / "a.xlsx", Data=rows)
    assert read(tmp_path, path, range="C2:D4").rows == [(2, 3), (6, 7)]
    assert read(tmp_path, path, startRow=3, endRow=3, startColumn=2, endColumn=3, hasHeaders=False).rows == [
        (1, 2)
    ]


@pytest.mark.parametrize(
    "damage", ["truncated", "no zip", "another zip", "empty sheet"], ids=lambda name: name.replace(" ", "_")
)
def test_a_broken_workbook_has_one_clear_error(damage: str, tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", Data=[["a"], [1]] if damage != "empty sheet" else [])
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "no zip":
        path.write_bytes(b"PK\x03\x04" + b"\0" * 500)
    elif damage == "another zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "hello")
    with pytest.raises(InputError) as refused:
        read(tmp_path, path)
    assert refused.value.hint
    assert not (tmp_path / "staging.sqlite").exists()


def test_a_workbook_that_unpacks_to_too_much_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"<row/>" * 1_000_000)
    monkeypatch.setattr("runtime.tabular.sheets._UNZIPPED", 5_000_000)
    with pytest.raises(LimitExceeded, match="2 GiB"):
        read(tmp_path, path)


def test_a_workbook_that_lies_about_its_size_is_measured(tmp_path: Path) -> None:
    from runtime.tabular.sheets import _inflated

    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"x" * 1_000_000)
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        (entry,) = archive.infolist()
        entry.file_size = 10
        assert _inflated(file, entry, 2_000_000) == 1_000_000
        with pytest.raises(LimitExceeded):
            _inflated(file, entry, 900_000)


def test_ndjson_keeps_types_keys_in_order_and_bad_lines_aside(tmp_path: Path) -> None:
    lines = [
        '{"id": 1, "day": "2024-01-02", "n": 1.5, "ok": true, "tags": ["a", {"b": 1}]}',
        "not json",
        '{"id": 9007199254740993, "n": 2, "late": "x", "day": null}',
        "5",
        "",
        '{"id": 3, "day": "2024-02-29", "late": ""}',
    ]
    table = read(tmp_path, "\n".join(lines))
    assert table.kinds == {
        "id": "integer",
        "day": "date",
        "n": "real",
        "ok": "boolean",
        "tags": "text",
        "late": "text",
    }
    assert table.rows == [
        (1, "2024-01-02", 1.5, 1, '["a",{"b":1}]', None),
        (9007199254740993, None, 2.0, None, None, "x"),
        (3, "2024-02-29", None, None, None, ""),
    ]
    assert table.bad == [2, 4]


@pytest.mark.parametrize(
    "number", ["12345678901234567890", "0.1234567890123456789", "-1.00000000000000000001e10"]
)
def test_numbers_of_json_lose_no_digit(number: str, tmp_path: Path) -> None:
    for text in (f'{{"a": {number}}}\n{{"a": 1}}\n', f'[{{"a": {number}}}, {{"a": 1}}]'):
        assert read(tmp_path, text).rows == [(number,), ("1",)]
    exact = read(tmp_path, '{"a": 0.30000000000000004}\n{"a": 2.5}\n')
    assert exact.rows == [(0.30000000000000004,), (2.5,)]


@pytest.mark.parametrize("lines", [True, False], ids=["a line each", "an array"])
def test_what_json_has_no_number_or_character_for_costs_nothing_else(lines: bool, tmp_path: Path) -> None:
    records = ['{"a": NaN, "b": 1}', '{"a": 2.5, "b": Infinity}', '{"a": "\\ud800"}', '{"a": 1.5, "b": 2}']
    text = "\n".join(records) if lines else f"[{', '.join(records)}]"
    table = read(tmp_path, text)
    assert table.rows == [(None, "1"), (2.5, "Infinity"), (1.5, "2")]
    assert table.bad == [3]


LAYOUTS: list[tuple[str, str]] = [
    ("a line each", '{"a": 1}\n{"a": 2}\n'),
    ("several lines each", '{\n  "a": 1\n}\n{\n  "a": 2\n}\n'),
    ("several lines, no end of line", '{"a":\n 1}'.replace('{"a":', '{\n"a":') + '{"a": 2}'),
    ("a comma behind each", '{"a": 1},\n{"a": 2},\n'),
    ("lists", '[1, "x"]\n[2, "y"]\n'),
    ("an array", '[{"a": 1},\n {"a": 2}]'),
    ("one array after another", '[{"a": 1}]\n[{"a": 2}]\n'),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("name", "text"), LAYOUTS, ids=[layout[0] for layout in LAYOUTS])
def test_records_of_json_are_found_however_they_lie(
    name: str, text: str, encoding: str, tmp_path: Path
) -> None:
    table = read(tmp_path, text.encode(encoding))
    assert [row[0] for row in table.rows] == [1, 2]
    assert table.bad == []


def test_rows_of_json_that_are_asked_for_are_read_and_columns_have_no_places(tmp_path: Path) -> None:
    text = "".join(f'{{"a": {n}, "b": 0}}\n' for n in range(1, 9))
    assert [row[0] for row in read(tmp_path, text, start_row=3, end_row=5).rows] == [3, 4, 5]
    with pytest.raises(InputError, match="no places"):
        read(tmp_path, text, start_column=2)


def test_a_json_array_is_read_element_by_element_whatever_its_layout(tmp_path: Path) -> None:
    records = [{"id": n, "text": "x" * (n % 700), "list": [n, {"deep": [n]}]} for n in range(5_000)]
    for text in (
        json.dumps(records),
        json.dumps(records, indent=2),
        json.dumps(records, separators=(",", ":")),
    ):
        table = read(tmp_path, text)
        assert len(table.rows) == 5_000
        assert table.rows[4_999] == (4_999, "x" * (4_999 % 700), '[4999,{"deep":[4999]}]')


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1} {"a": 2}]',
        '[{"a": 1}] {"a": 2}',
        "[1, 2]",
        '[{"a": ' + "9" * 5_000 + "}]",
        '[{"a": 1}',
        '[{"a": 1},',
        '[{"a": 1}, nope]',
        "[" * 100_000,
        "[]",
    ],
)
def test_json_that_is_none_has_one_clear_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(DuraliteError):
        read(tmp_path, text, format="json")
    assert not (tmp_path / "staging.sqlite").exists()


@pytest.mark.parametrize("count", [2, 30_000])
def test_records_without_a_key_are_no_table_and_rows_once_there_is_one(count: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no records"):
        read(tmp_path, "{}\n" * count, format="ndjson")
    table = read(tmp_path, "{}\n" * count + '{"a": 1}\n', format="ndjson")
    assert table.rows == [*[(None,)] * count, (1,)]


def test_parquet_keeps_types(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    duckdb.sql(
        "COPY (SELECT 9007199254740993 AS i, 48.30::DECIMAL(10,2) AS d, '007' AS s, DATE '2024-02-29' AS dt,"
        " TIMESTAMP '2024-01-02 03:04:05' AS ts, true AS b, 12345678901234567890::UBIGINT AS big,"
        " 1234567890123456789.12::DECIMAL(30,2) AS wide, [1,2] AS l, {'k': DATE '2024-01-01'} AS st, 'ab'::BLOB AS bl,"
        " TIME '01:02:03' AS t UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
        f" TO '{path}' (FORMAT parquet)"
    )
    table = read(tmp_path, path)
    assert table.rows[0] == (
        9007199254740993, 48.3, "007", "2024-02-29", "2024-01-02T03:04:05", 1, "12345678901234567890",
        "1234567890123456789.12", "[1,2]", '{"k":"2024-01-01"}', b"ab", "01:02:03",
    )  # fmt: skip
    assert set(table.rows[1]) == {None}
    assert table.column("d")["scale"] == 2
    assert [c["type"] for c in table.told["columns"]][:6] == [
        "number",
        "number",
        "string",
        "date",
        "date",
        "boolean",
    ]


def test_moments_of_parquet_keep_their_zone_and_all_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    duckdb.connect().execute(
        "COPY (SELECT timestamptz '2024-01-01 10:00:00.5+02' AS zoned, [timestamptz '2024-01-01 10:00:00+02'] AS many,"
        " timestamp_ns '2024-01-01 10:00:00.123456789' AS fine, timestamp_ns '2024-01-01 10:00:00.25' AS coarse"
        f" UNION ALL SELECT NULL, NULL, NULL, NULL) TO '{path}' (FORMAT parquet)"
    )
    table = read(tmp_path, path)
    assert table.rows == [
        (
            "2024-01-01T08:00:00.500000+00:00",
            '["2024-01-01 08:00:00+00"]',
            "2024-01-01T10:00:00.123456789",
            "2024-01-01T10:00:00.250000",
        ),
        (None, None, None, None),
    ]
    assert (table.kinds["zoned"], table.kinds["coarse"]) == ("datetime", "datetime")
    assert list(read(tmp_path, path, start_column=4).kinds) == ["coarse"]
    with pytest.raises(InputError, match="no such columns"):
        read(tmp_path, path, start_column=9)


def test_bytes_and_infinities_of_parquet_pass_through_a_worker(tmp_path: Path) -> None:
    """What a worker tells is JSON: statistics, samples and the rows of a preview as well."""
    path = tmp_path / "a.parquet"
    duckdb.connect().execute(
        f"COPY (SELECT 'ab\\xFF'::BLOB AS b, 'Infinity'::DOUBLE AS f) TO '{path}' (FORMAT parquet)"
    )
    table = read(tmp_path, path)
    assert table.rows == [(b"ab\xff", "inf")]
    assert json.loads(json.dumps(table.told))["columns"][0]["sample_values"] == ["6162ff"]
    shown = tasks.preview({"path": str(path), "options": {}, "rows": 5}, lambda _: None)
    assert json.loads(json.dumps(shown))["rows"] == [[{"$bytes": "YWL/"}, "inf"]]


def test_a_broken_parquet_file_has_one_clear_error_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read(tmp_path, b"PAR1" + b"\0" * 500)
    assert str(tmp_path) not in str(refused.value)


def test_a_cell_in_a_row_that_no_sheet_has_is_refused_at_once(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", Data=[[1]])
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"]
    parts["xl/worksheets/sheet1.xml"] = sheet.replace(b'r="A1"', b'r="A4294967295"').replace(
        b'r="1"', b'r="4294967295"'
    )
    assert parts["xl/worksheets/sheet1.xml"] != sheet
    with zipfile.ZipFile(path, "w") as book:
        for name, data in parts.items():
            book.writestr(name, data)
    with pytest.raises(InputError, match="below row 1,048,576"):
        read(tmp_path, path)


def test_errors_of_parquet_name_no_path(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read(tmp_path, b"PAR1" + b"\xff" * 100_000 + b"PAR1")
    assert str(tmp_path) not in str(refused.value)
