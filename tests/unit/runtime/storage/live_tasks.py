"""Tasks that read the live file of an actor, for the tests of shared files."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from runtime.tabular.write import open_to_read
from runtime.workers.task import Report, task


@task
def count_twice(args: dict[str, Any], report: Report) -> list[int]:
    """Count rows, wait for a gate inside the same transaction, count again, and once more in a new one."""
    counts = []
    with closing(open_to_read(args["file"], wait_s=args.get("wait_s", 10))) as raw:
        raw.execute("BEGIN")
        counts += raw.execute("SELECT count(*) FROM t").fetchone()
        report({"counted": counts[0]})
        while not Path(args["gate"]).exists():
            time.sleep(0.002)
        counts += raw.execute("SELECT count(*) FROM t").fetchone()
        raw.execute("COMMIT")
        counts += raw.execute("SELECT count(*) FROM t").fetchone()
    return counts


@task
def write_anyway(args: dict[str, Any], report: Report) -> None:
    with closing(open_to_read(args["file"])) as raw:
        raw.execute("INSERT INTO t VALUES (1)")
