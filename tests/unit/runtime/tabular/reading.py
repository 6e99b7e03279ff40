"""Loading in the process of the tests, for what needs no worker."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.tabular import load as tasks

__all__ = ("Table", "read")


@dataclass(slots=True)
class Table:
    """What a load left in its staging file, and what it told."""

    kinds: dict[str, str]
    rows: list[tuple[Any, ...]]
    bad: list[int]
    told: dict[str, Any]

    @property
    def reasons(self) -> list[str]:
        return [reject["reason"] for reject in self.told["rejects"]]

    def column(self, name: str) -> dict[str, Any]:
        return next(column for column in self.told["columns"] if column["name"] == name)


def read(folder: Path, data: bytes | str | Path, **options: Any) -> Table:
    """Load a file, or a content, and return all of its table."""
    path = data if isinstance(data, Path) else folder / "file"
    if not isinstance(data, Path):
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    staging = folder / "staging.sqlite"
    told = tasks.load({"path": str(path), "options": options, "staging": str(staging)}, lambda _: None)
    with closing(sqlite3.connect(staging)) as raw:
        rows = [row[1:] for row in raw.execute("SELECT * FROM d ORDER BY row_id")]
        ids = [row_id for (row_id,) in raw.execute("SELECT row_id FROM d ORDER BY row_id")]
    assert ids == list(range(1, len(rows) + 1)), "row ids run from 1 without gaps"
    assert told["rows"] == len(rows)
    kinds = {column["name"]: column["kind"] for column in told["columns"]}
    return Table(kinds, rows, [reject["line"] for reject in told["rejects"]], told)
