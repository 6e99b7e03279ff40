"""A staging file is where a load writes before anything is visible: an SQLite file of one data table.

`d(row_id INTEGER PRIMARY KEY, c0, c1, …)` has no declared types, so every cell stays as it was bound, and its
row ids run from 1 without gaps. `rejects(line, reason, text)` holds rows that were kept aside. The file is
written without a journal: it is whole when the load ends, and of no use before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from runtime.errors import LimitExceeded

__all__ = ("MAX_COLUMNS", "Staging", "remove_staging")

MAX_COLUMNS = 1_999
"""SQLite's 2,000 columns of a table, one of which is row_id."""

_REJECTS_KEPT = 10_000
_REJECT_TEXT = 2_000
_PAGE = 16_384
_CACHE = 4_000 * 1024
# Several rows go in with one statement: what a statement costs beside its values is then paid once for all of them.
_ROWS, _PARAMETERS = 50, 500


class Staging:
    """The writer of one staging file. Leaving it with an error removes the file. Without a path it is in memory.

    `most` bounds its size in bytes.
    """

    def __init__(self, path: Path | None, width: int = 0, *, most: int | None = None) -> None:
        if width > MAX_COLUMNS:
            raise too_wide(width)
        self.path = path
        self.rows = 0
        self.rejected = 0
        self.width = width
        if path is not None:
            remove_staging(path)
        self._raw = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._raw.executescript(
            f"PRAGMA page_size={_PAGE}; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;"
            f"PRAGMA cache_size=-{_CACHE // 1024}; PRAGMA temp_store=FILE; BEGIN"
        )
        if most is not None:
            self._raw.execute(f"PRAGMA max_page_count={max(16, most // _PAGE)}")
        self._most = most
        self._make()

    def _make(self) -> None:
        columns = "".join(f", c{i}" for i in range(self.width))
        self._raw.execute(f"CREATE TABLE d (row_id INTEGER PRIMARY KEY{columns})")
        self._raw.execute("CREATE TABLE rejects (line INTEGER, reason TEXT, text TEXT)")
        self._statement()

    def _statement(self) -> None:
        names = ", ".join(f"c{i}" for i in range(self.width))
        row = f"({', '.join('?' * self.width)})"
        self._together = max(1, min(_ROWS, _PARAMETERS // max(1, self.width)))
        self._insert = f"INSERT INTO d ({names}) VALUES {row}"
        self._inserts = f"INSERT INTO d ({names}) VALUES {', '.join([row] * self._together)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()
        if kind is not None and self.path is not None:
            remove_staging(self.path)

    def restart(self) -> None:
        """Begin again with an empty table of the same width."""
        self._raw.execute("DROP TABLE d")
        self._raw.execute("DROP TABLE rejects")
        self.rows = self.rejected = 0
        self._make()

    def widen(self, width: int) -> None:
        """Add columns at the end; the rows there are get NULL in them."""
        if width > MAX_COLUMNS:
            raise too_wide(width)
        for i in range(self.width, width):
            self._raw.execute(f"ALTER TABLE d ADD COLUMN c{i}")
        self.width = width
        self._statement()

    def add(self, columns: Sequence[Sequence[Any]], count: int) -> None:
        """Append a slice of rows, given column by column."""
        if not self.width:
            self._raw.executemany("INSERT INTO d DEFAULT VALUES", [()] * count)
            self.rows += count
            return
        width, step = self.width, self.width * self._together
        cells: list[Any] = [None] * (count * width)
        for place, column in enumerate(columns):
            cells[place::width] = column
        whole = len(cells) - len(cells) % step
        try:
            self._raw.executemany(self._inserts, [cells[at : at + step] for at in range(0, whole, step)])
            self._raw.executemany(
                self._insert, [cells[at : at + width] for at in range(whole, len(cells), width)]
            )
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL and self._reached():
                raise LimitExceeded(
                    f"The table needs more than {self._most:,} bytes.",
                    hint="Read fewer columns or rows, or have the operator raise the limit max_file_bytes.",
                    limit="max_file_bytes",
                ) from None
            raise
        self.rows += count

    def _reached(self) -> bool:
        """Tell whether the file is as large as it may be: else it is the disk that is full.

        Asked of the file and not of SQLite: without a journal there is no database any more once a write failed.
        """
        if self._most is None or self.path is None:
            return self._most is not None
        return self.path.stat().st_size + _CACHE + 16 * _PAGE >= self._most

    def reject(self, line: int, reason: str, text: str) -> None:
        """Keep a row aside. The first 10,000 are stored, all are counted."""
        self.rejected += 1
        if self.rejected <= _REJECTS_KEPT:
            safe = text[:_REJECT_TEXT].encode("utf-8", "replace").decode()
            self._raw.execute("INSERT INTO rejects VALUES (?, ?, ?)", (line, reason, safe))

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of the loader's own and return its rows."""
        return self._raw.execute(sql, parameters).fetchall()

    def rows_of(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of one statement of the loader's own."""
        yield from self._raw.execute(sql)

    def finish(self) -> int:
        """Commit, and return the file's size in bytes."""
        self._raw.execute("COMMIT")
        return 0 if self.path is None else self.path.stat().st_size


def remove_staging(path: Path | str) -> None:
    """Remove a staging file and whatever lies beside it; nothing happens where there is none."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def too_wide(width: int) -> LimitExceeded:
    """Return the error for more columns than a table can have."""
    return LimitExceeded(
        f"The file has {width:,} columns; a table can have {MAX_COLUMNS:,}.",
        hint="Read a part of it with start_column and end_column, or split it.",
        limit="columns",
    )
