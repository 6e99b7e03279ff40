"""What all catalogues of a service share: kept answers, counts for /metrics, and the watch over files of others.

The watch drops kept answers as soon as a file changes and has live imports read it again. Nothing is right because of
it: every query looks at the file itself (`versions`), so a change that the system did not report is seen all the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from watchfiles import awatch

from actors.sources.cache import Cache
from runtime.limits import Limits

__all__ = ("METRICS", "SourcesService")

OnChange = Callable[[str], Awaitable[None]]
_DEBOUNCE_MS = 200
_log = structlog.get_logger("duralite.sources")

METRICS = {
    "duralite_source_imports_total": "Imports of data sources by file type and outcome.",
    "duralite_source_import_rows_total": "Rows of completed imports of data sources.",
    "duralite_source_import_bytes_total": 'Bytes of the files that were imported (side="in") and of the Parquet they became (side="out").',
    "duralite_source_import_seconds_total": "Time that completed imports of data sources took.",
    "duralite_source_queries_total": "Queries of data sources by type of source and whether a kept answer served (cache).",
    "duralite_source_query_rows_total": "Rows that queries of data sources returned.",
    "duralite_source_query_seconds_total": "Time that queries of data sources took.",
    "duralite_source_cache_bytes": "Size of the kept answers of data sources.",
    "duralite_source_cache_entries": "Kept answers and schemas of data sources.",
    "duralite_source_cache_lookups_total": "Looks for a kept answer or schema of data sources, by outcome.",
}
"""The metrics of data sources and what they count."""


class SourcesService:
    """One for each host."""

    def __init__(self, limits: Limits) -> None:
        self.answers: Cache[bytes] = Cache(limits.source_cache_entries, limits.source_cache_bytes)
        self.schemas: Cache[Any] = Cache(limits.source_cache_entries, limits.source_cache_bytes)
        self.imports: Counter[tuple[str, str]] = Counter()
        self.queries: Counter[tuple[str, str]] = Counter()
        self.sums: defaultdict[str, float] = defaultdict(float)
        self._watched: dict[str, dict[str, OnChange]] = {}
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._told: set[asyncio.Task[None]] = set()

    # Watching

    def watch(self, path: str, tag: str, on_change: OnChange) -> None:
        """Drop what is kept of a source (`tag`), and await `on_change(tag)`, whenever the file changes."""
        new = Path(path).parent not in {Path(known).parent for known in self._watched}
        self._watched.setdefault(path, {})[tag] = on_change
        if new or self._task is None:
            self._restart()

    def unwatch(self, tag: str) -> None:
        """Stop watching for a source."""
        for path in [path for path, tags in self._watched.items() if tag in tags]:
            del self._watched[path][tag]
            if not self._watched[path]:
                del self._watched[path]

    def _restart(self) -> None:
        self._stop.set()
        self._stop = asyncio.Event()
        before, loop = self._task, asyncio.get_running_loop()
        self._task = loop.create_task(self._follow(before, self._stop))

    async def _follow(self, before: asyncio.Task[None] | None, stop: asyncio.Event) -> None:
        if before is not None:
            await asyncio.wait([before])
        folders = {str(Path(path).parent) for path in self._watched}
        folders = await asyncio.get_running_loop().run_in_executor(None, _existing, folders)
        if not folders or stop.is_set():
            return
        try:
            async for changes in awatch(
                *folders,
                recursive=False,
                debounce=_DEBOUNCE_MS,
                step=50,
                stop_event=stop,
            ):
                for path in {_plain(path) for _, path in changes}:
                    self._changed(path)
        except (OSError, RuntimeError) as error:
            # The queries look for themselves; what is lost is that live imports are read before anybody asks.
            _log.warning("source.watch_failed", error=repr(error))

    def _changed(self, path: str) -> None:
        for tag, on_change in list(self._watched.get(path, {}).items()):
            self.forget(tag)
            task = asyncio.get_running_loop().create_task(self._tell(tag, on_change))
            self._told.add(task)
            task.add_done_callback(self._told.discard)

    async def _tell(self, tag: str, on_change: OnChange) -> None:
        try:
            await on_change(tag)
        except Exception as error:  # one source's trouble must not end the watch
            _log.warning("source.change_not_taken", source=tag, error=repr(error))

    def forget(self, tag: str) -> None:
        """Drop everything that is kept of a source."""
        self.answers.drop(tag)
        self.schemas.drop(tag)

    async def close(self) -> None:
        """Stop watching. Idempotent."""
        self._stop.set()
        tasks = [task for task in (self._task, *self._told) if task is not None]
        self._watched.clear()
        for task in self._told:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._task = None

    # Counting

    def count_import(
        self, kind: str, outcome: str, *, rows: int = 0, seconds: float = 0.0, size: int = 0, made: int = 0
    ) -> None:
        """Count an import that ended (data-sources.md, import_completed) and log it."""
        self.imports[kind, outcome] += 1
        self.sums["rows"] += rows
        self.sums["seconds"] += seconds
        self.sums["in"] += size
        self.sums["out"] += made
        _log.info(
            "source.import_completed",
            outcome=outcome,
            file_type=kind,
            file_size=size,
            row_count=rows,
            duration_s=round(seconds, 3),
            compression_ratio=round(size / made, 2) if made else None,
        )

    def count_query(self, kind: str, *, length: int, seconds: float, rows: int, cached: bool) -> None:
        """Count a query (data-sources.md, query_executed) and log it."""
        self.queries[kind, "hit" if cached else "miss"] += 1
        self.sums["query_rows"] += rows
        self.sums["query_seconds"] += seconds
        _log.debug(
            "source.query_executed",
            source_type=kind,
            query_length=length,
            execution_ms=round(seconds * 1e3, 2),
            row_count=rows,
            cache_hit=cached,
        )

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families (the interface of a Prometheus collector)."""
        yield _counter("duralite_source_imports", ("type", "outcome"), dict(self.imports))
        yield _counter("duralite_source_import_rows", (), {(): self.sums["rows"]})
        sides: dict[Any, float] = {("in",): self.sums["in"], ("out",): self.sums["out"]}
        yield _counter("duralite_source_import_bytes", ("side",), sides)
        yield _counter("duralite_source_import_seconds", (), {(): self.sums["seconds"]})
        yield _counter("duralite_source_queries", ("type", "cache"), dict(self.queries))
        yield _counter("duralite_source_query_rows", (), {(): self.sums["query_rows"]})
        yield _counter("duralite_source_query_seconds", (), {(): self.sums["query_seconds"]})
        answers, schemas = self.answers.stats(), self.schemas.stats()
        yield GaugeMetricFamily(
            "duralite_source_cache_bytes",
            METRICS["duralite_source_cache_bytes"],
            value=answers.size + schemas.size,
        )
        yield GaugeMetricFamily(
            "duralite_source_cache_entries",
            METRICS["duralite_source_cache_entries"],
            value=answers.entries + schemas.entries,
        )
        looks: dict[Any, float] = {
            ("hit",): answers.hits + schemas.hits,
            ("miss",): answers.misses + schemas.misses,
        }
        yield _counter("duralite_source_cache_lookups", ("outcome",), looks)


def _existing(folders: set[str]) -> set[str]:
    return {folder for folder in folders if Path(folder).is_dir()}


def _plain(path: str) -> str:
    """Return the file that a change belongs to: SQLite's log counts as the file."""
    for end in ("-wal", "-journal"):
        path = path.removesuffix(end)
    return path


def _counter(name: str, labels: tuple[str, ...], values: dict[Any, float]) -> Metric:
    family = CounterMetricFamily(name, METRICS[name + "_total"], labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
