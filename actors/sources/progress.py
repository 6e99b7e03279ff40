"""Progress of an import, in the specification's shape, as events and as a stream (data-sources.md, ImportProgress).

Reading takes most of the time, then the conversion, then the writing: each has its part of the hundred percent, and
what remains is estimated from the time that the part so far has taken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from runtime.events import Event
from runtime.jobs import JobProgress
from runtime.values import dumps

__all__ = ("ImportProgress", "Tracker", "final_progress", "stream_progress")

Phase = Literal["parsing", "converting", "writing", "complete"]
_PARTS: dict[str, tuple[int, int]] = {"parsing": (0, 65), "converting": (65, 90), "writing": (90, 99)}
_KEEP_ALIVE_S = 15.0
_RETRY = b"retry: 2000\n\n"


class ImportProgress(TypedDict):
    """How far an import is. `progress` is in percent, `estimatedTimeRemaining` in seconds; `error` ends one that failed."""

    phase: Phase
    progress: int
    rowsProcessed: NotRequired[int]
    totalRows: NotRequired[int]
    estimatedTimeRemaining: NotRequired[float]
    error: NotRequired[dict[str, Any]]


class Tracker:
    """Takes a worker's reports and tells them on: to the job's record, and to listeners as `import` events."""

    def __init__(self, progress: JobProgress, publish: Callable[[str, Any], None]) -> None:
        self._progress = progress
        self._publish = publish
        self._started = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._part = (0, 1)
        self._total: int | None = None
        self.latest: ImportProgress = {"phase": "parsing", "progress": 0}

    def begin_part(self, number: int, count: int) -> None:
        """Say that the work on table `number` of `count` begins (from 0)."""
        self._part = (number, count)
        self._total = None

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Take a report: phase, rows, and for reading how much of the file is done, of how much in all."""
        phase = str(report.get("phase", "parsing"))
        low, high = _PARTS.get(phase, (0, 65))
        rows = int(report.get("rows", 0))
        inside = 0.0
        if phase == "parsing" and report.get("total"):
            inside = min(1.0, int(report.get("done") or 0) / int(report["total"]))
            self._total = round(rows / inside) if inside > 0 else None
        elif phase == "converting" and self._total:
            inside = min(1.0, rows / self._total)
        number, count = self._part
        percent = int((number * 100 + low + (high - low) * inside) / count)
        self._show(phase, max(percent, self.latest["progress"]), rows)

    def expect(self, rows: int) -> None:
        """Take the number of rows, now that it is known."""
        self._total = rows

    def _show(self, phase: Any, percent: int, rows: int) -> None:
        shown: ImportProgress = {"phase": phase, "progress": percent, "rowsProcessed": rows}
        if self._total is not None:
            shown["totalRows"] = max(self._total, rows)
        if percent > 0:
            elapsed = time.monotonic() - self._started
            shown["estimatedTimeRemaining"] = round(elapsed * (100 - percent) / percent, 1)
        self.latest = shown
        self._publish("import", {"importId": self._progress.record.id, **shown})
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._store())

    async def _store(self) -> None:
        told = None
        while told is not self.latest:
            told = self.latest
            await self._progress.report(
                told.get("rowsProcessed"), told.get("totalRows"), told["phase"], f"{told['progress']} %"
            )

    async def settle(self) -> None:
        """Return when everything is stored."""
        if self._task is not None:
            await asyncio.wait([self._task])


def final_progress(state: str, rows: int | None, error: Any, latest: ImportProgress) -> ImportProgress:
    """Return the last word on an import that ended."""
    if state == "done":
        shown: ImportProgress = {"phase": "complete", "progress": 100, "estimatedTimeRemaining": 0.0}
        if rows is not None:
            shown["rowsProcessed"] = shown["totalRows"] = rows
        return shown
    return {**latest, "error": dict(error or {"code": state, "detail": f"The import was {state}."})}


async def stream_progress(
    events: AsyncIterator[Event], import_id: str, now: Callable[[], Any]
) -> AsyncIterator[bytes]:
    """Yield an import's progress as Server-Sent Events, from now to its end.

    `now()` gives (progress, whether it has ended); the listening began before the first look, so that nothing
    falls between.
    """
    following: asyncio.Future[Event] | None = None
    try:
        yield _RETRY
        while True:
            if following is None:
                following = asyncio.ensure_future(anext(events))
                await asyncio.sleep(0)  # the listening begins with its first step
            shown, ended = await now()
            yield b"data: %b\n\n" % dumps(shown)
            if ended:
                return
            while True:
                if following is None:
                    following = asyncio.ensure_future(anext(events))
                await asyncio.wait((following,), timeout=_KEEP_ALIVE_S)
                if not following.done():
                    yield b": keep-alive\n\n"
                    break
                try:
                    event = following.result()
                except StopAsyncIteration:
                    return  # a reader that fell behind; it comes back
                finally:
                    following = None
                data = event.data
                if event.type == "import" and data.get("importId") == import_id:
                    yield b"data: %b\n\n" % dumps({k: v for k, v in data.items() if k != "importId"})
                elif event.type == "job" and data.get("id") == import_id and data.get("state") != "running":
                    break
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await events.aclose()  # type: ignore[attr-defined]
