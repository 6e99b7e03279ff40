"""Rows as text."""

from __future__ import annotations

import math

from runtime.storage.delimited import csv_lines, ndjson_lines


def test_ndjson_tags_what_json_cannot_say() -> None:
    """Infinities and bytes keep their value; a lone null stays null."""
    rows = [(math.inf, b"\x01"), (None, "x")]
    assert ndjson_lines(["a", "b"], rows, True) == (
        b'{"a":{"$float":"Infinity"},"b":{"$bytes":"AQ=="}}\n{"a":null,"b":"x"}\n'
    )


def test_only_the_first_slice_of_csv_has_a_header() -> None:
    assert csv_lines(["a", "b"], [(1, "x,y")], True) == b'a,b\r\n1,"x,y"\r\n'
    assert csv_lines(["a", "b"], [(None, b"\x01")], False) == b",AQ==\r\n"
