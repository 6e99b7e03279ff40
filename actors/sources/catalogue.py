"""The catalogue lists an account's sources: what each is, which tables it has, and the files they lie in.

A row is the truth about a source. An import fills new files beside the old ones and then changes the row in one
transaction, so that a reader sees the old data or the new; files that no row names are removed when the catalogue
opens. A row that says `importing` at that moment was left by a crash, and becomes an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from runtime.clock import iso
from runtime.errors import Conflict, InputError, LimitExceeded, NotFound
from runtime.storage.migrations import Migration
from runtime.storage.transaction import Transaction
from runtime.values import dumps, loads

__all__ = (
    "MIGRATIONS",
    "DataSource",
    "Kind",
    "Source",
    "Status",
    "Table",
    "check_source_name",
    "clear_failed",
    "delete",
    "every",
    "find",
    "fitting_name",
    "free_name",
    "insert",
    "look_up",
    "mark_interrupted",
    "save",
)

Kind = Literal["sqlite", "parquet", "live-import"]
Status = Literal["ready", "importing", "error"]

MIGRATIONS = (
    Migration(
        1,
        """
CREATE TABLE sources (
    id TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, type TEXT NOT NULL, status TEXT NOT NULL,
    created REAL NOT NULL, last_used REAL NOT NULL, facts TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX sources_by_name ON sources (name)
""",
        "The catalogue of data sources",
    ),
)

_RESERVED = frozenset({"main", "temp", "memory", "system", "information_schema", "pg_catalog", "data"})
_LONGEST = 200


class Metadata(TypedDict):
    """What is known of a source's data; the counts are left out while nothing was imported."""

    path: str
    size: int
    created: str
    lastAccessed: str
    tableCount: NotRequired[int]
    rowCount: NotRequired[int]


class DataSource(TypedDict):
    """A source as callers see it (data-sources.md, DataSource). `importId` names its last import."""

    id: str
    name: str
    type: Kind
    metadata: Metadata
    status: Status
    importId: NotRequired[str]
    error: NotRequired[dict[str, Any]]
    warnings: NotRequired[list[str]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a source: its columns in order, its rows (None: not counted), and its Parquet file in the folder."""

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: int | None
    file: str | None = None
    kind: str = "table"

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "name": self.name,
            "columns": [list(column) for column in self.columns],
            "rows": self.rows,
            "file": self.file,
            "kind": self.kind,
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Table:
        """Return a table from plain data."""
        columns = tuple((str(name), str(kind)) for name, kind in data["columns"])
        return cls(data["name"], columns, data["rows"], data["file"], data["kind"])


@dataclass(frozen=True, slots=True)
class Source:
    """A row of the catalogue.

    `file` is an SQLite file of our own in the folder; `origin` the path of a file of others, registered by an
    operator's leave. `state` tells in which state of `origin` it was imported or looked at (`versions.file_state`).
    `label` is what callers see as the path. `version` counts what was put in place.
    """

    id: str
    name: str
    type: Kind
    status: Status
    created: float
    last_used: float
    size: int = 0
    file: str | None = None
    origin: str | None = None
    label: str = ""
    state: str = ""
    version: int = 0
    tables: tuple[Table, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    import_id: str | None = None
    error: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def files(self) -> set[str]:
        """The names of the files in the folder that belong to it."""
        own = {table.file for table in self.tables if table.file is not None}
        return own | ({self.file} if self.file is not None else set())

    @property
    def rows(self) -> int | None:
        """The rows of all tables; None where one was not counted."""
        counts = [table.rows for table in self.tables if table.kind == "table"]
        return None if any(count is None for count in counts) else sum(count or 0 for count in counts)

    def shown(self) -> DataSource:
        """Return what callers see."""
        metadata: Metadata = {
            "path": self.label,
            "size": self.size,
            "created": iso(self.created) or "",
            "lastAccessed": iso(self.last_used) or "",
        }
        if self.version:
            metadata["tableCount"] = len(self.tables)
            if (rows := self.rows) is not None:
                metadata["rowCount"] = rows
        shown: DataSource = {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "metadata": metadata,
            "status": self.status,
        }
        if self.import_id is not None:
            shown["importId"] = self.import_id
        if self.error is not None:
            shown["error"] = dict(self.error)
        if self.warnings:
            shown["warnings"] = list(self.warnings)
        return shown


_FACTS = ("size", "file", "origin", "label", "state", "version", "options", "import_id", "error", "warnings")
_SELECT = "SELECT id, name, type, status, created, last_used, facts FROM sources"


def _row(source: Source) -> tuple[Any, ...]:
    facts: dict[str, Any] = {name: getattr(source, name) for name in _FACTS}
    facts["tables"] = [table.plain() for table in source.tables]
    return (
        source.name,
        source.type,
        source.status,
        source.created,
        source.last_used,
        dumps(facts).decode(),
        source.id,
    )


def _source(row: Sequence[Any]) -> Source:
    facts = loads(row[6])
    facts["tables"] = tuple(Table.from_plain(table) for table in facts["tables"])
    facts["warnings"] = tuple(facts["warnings"])
    return Source(*row[:6], **facts)


def check_source_name(name: str) -> str:
    """Return the name if a source can have it: it is a name in SQL as well.

    Raises:
        InputError: empty, too long, with a control character, or taken by the query engine.
    """
    name = name.strip()
    if not name or len(name) > _LONGEST or not name.isprintable():
        raise InputError(
            f"{name!r:.80} cannot name a source.", hint=f"Use 1 to {_LONGEST} printable characters."
        )
    if name.casefold() in _RESERVED:
        raise InputError(
            f"The name {name!r} has a meaning in queries already.",
            hint=f"Use another one, like {name}_source.",
        )
    return name


def fitting_name(wanted: str) -> str:
    """Return a name that a source may have, as near to the wanted one as can be."""
    base = "".join(c if c.isprintable() else "_" for c in wanted).strip()[: _LONGEST - 10] or "source"
    return f"{base}_source" if base.casefold() in _RESERVED else base


def free_name(tx: Transaction, base: str) -> str:
    """Return a fitting name that is not taken, with a number behind it where need be."""
    taken = {str(name).casefold() for (name,) in tx.all("SELECT name FROM sources")}
    if base.casefold() not in taken:
        return base
    number = 2
    while f"{base}_{number}".casefold() in taken:
        number += 1
    return f"{base}_{number}"


def clear_failed(tx: Transaction, name: str) -> list[str]:
    """Remove uploads of that name which never had data, and return their ids: who sends the file again means the same."""
    failed = [
        each.id
        for each in every(tx)
        if each.status == "error" and not each.version and each.origin is None
        if each.name.casefold() == name.casefold()
    ]
    for source_id in failed:
        delete(tx, source_id)
    return failed


def insert(tx: Transaction, source: Source) -> None:
    """Add a source.

    Raises:
        Conflict: its name is taken.
        LimitExceeded: the account has `max_sources` already.
    """
    _refuse_taken(tx, source)
    (count,) = tx.one("SELECT count(*) FROM sources") or (0,)
    if count >= tx.limits.max_sources:
        raise LimitExceeded(
            f"The account has {count:,} sources already.", hint="Delete some.", limit="max_sources"
        )
    tx.execute(
        "INSERT INTO sources (name, type, status, created, last_used, facts, id) VALUES (?, ?, ?, ?, ?, ?, ?)",
        _row(source),
    )


def save(tx: Transaction, source: Source) -> bool:
    """Write a source in place of its row, and return whether it still has one.

    Raises:
        Conflict: its name is taken.
    """
    _refuse_taken(tx, source)
    done = tx.execute(
        "UPDATE sources SET name = ?, type = ?, status = ?, created = ?, last_used = max(last_used, ?), facts = ?"
        " WHERE id = ?",
        _row(source),
    )
    return done.rowcount > 0


def _refuse_taken(tx: Transaction, source: Source) -> None:
    if tx.one("SELECT 1 FROM sources WHERE name = ? AND id <> ?", (source.name, source.id)) is not None:
        raise Conflict(
            f"There is a source {source.name!r:.80} already.", hint="Use another name, or delete that source."
        )


def find(tx: Transaction, key: str) -> Source:
    """Return a source by its id or its name.

    Raises:
        NotFound: there is none; the hint lists names.
    """
    found = look_up(tx, key)
    if found is None:
        names = [str(name) for (name,) in tx.all("SELECT name FROM sources ORDER BY last_used DESC LIMIT 20")]
        raise NotFound(
            f"There is no source {key!r:.80}.",
            hint="Sources: " + ", ".join(names) + "." if names else "There are no sources yet.",
        )
    return found


def look_up(tx: Transaction, key: str) -> Source | None:
    """Return a source by its id or its name, or None."""
    row = tx.one(f"{_SELECT} WHERE id = ?", (key,)) or tx.one(f"{_SELECT} WHERE name = ?", (key,))
    return None if row is None else _source(row)


def every(tx: Transaction) -> list[Source]:
    """Return all sources in the order of their names."""
    return [_source(row) for row in tx.all(f"{_SELECT} ORDER BY name")]


def delete(tx: Transaction, source_id: str) -> bool:
    """Remove a source from the catalogue and return whether it was there."""
    return tx.execute("DELETE FROM sources WHERE id = ?", (source_id,)).rowcount > 0


def mark_interrupted(tx: Transaction) -> None:
    """Turn what a crash left importing into an error; a source that had data before keeps it and is ready."""
    for source in every(tx):
        if source.status != "importing":
            continue
        error = {
            "code": "interrupted",
            "detail": "The service ended while the source was imported.",
            "hint": "Import the file again."
            if not source.version
            else "The data of the import before is there.",
        }
        status: Status = "ready" if source.version else "error"
        save(tx, replace(source, status=status, error=error))
