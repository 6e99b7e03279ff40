"""Reading a file into a table, from the service's side: a worker does the work, and this says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from runtime.tabular.columns import Column
from runtime.tabular.options import ParseOptions, options_of
from runtime.tabular.staging import remove_staging
from runtime.workers.pool import Workers

__all__ = ("Loaded", "Preview", "load", "parse_options", "preview", "whole")

_PREVIEW_S = 30.0


@dataclass(slots=True, kw_only=True)
class _Read:
    """What was found about a file while it was read."""

    format: str
    columns: list[Column]
    rejects: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    dialect: dict[str, Any] | None = None
    encoding: str | None = None
    header: bool | None = None
    sheet: str | None = None
    sheets: list[dict[str, Any]] = field(default_factory=list)
    bytes: int = 0

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Self:
        """Return what `plain` made plain."""
        known = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        return cls(**{**known, "columns": [Column.from_plain(c) for c in data["columns"]]})


@dataclass(slots=True, kw_only=True)
class Loaded(_Read):
    """What a load found. `rejects` holds the first 20 rows kept aside ({line, reason, text}); the staging file
    has up to 10,000 of them. `stored_bytes` is the staging file's size, `sha256` that of the file read."""

    rows: int
    rejected: int = 0
    sha256: str | None = None
    stored_bytes: int = 0


@dataclass(slots=True, kw_only=True)
class Preview(_Read):
    """The first rows of a file as a load would store them, each a list in the order of `columns`.

    `complete` tells that there are no others. Types and statistics are those of the rows looked at only.
    """

    rows: list[list[Any]]
    complete: bool


def parse_options(options: ParseOptions | Mapping[str, Any] | None) -> ParseOptions:
    """Return options from plain data.

    Raises:
        InputError: they are not valid; the message says which and why.
    """
    return options_of(ParseOptions, options, "parse options")


async def load(
    workers: Workers,
    path: Path,
    options: ParseOptions | Mapping[str, Any] | None,
    staging: Path,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    *,
    account: str | None = None,
) -> Loaded:
    """Read a file into a new staging file. Whatever goes wrong, no staging file stays.

    `on_progress` hears {phase "parsing", rows, done, total}, the last two in bytes or in rows.

    Raises:
        InputError: the file cannot be read; one clear reason.
        LimitExceeded: it is more than a worker, or an actor's file, may hold, or has too many columns.
    """
    args = {
        "path": whole(path),
        "options": _plain(options),
        "staging": whole(staging),
        "most_bytes": workers.limits.max_file_bytes,
    }
    try:
        found = await workers.run("runtime.tabular.load:load", args, on_progress=on_progress, account=account)
    except BaseException:
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, remove_staging, staging))
        raise
    return Loaded.from_plain(found)


async def preview(
    workers: Workers, path: Path, options: ParseOptions | Mapping[str, Any] | None = None, rows: int = 100
) -> Preview:
    """Return the first rows of a file, and what is found about it in them.

    Raises:
        InputError: the file cannot be read; one clear reason.
    """
    args = {"path": whole(path), "options": _plain(options), "rows": rows}
    found = await workers.run("runtime.tabular.load:preview", args, lane="read", deadline_s=_PREVIEW_S)
    return Preview.from_plain(found)


def _plain(options: ParseOptions | Mapping[str, Any] | None) -> dict[str, Any]:
    return parse_options(options).model_dump(mode="json", exclude_defaults=True)


def whole(path: Path) -> str:
    """Return a path as a worker finds it, whose working folder is another."""
    return str(path.absolute())
