"""The catalogue's methods: list, search, look at, rename, delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from actors.sources.catalogue import (
    DataSource,
    Source,
    check_source_name,
    delete,
    every,
    find,
    save,
)
from actors.sources.parts import Part, in_thread
from actors.sources.versions import read_state
from runtime.errors import NotFound
from runtime.method import method
from runtime.storage.transaction import Transaction

__all__ = ("ListingMethods", "SourceKey", "SourceSchema", "remove_leftovers", "sweep")

SourceKey = Annotated[str, Field(min_length=1, max_length=200, description="A source: its id or its name.")]
_TOUCH_S = 5.0


class SchemaColumn(TypedDict):
    """A column of a source's table; `type` as the engine calls it, ANY where SQLite promises none."""

    name: str
    type: str


class SchemaTable(TypedDict):
    """A table of a source; `rows` is null where they were not counted."""

    name: str
    kind: str
    rows: int | None
    columns: list[SchemaColumn]


class SourceSchema(TypedDict):
    """What a query of a source finds in it. `dialect` is the SQL that it speaks."""

    id: str
    name: str
    dialect: str
    tables: list[SchemaTable]


class SourceList(TypedDict):
    """The sources of an account, in the order of their names; `total` counts those that fit the search."""

    sources: list[DataSource]
    total: int


class ListingMethods(Part):
    """list_sources, get, schema, rename, delete."""

    _touched: dict[str, float]
    _noted: float

    @method(read_only=True, concurrent=True, aliases=("GET /api/sources",))
    async def list_sources(
        self,
        search: Annotated[
            str,
            Field(max_length=200, description="Only sources with this text in their name, path or tables."),
        ] = "",
        type: Annotated[
            str | None, Field(description="Only sources of this type: sqlite, parquet, live-import.")
        ] = None,
        limit: Annotated[int, Field(ge=1, le=1000, description="At most so many.")] = 100,
        offset: Annotated[int, Field(ge=0, description="Leave out so many at the beginning.")] = 0,
    ) -> SourceList:
        """Return the data sources of the account, by name: status, size, rows, tables, last used."""
        found = [
            source
            for source in self._with_uses(await self._every())
            if _fits(source, search.casefold()) and type in (None, source.type)
        ]
        return {"sources": [source.shown() for source in found[offset : offset + limit]], "total": len(found)}

    @method(read_only=True, concurrent=True, aliases=("GET /api/sources/{source}",))
    async def get(self, source: SourceKey) -> DataSource:
        """Return one data source."""
        return self._with_uses([await self._find(source)])[0].shown()

    @method(read_only=True, concurrent=True, aliases=("GET /api/sources/{source}/schema",))
    async def schema(self, source: SourceKey) -> SourceSchema:
        """Return the tables of a source with their columns, types and numbers of rows."""
        found = await self._current(await self._find(source))
        return {
            "id": found.id,
            "name": found.name,
            "dialect": "sqlite" if found.type == "sqlite" else "duckdb",
            "tables": [
                {
                    "name": table.name,
                    "kind": table.kind,
                    "rows": table.rows,
                    "columns": [{"name": name, "type": kind} for name, kind in table.columns],
                }
                for table in found.tables
            ],
        }

    async def _current(self, source: Source, *, counts: bool = True) -> Source:
        raise TypeError("the actor type says how a source is brought up to date")

    @method(idempotent=True, concurrent=True, aliases=("PATCH /api/sources/{source}",))
    async def rename(
        self, source: SourceKey, new_name: Annotated[str, Field(description="The new name; it must be free.")]
    ) -> DataSource:
        """Give a source another name. Queries know it by the new one from now on."""
        self._need("new_data_sources")
        checked = check_source_name(new_name)

        def write(tx: Transaction) -> Source:
            renamed = replace(find(tx, source), name=checked)
            save(tx, renamed)
            return renamed

        return (await self._instance.connection.run(write)).shown()

    @method(destructive=True, idempotent=True, concurrent=True, aliases=("DELETE /api/sources/{source}",))
    async def delete(self, source: SourceKey) -> dict[str, Any]:
        """Delete a source and the files made for it; a file that was registered by its path stays where it is."""
        found = await self._find(source)
        if found.status == "importing" and found.import_id is not None:
            await self._instance.jobs.cancel(found.import_id)
        gone = await self._instance.connection.run(lambda tx: delete(tx, found.id))
        self._service.unwatch(found.id)
        self._service.forget(found.id)
        await in_thread(remove_files, self._folder, f"{found.id}-")
        self._touched.pop(found.id, None)
        self._instance.host.events.publish(self._instance.id, "source", {"id": found.id, "status": "deleted"})
        return {"deleted": gone, "id": found.id}

    # Last used

    def _touch(self, ids: Sequence[str]) -> None:
        now = self._host.clock.now()
        for source_id in ids:
            self._touched[source_id] = now

    def _with_uses(self, sources: Sequence[Source]) -> list[Source]:
        return [replace(s, last_used=max(s.last_used, self._touched.get(s.id, 0.0))) for s in sources]

    async def _note_uses(self) -> None:
        """Write down when sources were last used; at most every few seconds, and when the catalogue closes."""
        touched, self._touched = self._touched, {}
        if touched:
            await self._instance.connection.run(
                lambda tx: (
                    tx.executemany(
                        "UPDATE sources SET last_used = max(last_used, ?) WHERE id = ?",
                        [(moment, source_id) for source_id, moment in touched.items()],
                    )
                    and None
                )
            )

    # The file of a source

    async def _state_of(self, source: Source) -> tuple[str, float]:
        """Return (state, last change) of the file that a source of others' files is about.

        Raises:
            NotFound: it is gone.
        """
        assert source.origin is not None
        state, changed = await in_thread(read_state, source.origin)
        if not state:
            raise NotFound(
                f"The file of the source {source.name!r:.80} is gone.",
                hint="Put it back, or delete the source.",
            )
        return state, changed


def _fits(source: Source, search: str) -> bool:
    return not search or any(
        search in text.casefold() for text in (source.name, source.label, *(t.name for t in source.tables))
    )


def remove_files(folder: Path, prefix: str) -> None:
    """Remove the files of a folder whose names begin so."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.startswith(prefix):
                path.unlink(missing_ok=True)


def remove_leftovers(data: Path) -> None:
    """Remove uploads and staging files that a crash left; for the start of a host, when no import can run.

    A catalogue clears its folder when it opens, which may be never.
    """
    for folder in (data / "actors" / "sources").glob("*/*.files"):
        for pattern in ("*.upload*", "*.staging*"):
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)


def sweep(folder: Path, tx: Transaction) -> None:
    """Remove the files of a folder that no source names: a crash left them, or they can be made again."""
    if not folder.is_dir():
        return
    kept = {name for source in every(tx) for name in source.files}
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink(missing_ok=True)
