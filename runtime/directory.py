"""The directory is the one control file: which actors there are, when each wakes next, and who may call.

The truth about an actor is its own file. The directory is an index over them, kept so that nothing is missed
after a kill -9: an alarm is indexed before the call that set it is answered, and at start the files on disk
are compared with the rows. "Last used" is a note, written in batches.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from runtime.clock import Clock
from runtime.ids import ActorAddress, ActorId, actor_id, actor_path
from runtime.limits import Limits
from runtime.storage.connection import Connection
from runtime.storage.migrations import Migration
from runtime.storage.opening import open_raw
from runtime.storage.profiles import Durability
from runtime.storage.transaction import Transaction
from runtime.storage.watchdog import Watchdog

__all__ = ("ActorRecord", "Directory", "IndexedAlarm")

_MIGRATIONS = (
    Migration(
        1,
        """
        CREATE TABLE actors (
            id TEXT PRIMARY KEY, type TEXT NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL,
            created REAL NOT NULL, last_used REAL NOT NULL, size INTEGER NOT NULL DEFAULT 0,
            pinned INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
        CREATE UNIQUE INDEX actors_by_name ON actors (type, owner, name);
        CREATE TABLE alarms (
            actor TEXT NOT NULL, name TEXT NOT NULL, due REAL NOT NULL,
            PRIMARY KEY (actor, name)) STRICT, WITHOUT ROWID;
        CREATE INDEX alarms_by_due ON alarms (due);
        CREATE TABLE accounts (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, created REAL NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE keys (
            id TEXT PRIMARY KEY, account TEXT NOT NULL, hash TEXT NOT NULL, scopes TEXT NOT NULL,
            label TEXT NOT NULL DEFAULT '', created REAL NOT NULL, expires REAL, last_used REAL,
            revoked REAL) STRICT, WITHOUT ROWID;
        CREATE TABLE audit (
            id INTEGER PRIMARY KEY, at REAL NOT NULL, account TEXT NOT NULL, key TEXT, action TEXT NOT NULL,
            target TEXT, detail TEXT) STRICT;
        CREATE TABLE control (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID
        """,
        "Actors, alarms, accounts, keys, audit",
    ),
    Migration(
        2,
        """
        ALTER TABLE actors ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;
        CREATE TABLE promotions (
            type TEXT NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL, to_type TEXT NOT NULL,
            to_name TEXT NOT NULL, begun REAL NOT NULL, done INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (type, owner, name)) STRICT, WITHOUT ROWID;
        CREATE UNIQUE INDEX promotions_by_target ON promotions (to_type, owner, to_name)
        """,
        "How often an actor was used, and which became one of another type",
    ),
)
_FLUSH_S = 0.05
_log = structlog.get_logger("duralite.directory")


@dataclass(frozen=True, slots=True)
class ActorRecord:
    """What the directory knows of an actor. Moments are seconds since 1970; `size` is in bytes, `uses` counts calls."""

    id: ActorId
    address: ActorAddress
    created: float
    last_used: float
    size: int
    pinned: bool
    next_alarm: float | None
    uses: int = 0


@dataclass(frozen=True, slots=True)
class IndexedAlarm:
    """An alarm as the directory indexes it; `due` is in seconds since 1970."""

    due: float
    actor: ActorId
    name: str
    address: ActorAddress


class Directory:
    """The control file of one data folder."""

    def __init__(self, data: Path, clock: Clock, limits: Limits, watchdog: Watchdog) -> None:
        self._data = data
        self._clock = clock
        self.connection = Connection(
            data / "directory.sqlite", clock=clock, limits=limits, watchdog=watchdog, migrations=_MIGRATIONS
        )
        self.key = b""
        self._created: dict[ActorId, tuple[ActorAddress, float]] = {}
        self._used: dict[ActorId, tuple[float, int, float | None]] = {}
        self._uses: Counter[ActorId] = Counter()
        self._flusher: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the control file, making it and the id key if the folder is new."""
        self._data.mkdir(parents=True, exist_ok=True)
        await self.connection.open()
        # It holds secrets. What SQLite makes beside it later takes its rights from it.
        for suffix in ("", "-wal", "-shm"):
            if (path := self._data / f"directory.sqlite{suffix}").exists():
                path.chmod(0o600)

        def key(tx: Transaction) -> bytes:
            tx.execute("INSERT OR IGNORE INTO control VALUES ('id_key', ?)", (secrets.token_bytes(32),))
            row = tx.one("SELECT value FROM control WHERE key = 'id_key'")
            assert row is not None
            return bytes(row[0])

        self.key = await self.connection.run(key)

    async def close(self) -> None:
        """Write what waits and close the file. Idempotent."""
        # Not cancelled: it may be in the middle of writing the notes it took.
        if self._flusher is not None:
            await asyncio.wait([self._flusher])
            self._flusher = None
        try:
            await self.flush()
        finally:
            await self.connection.close()

    # Notes, written in batches

    def note_created(self, actor: ActorId, address: ActorAddress, expires: float | None) -> None:
        """Remember a new actor; the row is written within 50 ms."""
        now = self._clock.now()
        self._created[actor] = (address, now)
        self._used[actor] = (now, 0, expires)
        self._flush_soon()

    def note_used(
        self, actor: ActorId, size: int, expires: float | None, moment: float | None = None, uses: int = 0
    ) -> None:
        """Remember that an actor was used (`uses` times more), its size, and when it expires (None: never)."""
        if uses:
            self._uses[actor] += uses
        self._used[actor] = (self._clock.now() if moment is None else moment, size, expires)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.get_running_loop().create_task(self._flush_later())

    async def _flush_later(self) -> None:
        await asyncio.sleep(_FLUSH_S)
        await self.flush()

    async def flush(self) -> None:
        """Write the notes that wait."""
        created, self._created = self._created, {}
        used, self._used = self._used, {}
        uses, self._uses = self._uses, Counter()
        if not created and not used:
            return

        def write(tx: Transaction) -> None:
            tx.executemany(
                "INSERT OR IGNORE INTO actors (id, type, owner, name, created, last_used) VALUES (?, ?, ?, ?, ?, ?)",
                [(i, a.type, a.owner, a.name, at, at) for i, (a, at) in created.items()],
            )
            tx.executemany(
                "UPDATE actors SET last_used = max(last_used, ?), size = max(?, 0) WHERE id = ?",
                [(at, size, i) for i, (at, size, _) in used.items()],
            )
            tx.executemany(
                "UPDATE actors SET uses = uses + ? WHERE id = ?", [(n, i) for i, n in uses.items()]
            )
            tx.executemany(
                "INSERT INTO alarms SELECT id, '_ttl', ? FROM actors WHERE id = ? AND pinned = 0"
                " ON CONFLICT DO UPDATE SET due = excluded.due",
                [(expires, i) for i, (_, _, expires) in used.items() if expires is not None],
            )

        await self.connection.run(write)

    # Actors

    async def get(self, actor: ActorId) -> ActorRecord | None:
        """Return what is known of an actor, or None."""
        await self.flush()
        rows = await self.connection.run(
            lambda tx: tx.all(_SELECT + " WHERE a.id = ? GROUP BY a.id", (actor,)), read_only=True
        )
        return _record(rows[0]) if rows else None

    async def find(
        self, type_name: str, owner: str | None, *, after: str = "", limit: int = 100, search: str = ""
    ) -> list[ActorRecord]:
        """Return actors of a type in the order of their names, those after the name `after`. None: of all owners."""
        await self.flush()
        where = " WHERE a.type = ? AND (a.name, a.owner) > (?, '') AND (? IS NULL OR a.owner = ?)"
        params: list[Any] = [type_name, after, owner, owner]
        if after:
            where = where.replace("(a.name, a.owner) > (?, '')", "a.name > ?")
        if search:
            where += " AND instr(lower(a.name), lower(?)) > 0"
            params.append(search)
        params.append(limit)
        rows = await self.connection.run(
            lambda tx: tx.all(f"{_SELECT}{where} GROUP BY a.id ORDER BY a.name, a.owner LIMIT ?", params),
            read_only=True,
        )
        return [_record(row) for row in rows]

    async def counts(self) -> dict[str, int]:
        """Return the number of actors by type."""
        await self.flush()
        rows = await self.connection.run(
            lambda tx: tx.all("SELECT type, count(*) FROM actors GROUP BY type"), read_only=True
        )
        return {str(type_name): int(count) for type_name, count in rows}

    async def remove(self, actor: ActorId) -> None:
        """Forget an actor and its alarms."""
        self._created.pop(actor, None)
        self._used.pop(actor, None)
        self._uses.pop(actor, None)

        def delete(tx: Transaction) -> None:
            tx.execute("DELETE FROM actors WHERE id = ?", (actor,))
            tx.execute("DELETE FROM alarms WHERE actor = ?", (actor,))
            tx.execute("DELETE FROM control WHERE key GLOB ?", (f"secret/{actor}/*",))

        await self.connection.run(delete)

    # Secrets of actors: here and not in their own files, which strangers' SQL runs in and exports copy

    async def set_secret(self, actor: ActorId, name: str, value: bytes | None) -> None:
        """Keep a secret of an actor until the actor is deleted; None forgets it."""

        def write(tx: Transaction) -> None:
            key = f"secret/{actor}/{name}"
            if value is None:
                tx.execute("DELETE FROM control WHERE key = ?", (key,))
            else:
                tx.execute("INSERT OR REPLACE INTO control VALUES (?, ?)", (key, value))

        await self.connection.run(write)

    async def secrets(self, actor: ActorId) -> dict[str, bytes]:
        """Return the secrets of an actor by name."""
        prefix = f"secret/{actor}/"
        rows = await self.connection.run(
            lambda tx: tx.all(
                "SELECT key, value FROM control WHERE key GLOB ? ORDER BY key", (f"{prefix}*",)
            ),
            read_only=True,
        )
        return {str(key).removeprefix(prefix): bytes(value) for key, value in rows}

    async def set_pinned(self, actor: ActorId, pinned: bool, expires: float | None) -> None:
        """Keep an actor for good, or let it expire again at `expires`."""
        await self.flush()

        def write(tx: Transaction) -> None:
            tx.execute("UPDATE actors SET pinned = ? WHERE id = ?", (int(pinned), actor))
            tx.execute("DELETE FROM alarms WHERE actor = ? AND name = '_ttl'", (actor,))
            if not pinned and expires is not None:
                tx.execute("INSERT INTO alarms VALUES (?, '_ttl', ?)", (actor, expires))

        await self.connection.run(write)

    # Promotions (runtime/promotion.py)

    async def promotions(self) -> list[tuple[ActorAddress, ActorAddress, bool]]:
        """Return every promotion: from where, to where, and whether it is complete."""
        rows = await self.connection.run(
            lambda tx: tx.all("SELECT type, owner, name, to_type, to_name, done FROM promotions"),
            read_only=True,
        )
        return [
            (ActorAddress(t, owner, n), ActorAddress(to_type, owner, to_name), bool(done))
            for t, owner, n, to_type, to_name, done in rows
        ]

    async def begin_promotion(self, source: ActorAddress, target: ActorAddress) -> None:
        """Note the intent to promote an actor; from here on the promotion will be completed, now or by the next start."""
        await self.flush()
        row = (*source, target.type, target.name, self._clock.now())
        await self.connection.run(
            lambda tx: (
                tx.execute(
                    "INSERT INTO promotions (type, owner, name, to_type, to_name, begun) VALUES (?, ?, ?, ?, ?, ?)",
                    row,
                )
                and None
            )
        )

    async def end_promotion(
        self, source: ActorAddress, target: ActorAddress, old: ActorId, new: ActorId
    ) -> None:
        """Note that a promotion is complete: its row, alarms and secrets are now those of the new id, and its TTL is over."""

        def write(tx: Transaction) -> None:
            tx.execute(
                "INSERT OR IGNORE INTO actors (id, type, owner, name, created, last_used, size, uses)"
                " SELECT ?, ?, ?, ?, created, last_used, size, uses FROM actors WHERE id = ?",
                (new, *target, old),
            )
            tx.execute("DELETE FROM actors WHERE id = ?", (old,))
            tx.execute(
                "UPDATE OR REPLACE alarms SET actor = ? WHERE actor = ? AND name <> '_ttl'", (new, old)
            )
            tx.execute("DELETE FROM alarms WHERE actor = ?", (old,))
            tx.execute(
                "UPDATE OR REPLACE control SET key = replace(key, ?, ?) WHERE key GLOB ?",
                (f"secret/{old}/", f"secret/{new}/", f"secret/{old}/*"),
            )
            tx.execute("UPDATE promotions SET done = 1 WHERE (type, owner, name) = (?, ?, ?)", tuple(source))

        await self.flush()
        await self.connection.run(write)

    async def forget_promotion(self, source: ActorAddress) -> None:
        """Forget a promotion: it was given up, or what it led to is deleted."""
        await self.connection.run(
            lambda tx: (
                tx.execute("DELETE FROM promotions WHERE (type, owner, name) = (?, ?, ?)", tuple(source))
                and None
            )
        )

    # The index of alarms

    async def index_alarms(self, actor: ActorId, dues: Iterable[tuple[str, float | None]]) -> None:
        """Index alarms by name; a due of None takes one out."""
        rows = list(dues)

        def write(tx: Transaction) -> None:
            tx.executemany(
                "INSERT OR REPLACE INTO alarms VALUES (?, ?, ?)",
                [(actor, n, due) for n, due in rows if due is not None],
            )
            tx.executemany(
                "DELETE FROM alarms WHERE actor = ? AND name = ?",
                [(actor, n) for n, due in rows if due is None],
            )

        await self.connection.run(write, quick=True)

    async def unindex_alarm(self, actor: ActorId, name: str, due: float) -> None:
        """Take an alarm that fired out of the index, unless it was set anew."""
        await self.connection.run(
            lambda tx: (
                tx.execute("DELETE FROM alarms WHERE actor = ? AND name = ? AND due <= ?", (actor, name, due))
                and None
            ),
            quick=True,
        )

    async def alarms_until(self, moment: float, limit: int) -> list[IndexedAlarm]:
        """Return alarms due up to a moment, the earliest first."""
        await self.flush()
        rows = await self.connection.run(
            lambda tx: tx.all(
                "SELECT l.due, l.actor, l.name, a.type, a.owner, a.name FROM alarms AS l JOIN actors AS a ON a.id = l.actor"
                " WHERE l.due <= ? ORDER BY l.due LIMIT ?",
                (moment, limit),
            ),
            read_only=True,
        )
        return [IndexedAlarm(due, ActorId(i), n, ActorAddress(t, o, name)) for due, i, n, t, o, name in rows]

    # After a crash

    async def reconcile(self, types: Mapping[str, float | None]) -> int:
        """Adopt files that have no row, drop rows that have no file, and return how many rows changed.

        `types` maps each actor type to its TTL in seconds; an adopted actor counts as used now.
        """
        now = self._clock.now()
        known = await self.connection.run(lambda tx: tx.all("SELECT id, type FROM actors"), read_only=True)
        rows = {str(i): str(t) for i, t in known}
        loop = asyncio.get_running_loop()
        found, lost = await loop.run_in_executor(None, _scan, self._data, self.key, rows, list(types))

        def write(tx: Transaction) -> None:
            for file in found:
                a = file.address
                tx.execute(
                    "INSERT OR IGNORE INTO actors (id, type, owner, name, created, last_used) VALUES (?, ?, ?, ?, ?, ?)",
                    (file.id, a.type, a.owner, a.name, file.created, now),
                )
                tx.executemany(
                    "INSERT OR REPLACE INTO alarms VALUES (?, ?, ?)",
                    [(file.id, n, d) for n, d in file.alarms],
                )
                if (ttl := types.get(a.type)) is not None:
                    tx.execute("INSERT OR IGNORE INTO alarms VALUES (?, '_ttl', ?)", (file.id, now + ttl))
            tx.executemany("DELETE FROM actors WHERE id = ?", [(i,) for i in lost])
            tx.executemany("DELETE FROM alarms WHERE actor = ?", [(i,) for i in lost])
            tx.executemany("DELETE FROM control WHERE key GLOB ?", [(f"secret/{i}/*",) for i in lost])

        if found or lost:
            await self.connection.run(write)
        return len(found) + len(lost)

    def path_of(self, type_name: str, actor: ActorId) -> Path:
        """Return where an actor's file lies."""
        return actor_path(self._data, type_name, actor)


_SELECT = (
    "SELECT a.id, a.type, a.owner, a.name, a.created, a.last_used, a.size, a.pinned, min(l.due), a.uses"
    " FROM actors AS a LEFT JOIN alarms AS l ON l.actor = a.id AND l.name <> '_jobs'"
)


@dataclass(frozen=True, slots=True)
class _ActorFile:
    """A file on disk that the directory has no row for."""

    id: ActorId
    address: ActorAddress
    created: float
    alarms: list[tuple[str, float]]


def _scan(
    data: Path, key: bytes, rows: dict[str, str], types: list[str]
) -> tuple[list[_ActorFile], list[str]]:
    """Compare the files with the rows; return the files without a row, and the ids without a file."""
    seen: set[str] = set()
    found: list[_ActorFile] = []
    for type_name in types:
        for path in (data / "actors" / type_name).glob("??/*.sqlite"):
            seen.add(path.stem)
            if path.stem not in rows and (file := _read_file(path, key)) is not None:
                found.append(file)
    return found, [actor for actor, type_name in rows.items() if actor not in seen and type_name in types]


def _read_file(path: Path, key: bytes) -> _ActorFile | None:
    # Nobody has this file open: the host serves only after the scan.
    try:
        with closing(open_raw(path, Durability.NORMAL)) as raw:
            meta = dict(raw.execute("SELECT key, value FROM main._duralite_meta").fetchall())
            alarms = raw.execute("SELECT name, due FROM main._duralite_alarms WHERE dead = 0").fetchall()
        address = ActorAddress(str(meta["type"]), str(meta["owner"]), str(meta["name"]))
        if actor_id(key, address) != path.stem:
            raise KeyError("a copy of another actor's file")
        return _ActorFile(ActorId(path.stem), address, float(meta["created"]), alarms)
    except (sqlite3.Error, KeyError) as error:
        # A crash before the first commit leaves a template without a name. It stays, and nothing refers to it.
        _log.warning("directory.file_skipped", file=path.name, reason=str(error))
        return None


def _record(row: tuple[Any, ...]) -> ActorRecord:
    return ActorRecord(
        ActorId(row[0]),
        ActorAddress(row[1], row[2], row[3]),
        row[4],
        row[5],
        row[6],
        bool(row[7]),
        row[8],
        row[9],
    )
