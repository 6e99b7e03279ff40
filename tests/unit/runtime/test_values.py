"""Values cross JSON, Python and SQLite unchanged, or are refused (DESIGN section 4, Types)."""

from __future__ import annotations

import datetime as dt
import math
from collections import UserDict
from decimal import Decimal
from enum import IntEnum
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import DuraliteError, InputError
from runtime.host import Host
from runtime.namespace import Stub
from runtime.values import bind_params, bind_records, bind_value, dumps, loads


class Level(IntEnum):
    HIGH = 3


SAME = [
    0,
    1,
    -1,
    2**63 - 1,
    -(2**63),
    2**53 + 1,
    0.1,
    -0.0,
    1e308,
    5e-324,
    math.inf,
    -math.inf,
    "",
    "é💥",
    "a\0b",
    b"",
    b"\0\xff",
    None,
]
CHANGED: list[tuple[Any, Any]] = [
    (True, 1),
    (False, 0),
    (Level.HIGH, 3),
    (dt.date(2026, 1, 2), "2026-01-02"),
    (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05+00:00"),
    (dt.time(1, 2), "01:02:00"),
    (Decimal("1.10"), "1.10"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (bytearray(b"x"), b"x"),
    (memoryview(b"x"), b"x"),
    ({"$bytes": "AP8="}, b"\0\xff"),
    ({"$float": "Infinity"}, math.inf),
    ({"$float": "-Infinity"}, -math.inf),
]
REFUSED = [math.nan, 2**63, -(2**63) - 1, [1], (1,), {"a": 1}, {}, {"$bytes": "?"}, {"$bytes": 1}, {"$bytes": "AA==", "b": 1},
           {"$float": "NaN"}, object(), 1j, {1, 2}, "\ud800", Decimal]  # fmt: skip


def label(value: object) -> str:
    """Name a value the same in every process: without its address."""
    return repr(value).partition(" at 0x")[0]


@pytest.mark.parametrize("value", SAME, ids=label)
async def test_a_value_of_sqlite_comes_back_as_it_went_in(scratch: Stub, value: object) -> None:
    (row,) = (await scratch.query("SELECT ?1 AS v, typeof(?1) AS t", [value])).rows
    assert row["v"] == value
    assert type(row["v"]) is type(value)


@pytest.mark.parametrize(("value", "kept"), CHANGED, ids=label)
async def test_other_types_have_one_form_each(scratch: Stub, value: object, kept: object) -> None:
    for params in ([value], {"v": value}):
        (row,) = (
            await scratch.query("SELECT ? AS v" if isinstance(params, list) else "SELECT :v AS v", params)
        ).rows
        assert row["v"] == kept
    await scratch.create_table("t", "v")
    await scratch.batch_insert("t", [{"v": value}])
    assert (await scratch.query("SELECT v FROM t")).rows == [{"v": kept}]


@pytest.mark.parametrize("value", REFUSED, ids=label)
async def test_a_value_without_a_counterpart_is_refused_with_its_place_and_what_to_do(
    scratch: Stub, value: object
) -> None:
    await scratch.create_table("t", "v")
    for attempt in (
        scratch.query("SELECT ?", [value]),
        scratch.exec("INSERT INTO t VALUES (:v)", {"v": value}),
        scratch.batch_insert("t", [{"v": 1}, {"v": value}]),
    ):
        with pytest.raises(InputError) as refused:
            await attempt
        assert refused.value.hint
    assert (await scratch.query("SELECT count(*) AS n FROM t")).rows == [{"n": 0}]


@pytest.mark.parametrize("params", ["text", 5, True, b"x", object()])
async def test_parameters_are_a_list_or_an_object(scratch: Stub, params: object) -> None:
    with pytest.raises(InputError, match="must be a list or an object"):
        await scratch.query("SELECT ?", params)


@pytest.mark.parametrize("sign", [":", "@", "$"])
async def test_named_parameters_are_found_with_every_sign(scratch: Stub, sign: str) -> None:
    for params in ({"a": 5}, {f"{sign}a": 5}, UserDict({"a": 5})):
        assert (await scratch.query(f"SELECT {sign}a AS v", params)).rows == [{"v": 5}]


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT ?", []),
        ("SELECT ?", [1, 2]),
        ("SELECT :a", {}),
        ("SELECT :a", {"b": 1}),
        ("SELECT ?1, ?3", [1, 2]),
        ("SELECT ?1", [1, 2]),
        ("SELECT ?1, ?2", [1]),
    ],
)
async def test_parameters_that_do_not_fit_are_refused_with_a_hint(
    scratch: Stub, sql: str, params: object
) -> None:
    with pytest.raises(DuraliteError) as refused:
        await scratch.query(sql, params)
    assert refused.value.status == 422
    assert refused.value.hint


async def test_on_the_wire_bytes_and_infinities_are_tagged_and_null_is_null(
    host: Host, scratch: Stub
) -> None:
    spec = host.spec("scratch", "query")
    for row_format, shape in (("arrays", list), ("objects", dict)):
        sql = "SELECT 1e999 AS a, -1e999 AS b, x'00ff' AS c, NULL AS d, 9223372036854775807 AS e, 0.5 AS f"
        body = await host.call(scratch.address, spec, {"sql": sql, "row_format": row_format}, wire=True)
        (row,) = orjson.loads(body)["rows"]
        values = [{"$float": "Infinity"}, {"$float": "-Infinity"}, {"$bytes": "AP8="}, None, 2**63 - 1, 0.5]
        assert row == (values if shape is list else dict(zip("abcdef", values, strict=True)))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_json_goes_through_unchanged(value: Any) -> None:
    assert loads(dumps(value)) == value


@given(
    st.lists(
        st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.none() | st.binary(),
        min_size=1,
    )
)
def test_binding_what_sqlite_knows_changes_nothing(values: list[Any]) -> None:
    assert list(bind_params(values)) == values
    record = {str(i): v for i, v in enumerate(values)}
    assert bind_records([record], list(record), 1) == [tuple(values)]


@pytest.mark.parametrize("text", [b"{", b"NaN", b'"\\ud800"', b"[1,]", b"\xff", b"[" * 5000, b"", b"1 2"])
def test_text_that_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(InputError):
        loads(text)


def test_the_place_of_a_bad_value_is_named() -> None:
    with pytest.raises(InputError, match="Record 7, column 'b'"):
        bind_records([{"a": 1, "b": 1}, {"a": 1, "b": []}], ["a", "b"], 6)
    with pytest.raises(InputError, match="Parameter 2"):
        bind_params([1, math.nan])
    with pytest.raises(InputError, match="here"):
        bind_value(2**64, "here")
