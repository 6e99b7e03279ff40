"""No name reaches the file system, and no account can reach, or guess, what another one owns."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError
from runtime.host import Host
from runtime.ids import ActorAddress, actor_id, actor_path, check_name
from runtime.testing import harness
from tests.scratch import Scratch, column

NAMES = [
    "../../etc/passwd",
    "a/b",
    "..",
    ".",
    "con",
    "a b",
    "\u00e9",
    "e\u0301",
    "💥",
    "%00",
    "x" * 1024,
    "a\nb",
    "A",
    "a",
]


@given(st.text(min_size=1, max_size=200), st.text(max_size=20))
def test_a_path_is_made_of_the_id_alone(name: str, owner: str) -> None:
    try:
        checked = check_name(name)
        identity = actor_id(b"k", ActorAddress("scratch", owner, checked))
    except (InputError, UnicodeEncodeError):
        return
    assert re.fullmatch("[0-9a-f]{32}", identity)
    assert actor_path(Path("/data"), "scratch", identity) == Path(
        f"/data/actors/scratch/{identity[:2]}/{identity}.sqlite"
    )


@given(
    st.tuples(st.text(min_size=1), st.text(min_size=1)), st.tuples(st.text(min_size=1), st.text(min_size=1))
)
def test_different_addresses_have_different_ids(one: tuple[str, str], two: tuple[str, str]) -> None:
    texts = (*one, *two)
    if one == two or any("\0" in t or any("\ud800" <= c <= "\udfff" for c in t) for t in texts):
        return
    assert actor_id(b"k", ActorAddress("t", *one)) != actor_id(b"k", ActorAddress("t", *two))
    assert actor_id(b"k", ActorAddress("t", *one)) != actor_id(b"other", ActorAddress("t", *one))


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 1025, "é" * 513, "\ud800", 7, None, b"bytes", ["a"]])
async def test_a_bad_name_is_refused_with_a_hint(host: Host, name: object) -> None:
    with pytest.raises(InputError) as refused:
        host.namespace("scratch").get(name)  # type: ignore[arg-type]
    assert refused.value.hint


async def test_every_other_name_is_an_actor_of_its_own(host: Host, tmp_path: Path) -> None:
    before = {p for p in tmp_path.rglob("*") if "actors" not in p.parts}
    for number, name in enumerate(NAMES):
        stub = host.namespace("scratch").get(name)
        await stub.create_table("t", "v")
        await stub.exec("INSERT INTO t VALUES (?)", [number])
    for number, name in enumerate(NAMES):
        assert await column(host.namespace("scratch").get(name), "SELECT v FROM t") == [number]
    outside = {p for p in tmp_path.rglob("*") if "actors" not in p.parts} - before
    assert {p.name for p in outside} <= {"directory.sqlite-wal", "directory.sqlite-shm"}
    assert {r.address.name for r in await host.directory.find("scratch", "local", limit=1000)} == set(NAMES)


async def test_two_owners_with_one_name_have_two_actors(host: Host) -> None:
    anna, ben = (host.namespace("scratch", owner).get("shared") for owner in ("anna", "ben"))
    assert anna.id != ben.id
    await anna.save_state("secret", 1)
    assert (await ben.get_state("secret"))["found"] is False
    assert [r.address.owner for r in await host.directory.find("scratch", "ben")] == ["ben"]
    await host.namespace("scratch", "ben").delete("shared")
    assert (await anna.get_state("secret"))["value"] == 1


def test_ids_of_another_installation_tell_nothing(tmp_path: Path) -> None:
    async def identity(folder: Path) -> str:
        async with harness(folder, Scratch) as host:
            return host.namespace("scratch").get("same").id

    first, second = (asyncio.run(identity(tmp_path / name)) for name in "ab")
    assert first != second
    assert asyncio.run(identity(tmp_path / "a")) == first
