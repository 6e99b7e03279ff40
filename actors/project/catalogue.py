"""The catalogue says which data table is what: the import that holds now, and the result of each pipeline.

A new table is filled beside the old one. Its row in the catalogue is `filling` meanwhile, and no view leads to
it; one transaction makes it `ready`, takes the old row away and turns the views, so that a reader sees the old
data or the new, never half of either. What a crash left `filling` is dropped when the project opens again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from actors.project.fields import Field
from actors.project.views import RAW_VIEWS, result_views, view_statements
from runtime.clock import iso
from runtime.errors import Conflict, NotFound
from runtime.ids import new_token
from runtime.storage.migrations import Migration
from runtime.storage.transaction import Transaction, quote
from runtime.tabular.adopt import drop_unfinished
from runtime.tabular.columns import Column
from runtime.values import dumps, loads

__all__ = (
    "MIGRATIONS",
    "PREFIX",
    "Dataset",
    "current",
    "discard",
    "drop",
    "make_ready",
    "no_column",
    "reserve",
    "result",
    "take_rejects",
    "tidy",
    "version",
)

PREFIX = "_duralite_d"
"""Data tables are named by this and a number. The prefix keeps them from being written by SQL of strangers."""

MIGRATIONS = (
    Migration(
        1,
        """
CREATE TABLE _duralite_datasets (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT COLLATE NOCASE, state TEXT NOT NULL, created REAL NOT NULL,
    rows INTEGER NOT NULL DEFAULT 0, config TEXT NOT NULL DEFAULT '{}', facts TEXT NOT NULL DEFAULT '{}') STRICT;
CREATE TABLE _duralite_columns (
    dataset INTEGER NOT NULL, idx INTEGER NOT NULL, name TEXT NOT NULL, sql_name TEXT NOT NULL,
    type TEXT NOT NULL, null_count INTEGER NOT NULL, sample_values TEXT, min_value TEXT, max_value TEXT,
    facts TEXT NOT NULL, PRIMARY KEY (dataset, idx)) STRICT, WITHOUT ROWID;
CREATE TABLE _duralite_rejects (
    dataset INTEGER NOT NULL, line INTEGER, reason TEXT, text TEXT) STRICT;
CREATE INDEX _duralite_rejects_by_dataset ON _duralite_rejects (dataset);
CREATE TABLE _duralite_pipelines (
    id TEXT PRIMARY KEY COLLATE NOCASE, title TEXT, steps TEXT NOT NULL, created REAL NOT NULL,
    updated REAL NOT NULL) STRICT, WITHOUT ROWID;
""",
        "Catalogue of a project: data tables, their columns, rows kept aside, pipelines",
    ),
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data table: its number, its rows and columns, how it was read, and whatever else is known (`facts`).

    `pipeline` is None for an import. `facts` holds the `version`, a token of its own; of an import also the source file, dialect, encoding, warnings, rejected rows;
    of a result: warnings, `read` (the versions of the tables it was made from) and `steps` (a hash of the steps).
    """

    id: int
    pipeline: str | None
    created: str
    rows: int
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    fields: tuple[Field, ...]

    @property
    def table(self) -> str:
        """The data table's name."""
        return f"{PREFIX}{self.id}"

    @property
    def view(self) -> str:
        """The view that shows the table under the columns' own names."""
        return RAW_VIEWS[0] if self.pipeline is None else result_views(self.pipeline)[0]

    def field(self, name: str) -> Field:
        """Return a column by its name, or by its name in SQL, in any case where only one fits.

        Raises:
            NotFound: no such column; the hint lists the nearest ones.
        """
        for attribute in ("name", "sql_name"):
            if found := [f for f in self.fields if getattr(f, attribute) == name]:
                return found[0]
        folded = name.strip().casefold()
        alike = [f for f in self.fields if f.name.strip().casefold() == folded]
        if len(alike) == 1:
            return alike[0]
        raise no_column(name, [f.name for f in self.fields])


def no_column(name: str, names: Sequence[str]) -> NotFound:
    """Return the error of a column that is not there, with the nearest names."""
    near = get_close_matches(name, names, n=5, cutoff=0.5)
    label = "The nearest names" if near else "Columns" if names else "The table has no columns"
    shown = ": " + ", ".join(map(repr, near or names[:20])) if names else ""
    return NotFound(f"There is no column {name!r:.80}.", hint=f"{label}{shown}.")


def current(tx: Transaction) -> Dataset:
    """Return the import that holds now.

    Raises:
        NotFound: nothing was imported yet.
    """
    found = _dataset(tx, "pipeline IS NULL", ())
    if found is None:
        raise NotFound(
            "The project holds no data yet.",
            hint="Import a file first: POST …/import_file with the file as body.",
        )
    return found


def result(tx: Transaction, pipeline: str) -> Dataset | None:
    """Return the stored result of a pipeline, or None."""
    return _dataset(tx, "pipeline = ?", (pipeline,))


def version(tx: Transaction, pipeline: str | None) -> str | None:
    """Return the version of the import, or of a pipeline's result; None where there is none."""
    row = tx.one(
        "SELECT facts ->> '$.version' FROM main._duralite_datasets WHERE state = 'ready' AND pipeline IS ?",
        (pipeline,),
    )
    return None if row is None else row[0]


def _dataset(tx: Transaction, where: str, params: Sequence[Any]) -> Dataset | None:
    row = tx.one(
        "SELECT id, pipeline, created, rows, config, facts FROM main._duralite_datasets"
        f" WHERE state = 'ready' AND {where} ORDER BY id DESC LIMIT 1",
        params,
    )
    if row is None:
        return None
    number, pipeline, created, rows, config, known = row
    fields = tuple(
        Field(Column.from_plain(loads(facts)), sql_name)
        for sql_name, facts in tx.all(
            "SELECT sql_name, facts FROM main._duralite_columns WHERE dataset = ? ORDER BY idx", (number,)
        )
    )
    return Dataset(number, pipeline, iso(created) or "", rows, loads(config), loads(known), fields)


def reserve(tx: Transaction, pipeline: str | None) -> int:
    """Return the number of a new data table, which no view leads to until `make_ready`."""
    cursor = tx.execute(
        "INSERT INTO main._duralite_datasets (pipeline, state, created) VALUES (?, 'filling', ?)",
        (pipeline, tx.now),
    )
    return int(cursor.lastrowid or 0)


def take_rejects(tx: Transaction, number: int) -> None:
    """Copy the rows that a load kept aside; the staging file is attached beside the project's own."""
    tx.execute(
        "INSERT INTO main._duralite_rejects SELECT ?, line, reason, text FROM staging.rejects ORDER BY rowid",
        (number,),
    )


def make_ready(
    tx: Transaction,
    number: int,
    fields: Sequence[Field],
    rows: int,
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> list[int]:
    """Put a filled table in the place of the one before it; return the numbers of tables that are old now.

    Raises:
        Conflict: a table of the user's has the name of one of the views.
    """
    row = tx.one("SELECT pipeline FROM main._duralite_datasets WHERE id = ?", (number,))
    if row is None:
        raise Conflict("The table was taken away while it was filled.", hint="Start again.")
    pipeline: str | None = row[0]
    old = [
        n
        for (n,) in tx.all(
            "SELECT id FROM main._duralite_datasets WHERE state = 'ready' AND pipeline IS ? AND id <> ?",
            (pipeline, number),
        )
    ]
    for each in old:
        _forget(tx, each)
    tx.execute(
        "UPDATE main._duralite_datasets SET state = 'ready', rows = ?, config = ?, facts = ? WHERE id = ?",
        (rows, dumps(dict(config)).decode(), dumps({**facts, "version": new_token(8)}).decode(), number),
    )
    tx.executemany(
        "INSERT INTO main._duralite_columns VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(number, at, *_column_row(field)) for at, field in enumerate(fields)],
    )
    _turn_views(tx, number, fields, pipeline)
    return old


def _column_row(field: Field) -> tuple[Any, ...]:
    column = field.column
    samples = dumps([field.shown_value(value) for value in column.sample_values]).decode()
    least, greatest = (None if v is None else str(field.shown_value(v)) for v in (column.min, column.max))
    facts = dumps(column.plain()).decode()
    return column.name, field.sql_name, column.type, column.null_count, samples, least, greatest, facts


def _forget(tx: Transaction, number: int) -> None:
    for table, key in (("datasets", "id"), ("columns", "dataset"), ("rejects", "dataset")):
        tx.execute(f"DELETE FROM main._duralite_{table} WHERE {key} = ?", (number,))


def _turn_views(tx: Transaction, number: int, fields: Sequence[Field], pipeline: str | None) -> None:
    _drop_views(tx, pipeline)
    for _, statement in view_statements(f"{PREFIX}{number}", number, fields, pipeline):
        tx.execute(statement)
    _look_again(tx)


def _drop_views(tx: Transaction, pipeline: str | None) -> None:
    for name in RAW_VIEWS if pipeline is None else result_views(pipeline):
        row = tx.one("SELECT type FROM main.sqlite_master WHERE name = ? COLLATE NOCASE", (name,))
        if row is None:
            continue
        if row[0] != "view":
            raise Conflict(
                f"A {row[0]} of yours is called {name!r}, which is the name of a view of the project.",
                hint=f"Rename it first: ALTER TABLE {quote(name)} RENAME TO {quote('my_' + name)}.",
            )
        tx.execute(f"DROP VIEW main.{quote(name)}")


def _look_again(tx: Transaction) -> None:
    """Have the guard read the schema anew, which the runtime changed itself."""
    if tx.guard is not None:
        tx.guard.refresh()


def discard(tx: Transaction, pipeline: str) -> list[int]:
    """Take a pipeline's result out of the catalogue; return the numbers of its tables, to be dropped."""
    old = [
        n
        for (n,) in tx.all(
            "SELECT id FROM main._duralite_datasets WHERE pipeline = ? AND state = 'ready'", (pipeline,)
        )
    ]
    for number in old:
        _forget(tx, number)
    if old:
        _drop_views(tx, pipeline)
        _look_again(tx)
    return old


def drop(tx: Transaction, number: int) -> None:
    """Drop a data table that no row of the catalogue leads to, and what is noted of it."""
    _forget(tx, number)
    tx.execute(f"DROP TABLE IF EXISTS main.{PREFIX}{number:d}")


def tidy(tx: Transaction) -> None:
    """Drop what a crash left half filled, and make views anew that are missing. Run it when the project opens."""
    ready = {n for (n,) in tx.all("SELECT id FROM main._duralite_datasets WHERE state = 'ready'")}
    for (number,) in tx.all("SELECT id FROM main._duralite_datasets WHERE state <> 'ready'"):
        _forget(tx, number)
    drop_unfinished(tx, {f"{PREFIX}{number}" for number in ready}, PREFIX)
    views = {name.lower() for (name,) in tx.all("SELECT name FROM main.sqlite_master WHERE type = 'view'")}
    for number in ready:
        row = tx.one("SELECT pipeline FROM main._duralite_datasets WHERE id = ?", (number,))
        pipeline = row[0] if row else None
        names = RAW_VIEWS if pipeline is None else result_views(pipeline)
        if not all(name.lower() in views for name in names):
            found = _dataset(tx, "id = ?", (number,))
            if found is not None and not _taken(tx, names):
                _turn_views(tx, number, found.fields, pipeline)


def _taken(tx: Transaction, names: Iterable[str]) -> bool:
    """Tell whether a table of the user's has one of the names."""
    there = {n.lower() for (n,) in tx.all("SELECT name FROM main.sqlite_master WHERE type = 'table'")}
    return any(name.lower() in there for name in names)
