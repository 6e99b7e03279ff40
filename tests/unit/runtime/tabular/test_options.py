"""Parse options: both spellings, ranges as spreadsheets write them, and errors that say what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.errors import InputError
from runtime.tabular.options import ParseOptions, column_number
from runtime.tabular.reading import parse_options


def test_both_spellings_mean_the_same() -> None:
    camel = {
        "hasHeaders": True,
        "startRow": 3,
        "endRow": 9,
        "startColumn": 2,
        "endColumn": 4,
        "emptyAsNull": True,
        "nullValues": ["x"],
    }
    snake = {
        "header": True,
        "start_row": 3,
        "end_row": 9,
        "start_column": 2,
        "end_column": 4,
        "empty_as_null": True,
        "null_values": ["x"],
    }
    assert parse_options(camel) == parse_options(snake)
    assert parse_options(camel).region() == (3, 2, 9, 4)


def test_options_survive_the_way_to_a_worker() -> None:
    options = parse_options(
        {"format": "XLSX", "delimiter": "\\t", "types": {"a": "int", "b": "TEXT"}, "sheet": 2}
    )
    assert options.format == "excel"
    assert options.delimiter == "\t"
    assert options.types == {"a": "integer", "b": "string"}
    assert ParseOptions.model_validate(options.model_dump(mode="json", exclude_defaults=True)) == options


@pytest.mark.parametrize(
    ("range", "region"),
    [
        ("B2:F90", (2, 2, 90, 6)),
        ("$A$1:$C$3", (1, 1, 3, 3)),
        ("c5", (5, 3, None, None)),
        ("AA1:ZZ2", (1, 27, 2, 702)),
    ],
)
def test_a_range_is_read_as_a_spreadsheet_reads_it(
    range: str, region: tuple[int, int, int | None, int | None]
) -> None:
    assert parse_options({"range": range}).region() == region
    assert column_number("XFD") == 16_384


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delimiter": "abc"}, "delimiter"),
        ({"delimiter": '"'}, "delimiter"),
        ({"range": "somewhere"}, "range"),
        ({"range": "C3:A1"}, "end_row"),
        ({"startRow": 0}, "start_row|startRow"),
        ({"end_row": 1, "start_row": 5}, "end_row"),
        ({"decimal": ",", "thousands": ","}, "thousands"),
        ({"format": "docx"}, "format"),
        ({"types": {"a": "complex"}}, "types"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"delimeter": ";"}, "the nearest is delimiter"),
        ({"range": "zz"}, r"valid: range: write it like B2:F90\.$"),
    ],
)
def test_options_that_mean_nothing_are_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        parse_options(options)
    assert "delimiter" in str(refused.value.hint)
