"""kill -9 in a promotion leaves the session or the project; in an import, an error or the whole table; never half."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from runtime.errors import Conflict
from runtime.testing import harness
from tests.acceptance.sources_child import IMPORTS, PROMOTIONS, TYPES

ROOT = Path(__file__).resolve().parents[2]


def killed(folder: Path, step: str) -> None:
    """Run the child until it has killed itself."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.sources_child", str(folder), step],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert child.returncode == -9, child.stderr[-2_000:] + child.stdout


@pytest.mark.parametrize("step", PROMOTIONS)
async def test_a_promotion_that_is_killed_leaves_one_whole_actor(tmp_path: Path, step: str) -> None:
    killed(tmp_path, step)
    data = tmp_path / "data"
    for _ in range(2):  # the second start finds nothing left to do
        async with harness(data, *TYPES) as host:
            (path,) = (data / "actors").rglob("*.sqlite")
            kind = path.parent.parent.name
            assert kind == ("session" if step == "before the intent" else "project")
            stub = host.namespace("session").get("chat")
            assert (await stub.query("SELECT count(*) AS n, max(v) AS m FROM t")).rows == [
                {"n": 1000, "m": "999"}
            ]
            assert (await stub.get_state("k"))["value"] == [1, 2]
            assert [index.name for index in (await stub.describe("t")).indexes] == ["by_v"]
            records = [r for t in ("session", "project") for r in await host.directory.find(t, None)]
            assert [(r.address.type, r.address.name) for r in records] == [
                (kind, "lasting" if kind == "project" else "chat")
            ]
            if kind == "project":
                assert records[0].next_alarm is None
                lasting = host.namespace("project").get("lasting")
                assert (await lasting.query("SELECT count(*) AS n FROM t")).rows == [{"n": 1000}]
            await stub.exec("UPDATE t SET v = '999' WHERE id = 1")
        with closing(sqlite3.connect(path)) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("step", IMPORTS)
async def test_an_import_that_is_killed_shows_nothing_half_made(tmp_path: Path, step: str) -> None:
    killed(tmp_path, step)
    data = tmp_path / "data"
    async with harness(data, *TYPES) as host:
        stub = host.namespace("sources").get("default")
        (source,) = (await stub.list_sources())["sources"]
        (job,) = await stub.list_jobs()
        files = sorted(path.name for path in data.rglob("*.files/*"))
        if step == "after it is put in place":
            assert (source["status"], source["metadata"]["rowCount"]) == ("ready", 200_000)
            answer = await stub.query("SELECT count(*) AS n, max(a) AS m FROM new", source="new")
            assert answer["rows"] == [{"n": 200_000, "m": 199_999}]
            assert len(files) == 1
        else:
            assert (source["status"], source["error"]["code"]) == ("error", "interrupted")
            assert (job.state, job.error["code"]) == ("failed", "interrupted")
            assert files == []
            with pytest.raises(Conflict):
                await stub.query("SELECT * FROM new", source="new")
        progress = await stub.import_progress(source["id"])
        assert ("error" in progress) == (job.state != "done")
