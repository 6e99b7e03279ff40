"""Opening a file: in the calling thread, with the pragmas of a profile, a new one from its type's template.

What can go wrong here becomes an error that a caller may see: it never names a path.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from runtime.errors import CorruptDatabase, DuraliteError, StorageFull, Unavailable
from runtime.guard import internal
from runtime.storage.migrations import Migration, migrate
from runtime.storage.profiles import Durability, pragmas

__all__ = ("files_folder", "move_in", "open_error", "open_raw", "remove_file", "template")

_BESIDE = ("-wal", "-shm", "-journal")


def files_folder(path: Path) -> Path:
    """Return where an actor keeps files that are no database: beside its own file, and removed with it."""
    return path.with_suffix(".files")


def open_raw(
    path: Path, profile: Durability, *, template: bytes | None = None, shared: bool = False
) -> sqlite3.Connection:
    """Open a file in the calling thread with the pragmas of a profile; a new one starts as `template`.

    `shared` lets other processes read it meanwhile (`storage/profiles.py`).
    """
    if template is not None and not path.exists():
        _place(path, template, durable=profile is Durability.FULL)
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=200, timeout=5
    )
    try:
        # As a script, because a statement run by itself stays compiled in the connection's memory.
        size = path.stat().st_size if path.exists() else 0
        connection.executescript(";".join(map(internal, pragmas(profile, size, shared=shared))))
    except BaseException:
        connection.close()
        raise
    return connection


def _place(path: Path, content: bytes, *, durable: bool) -> None:
    """Make a file out of a template; `durable` has it, and its name, on the disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A deletion that a crash cut short may have left these; a WAL that fits no file must not be replayed.
    for suffix in _BESIDE:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.rmtree(files_folder(path), ignore_errors=True)
    # Written beside and renamed, so that a crash in between leaves no half file under the name.
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    fresh.rename(path)
    if durable:
        for folder in (path.parent, path.parent.parent):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def open_error(error: sqlite3.Error | OSError) -> DuraliteError:
    """Return why a file cannot be opened, as a caller may see it: without its path."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return CorruptDatabase(
            f"The actor's file is damaged: {error}.",
            hint="Restore it from a backup or an export, or delete it.",
        )
    if primary == sqlite3.SQLITE_FULL:
        return StorageFull("The disk is full.", hint="Make room on the disk of the service.")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return Unavailable(
        f"The actor's file cannot be opened: {reason}.", hint="See the log of the service.", retry_after=5
    )


def template(migrations: Sequence[Migration]) -> bytes:
    """Return the bytes of a new file: all migrations run, ready for WAL."""
    with tempfile.TemporaryDirectory(prefix="duralite-") as folder:
        path = Path(folder) / "template.sqlite"
        with closing(open_raw(path, Durability.NORMAL)) as raw:
            migrate(raw, migrations)
        return path.read_bytes()


def remove_file(path: Path) -> bool:
    """Remove a file that nobody has open, with its log, and return whether there was one."""
    found = path.exists()
    # The main file first: without it the others are nothing, and a new file clears them away.
    for suffix in ("", *_BESIDE):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.rmtree(files_folder(path), ignore_errors=True)
    return found


def move_in(file: Path, path: Path) -> None:
    """Move a ready file to where nobody has one open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in _BESIDE:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    # Across file systems a move is a copy: made beside, so that a crash leaves no half file under the name.
    fresh = path.with_suffix(".new")
    shutil.move(file, fresh)
    fresh.replace(path)
