"""The shared delimited files, nasty ones, each with its expected outcome, through a worker into an actor's file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import InputError
from runtime.host import Host
from runtime.ids import ActorAddress
from runtime.tabular.adopt import adopt
from runtime.tabular.reading import load, preview
from runtime.workers.pool import Workers

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "csv"
EXPECTED: dict[str, dict[str, Any]] = (
    json.loads((CASES / "expected.json").read_text(encoding="utf-8")) if CASES.is_dir() else {}
)

pytestmark = pytest.mark.skipif(not EXPECTED, reason="the shared cases are not beside this checkout")
READ = sorted(name for name, case in EXPECTED.items() if "error" not in case)
REFUSED = sorted(name for name, case in EXPECTED.items() if "error" in case)


@pytest.fixture
async def workers(host: Host) -> AsyncIterator[Workers]:
    found = host.services["workers"]
    assert isinstance(found, Workers)
    yield found


@pytest.mark.parametrize("name", READ)
async def test_a_file_is_read_as_expected_and_adopted(
    name: str, host: Host, workers: Workers, tmp_path: Path
) -> None:
    case = EXPECTED[name]
    loaded = await load(workers, CASES / name, None, tmp_path / "staging")
    assert {column.name: column.type for column in loaded.columns} == case["columns"]
    assert [bad["line"] for bad in loaded.rejects] == [bad["line"] for bad in case.get("bad_rows", [])]
    assert loaded.rejected == len(case.get("bad_rows", []))

    actor = await host.acquire(ActorAddress("scratch", "local", "cases"), held=True)
    assert actor is not None
    rows = await adopt(
        actor.connection,
        tmp_path / "staging",
        "d1",
        finish=lambda tx: [list(row[1:]) for row in tx.all("SELECT * FROM main.d1 ORDER BY row_id")],
    )
    host.release(actor)
    assert len(rows) == loaded.rows == case.get("row_count", len(rows))
    if "rows" in case:
        assert rows == case["rows"]
        assert [list(map(type, row)) for row in rows] == [list(map(type, row)) for row in case["rows"]]


@pytest.mark.parametrize("name", READ)
async def test_a_preview_shows_the_first_rows_of_the_load(name: str, workers: Workers) -> None:
    case = EXPECTED[name]
    shown = await preview(workers, CASES / name, rows=5)
    assert [column.name for column in shown.columns] == list(case["columns"])
    if "rows" in case:
        assert shown.rows == case["rows"][:5]
        assert shown.complete == (len(case["rows"]) <= 5)


@pytest.mark.parametrize("name", REFUSED)
async def test_a_file_that_cannot_be_read_says_why_and_leaves_nothing(
    name: str, workers: Workers, tmp_path: Path
) -> None:
    for reading in (load(workers, CASES / name, None, tmp_path / "s"), preview(workers, CASES / name)):
        with pytest.raises(InputError, match=f"(?i){EXPECTED[name]['error']}"):
            await reading
    assert not list(tmp_path.glob("s*"))
