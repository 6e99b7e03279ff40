"""Delimited text, with everything that files in the wild do to it."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import DuraliteError
from tests.unit.runtime.tabular.reading import read

N, R, T, D, M, B = "integer", "real", "text", "date", "datetime", "boolean"

DIALECTS: list[tuple[str, bytes | str, dict[str, str], list[tuple[Any, ...]]]] = [
    ("comma", "a,b\n1,2\n", {"a": N, "b": N}, [(1, 2)]),
    ("tab beats commas in cells", "a\tb\n1\tx,y\n2\tq\n", {"a": N, "b": T}, [(1, "x,y"), (2, "q")]),
    ("pipe", "a|b|c\n1|2|3\n4|5|6\n", {"a": N, "b": N, "c": N}, [(1, 2, 3), (4, 5, 6)]),
    ("semicolon beside decimal commas", "a;b\n1,5;x\n2,25;y\n", {"a": T, "b": T}, [("1,5", "x"), ("2,25", "y")]),
    ("what Excel says first", "sep=;\na;b\n1;2\n", {"a": N, "b": N}, [(1, 2)]),
    ("what Excel says first of tabs", "sep=\t\na\tb\n1\t2\n", {"a": N, "b": N}, [(1, 2)]),
    ("a control character", "a\x01b\n1\x01x, y\n3\x01z, w\n", {"a": N, "b": T}, [(1, "x, y"), (3, "z, w")]),
    ("carets", "a^b^c\n1^2^3\n4^5^6\n", {"a": N, "b": N, "c": N}, [(1, 2, 3), (4, 5, 6)]),
    ("one column of expressions", "pattern\n^a.*\n^b$\n", {"pattern": T}, [("^a.*",), ("^b$",)]),
    ("one column of estimates", "~5\n~6\n", {"~5": T}, [("~6",)]),
    ("single quotes", "a,b\n'x,y',1\n'z',2\n", {"a": T, "b": N}, [("x,y", 1), ("z", 2)]),
    ("spaces before quotes", 'a, b\n"x, y", "1"\n"z", "2"\n', {"a": T, "b": N}, [("x, y", 1), ("z", 2)]),
    ("backslashes before quotes", 'a,b\n"x \\"q\\" y",1\n"z",2\n', {"a": T, "b": N}, [('x "q" y', 1), ("z", 2)]),
    ("a lone quote in a cell", 'a,b\n5" pipe,1\nx,2\n', {"a": T, "b": N}, [('5" pipe', 1), ("x", 2)]),
    ("text behind a closing quote", 'a,b\n"abc"d,1\nx,2\n', {"a": T, "b": N}, [("abcd", 1), ("x", 2)]),
    ("lines in cells", 'a,b\n1,"x\ny, z"\n2,"a ""q"""\n', {"a": N, "b": T}, [(1, "x\ny, z"), (2, 'a "q"')]),
    ("every end of line at once", b"a,b\r\n1,2\n3,4\r5,6\r\n", {"a": N, "b": N}, [(1, 2), (3, 4), (5, 6)]),
    ("returns only", b"a,b\r1,2\r3,4\r", {"a": N, "b": N}, [(1, 2), (3, 4)]),
    ("no end of line at the end", "a,b\n1,2", {"a": N, "b": N}, [(1, 2)]),
    ("blank lines", "a,b\n\n1,2\n\n\n3,4\n\n", {"a": N, "b": N}, [(1, 2), (3, 4)]),
    ("lines of spaces", "a,b\n  \n1,2\n\t\n \n3,4\n", {"a": N, "b": N}, [(1, 2), (3, 4)]),
    ("one column of spaces", "name\n x\n  \n", {"name": T}, [(" x",), ("  ",)]),
    ("one column", "name\nx\ny\n", {"name": T}, [("x",), ("y",)]),
    ("one column of sentences", "title\nHello, world\nFoo bar\n", {"title": T}, [("Hello, world",), ("Foo bar",)]),
    ("one column of amounts", "x\n$5.00\n1,234\n", {"x": T}, [("$5.00",), ("1,234",)]),
    ("one column of times", "at\n10:00:00\n11:30:15\n", {"at": T}, [("10:00:00",), ("11:30:15",)]),
    ("spaces in a table of numbers", "a b c\n1 2 3\n4 5 6\n", {"a": N, "b": N, "c": N}, [(1, 2, 3), (4, 5, 6)]),
    ("a delimiter at the end of rows only", "a,b\n1,2,\n3,4,\n", {"a": N, "b": N}, [(1, 2), (3, 4)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "kinds", "rows"), DIALECTS, ids=[d[0] for d in DIALECTS])
def test_a_dialect_is_found(
    name: str, data: bytes | str, kinds: dict[str, str], rows: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    table = read(tmp_path, data)
    assert (table.kinds, table.rows, table.bad) == (kinds, rows, [])


STARTS: list[tuple[str, str, list[str], int]] = [
    ("titles", "Report of sales\nGenerated 2024\n\nid,name,amount\n1,a,2.5\n2,b,3.5\n3,c,4\n", ["id", "name", "amount"], 3),
    ("titles padded with delimiters", "Report,,\n,,\nid,name,amount\n1,a,2.5\n2,b,3.5\n", ["id", "name", "amount"], 2),
    ("comments", "# note\n# other, note\nid,name\n1,a\n2,b\n", ["id", "name"], 2),
    ("a header behind a hash", "#id,name\n1,a\n2,b\n", ["#id", "name"], 2),
    ("no header", "1,a,2.5\n2,b,3.5\n3,c,1.0\n", ["column_1", "column_2", "column_3"], 3),
    ("years as names", "country,1990,1991\nFR,1.5,2.5\nDE,3.5,4.5\n", ["country", "1990", "1991"], 2),
    ("a header without a name for the row names", "a,b\nr1,1,2\nr2,3,4\n", ["column_1", "a", "b"], 2),
    ("names and nothing else", "a,b\n", ["a", "b"], 0),
    ("numbers and nothing else", "1,2,3\n", ["column_1", "column_2", "column_3"], 1),
    ("a second mark, and names that nobody sees", "\ufeff\ufeffid,\u200b,\u00a0\n1,2,3\n", ["id", "column_2", "column_3"], 1),
    ("repeated names, in any case", "a,A,a_2,,a\n1,2,3,4,5\n", ["a", "A_3", "a_2", "column_4", "a_4"], 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "names", "rows"), STARTS, ids=[s[0] for s in STARTS])
def test_the_start_of_the_table_and_its_names_are_found(
    name: str, data: str, names: list[str], rows: int, tmp_path: Path
) -> None:
    table = read(tmp_path, data)
    assert list(table.kinds) == names
    assert (len(table.rows), table.bad) == (rows, [])


CELLS: list[tuple[str, list[str], str, list[Any]]] = [
    ("integers", ["0", "-5", "", "9223372036854775807"], N, [0, -5, None, 2**63 - 1]),
    ("leading zeros", ["007", "12"], T, ["007", "12"]),
    ("plus signs", ["+49", "12"], T, ["+49", "12"]),
    ("beyond 64 bits", ["1", "9223372036854775808"], T, ["1", "9223372036854775808"]),
    ("codes with an E", ["1E5", "2e10"], T, ["1E5", "2e10"]),
    ("floats as programs write them", ["1e-05", "2.5e+10", "0.1"], R, [1e-05, 2.5e10, 0.1]),
    ("amounts", ["48.30", "1.00", ""], R, [48.3, 1.0, None]),
    ("integers among decimals", ["5", "1.5"], R, [5.0, 1.5]),
    ("more digits than a float keeps", ["0.12345678901234567891", "1.5"], T, ["0.12345678901234567891", "1.5"]),
    ("large integers among decimals", ["9007199254740993", "1.5"], T, ["9007199254740993", "1.5"]),
    ("17 digits that a float keeps", ["0.30000000000000004"], R, [0.30000000000000004]),
    ("17 digits as some programs write a float", ["48.053808600000004", "45.9"], R, [48.0538086, 45.9]),
    ("17 digits of money", ["12345678901234.567", "45.9"], T, ["12345678901234.567", "45.9"]),
    ("too large for a float", ["1.5e+400", "1.5"], T, ["1.5e+400", "1.5"]),
    ("other digits", ["١٢", "12"], T, ["١٢", "12"]),
    ("underscores and spaces", ["1_000", " 12"], T, ["1_000", " 12"]),
    ("nan and infinity", ["nan", "1.5", "inf"], T, ["nan", "1.5", "inf"]),
    ("thousands and money", ["1.234.567", "$5"], T, ["1.234.567", "$5"]),
    ("dates", ["2024-02-29", "", "1999-12-31"], D, ["2024-02-29", None, "1999-12-31"]),
    ("a day that is none", ["2023-02-29", "2024-01-01"], T, ["2023-02-29", "2024-01-01"]),
    ("days of any other order", ["05/01/2024", "13/01/2024"], T, ["05/01/2024", "13/01/2024"]),
    ("moments", ["2024-01-02T03:04:05Z", "2024-01-02 03:04", "2024-01-02"], M, ["2024-01-02T03:04:05Z", "2024-01-02 03:04", "2024-01-02"]),
    ("truth values", ["true", "false", ""], B, [1, 0, None]),
    ("truth values in capitals", ["TRUE", "FALSE"], B, [1, 0]),
    ("truth values of two spellings", ["true", "FALSE"], T, ["true", "FALSE"]),
    ("words for nothing", ["NULL", "n/a", "", "None"], T, ["NULL", "n/a", "", "None"]),
    ("a separator of our own", ["1\x1f2", "3"], T, ["1\x1f2", "3"]),
    ("mixed", ["1", "x", "2024-01-01"], T, ["1", "x", "2024-01-01"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cells", "kind", "values"), CELLS, ids=[c[0] for c in CELLS])
def test_a_cell_becomes_a_value_only_where_nothing_is_lost(
    name: str, cells: list[str], kind: str, values: list[Any], tmp_path: Path
) -> None:
    text = "x,k\n" + "".join(f'"{cell}",k\n' for cell in cells)
    table = read(tmp_path, text)
    assert table.kinds["x"] == kind
    assert [row[0] for row in table.rows] == values
    assert [type(row[0]) for row in table.rows] == [type(value) for value in values]


LATE: list[tuple[str, str, str, str, list[Any]]] = [
    ("integers, then text", "7", "seven", T, ["7", "seven"]),
    ("integers, then decimals", "7", "7.5", R, [7.0, 7.5]),
    ("decimals, then text", "7.50", "n/a", T, ["7.50", "n/a"]),
    ("dates, then text", "2024-01-01", "soon", T, ["2024-01-01", "soon"]),
    ("dates, then moments", "2024-01-01", "2024-01-01 10:00", M, ["2024-01-01", "2024-01-01 10:00"]),
    ("truth values, then text", "True", "perhaps", T, ["True", "perhaps"]),
    ("nothing, then integers", "", "7", N, [None, 7]),
    ("nothing, then text", "", "x", T, ["", "x"]),
    ("integers, then a leading zero", "7", "007", T, ["7", "007"]),
    ("integers, then one beyond 64 bits", "7", "9223372036854775808", T, ["7", "9223372036854775808"]),
    ("large integers, then decimals", "9007199254740993", "0.5", T, ["9007199254740993", "0.5"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "early", "late", "kind", "values"), LATE, ids=[item[0] for item in LATE])
def test_a_type_that_changes_in_the_last_row_loses_nothing(
    name: str,
    early: str,
    late: str,
    kind: str,
    values: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.tabular.fill._AHEAD_CELLS", 5_000)
    count = 10_000
    text = "x,k\n" + f"{early},k\n" * count + f"{late},k\n"
    table = read(tmp_path, text)
    assert table.kinds["x"] == kind
    assert table.rows[0][0] == table.rows[count - 1][0] == values[0]
    assert type(table.rows[0][0]) is type(values[0])
    assert table.rows[count][0] == values[1]
    column = table.column("x")
    assert column["null_count"] == sum(row[0] is None for row in table.rows)
    assert column["distinct"] == len({row[0] for row in table.rows} - {None})
    if kind == T and early and late not in ("007",):
        assert any("'x' is text" in warning for warning in table.told["warnings"])


def test_many_integers_and_then_a_word_are_text_with_the_statistics_of_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.tabular.fill._AHEAD_CELLS", 5_000)
    table = read(tmp_path, "x,k\n" + "".join(f"{n},k\n" for n in range(10_000)) + "word,k\n")
    assert [row[0] for row in table.rows] == [*map(str, range(10_000)), "word"]
    column = table.column("x")
    assert (column["min"], column["max"], column["distinct"]) == ("0", "word", None)


def test_a_slice_that_changes_one_type_still_tells_those_of_the_other_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.tabular.fill._AHEAD_CELLS", 100)
    monkeypatch.setattr("runtime.tabular.lines._PIECE", 4_000)
    table = read(tmp_path, "a,b\n" + "7.50,\n" * 1_000 + "seven,7\n")
    assert table.kinds == {"a": T, "b": N}
    assert table.rows[0] == ("7.50", None)
    assert table.rows[-1] == ("seven", 7)


def test_a_row_that_is_kept_aside_for_its_type_has_no_say_in_other_columns(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b\n1,2\nx,word\n3,4\n", types={"a": "integer"})
    assert table.kinds == {"a": N, "b": N}
    assert (table.rows, table.bad) == ([(1, 2), (3, 4)], [3])


COUNTED: list[tuple[str, list[str], dict[str, Any]]] = [
    ("few values", ["Rome", "", "Oslo", "Rome"], {}),
    ("few, and at the end many", [*["7", ""] * 3_000, *map(str, range(3_000))], {}),
    ("as many as are counted", [*map(str, range(1_000)), "", "999"], {}),
    ("one more", [*map(str, range(1_001)), "", "999"], {}),
    ("many spellings of few values", [f"{n % 3}.{'0' * (n % 5 + 1)}" for n in range(3_000)], {}),
    ("integers that become decimals", [*["1", "2"] * 3_000, "2.5", "2.0"], {}),
    ("nothing, then words", [*[""] * 6_000, "x", "y"], {}),
    ("words that stand for nothing", ["1", "n/a", "-", "2", "1"] * 700, {"null_values": ["n/a", "-"]}),
    ("words among words", ["a", "n/a", "", "b"] * 700, {"null_values": ["n/a"]}),
    ("short rows", ["a", "b", "a"] * 700, {"ragged": "pad"}),
    ("numbers of another country", ["1.234,5", "0,25", "", "7"] * 700, {"decimal": ",", "thousands": "."}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cells", "options"), COUNTED, ids=[item[0] for item in COUNTED])
def test_statistics_are_those_of_the_stored_cells(
    name: str, cells: list[str], options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.tabular.fill._AHEAD_CELLS", 5_000)
    text = "k;x\n" + "".join(f"k;{cell}\n" for cell in cells)
    if options.get("ragged"):
        text += "k\n"
    table = read(tmp_path, text, delimiter=";", **options)
    stored = [row[1] for row in table.rows]
    assert len(stored) == len(cells) + ("ragged" in options)
    counted = Counter(cell for cell in stored if cell is not None)
    column = table.column("x")
    assert column["null_count"] == stored.count(None)
    assert column["empty_count"] == stored.count("")
    assert (column["min"], column["max"]) == (min(counted), max(counted))
    few = len(counted) <= 1_000
    assert column["distinct"] == (len(counted) if few else None)
    assert column["top"] == ([[*pair] for pair in counted.most_common(10)] if few else None)


def test_rows_that_do_not_fit_are_kept_aside_with_their_lines(tmp_path: Path) -> None:
    table = read(tmp_path, 'a,b\n1,2\n"x\ny",3\n4\n5,6,7\n\n8,9\n')
    assert table.rows == [("1", 2), ("x\ny", 3), ("8", 9)]
    assert table.bad == [5, 6]
    assert table.reasons[0] == "The row has 1 cells where the table has 2."
    assert [reject["text"] for reject in table.told["rejects"]] == ["4", "5,6,7"]
    assert "2 rows did not fit and were kept aside." in table.told["warnings"]


def test_short_rows_are_padded_with_null_when_asked(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b,c\n1,2\nx,y,z\n5\n1,2,3,4\n", ragged="pad")
    assert table.rows == [("1", "2", None), ("x", "y", "z"), ("5", None, None)]
    assert table.bad == [5]
    assert table.column("c")["null_count"] == 2


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_quote_that_never_closes_costs_its_own_line_only(place: str, tmp_path: Path) -> None:
    lines = [f"{n},text {n}" for n in range(1, 1_001)]
    at = {"first": 0, "middle": 499, "last": 999}[place]
    lines[at] = f'{at + 1},"open'
    table = read(tmp_path, "id,text\n" + "\n".join(lines) + "\n")
    assert table.bad == [at + 2]
    assert [row[0] for row in table.rows] == [n for n in range(1, 1_001) if n != at + 1]


@pytest.mark.parametrize("comment", [None, "#"], ids=["by the block", "by the reader"])
def test_no_row_is_lost_where_a_row_is_read_a_second_time_across_a_block(
    comment: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second reader takes more of the file than the first one had; the first goes on where it was."""
    monkeypatch.setattr("runtime.tabular.lines._PIECE", 64)
    lines = [f"{n}\t\t{n / 4}" for n in range(200)]
    lines[88] = '"open\t"open\t"open'
    table = read(tmp_path, "a\tb\tc\n" + "\n".join(lines) + "\n", comment=comment)
    assert table.bad == [90]
    assert [row[0] for row in table.rows] == [n for n in range(200) if n != 88]


PLAIN: list[tuple[str, str, list[tuple[Any, ...]]]] = [
    ("nothing but lines", "a,b\n1,x\n2,y\n", [(1, "x"), (2, "y")]),
    ("ends of two characters", "a,b\r\n1,x\r\n2,y\r\n", [(1, "x"), (2, "y")]),
    ("no end of the last line", "a,b\n1,x\n2,y", [(1, "x"), (2, "y")]),
    ("a blank line", "a,b\n1,x\n\n2,y\n", [(1, "x"), (2, "y")]),
    ("blank lines of one column", "a\n1\n\n2\n", [(1,), (2,)]),
    ("two short rows like one", "a,b,c\n1,x,y\n2\n3\n4,z,w\n", [(1, "x", "y"), (4, "z", "w")]),
    ("quotes among them", 'a,b\n1,x\n2,"y,\nz"\n3,w\n', [(1, "x"), (2, "y,\nz"), (3, "w")]),
    ("a return inside a line", "a,b\n1,x\r2,y\n3,z\n", [(1, "x"), (2, "y"), (3, "z")]),
    ("empty cells", "a,b\n,\n,y\n1,\n", [(None, ""), (None, "y"), (1, "")]),
]  # fmt: skip


@pytest.mark.parametrize("size", [8, 1 << 16])
@pytest.mark.parametrize(("name", "text", "rows"), PLAIN, ids=[item[0] for item in PLAIN])
def test_a_file_is_the_same_table_in_blocks_of_any_size(
    name: str,
    text: str,
    rows: list[tuple[Any, ...]],
    size: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.tabular.lines._PIECE", size)
    assert read(tmp_path, text, delimiter=",").rows == rows


def test_many_quotes_that_never_close_take_no_quadratic_time(tmp_path: Path) -> None:
    table = read(tmp_path, "id,text\n" + '1,"open\n' * 20_001)
    assert table.told["rejected"] + len(table.rows) > 0


def test_lines_are_told_also_where_every_second_row_is_bad(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b\n" + "1,2\n3\n" * 5_000)
    assert (len(table.rows), table.told["rejected"]) == (5_000, 5_000)
    assert table.bad == list(range(3, 43, 2))


ENCODINGS = [
    ("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"),
    ("utf-16-be", "utf-16-be"), ("utf-32", "utf-32"), ("cp1252", "cp1252"), ("latin-1", "cp1252"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "told"), ENCODINGS)
def test_an_encoding_is_found_and_told(written: str, told: str, tmp_path: Path) -> None:
    text = "name,city\nJosé,Málaga\nZoë,Zürich\nplain,place\n"
    table = read(tmp_path, text.encode(written))
    assert table.rows[0] == ("José", "Málaga")
    assert list(table.kinds) == ["name", "city"]
    assert table.told["encoding"] == told
    assert ("not UTF-8" in " ".join(table.told["warnings"])) == (told == "cp1252")


def test_a_guess_from_the_head_of_a_file_is_corrected_by_its_end(tmp_path: Path) -> None:
    table = read(tmp_path, b"a,b\n" + b"1,x\n" * 250_000 + "2,été\n".encode("cp1252"))
    assert (table.told["encoding"], table.rows[-1]) == ("cp1252", (2, "été"))
    assert len(table.rows) == 250_001


def test_a_few_broken_bytes_cost_their_own_rows_only(tmp_path: Path) -> None:
    table = read(tmp_path, "név,b\nárvíz,1\nőű,2\n".encode() + b"\xff\xfe,3\nok,4\n")
    assert table.rows == [("árvíz", 1), ("őű", 2), ("ok", 4)]
    assert (table.bad, table.told["encoding"]) == ([4], "utf-8")


REFUSED: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("nothing", b"", {}, "empty"),
    ("a mark and nothing", b"\xef\xbb\xbf", {}, "empty"),
    ("spaces", b"  \n\n", {}, "empty"),
    ("control characters", bytes(range(1, 32)) * 50, {}, "not text"),
    ("an image", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 10, {}, "not text"),
    ("all bytes", bytes(range(256)), {}, "not text"),
    ("a compressed file", b"\x1f\x8b\x08\x00abc", {}, "compressed"),
    ("an archive", b"PK\x03\x04" + b"\0" * 22 + b"\x09\0\0\0" + b"sales.CSV" + b"\0" * 50, {}, "archive that holds"),
    ("a page of the web", b"\n<HTML><table><tr><td>1</td></tr></table></html>", {}, "HTML"),
    ("an old workbook in XML", b'<?xml version="1.0"?><Workbook/>', {}, "XML"),
    ("a document", b"%PDF-1.7\n%\xe2\xe3\n1 0 obj\n", {}, "document"),
    ("a document of text", b"{\\rtf1 hello}", {}, "document"),
    ("a database", b"SQLite format 3\0" + b"\0" * 100, {}, "SQLite"),
    ("another encoding than was said", b"a,b\n\xff,1\n", {"encoding": "utf-8"}, "not text"),
    ("an encoding that there is not", b"a,b\n1,2\n", {"encoding": "klingon"}, "no encoding"),
    ("an encoding of no text", b"a,b\n1,2\n", {"encoding": "zlib"}, "no encoding"),
    ("no row that fits", b"a,b\n1\n2\n3\n", {}, "None of the 3 rows"),
    ("rows that are all short", b"a,b,c\n1,2\n3,4\n", {}, "None of the 2 rows"),
    ("a start behind the end", b"a,b\n1,2\n", {"start_row": 9}, "no rows"),
    ("columns that are not there", b"a,b\n1,2\n", {"start_column": 5}, "no such columns"),
    ("more columns than a table has", b",".join(b"c%d" % n for n in range(2_500)), {}, "2,500 columns"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "options", "said"), REFUSED, ids=[r[0] for r in REFUSED])
def test_what_cannot_be_read_has_one_clear_error_and_leaves_no_trace(
    name: str, data: bytes, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DuraliteError, match=said) as refused:
        read(tmp_path, data, **options)
    assert refused.value.hint
    assert str(tmp_path) not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_cell_that_is_too_long_is_kept_aside(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b\n1," + "x" * 1_100_000 + "\n2,y\n")
    assert (table.rows, table.bad) == ([(2, "y")], [2])


def test_a_line_that_never_ends_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    with pytest.raises(DuraliteError, match="longer than"):
        read(tmp_path, b"a,b\n" + b"x" * (20 << 20))


def test_a_mixed_column_names_a_cell_that_made_it_text(tmp_path: Path) -> None:
    table = read(tmp_path, "delay\n" + "5\n-3\n" * 2_000 + "NA\n4\n")
    assert table.told["warnings"] == [
        "Column 'delay' is text: it holds number values and others, such as 'NA'."
        " null_values can have it read as NULL."
    ]


def test_repeated_names_are_told(tmp_path: Path) -> None:
    table = read(tmp_path, "name,name,,name\na,b,c,d\n")
    assert list(table.kinds) == ["name", "name_2", "column_3", "name_3"]
    assert "name_2, column_3, name_3" in table.told["warnings"][0]


OPTIONS: list[tuple[str, str, dict[str, Any], dict[str, str], list[tuple[Any, ...]]]] = [
    ("decimal commas", "a;b\n1,5;x\n2,25;y\n", {"decimal": ","}, {"a": R, "b": T}, [(1.5, "x"), (2.25, "y")]),
    ("thousands", "a;b\n1.234,50;x\n2,25;y\n", {"decimal": ",", "thousands": "."}, {"a": R, "b": T}, [(1234.5, "x"), (2.25, "y")]),
    ("thousands of France and Switzerland", "a;b\n1\u202f234,5;x\n12\u00a0345;y\n", {"decimal": ",", "thousands": " "}, {"a": R, "b": T}, [(1234.5, "x"), (12345.0, "y")]),
    ("points where commas are decimal", "a;b\n1.5;x\n2,5;y\n", {"decimal": ","}, {"a": T, "b": T}, [("1.5", "x"), ("2,5", "y")]),
    ("null words", "a,b\nNULL,1\nn/a,NA\n,3\nx,4\n", {"nullValues": ["NULL", "n/a", "NA"]}, {"a": T, "b": N}, [(None, 1), (None, None), ("", 3), ("x", 4)]),
    ("nothing but null words", "a,b\nNULL,1\n,2\n", {"null_values": ["NULL"]}, {"a": T, "b": N}, [(None, 1), ("", 2)]),
    ("empty as NULL", "a,b\n,1\nx,2\n", {"emptyAsNull": True}, {"a": T, "b": N}, [(None, 1), ("x", 2)]),
    ("trimmed", "a,b\n 1 , x \n2,y\n", {"trim": True}, {"a": N, "b": T}, [(1, "x"), (2, "y")]),
    ("types", "zip,n\n01234,5\n00501,7\n", {"types": {"zip": "integer", "n": "string"}}, {"zip": N, "n": T}, [(1234, "5"), (501, "7")]),
    ("a type that a cell has not", "a,n\nx,abc\ny,7\n", {"columnTypes": {"n": "number"}}, {"a": T, "n": R}, [("y", 7.0)]),
    ("yes and no as truth values", "a\nyes\nno\n", {"types": {"a": "boolean"}}, {"a": B}, [(1,), (0,)]),
    ("a range", "junk,,\n,a,b\n,1,2\n,3,4\n,5,6\n", {"range": "B2:C4"}, {"a": N, "b": N}, [(1, 2), (3, 4)]),
    ("a start row", "x\ny\na,b\n1,2\n", {"startRow": 3}, {"a": N, "b": N}, [(1, 2)]),
    ("an end row", "a,b\n1,2\n3,4\n5,6\n", {"endRow": 3}, {"a": N, "b": N}, [(1, 2), (3, 4)]),
    ("columns", "a,b,c\n1,2,3\n", {"startColumn": 2, "endColumn": 3}, {"b": N, "c": N}, [(2, 3)]),
    ("no header", "a,b\n1,2\n", {"hasHeaders": False}, {"column_1": T, "column_2": T}, [("a", "b"), ("1", "2")]),
    ("a header of numbers", "1,2\n3,4\n", {"header": True}, {"1": N, "2": N}, [(3, 4)]),
    ("a comment sign", "a,b\n1,2\n// no\n3,4\n", {"comment": "//"}, {"a": N, "b": N}, [(1, 2), (3, 4)]),
    ("a delimiter", "a~b\n1~2\n", {"delimiter": "~"}, {"a": N, "b": N}, [(1, 2)]),
    ("no quotes at all", 'a,b\n"x,1\ny",2\n', {"quote": ""}, {"a": T, "b": N}, [('"x', 1), ('y"', 2)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "options", "kinds", "rows"), OPTIONS, ids=[o[0] for o in OPTIONS])
def test_what_the_options_say_is_done(
    name: str,
    data: str,
    options: dict[str, Any],
    kinds: dict[str, str],
    rows: list[tuple[Any, ...]],
    tmp_path: Path,
) -> None:
    table = read(tmp_path, data, **options)
    assert (table.kinds, table.rows) == (kinds, rows)


def test_a_row_whose_cell_has_not_the_type_that_was_asked_for_says_so(tmp_path: Path) -> None:
    table = read(tmp_path, "a,n\n" + "x,1\n" * 30_000 + "y,abc\n", types={"n": "number"})
    assert (table.bad, len(table.rows)) == ([30_002], 30_000)
    assert table.reasons == ["Column 'n': 'abc' is no number."]


def test_the_catalogue_learns_scale_range_and_the_most_frequent_values(tmp_path: Path) -> None:
    table = read(tmp_path, "amount,city\n48.30,Rome\n1.00,Oslo\n,Rome\n7.25,\n")
    amount, city = table.column("amount"), table.column("city")
    assert (amount["scale"], amount["null_count"], amount["min"], amount["max"]) == (2, 1, 1.0, 48.3)
    assert (city["distinct"], city["top"][0], city["empty_count"]) == (3, ["Rome", 2], 1)
    assert city["sample_values"] == ["Rome", "Oslo"]


def test_two_thousand_columns_are_read(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(1_999)]
    table = read(tmp_path, ",".join(names) + "\n" + ",".join(map(str, range(1_999))) + "\n")
    assert table.rows == [tuple(range(1_999))]


def test_the_digest_is_that_of_the_file_whatever_part_of_it_is_read(tmp_path: Path) -> None:
    data = b"a,b\n" + b"1,2\n" * 100_000
    for options in ({}, {"end_row": 3}, {"range": "A1:A2"}):
        assert read(tmp_path, data, **options).told["sha256"] == hashlib.sha256(data).hexdigest()
