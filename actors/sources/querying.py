"""One query interface over all sources: SQLite answers natively, Parquet through DuckDB, joins through DuckDB too.

Which answers, the statement decides: one that keeps to an SQLite source runs there, in SQLite's own SQL; all others
speak DuckDB's. An answer is kept until a file that it came from changes, and given again only when a look at those
files shows the same states.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from actors.sources.catalogue import Source, look_up, save
from actors.sources.importing import ImportMethods
from actors.sources.parts import in_thread
from actors.sources.versions import is_settled
from runtime.context import current_context
from runtime.errors import Conflict, DuraliteError, InputError, NotFound, SqlError
from runtime.ids import new_token
from runtime.method import method
from runtime.storage.rows import RowFormat
from runtime.storage.transaction import Transaction
from runtime.streams import Ready
from runtime.values import dumps

__all__ = ("QueryMethods", "SourceRows", "is_other")

Params = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "array"}, {"type": "object"}, {"type": "null"}],
            "description": "Values for ? placeholders as a list, or for named ones ($name; :name in SQLite) as an object.",
        }
    ),
]
_GRACE_S = 1.0
_JOIN_KEPT_S = 600.0
_HEAD = re.compile(rb'\{"lasting":(true|false),"row_count":(\d+),')
_TRIES = 3
_MISSING = re.compile(r"no such table: (.+)")


class AnswerField(TypedDict):
    """A column of an answer and its type."""

    name: str
    type: str


class SourceRows(TypedDict):
    """The answer of a query: as of a session's query, with the types of the columns, and where it came from.

    `rowCount` and `executionTime` (milliseconds) are the specification's names of `row_count` and `duration_ms`.
    """

    source_type: str
    cached: bool
    duration_ms: float
    executionTime: float
    rowCount: int
    row_count: int
    truncated: bool
    limit: str | None
    columns: list[str]
    fields: list[AnswerField]
    rows: list[Any]


class QueryMethods(ImportMethods):
    """query."""

    async def _current(self, source: Source, *, counts: bool = True) -> Source:
        """Return a source whose tables are what its file holds now; without `counts` their rows may be unknown.

        Raises:
            Conflict: it has no data yet.
            NotFound: its file is gone.
        """
        if source.type == "live-import":
            return await self._freshen(source)
        if not source.version:
            raise _without_data(source)
        if source.type != "sqlite" or source.origin is None:
            return source
        state, changed = await self._state_of(source)
        cached = self._service.schemas.get((self._instance.id, source.id, state))
        if cached is not None and (cached[0] or not counts):
            return replace(source, state=state, tables=cached[1])
        tables = await self._inspect(source.origin, private=False, counts=counts)
        if is_settled(changed) and (await self._state_of(source))[0] == state:
            size = 64 + sum(64 + 64 * len(table.columns) for table in tables)
            key = (self._instance.id, source.id, state)
            self._service.schemas.put(key, (counts, tables), size, frozenset({source.id}))
        if counts and state != source.state:

            def note(tx: Transaction) -> None:
                if (present := look_up(tx, source.id)) is not None:
                    save(tx, replace(present, state=state, tables=tables))

            await self._instance.connection.run(note)
        return replace(source, state=state, tables=tables)

    @method(read_only=True, concurrent=True, aliases=("POST /api/sources/{source}/query",))
    async def query(
        self,
        sql: Annotated[
            str,
            Field(
                description="One statement that reads. Parquet speaks DuckDB's SQL, an SQLite source SQLite's."
            ),
        ],
        source: Annotated[
            str | None,
            Field(
                description="The source whose tables need no prefix; other sources: source.table. None: all need one."
            ),
        ] = None,
        params: Params = None,
        limit: Annotated[int | None, Field(ge=0, description="Return at most this many rows.")] = None,
        row_format: Annotated[
            RowFormat, Field(description="Rows as objects by column name, or as arrays.")
        ] = "objects",
    ) -> SourceRows:
        """Run one read statement over one source, or over several joined by name, and return its rows.

        A table of the source is known by its name, one of another source as source.table, and a source of one
        table by the source's own name. At most 10,000 rows and 16 MiB come back; `truncated` tells of more.
        """
        started = time.perf_counter()
        for left in reversed(range(_TRIES)):
            main, others = await self._named(source, sql)
            each = [*([main] if main else []), *others]
            states = await self._states(each)
            key = self._key(main, others, states, sql, params, limit, row_format)
            kind = main.type if main else "join"
            body = self._service.answers.get(key)
            cached = body is not None
            if body is not None:
                break
            try:
                body = await self._ask(main, others, states, sql, params, limit, row_format)
            except DuraliteError:
                # An import that ended meanwhile has removed the files that it replaced.
                if left and await self._replaced(each):
                    continue
                raise
            await self._keep(key, body, each, states)
            break
        assert body is not None
        self._touch([s.id for s in ([main] if main else others)])
        head = _HEAD.match(body)
        rows = int(head[2]) if head else 0
        seconds = time.perf_counter() - started
        self._service.count_query(kind, length=len(sql), seconds=seconds, rows=rows, cached=cached)
        ms = round(seconds * 1e3, 3)
        facts = {
            "source_type": kind,
            "cached": cached,
            "duration_ms": ms,
            "executionTime": ms,
            "rowCount": rows,
        }
        after = body.index(b",") + 1  # what "lasting" says is not for callers
        return Ready(dumps(facts)[:-1] + b"," + body[after:])  # type: ignore[return-value]  # it is that, as JSON

    async def _replaced(self, sources: Sequence[Source]) -> bool:
        """Tell whether any of the sources has other data now."""
        for source in sources:
            if (await self._find(source.id)).version != source.version:
                return True
        return False

    async def _fit(self, source: Source) -> Source:
        """Return a source that can be asked; the tables of an SQLite file are looked up only when one needs them."""
        return source if source.type == "sqlite" else await self._current(source)

    async def _named(self, source: str | None, sql: str) -> tuple[Source | None, list[Source]]:
        """Return the source that is asked, and those whose names stand in the statement."""
        every = await self._every()
        main = None
        if source is not None:
            main = next((s for s in every if s.id == source), None) or next(
                (s for s in every if s.name.casefold() == source.casefold()), None
            )
            main = await self._fit(main or await self._find(source))
        text = sql.casefold()
        named = [
            s
            for s in every
            if (main is None or s.id != main.id) and s.name.casefold().replace('"', '""') in text
        ]
        others = []
        for other in named:
            try:
                others.append(await self._fit(other))
            except (NotFound, InputError, Conflict):
                # Its name may stand in the statement by chance; if it is meant, the table will be missing.
                continue
        return main, others

    async def _states(self, sources: Sequence[Source]) -> dict[str, tuple[str, float]]:
        """Return the present (state, last change) of the files of others that the sources are about."""
        return {s.id: await self._state_of(s) for s in sources if s.type == "sqlite" and s.origin is not None}

    def _key(
        self,
        main: Source | None,
        others: Sequence[Source],
        states: dict[str, tuple[str, float]],
        sql: str,
        params: Any,
        limit: int | None,
        row_format: str,
    ) -> tuple[Any, ...]:
        files = tuple(
            (s.id, s.name, s.version, states.get(s.id, ("",))[0])
            for s in (*([main] if main else []), *others)
        )
        asked = hashlib.blake2b(dumps([sql, params, limit, row_format]), digest_size=20).hexdigest()
        return self._instance.id, main.id if main else None, files, asked

    async def _keep(
        self,
        key: tuple[Any, ...],
        body: bytes,
        sources: Sequence[Source],
        states: dict[str, tuple[str, float]],
    ) -> None:
        """Keep an answer, if the files it came from are what they were, and cannot have changed unseen."""
        if not body.startswith(b'{"lasting":true'):
            return
        if not all(is_settled(changed) for _, changed in states.values()):
            return
        if states and await self._states(sources) != states:
            return
        self._service.answers.put(key, body, len(body) + 512, frozenset(s.id for s in sources))

    async def _ask(
        self,
        main: Source | None,
        others: Sequence[Source],
        states: dict[str, tuple[str, float]],
        sql: str,
        params: Any,
        limit: int | None,
        row_format: str,
    ) -> bytes:
        limits = self._host.settings.limits
        seconds = _seconds(limits.statement_s)
        args: dict[str, Any] = {
            "sql": sql,
            "params": _plain_params(params),
            "limit": limit,
            "row_format": row_format,
            "limits": limits.model_dump(mode="json"),
            "seconds": seconds,
        }
        if main is not None and main.type == "sqlite":
            try:
                return await self._run(
                    "actors.sources.lite:query", {**args, **self._lite_place(main)}, seconds
                )
            except SqlError as error:
                if not is_other(error, others):
                    raise
        async with self._engine_args(main, others, states) as more:
            return await self._run("actors.sources.ask:ask", {**args, **more}, seconds)

    @asynccontextmanager
    async def _engine_args(
        self, main: Source | None, others: Sequence[Source], states: dict[str, tuple[str, float]]
    ) -> AsyncIterator[dict[str, Any]]:
        """Give what DuckDB needs to know beside the statement; what it spills onto the disk goes at the end."""
        limits = self._host.settings.limits
        temp = self._temp()
        try:
            yield {
                "sources": await self._places(main, others, states),
                "memory_bytes": limits.source_memory_bytes,
                "threads": limits.source_threads,
                "temp": temp,
                "temp_bytes": limits.source_temp_bytes,
            }
        finally:
            await asyncio.shield(in_thread(shutil.rmtree, temp, ignore_errors=True))

    async def _run(self, task: str, args: dict[str, Any], seconds: float) -> bytes:
        limits = self._host.settings.limits
        answer: bytes = await self._workers.run(
            task,
            args,
            lane="read",
            account=self._instance.address.owner,
            deadline_s=seconds + _GRACE_S,
            # DuckDB keeps to its own limit; this is the wall behind it.
            memory_bytes=limits.source_memory_bytes * 3,
        )
        return answer

    def _lite_place(self, source: Source) -> dict[str, Any]:
        if source.origin is not None:
            return {"path": source.origin, "private": False}
        return {"path": str(self._folder / (source.file or "")), "private": True}

    async def _places(
        self, main: Source | None, others: Sequence[Source], states: dict[str, tuple[str, float]]
    ) -> dict[str, Any]:
        """Return what the worker needs to know of the sources: their tables, and the files these lie in."""
        places: dict[str, Any] = {}
        for source in (*([main] if main else []), *others):
            present = await self._current(source, counts=False)
            tables: dict[str, Any] = {}
            for table in present.tables:
                if table.file is not None:
                    tables[table.name] = str(self._folder / table.file)
                    continue
                tables[table.name] = {
                    **self._lite_place(source),
                    "table": table.name,
                    "to": str(self._join_file(source, table.name, states)),
                }
            if source.type == "sqlite":
                await in_thread(_prune, self._folder, f"{source.id}-join-")
            places[source.name] = {"main": source is main, "tables": tables}
        return places

    def _join_file(self, source: Source, table: str, states: dict[str, tuple[str, float]]) -> Path:
        """Return where a table of an SQLite source lies as Parquet, for one state of its file."""
        state, changed = states.get(source.id, (str(source.version), 0.0))
        # A file that may change again without a trace is written out for this one query.
        once = "" if is_settled(changed) else new_token(4)
        mark = hashlib.blake2b(f"{state} {once} {table}".encode(), digest_size=8).hexdigest()
        return self._folder / f"{source.id}-join-{mark}.parquet"


def _prune(folder: Path, prefix: str) -> None:
    """Remove tables that were written out for joins some time ago; those that are used are young, or made again."""
    if not folder.is_dir():
        return
    oldest = time.time() - _JOIN_KEPT_S
    for path in folder.iterdir():
        if path.name.startswith(prefix) and path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def _seconds(most: float) -> float:
    """Return how long a statement may take, so that its caller gets an answer and not a deadline of its own."""
    left = current_context().seconds_left()
    if left is None:
        return most
    return max(0.05, min(most, left - _GRACE_S if left > 2 * _GRACE_S else left / 2))


def _plain_params(params: Any) -> Any:
    """Refuse parameters that no engine takes, before they are sent to a worker."""
    if params is None or isinstance(params, (list, dict)):
        return params
    raise InputError(
        f"params is {type(params).__name__}; it must be a list or an object.",
        hint='Use "params": [1, "a"] for ? placeholders, or an object for named ones.',
    )


def is_other(error: DuraliteError, others: Sequence[Source]) -> bool:
    """Tell whether SQLite lacks a table that is another source: then the statement joins sources."""
    found = _MISSING.search(error.message)
    if found is None:
        return False
    missing = found[1].casefold().strip().strip('"')
    return any(missing == s.name.casefold() or missing.startswith(s.name.casefold() + ".") for s in others)


def _without_data(source: Source) -> DuraliteError:
    if source.status == "importing":
        return Conflict(
            f"The source {source.name!r:.80} is still being imported.",
            hint="Wait for the end of its import (GET /api/import/{importId}/progress).",
            retry_after=1,
        )
    return Conflict(
        f"The source {source.name!r:.80} has no data: its import failed.",
        hint="See `error` of the source, and import the file again.",
        cause=dict(source.error or {}),
    )
