"""The engine runs the statements of a pipeline on one SQLite connection, inside a worker process.

It opens the project's live file read-only, beside a file of its own for stages and results: the actor goes on
meanwhile, and nothing that runs here can change it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlglot import exp

from runtime.errors import InputError, StorageFull
from runtime.tabular.staging import remove_staging

from .cells import column
from .draft import Column, Note, Values
from .functions import Cell, Functions
from .table import Field, StepError, Table, read_type

__all__ = ("RunningEngine", "read_table")

_PAGE = 4096
_OWN = "PRAGMA {0}.journal_mode=OFF; PRAGMA {0}.synchronous=OFF; PRAGMA {0}.cache_size=-2000; PRAGMA {0}.max_page_count={1};"
_EFFECTS = {
    "skip": ("row dropped", "their rows were dropped"),
    "null": ("cell emptied", "they are empty now"),
    "tell": ("parts left out", "the rest was left out"),
    "fail": ("run ended", "the run ended"),
}
_LONGEST_CELL = 20_000_000
MAX_FILES = 7
"""Other files that one pipeline may read; SQLite attaches ten."""


def read_table(data: Mapping[str, Any], schema: str | None) -> Table:
    """Return a table described in the arguments of a task: `name` and `columns` with name, type, scale, physical.

    Columns may be those of a catalogue, whose `kind` is finer than their `type`.
    """
    listed = data["columns"]
    fields = tuple(Field(c["name"], _type_of(c), c.get("scale")) for c in listed)
    physical = tuple(c.get("physical") or f"c{i}" for i, c in enumerate(listed))
    return Table(data["name"], fields, schema, physical)


def _type_of(data: Mapping[str, Any]) -> Any:
    kinds = {"real": "number", "text": "string", "empty": "string"}
    kind = data.get("kind") or data.get("type") or "string"
    return read_type(kinds.get(kind, kind))


class RunningEngine:
    """Stages and probes on a connection; `target` is the file for results, None when nothing is to be written.

    Stages lie in `scratch`, a file that is made when the first one comes and removed in the end.
    """

    def __init__(
        self,
        target: Path | None,
        report: Callable[[Mapping[str, Any]], None],
        scratch: Path,
        most_bytes: int = 2**31,
    ) -> None:
        self._pages = max(1, most_bytes // _PAGE)
        self._report = report
        self._stages = 0
        self._schemas: dict[str, str] = {}
        self._scratch = scratch
        self._has_scratch = False
        self._kept = False
        self.connection = sqlite3.connect(
            ":memory:" if target is None else target.absolute().as_uri(), uri=True, isolation_level=None
        )
        try:
            self.connection.executescript(
                "PRAGMA temp_store=FILE; PRAGMA trusted_schema=OFF;" + _OWN.format("main", self._pages)
            )
            self.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_CELL)
            self.functions = Functions(self.connection)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close the files and remove the stages."""
        self.connection.close()
        if self._has_scratch:
            remove_staging(self._scratch)

    def attach(self, file: str) -> str:
        """Open another file read-only and return the name of its schema.

        Raises:
            InputError: too many files, or it cannot be opened.
        """
        if file not in self._schemas:
            if len(self._schemas) >= MAX_FILES:
                raise InputError(f"A pipeline may read {MAX_FILES} files.", hint="Join fewer tables at once.")
            schema = f"f{len(self._schemas)}"
            self._attach(file, schema, "mode=ro")
            self._schemas[file] = schema
        return self._schemas[file]

    def _attach(self, file: str | Path, schema: str, mode: str) -> None:
        try:
            self.connection.execute(f"ATTACH ? AS {schema}", (f"{Path(file).absolute().as_uri()}?{mode}",))
            self.connection.execute(f"PRAGMA {schema}.cache_size=-2000")
        except sqlite3.Error as e:
            raise InputError(f"A table that the pipeline reads cannot be opened: {e}.") from None

    def attach_stage(self, path: Path) -> str:
        """Open a kept stage and return the name of its schema."""
        with suppress(sqlite3.Error):
            self.connection.execute("DETACH kept")
        self._attach(path, "kept", "mode=ro&immutable=1")
        return "kept"

    # What drafts call

    def stage(self, query: exp.Select, values: Values, columns: Sequence[Column]) -> Table:
        """Store the rows of a query in the scratch file."""
        if self._kept:
            table = Table("s", tuple(c.field for c in columns), "part")
            self.store(query, values, table)
            return table
        self._scratch_file()
        self._stages += 1
        table = Table(f"s{self._stages}", tuple(c.field for c in columns), "stages")
        self._report({"phase": "stage", "stage": self._stages})
        self.store(query, values, table)
        return table

    def _scratch_file(self) -> None:
        if not self._has_scratch:
            remove_staging(self._scratch)
            self._has_scratch = True
            self.connection.execute("ATTACH ? AS stages", (self._scratch.absolute().as_uri(),))
            self.connection.executescript(_OWN.format("stages", self._pages))

    @contextmanager
    def writing(self, part: Path) -> Iterator[None]:
        """Store the next stage in a file of its own, which is whole after the block, and gone if that fails."""
        remove_staging(part)
        self.connection.execute("ATTACH ? AS part", (part.absolute().as_uri(),))
        try:
            self.connection.executescript(_OWN.format("part", self._pages))
            self._kept = True
            yield
        except BaseException:
            self._detach(part)
            raise
        finally:
            self._kept = False
        self.connection.execute("DETACH part")

    def _detach(self, part: Path) -> None:
        with suppress(sqlite3.Error):
            self.connection.execute("ROLLBACK")
        with suppress(sqlite3.Error):
            self.connection.execute("DETACH part")
        remove_staging(part)

    def remember(self, facts: str) -> None:
        """Write what belongs to the stage that is being written."""
        self.connection.execute("CREATE TABLE part.facts (json TEXT)")
        self.connection.execute("INSERT INTO part.facts VALUES (?)", (facts,))

    def fact(self, schema: str) -> str:
        """Return what was written beside a kept stage."""
        return str(self.connection.execute(f"SELECT json FROM {schema}.facts").fetchone()[0])

    def probe(self, query: exp.Select, values: Values) -> list[tuple[Any, ...]] | None:
        """Return the rows of a small query."""
        self.functions.restart()
        return list(self._run(query, values))

    # Running

    def expect(self, notes: Sequence[Note]) -> None:
        """Say what the counted cells of the steps so far mean."""
        by_slot = {n.slot: n for n in notes}

        def failed(slot: int, row: int, cell: Cell) -> Exception:
            n = by_slot[slot]
            return StepError(
                f'{str(cell)[:80]!r} in the column "{n.column}" {n.what} (row {row:,}).',
                step=n.step, operation=n.operation, column=n.column, row=row,
                hint='Set "onError" to "null" to empty such cells, or to "skip" to drop their rows.',
            )  # fmt: skip

        self.functions.expect({n.slot: n.mode for n in notes}, failed)

    def store(self, query: exp.Select, values: Values, table: Table) -> int:
        """Make a table, fill it with the rows of a query in their order, and return how many there are."""
        self.functions.restart()
        where = exp.Table(this=exp.to_identifier(table.name, quoted=True), db=exp.to_identifier(table.schema))
        names = [column(f"c{i}") for i in range(len(table.columns))]
        listed = ", ".join(["row_id INTEGER PRIMARY KEY", *(n.sql("sqlite") for n in names)])
        self.connection.execute(f"CREATE TABLE {where.sql('sqlite')} ({listed})")
        filled = query.copy()
        # The rows are numbered as they come, which is in order.
        filled.set("expressions", filled.expressions[1 : len(names) + 1])
        insert = exp.Insert(
            this=exp.Schema(this=where, expressions=[n.this.copy() for n in names]), expression=filled
        )
        self.connection.execute("BEGIN")
        count = self._run(insert, values).rowcount
        self.connection.execute("COMMIT")
        return count

    def first_rows(self, query: exp.Select, values: Values, width: int) -> list[list[Any]]:
        """Return the rows of a query without their numbers."""
        self.functions.restart()
        return [list(row[1 : width + 1]) for row in self._run(query, values)]

    def statistics(self, table: Table, parts: Sequence[exp.Expression]) -> list[tuple[Any, ...]]:
        """Return the rows of a query over a stored table of the engine's own."""
        query = exp.Select(expressions=[p.copy() for p in parts]).from_(
            exp.Table(this=exp.to_identifier(table.name), db=exp.to_identifier(table.schema))
        )
        return list(self._run(query, Values()))

    def _run(self, statement: exp.Expression, values: Values) -> sqlite3.Cursor:
        try:
            return self.connection.execute(statement.sql("sqlite"), values.bound)
        except sqlite3.Error as e:
            raise self._told(e) from None

    def _told(self, error: sqlite3.Error) -> Exception:
        if self.functions.error is not None:
            return self.functions.error
        if "integer overflow" in str(error):
            return StepError(
                "a sum of whole numbers is beyond 64 bits.",
                hint='Cast the column to "number" by a formula: x * 1.0.',
            )
        if "full" in str(error):
            return StorageFull(
                f"The rows of the pipeline need more than {self._pages * _PAGE // 2**20:,} MiB.",
                hint="Filter, select columns or group earlier, or join by keys that match fewer rows.",
                limit="max_file_bytes",
            )
        if "too big" in str(error):
            return StepError(
                f"a cell would have more than {_LONGEST_CELL:,} bytes.",
                hint="Join or replace less text in one cell.",
            )
        if any(said in str(error) for said in ("parser stack", "too large", "too many", "too deep")):
            return StepError(f"the steps are too much for one statement: {error}.", hint="Use smaller steps.")
        return error

    def notices(self, notes: Sequence[Note]) -> list[dict[str, Any]]:
        """Return what was counted, as plain data: one entry for each step and column that lost something."""
        return [
            {
                "step": n.step,
                "operation": n.operation,
                "column": n.column,
                "count": self.functions.counts[n.slot],
                "effect": _EFFECTS[n.mode][0],
                "message": f'{self.functions.counts[n.slot]:,} cells of "{n.column}": each {n.what}; {_EFFECTS[n.mode][1]}.',
                "samples": [
                    {"row": row, "value": cell} for row, cell in self.functions.samples.get(n.slot, [])
                ],
            }
            for n in notes
            if self.functions.counts[n.slot]
        ]
