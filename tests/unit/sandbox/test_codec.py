"""The codec: what goes in comes out, and hostile bytes give one error, whatever they hold."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import codec
from sandbox.guest.duralite_guest import codec as guest
from sandbox.plain import Walk

_texts = st.text(st.characters(codec="utf-8"), max_size=20)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | _texts
    | st.binary(max_size=20)
    | st.decimals(allow_nan=False, places=3)
    | st.dates()
    | st.datetimes()
    | st.times()
)
_keys = _texts | st.sampled_from(["$bytes", "$dict", "$", "__proto__"])
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)


@given(_values)
def test_what_the_host_encodes_the_guest_decodes(value: Any) -> None:
    assert _same(guest.decode(codec.encode(value).decode()), value)


@given(_values)
def test_what_the_guest_encodes_exactly_the_host_decodes(value: Any) -> None:
    assert _same(codec.decode(guest.encode(value, 64).encode(), 200), value)


@given(_values)
def test_a_result_is_always_writable_by_the_edges(value: Any) -> None:
    data, _ = guest.encode_result(value, 64, 1 << 20)
    plain = codec.decode(data, 200, plain=True)
    orjson.dumps(plain)
    json.dumps(plain, allow_nan=False)


@given(_values)
def test_a_walk_over_a_live_value_is_always_writable_too(value: Any) -> None:
    orjson.dumps(Walk(64, 1 << 20, exact=False).plain(value))
    assert _same(Walk(64, 1 << 20, exact=True).plain(value), value)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_arbitrary_bytes_give_a_value_or_a_codec_error(data: bytes) -> None:
    try:
        orjson.dumps(codec.decode(data, 64, plain=True))
    except codec.CodecError:
        pass


_tags = st.sampled_from(
    ["$bytes", "$datetime", "$date", "$time", "$decimal", "$int", "$float", "$set", "$dict", "$other"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_tags | _texts, inner, max_size=3),
    max_leaves=10,
)


@given(_json, st.booleans())
@settings(max_examples=300)
def test_arbitrary_tags_give_a_value_or_a_codec_error(value: Any, plain: bool) -> None:
    data = orjson.dumps(value)
    try:
        decoded = codec.decode(data, 64, plain=plain)
    except codec.CodecError:
        return
    if plain:
        json.dumps(decoded, allow_nan=False)


@pytest.mark.parametrize("depth", [65, 300, 900, 2_000, 200_000])
@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"a":', b"}"), (b'{"$set":[', b"]}")])
def test_depth_is_refused_without_recursion(depth: int, start: bytes, end: bytes) -> None:
    with pytest.raises(codec.CodecError):
        codec.decode(start * depth + b"1" * (start != b"[") + end * depth, 64)


def test_brackets_inside_text_do_not_count() -> None:
    value = ["[" * 500, {"a": "]}" * 500}, *[[i] for i in range(200)]]
    assert codec.decode(guest.encode(value, 8).encode(), 8) == value


@pytest.mark.parametrize(
    "data",
    [
        b'{"$bytes":"!"}',
        b'{"$bytes":5}',
        b'{"$int":"zz"}',
        b'{"$int":"' + b"f" * 20_000 + b'"}',
        b'{"$decimal":"' + b"9" * 20_000 + b'"}',
        b'{"$decimal":"x"}',
        b'{"$float":"1e5"}',
        b'{"$float":["nan"]}',
        b'{"$date":"yesterday"}',
        b'{"$set":[[1]]}',
        b'{"$dict":[1]}',
        b'{"$dict":[[1,2]]}',
        b'{"$unknown":1}',
        b'"\\ud800"',
        b"NaN",
        b"",
    ],
)
def test_a_forged_tag_is_a_codec_error(data: bytes) -> None:
    with pytest.raises(codec.CodecError):
        codec.decode(data, 64)


def test_numbers_beyond_json_have_a_plain_form() -> None:
    data, note = guest.encode_result([math.nan, math.inf, -math.inf, 10**30, 10**5000, -0.0], 64, 1 << 20)
    nan, inf, minus, big, huge, zero = codec.decode(data, 200, plain=True)
    assert (nan, inf, minus) == ({"$float": "nan"}, {"$float": "inf"}, {"$float": "-inf"})
    assert big == {"$int": str(10**30)}
    assert int(huge["$int"], 16) == 10**5000
    assert math.copysign(1, zero) == -1
    assert note is None


def test_what_is_not_data_is_refused_in_arguments_and_shown_in_results() -> None:
    odd = {"f": len, (1, 2): "t", 1: "i"}
    with pytest.raises(TypeError, match=r"text keys|plain data"):
        guest.encode(odd, 64)
    data, note = guest.encode_result(odd, 64, 1 << 20)
    assert codec.decode(data, 64, plain=True) == {"f": "<built-in function len>", "(1, 2)": "t", "1": "i"}
    assert note is not None


def test_cycles_depth_and_size_are_bounded() -> None:
    ring: list[Any] = []
    ring.append(ring)
    assert codec.decode(guest.encode_result(ring, 64, 1000)[0], 64) == ["<cycle>"]
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    data, note = guest.encode_result(deep, 64, 1 << 20)
    assert b"<nested too deeply>" in data
    assert "64 levels" in (note or "")
    with pytest.raises(guest.TooLarge):
        guest.encode_result(["x" * 100] * 100, 64, 1000)
    with pytest.raises(guest.TooLarge):
        guest.encode_result(range(10**12), 64, 1000)


def test_lone_surrogates_are_refused_in_arguments_and_replaced_in_results() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        guest.encode(["\ud800"], 64)
    assert codec.decode(guest.encode_result("a\udfffb", 64, 100)[0], 64) == "a\ufffdb"
    with pytest.raises(codec.CodecError, match="surrogate"):
        codec.encode("\ud800")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(b, Decimal | dt.date | dt.time | bytes | int | float):
        return type(a) is type(b) and a == b
    return bool(a == b)
