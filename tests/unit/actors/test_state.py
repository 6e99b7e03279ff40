"""Saved state: any JSON value under any key, bounded, and never mixed up with a missing one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import DuraliteError, InputError, LimitExceeded
from runtime.host import Host
from runtime.limits import Limits
from runtime.namespace import Stub
from runtime.testing import ManualClock, harness
from tests.scratch import Scratch

VALUES: list[Any] = [
    None,
    0,
    False,
    "",
    [],
    {},
    2**63 - 1,
    1.5,
    "é💥",
    {"a": [1, {"b": None}]},
    [[[[1]]]],
    {"$bytes": "AA=="},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_a_value_comes_back_as_it_was_saved(host: Host, scratch: Stub, value: Any) -> None:
    assert await scratch.save_state("k", value) == {"saved": True}
    assert await scratch.get_state("k") == {"value": value, "found": True}
    wire = await host.call(scratch.address, host.spec("scratch", "get_state"), {"key": "k"}, wire=True)
    assert orjson.loads(wire) == {"value": value, "found": True}


async def test_a_missing_key_is_not_a_saved_null(scratch: Stub) -> None:
    assert await scratch.get_state("k") == {"value": None, "found": False}
    await scratch.save_state("k", None)
    assert await scratch.get_state("k") == {"value": None, "found": True}


async def test_saving_again_replaces_and_deleting_removes(scratch: Stub, clock: ManualClock) -> None:
    await scratch.save_state("k", 1)
    await clock.advance(5)
    await scratch.save_state("k", [1, 2])
    (entry,) = await scratch.list_state()
    assert (entry["key"], entry["bytes"]) == ("k", 5)
    assert entry["updated_at"].endswith("Z")
    assert await scratch.delete_state("k") == {"deleted": True}
    assert await scratch.delete_state("k") == {"deleted": False}
    assert await scratch.list_state() == []


@pytest.mark.parametrize("key", ["", "x" * 1025, 7, None])
async def test_a_key_that_is_none_is_refused(scratch: Stub, key: Any) -> None:
    with pytest.raises(InputError):
        await scratch.save_state(key, 1)


@pytest.mark.parametrize("value", [float("inf"), [None, float("nan")], {"a": {"b": (-float("inf"),)}}])
async def test_a_number_that_json_would_turn_into_null_is_refused(scratch: Stub, value: Any) -> None:
    with pytest.raises(InputError, match="infinity"):
        await scratch.save_state("k", value)
    assert (await scratch.get_state("k"))["found"] is False


@pytest.mark.parametrize(
    "value", [object(), float("nan"), "\ud800", 2**70, {"a": {"b": object()}}, {(1, 2): 3}]
)
async def test_a_value_without_a_json_form_is_refused_or_saved_as_json_has_it(
    scratch: Stub, value: Any
) -> None:
    try:
        await scratch.save_state("k", value)
    except DuraliteError as refused:
        assert refused.status == 422
        assert refused.hint
        assert (await scratch.get_state("k"))["found"] is False
    else:
        assert (await scratch.get_state("k"))["found"] is True


async def test_size_and_number_are_bounded_and_the_limit_is_named(tmp_path: Path) -> None:
    async with harness(tmp_path, Scratch, limits=Limits(max_state_bytes=1000, max_state_keys=3)) as host:
        stub = host.namespace("scratch").get("one")
        await stub.save_state("fits", "x" * 998)
        with pytest.raises(LimitExceeded) as refused:
            await stub.save_state("long", "x" * 999)
        assert refused.value.limit == "max_state_bytes"
        await stub.save_state("b", 1)
        await stub.save_state("c", 1)
        await stub.save_state("c", 2)
        with pytest.raises(LimitExceeded) as refused:
            await stub.save_state("d", 1)
        assert refused.value.limit == "max_state_keys"
        await stub.delete_state("b")
        await stub.save_state("d", 1)


async def test_keys_are_listed_in_order_by_prefix_and_page(scratch: Stub) -> None:
    keys = ["a", "a%", "a_1", "a_2", "b", "A", "é", "a\\", "'"]
    for key in keys:
        await scratch.save_state(key, 1)
    assert [e["key"] for e in await scratch.list_state()] == sorted(keys)
    assert [e["key"] for e in await scratch.list_state("a_")] == ["a_1", "a_2"]
    assert [e["key"] for e in await scratch.list_state("a%")] == ["a%"]
    paged: list[str] = []
    while page := await scratch.list_state(limit=2, after=paged[-1] if paged else ""):
        paged += [e["key"] for e in page]
    assert paged == sorted(keys)


@given(st.text(min_size=1, max_size=50).filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t)))
def test_any_text_is_a_key(key: str) -> None:
    assert Scratch.methods["save_state"].bind({"key": key, "value": 1})["key"] == key
