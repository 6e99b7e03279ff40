"""A lock on the data folder: one service at a time, because only the owner of a file may open it.

It is the kernel's (`flock`), so it is gone with its process, whatever ended that.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from runtime.errors import Unavailable

__all__ = ("FolderLock",)


class FolderLock:
    """The lock of one data folder, taken when it is made; `release()` gives it back."""

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise Unavailable(
                f"Another service (process {holder}) uses this data folder.",
                hint="Stop it, send it your calls, or set another folder (DURALITE_DATA).",
                pid=int(holder) if holder.isdecimal() else None,
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the folder back. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
