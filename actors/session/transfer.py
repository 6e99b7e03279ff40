"""Data in and out of the session: export, import of an SQLite file, clone."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from runtime.errors import Conflict, InputError
from runtime.guard import SESSION
from runtime.ids import ActorAddress, check_name
from runtime.instance import Instance
from runtime.method import method
from runtime.storage.backup import backup_to, foreign_error, foreign_tables, import_table, open_foreign
from runtime.storage.delimited import csv_lines, ndjson_lines
from runtime.storage.transaction import Transaction, quote
from runtime.streams import Download, Upload

__all__ = ("TransferMethods",)

_PIECE = 256 * 1024
_EVERY = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view', 'trigger')"
Format = Literal["sqlite", "csv", "ndjson"]
_MEDIA = {
    "sqlite": "application/vnd.sqlite3",
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
}


class TransferMethods:
    """export, import_file, clone."""

    _instance: Instance

    @method(read_only=True, concurrent=True)
    async def export(
        self,
        format: Annotated[
            Format, Field(description="The whole file, or the rows of a query as text.")
        ] = "sqlite",
        sql: Annotated[str | None, Field(description="The query, for csv and ndjson.")] = None,
    ) -> Any:
        """Stream the session out: as an SQLite file, or the rows of a query as CSV or NDJSON, without a row limit."""
        instance = self._instance
        folder = Path(await _in_thread(tempfile.mkdtemp, None, "duralite-export-", None))
        name = "".join(
            c if (c.isalnum() and c.isascii()) or c in "-_" else "_" for c in instance.address.name
        )[:60]
        try:
            # Into a file first: the stream may be slow, and must neither hold the session nor change on the way.
            if format == "sqlite":
                target = folder / "snapshot.sqlite"
                await instance.connection.run(
                    lambda tx: backup_to(tx, target), read_only=True, method="export"
                )
            else:
                target = await self._rows_file(folder, format, sql)
        except BaseException:
            await _in_thread(shutil.rmtree, folder, True)
            raise
        chunks = _file_chunks(target, folder)
        # A body that nobody begins to read never comes to its end.
        weakref.finalize(chunks, shutil.rmtree, folder, True)
        return Download(chunks, _MEDIA[format], f"{name}.{format}")

    async def _rows_file(self, folder: Path, format: Format, sql: str | None) -> Path:
        if sql is None:
            raise InputError(
                f"A {format} export needs a query.", hint='Add sql, for instance "SELECT * FROM my_table".'
            )
        target = folder / f"rows.{format}"
        write = csv_lines if format == "csv" else ndjson_lines

        def rows(tx: Transaction) -> None:
            with target.open("wb") as file:
                for piece in tx.stream(sql, write):
                    file.write(piece)

        await self._instance.connection.run(rows, read_only=True, method="export")
        return target

    @method(concurrent=True)
    async def import_file(
        self,
        upload: Annotated[Upload, Field(description="An SQLite file, as the request's body.")],
        replace: Annotated[bool, Field(description="Drop tables of the same names first.")] = False,
    ) -> dict[str, Any]:
        """Import the tables of an SQLite file, with their rows and indexes: all of them, or none.

        Views, triggers and virtual tables are left out, and listed as `skipped`.
        """
        instance = self._instance
        seconds = instance.host.settings.limits.call_s
        opened = partial(open_foreign, upload.path, max_cell=SESSION.limits.length, seconds=seconds)
        raw = await _in_thread(opened)
        try:
            answer = await instance.connection.run(
                lambda tx: _import(tx, raw, replace), seconds=seconds, method="import_file"
            )
        finally:
            await _in_thread(raw.close)
        return answer

    @method(concurrent=True)
    async def clone(
        self, name: Annotated[str, Field(description="The new session's name; it must not exist yet.")]
    ) -> dict[str, str]:
        """Copy this session, its tables and its saved state, into a new one.

        What became a project is copied into a project: `type` tells.
        """
        instance = self._instance
        target = ActorAddress(instance.address.type, instance.address.owner, check_name(name))
        if target == instance.address:
            raise Conflict("A session cannot be cloned onto itself.", hint="Give the copy another name.")
        folder = Path(await _in_thread(tempfile.mkdtemp, None, "duralite-clone-", None))
        try:
            copy = folder / "copy.sqlite"
            await instance.connection.run(
                lambda tx: backup_to(tx, copy, internal=True), read_only=True, method="clone"
            )
            await _in_thread(_strip_identity, copy)
            await instance.host.adopt(target, copy)
        finally:
            await _in_thread(shutil.rmtree, folder, True)
        return {"type": target.type, "name": name, "cloned_from": instance.address.name}


def _import(tx: Transaction, raw: sqlite3.Connection, replace: bool) -> dict[str, Any]:
    try:
        tables = foreign_tables(raw)
        every = [str(n) for (n,) in raw.execute(_EVERY)]
    except sqlite3.Error as error:
        raise foreign_error(error) from None
    names = {name for name, _, _ in tables}
    counts: dict[str, int] = dict.fromkeys(names, 0)
    # Rows may refer to tables that come later in the file. This holds until the commit.
    tx.execute("PRAGMA defer_foreign_keys=ON")
    # The statements come from a stranger's file: they go through the guard like any of his.
    for name, sql, _ in tables:
        if replace:
            tx.exec(f"DROP TABLE IF EXISTS {quote(name)}")
        tx.exec(sql)
    for name, _, indexes in tables:
        for columns, rows in import_table(raw, name, SESSION.limits.length):
            records = [dict(zip(columns, row, strict=True)) for row in rows]
            counts[name] += tx.insert_many(name, columns, records, None)[0]
        for index in indexes:
            tx.exec(index)
    skipped = sorted(n for n in every if n not in names and not n.startswith("sqlite_"))
    return {"tables": counts, "rows": sum(counts.values()), "skipped": skipped}


def _strip_identity(path: Path) -> None:
    raw = sqlite3.connect(path, isolation_level=None)
    try:
        raw.executescript(
            "DELETE FROM _duralite_meta WHERE key IN ('type', 'owner', 'name', 'created');"
            "DELETE FROM _duralite_alarms; DELETE FROM _duralite_jobs; DELETE FROM _duralite_idempotency;"
            "DELETE FROM execution_logs;"
            # A copy of a run that goes on would do its work twice.
            "DROP TABLE IF EXISTS _duralite_runs; DROP TABLE IF EXISTS _duralite_run_calls;"
        )
    finally:
        raw.close()


async def _file_chunks(path: Path, folder: Path) -> AsyncIterator[bytes]:
    """Yield a file in pieces and remove its folder at the end, also when the reader goes away."""
    try:
        file = await _in_thread(path.open, "rb")
        try:
            while piece := await _in_thread(file.read, _PIECE):
                yield piece
        finally:
            file.close()
    finally:
        with suppress(RuntimeError):
            await _in_thread(shutil.rmtree, folder, True)


async def _in_thread(function: Any, *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)
