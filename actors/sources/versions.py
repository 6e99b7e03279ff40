"""The state of a file tells whether it is the same as before: two looks with one state have seen the same content.

The state holds what the file system knows (inode, size, times of change in nanoseconds) and the first bytes of the
file and of its log, where SQLite counts its commits. Times have a grain: a file that was written a moment ago may be
written again within the same one, so a young state is never trusted (`is_settled`).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from stat import S_ISREG

from runtime.errors import Forbidden, InputError, NotFound

__all__ = ("allowed_path", "file_state", "is_settled", "read_state")

_HEAD = 100
_LOG_HEAD = 32
_SETTLED_S = 2.0


def read_state(path: str) -> tuple[str, float]:
    """Return (state, moment of the last change in seconds since 1970) of a file and of SQLite's log beside it.

    A file that is not there has the state "".
    """
    digest = hashlib.blake2b(digest_size=12)
    changed = 0.0
    for name, head in ((path, _HEAD), (f"{path}-wal", _LOG_HEAD), (f"{path}-journal", 0)):
        try:
            found = os.stat(name)  # noqa: PTH116 - the path is text here, and this is on the way of each query
        except OSError:
            if name == path:
                return "", 0.0
            digest.update(b"-")
            continue
        changed = max(changed, found.st_mtime, found.st_ctime)
        digest.update(
            f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}".encode()
        )
        if head and S_ISREG(found.st_mode):
            digest.update(_first_bytes(name, head))
    return digest.hexdigest(), changed


def _first_bytes(name: str, count: int) -> bytes:
    try:
        with open(name, "rb") as file:  # noqa: PTH123
            return file.read(count)
    except OSError:
        return b""


def file_state(path: str) -> str:
    """Return the state of a file; "" if it is not there."""
    return read_state(path)[0]


def is_settled(changed: float, looked: float | None = None) -> bool:
    """Tell whether a change so long ago cannot be followed by another one with the same times."""
    return (time.time() if looked is None else looked) - changed > _SETTLED_S


def allowed_path(path: str, folders: Sequence[Path], data: Path) -> str:
    """Return the real path of a file that may be registered.

    Raises:
        Forbidden: no folder of the setting `source_folders` holds it, or it belongs to the service.
        NotFound: there is no such file.
        InputError: it is not a regular file.
    """
    if "\0" in path:
        raise InputError("The path holds a NUL character.", hint="Use the path of a file.")
    real = Path(os.path.realpath(path))
    if not folders:
        raise Forbidden(
            "No folder is open for sources by path.",
            hint="Upload the file instead, or have the operator name its folder in the setting source_folders.",
        )
    # Said before it is looked whether the file is there: what lies outside the folders is not theirs to ask.
    if not any(real.is_relative_to(os.path.realpath(folder)) for folder in folders):
        raise Forbidden(
            "The file lies outside the folders that are open for sources.",
            hint="Upload the file instead, or have the operator name its folder in the setting source_folders.",
        )
    own = Path(os.path.realpath(data))
    if real.is_relative_to(own):
        raise Forbidden(
            "The file belongs to the service itself.", hint="Export the session or project, and use the copy."
        )
    try:
        found = real.stat()
    except OSError:
        raise NotFound("There is no such file.", hint="Check the path.") from None
    if not S_ISREG(found.st_mode):
        raise InputError("The path is not that of a regular file.", hint="Use the path of a file.")
    if found.st_nlink > 1 and _is_inside(own, found):
        raise Forbidden(
            "The file is another name of a file of the service.", hint="Export the session or project."
        )
    return str(real)


def _is_inside(folder: Path, wanted: os.stat_result) -> bool:
    """Tell whether a file is a hard link to one in a folder."""
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.stat(os.path.join(place, name))  # noqa: PTH116, PTH118
            except OSError:
                continue
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False
