"""The nesting of a JSON body has a bound, and what stands in strings does not count."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError
from runtime.gateway.bodies import Bodies
from runtime.limits import Limits

BODIES = Bodies(Limits(max_json_depth=8))

values = st.recursive(
    st.one_of(st.integers(-5, 5), st.text(alphabet='[]{}"\\a', max_size=12)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(alphabet="[}a", max_size=3), inner, max_size=3)
    ),
    max_leaves=40,
)


def depth(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(depth, inside), default=0)


@given(values, st.integers(0, 10))
def test_only_what_is_nested_too_deep_is_refused(value: Any, more: int) -> None:
    for _ in range(more):
        value = [value, "]"]
    body = orjson.dumps(value)
    if depth(value) <= 8:
        assert BODIES.parse(body) == value
    else:
        with pytest.raises(InputError, match="deeper than 8"):
            BODIES.parse(body)


@pytest.mark.parametrize(
    "string", ["]", "[", "}", "{", "][", '"', '"]', '\\"]', "]\\", '"}', '","]', "\\", "]]]]]]]]]", "x]"]
)
@pytest.mark.parametrize(
    "shape", ["[{0}, {1}, {0}]", '{{"a": {0}, "b": {1}}}', "{{{0}: {1}}}", "[{0}, {0}, [{1}]]"]
)
def test_brackets_in_strings_hide_no_depth(string: str, shape: str) -> None:
    deep = "0"
    for _ in range(9):
        deep = shape.format(orjson.dumps(string).decode(), deep)
    with pytest.raises(InputError, match="deeper than 8"):
        BODIES.parse(deep.encode())
