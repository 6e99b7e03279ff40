"""Running and previewing: beside a live file, in worker processes, with stages kept by what made them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from actors.project.pipeline import Field, StepError, Table
from actors.project.pipeline.cells import call, op
from actors.project.pipeline.compile import unresolved
from actors.project.pipeline.draft import Draft
from actors.project.pipeline.engine import RunningEngine
from actors.project.pipeline.execute import execute, preview
from actors.project.pipeline.functions import Functions
from actors.project.pipeline.stages import StageFolder
from runtime.errors import DuraliteError
from runtime.limits import Limits
from runtime.workers.pool import Workers
from tests.pipelines import Rows, write_live

TABLE = Rows(
    [("name", "string"), ("city", "string"), ("amount", "number"), ("day", "date")],
    [[f" n{i % 7} ", ["Rome", "", None][i % 3], i / 4, f"2024-01-{i % 28 + 1:02d}"] for i in range(200)],
)
STEPS: list[dict[str, Any]] = [
    {"operation": "trim"},
    {"operation": "fill_down", "columns": ["city"]},
    {"operation": "deduplicate", "columns": ["name", "city"]},
    {"operation": "sort", "columns": [{"name": "amount", "direction": "desc"}]},
    {"operation": "uppercase", "columns": ["name"]},
]


def silent(report: Any) -> None:
    """Take no notice of reports."""


@pytest_asyncio.fixture
async def workers() -> AsyncIterator[Workers]:
    pool = Workers(Limits())
    yield pool
    await pool.close()


async def test_a_pipeline_runs_in_a_worker_and_tells_how_far_it_is(workers: Workers, tmp_path: Path) -> None:
    """Rows, columns with their statistics, and the phases on the way."""
    seen: list[dict[str, Any]] = []
    args = {"source": write_live(tmp_path / "live", TABLE), "steps": STEPS, "staging": str(tmp_path / "out")}
    answer = await workers.run("actors.project.pipeline.execute:execute", args, on_progress=seen.append)
    assert answer["rows"] == 7 and answer["warnings"] == []
    by_name = {c["name"]: c for c in answer["columns"]}
    assert (by_name["amount"]["min"], by_name["amount"]["max"], by_name["amount"]["kind"]) == (
        0.0,
        1.5,
        "real",
    )
    assert (by_name["name"]["distinct"], by_name["day"]["type"], by_name["city"]["null_count"]) == (
        7,
        "date",
        0,
    )
    assert [r["step"] for r in seen if r["phase"] == "step"] == [1, 2, 3, 4, 5]
    assert {p.name for p in tmp_path.iterdir()} >= {"out"} and not list(tmp_path.glob("out.*"))


def test_statistics_tell_what_is_between_the_ends_of_a_column(tmp_path: Path) -> None:
    """Decimals anywhere make a column real, and empty texts are counted, whatever its least and greatest cell are."""
    kinds = [("whole", "number"), ("inner", "number"), ("ends", "number"), ("none", "number"), ("text", "string"),
             ("blank", "string"), ("unset", "string")]  # fmt: skip
    rows = [
        [1, 1, 0.5, None, "a", "", None],
        [2, 2.5, 2, None, "b", " ", None],
        [3, 4, 3.5, None, "", "", None],
    ]
    source = write_live(tmp_path / "live", Rows(kinds, [*rows, [None] * 7]))
    described = execute({"source": source, "steps": [], "staging": str(tmp_path / "out")}, silent)["columns"]
    assert [c["kind"] for c in described] == ["integer", "real", "real", "real", "text", "text", "text"]
    assert [c["empty_count"] for c in described] == [0, 0, 0, 0, 1, 2, 0]
    assert [c["null_count"] for c in described] == [1, 1, 1, 4, 1, 1, 4]


async def test_a_failure_crosses_from_the_worker_and_leaves_no_file(workers: Workers, tmp_path: Path) -> None:
    steps = [{"operation": "cast_column", "column": "name", "targetType": "number"}]
    args = {"source": write_live(tmp_path / "live", TABLE), "steps": steps, "staging": str(tmp_path / "out")}
    with pytest.raises(DuraliteError, match="Step 1") as e:
        await workers.run("actors.project.pipeline.execute:execute", args)
    assert (e.value.code, e.value.extra["column"], e.value.status) == ("invalid_step", "name", 422)
    assert not list(tmp_path.glob("out*"))


async def test_a_pattern_that_never_ends_is_ended_with_its_worker(workers: Workers, tmp_path: Path) -> None:
    table = Rows([("a", "string")], [["a" * 40 + "b"]])
    steps = [{"operation": "filter", "column": "a", "operator": "matches", "value": "(a+)+$"}]
    args = {"source": write_live(tmp_path / "live", table), "steps": steps, "cache": str(tmp_path / "cache")}
    with pytest.raises(DuraliteError, match=r"did not end"):
        await workers.run("actors.project.pipeline.execute:preview", args, lane="read", deadline_s=1.5)


async def test_two_previews_at_once_share_a_stage(workers: Workers, tmp_path: Path) -> None:
    args = {"source": write_live(tmp_path / "live", TABLE), "steps": STEPS, "cache": str(tmp_path / "cache")}
    name = "actors.project.pipeline.execute:preview"
    shown = await asyncio.gather(*(workers.run(name, args, lane="read") for _ in range(4)))
    assert all(s == shown[0] for s in shown)
    assert {p.suffix for p in (tmp_path / "cache").iterdir()} == {".stage"}


def test_the_live_file_may_be_written_while_a_pipeline_reads_it(tmp_path: Path) -> None:
    """The rows are those of the moment in which the reading began; the writer is not held up."""
    source = write_live(tmp_path / "live", TABLE)
    with closing(sqlite3.connect(tmp_path / "live", isolation_level=None)) as writer:
        written: list[int] = []

        def report(progress: Any) -> None:
            written.append(writer.execute("INSERT INTO d1 (c0) VALUES ('late')").rowcount)

        answer = execute({"source": source, "steps": STEPS[:1], "staging": str(tmp_path / "out")}, report)
        assert written and writer.execute("SELECT count(*) FROM d1").fetchone()[0] == 200 + len(written)
    assert answer["rows"] <= 200 + len(written)


def test_nothing_that_runs_can_change_the_live_file(tmp_path: Path) -> None:
    source = write_live(tmp_path / "live", TABLE)
    with closing(RunningEngine(None, silent, tmp_path / "scratch")) as engine:
        schema = engine.attach(source["file"])
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            engine.connection.execute(f"DELETE FROM {schema}.d1")


def test_a_preview_keeps_the_last_stage_and_leaves_the_project_as_it_is(tmp_path: Path) -> None:
    """Stages are found again by content; other rows or other steps have other stages."""
    source = write_live(tmp_path / "live", TABLE)
    cache = tmp_path / "cache"
    args = {"source": source, "steps": STEPS, "cache": str(cache)}

    def look(**more: Any) -> dict[str, Any]:
        return preview(args | more, silent)

    before = (tmp_path / "live").read_bytes()
    streamed = look(up_to=2)
    assert not cache.exists() or not list(cache.iterdir())
    assert len(streamed["rows"]) == 100 and not streamed["complete"]
    whole = look()
    kept = {p.name: p.stat().st_ino for p in cache.iterdir()}
    assert len(kept) == 2 and len(whole["rows"]) == 7 and whole["complete"]
    assert look() == whole and look(up_to=4)["rows"][0][0] == whole["rows"][0][0].lower()
    assert {p.name: p.stat().st_ino for p in cache.iterdir()} == kept
    look(source=source | {"version": "2"})
    assert len(list(cache.iterdir())) == 4
    look(steps=[STEPS[0], *STEPS[2:]])
    assert len(list(cache.iterdir())) == 6
    assert (tmp_path / "live").read_bytes() == before


def test_warnings_of_kept_stages_come_back(tmp_path: Path) -> None:
    steps = [
        {"operation": "cast_column", "column": "name", "targetType": "number", "onError": "null"},
        {"operation": "sort", "columns": ["amount"]},
        {"operation": "cast_column", "column": "city", "targetType": "number", "onError": "null"},
    ]
    args = {"source": write_live(tmp_path / "live", TABLE), "steps": steps, "cache": str(tmp_path / "cache")}
    first, again = preview(args, silent), preview(args, silent)
    assert first == again
    assert [(w["step"], w["column"]) for w in first["warnings"]] == [(1, "name"), (3, "city")]
    assert first["warnings"][0]["count"] == 200 and first["warnings"][0]["samples"][0] == {
        "row": 1,
        "value": " n0 ",
    }


def test_the_folder_of_stages_stays_within_its_bound(tmp_path: Path) -> None:
    """What was used longest ago goes first; a stage larger than the bound serves once."""
    folder = StageFolder(tmp_path, 250)
    for n, key in enumerate("abc"):
        part = folder.begin(key)
        part.write_bytes(b"x" * 100)
        folder.finish(key, part)
        os.utime(folder.path(key), (n, n))
    assert folder.found("a")
    left, now = folder.begin("left"), folder.begin("now")
    left.write_bytes(b"x")
    now.write_bytes(b"x")
    os.utime(left, (0, 0))
    folder.trim()
    assert not left.exists() and now.exists()
    now.unlink()
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["a", "c"]
    args = {"source": write_live(tmp_path / "live.x", TABLE), "steps": STEPS, "cache_bytes": 1}
    assert preview(args | {"cache": str(tmp_path / "small")}, silent)["rows"]
    assert list((tmp_path / "small").iterdir()) == []


def test_a_step_that_fails_leaves_no_half_stage(tmp_path: Path) -> None:
    steps = [
        {"operation": "cast_column", "column": "name", "targetType": "number"},
        {"operation": "sort", "columns": ["amount"]},
    ]
    args = {"source": write_live(tmp_path / "live", TABLE), "steps": steps, "cache": str(tmp_path / "cache")}
    with pytest.raises(StepError, match="is no number"):
        preview(args, silent)
    assert list((tmp_path / "cache").iterdir()) == []


def test_up_to_a_step_that_is_not_there_is_refused(tmp_path: Path) -> None:
    args = {"source": write_live(tmp_path / "live", TABLE), "steps": STEPS, "cache": str(tmp_path / "cache")}
    for wrong in (-1, 6):
        with pytest.raises(DuraliteError, match="has 5 steps"):
            preview(args | {"up_to": wrong}, silent)


def test_each_cell_is_computed_once(tmp_path: Path) -> None:
    """The levels of a statement are not merged by SQLite: an expression that is used thrice runs once a row."""
    calls = []
    with closing(RunningEngine(None, silent, tmp_path / "scratch")) as engine:
        engine.connection.create_function("seen", 1, lambda x: calls.append(x) or x, deterministic=True)
        engine.connection.execute("CREATE TABLE t (row_id INTEGER PRIMARY KEY, c0)")
        engine.connection.executemany("INSERT INTO t (c0) VALUES (?)", [("x",)] * 10)
        draft = Draft(Table("t", (Field("a"),), "main"), engine=engine, resolve=unresolved)
        draft.replace("a", call("seen", draft.take("a").expr))
        cell = draft.take("a").expr
        draft.replace("a", op(op(cell, "||", cell), "||", cell))
        rows = engine.first_rows(draft.statement(), draft.value, 1)
    assert rows == [["xxx"]] * 10 and len(calls) == 10


def test_rows_out_of_order_fail_loudly() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        functions = Functions(db)
        db.execute("SELECT dl_fill(1, 5, 'a', 0)").fetchone()
        with pytest.raises(sqlite3.OperationalError):
            db.execute("SELECT dl_fill(1, 4, 'b', 0)").fetchone()
        assert isinstance(functions.error, DuraliteError)


def test_a_join_reads_another_file_and_too_many_files_are_refused(tmp_path: Path) -> None:
    source = write_live(tmp_path / "live", TABLE)
    towns = write_live(tmp_path / "towns", Rows([("city", "string"), ("land", "string")], [["Rome", "IT"]]))
    steps = [{"operation": "lookup", "table": "towns", "on": "city"}]
    args = {"source": source, "steps": steps, "tables": {"towns": towns}, "staging": str(tmp_path / "out")}
    columns = execute(args, silent)["columns"]
    assert columns[-1]["name"] == "land" and columns[-1]["top"] == [["IT", 67]]
    many = {f"t{i}": towns | {"file": f"{tmp_path}/none{i}"} for i in range(9)}
    with pytest.raises(DuraliteError, match=r"cannot be opened"):
        execute(args | {"tables": many}, silent)


def test_rows_without_end_stop_at_the_size_of_a_file(tmp_path: Path) -> None:
    """Appending a table to itself doubles it: the bound is that of the file, and nothing is left."""
    source = write_live(tmp_path / "live", TABLE)
    steps = [{"operation": "join", "table": "self", "on": "city", "prefix": f"{i} "} for i in range(9)]
    args = {"source": source, "tables": {"self": source}, "steps": steps, "most_bytes": 2**22}
    with pytest.raises(DuraliteError, match="need more than 4 MiB") as e:
        execute(args | {"staging": str(tmp_path / "out")}, silent)
    assert (e.value.code, e.value.limit) == ("storage_full", "max_file_bytes")
    assert not list(tmp_path.glob("out*"))


def test_a_cell_without_end_is_refused(tmp_path: Path) -> None:
    grow = {"operation": "replace_values", "columns": ["a"], "find": "a", "replace": "a" * 5_000}
    table = Rows([("a", "string")], [["aa"]])
    args = {
        "source": write_live(tmp_path / "live", table),
        "steps": [grow] * 3,
        "staging": str(tmp_path / "out"),
    }
    with pytest.raises(StepError, match="a cell would have more than"):
        execute(args, silent)
    steps = [grow | {"replace": "aaa"}, grow]
    shown = preview(args | {"steps": steps, "cache": str(tmp_path / "cache")}, silent)
    assert len(shown["rows"][0][0]) == 10_001 and shown["rows"][0][0].endswith("…")


def test_numbers_beyond_64_bits_in_a_step_are_compared_as_they_can_be(tmp_path: Path) -> None:
    step = {"operation": "filter", "column": "amount", "operator": "<", "value": 10**30}
    args = {"source": write_live(tmp_path / "live", TABLE), "steps": [step], "staging": str(tmp_path / "out")}
    assert execute(args, silent)["rows"] == 200
