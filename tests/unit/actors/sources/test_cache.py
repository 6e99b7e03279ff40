"""The cache keeps within its bounds, and forgets what changed; the state of a file tells every change."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sources.cache import Cache
from actors.sources.versions import allowed_path, file_state, is_settled, read_state
from runtime.errors import Forbidden, InputError, NotFound

TAG = frozenset({"a"})


def test_what_was_not_asked_for_longest_goes_first() -> None:
    cache: Cache[int] = Cache(2, 1_000)
    cache.put("x", 1, 10, TAG)
    cache.put("y", 2, 10, TAG)
    assert cache.get("x") == 1
    cache.put("z", 3, 10, TAG)
    assert (cache.get("x"), cache.get("y"), cache.get("z")) == (1, None, 3)
    assert cache.stats().hits == 3
    assert cache.stats().misses == 1


def test_a_value_that_would_fill_the_cache_is_not_kept() -> None:
    cache: Cache[int] = Cache(10, 100)
    cache.put("x", 1, 26, TAG)
    assert cache.get("x") is None


def test_a_tag_drops_all_that_came_from_a_source() -> None:
    cache: Cache[int] = Cache(10, 1_000)
    cache.put("x", 1, 10, frozenset({"a", "b"}))
    cache.put("y", 2, 10, frozenset({"b"}))
    assert cache.drop("a") == 1
    assert (cache.get("x"), cache.get("y")) == (None, 2)
    assert cache.drop("a") == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 60), st.sampled_from("abc"), st.booleans())))
def test_the_bounds_hold_whatever_is_done(steps: list[tuple[int, int, str, bool]]) -> None:
    cache: Cache[int] = Cache(5, 100)
    for key, size, tag, drop in steps:
        if drop:
            cache.drop(tag)
        else:
            cache.put(key, key, size, frozenset({tag}))
        stats = cache.stats()
        assert stats.entries <= 5
        assert 0 <= stats.size <= 100
    for tag in "abc":
        cache.drop(tag)
    assert (cache.stats().entries, cache.stats().size) == (0, 0)


def test_the_state_tells_a_commit_in_any_journal_mode(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE t (a)")
        raw.commit()
        seen = [file_state(str(path))]
        for mode in ("DELETE", "WAL", "TRUNCATE"):
            raw.execute(f"PRAGMA journal_mode = {mode}")
            for _ in range(3):
                raw.execute("INSERT INTO t VALUES (1)")
                raw.commit()
                seen.append(file_state(str(path)))
    assert len(set(seen)) == len(seen)


def test_the_state_tells_a_file_of_the_same_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n")
    os.utime(path, (1_000_000, 1_000_000))
    before = file_state(str(path))
    path.write_text("a\n2\n")
    os.utime(path, (1_000_000, 1_000_000))
    assert file_state(str(path)) != before
    path.unlink()
    assert file_state(str(path)) == ""


def test_a_young_state_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n")
    _, changed = read_state(str(path))
    assert not is_settled(changed, changed + 1.0)
    assert is_settled(changed, changed + 3.0)
    assert not is_settled(changed, changed - 100.0), "a clock that was set back"


def test_only_files_in_open_folders_can_be_named(tmp_path: Path) -> None:
    data, opened, other = (tmp_path / name for name in ("data", "open", "other"))
    for folder in (data, opened / "deep", other):
        folder.mkdir(parents=True)
    inside = opened / "deep" / "a.csv"
    for path in (inside, other / "b.csv", data / "actor.sqlite"):
        path.write_text("x")
    (opened / "way_out").symlink_to(other / "b.csv")
    (opened / "in").symlink_to(inside)
    os.link(data / "actor.sqlite", opened / "hard.db")

    def allowed(path: Path | str) -> str:
        return allowed_path(str(path), [opened], data)

    assert allowed(inside) == str(inside)
    assert allowed(opened / "in") == str(inside)
    assert allowed(opened / "deep" / ".." / "deep" / "a.csv") == str(inside)
    for path in (other / "b.csv", opened / "way_out", opened / ".." / "other" / "b.csv", opened / "hard.db", "/etc/passwd", "/nosuch"):  # fmt: skip
        with pytest.raises(Forbidden):
            allowed(path)
    with pytest.raises(NotFound):
        allowed(opened / "nosuch.csv")
    with pytest.raises(InputError):
        allowed(opened / "deep")
    with pytest.raises(InputError):
        allowed("a\0b")
    with pytest.raises(Forbidden):
        allowed_path(str(inside), [], data)


def test_the_services_own_files_are_closed_even_where_their_folder_is_open(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "directory.sqlite").write_text("x")
    with pytest.raises(Forbidden, match="itself"):
        allowed_path(str(data / "directory.sqlite"), [tmp_path], data)
