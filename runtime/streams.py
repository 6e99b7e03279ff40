"""Bodies that do not fit into memory: a `Download` is streamed out, an `Upload` lies in a file on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ("Download", "Ready", "Upload")


@dataclass(slots=True)
class Download:
    """An answer that is sent in pieces. `filename` is offered to a browser; None shows the body inline."""

    chunks: AsyncIterator[bytes]
    media_type: str
    filename: str | None = None
    __duralite_stream__: bool = field(default=True, repr=False)


@dataclass(frozen=True, slots=True)
class Ready:
    """An answer that is JSON already: it leaves as it is, and is read only for a caller within this process."""

    json: bytes


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that was written to `path`; the receiver may move the file, and it is removed afterwards."""

    path: Path
    size: int
    media_type: str
    filename: str | None = None
