"""What the parts of the catalogue's actor have in common: the rows, the folder, the flags, the shared service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from actors.sources.catalogue import Source, every, find
from actors.sources.service import SourcesService
from runtime.errors import Forbidden
from runtime.instance import Instance
from runtime.storage.opening import files_folder
from runtime.workers.pool import Workers

if TYPE_CHECKING:
    from runtime.host import Host

__all__ = ("Part", "in_thread")

R = TypeVar("R")


async def in_thread(function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """Run a blocking function in a thread and return its answer."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs))


class Part:
    """The base of the mixins."""

    _instance: Instance
    _to_watch: list[Source]

    @property
    def _host(self) -> Host:
        return self._instance.host

    @property
    def _service(self) -> SourcesService:
        found: SourcesService = self._host.services["sources"]
        return found

    @property
    def _workers(self) -> Workers:
        found: Workers = self._host.services["workers"]
        return found

    @property
    def _folder(self) -> Path:
        # Absolute, because workers have another working folder.
        return files_folder(self._instance.connection.path.absolute())

    def _need(self, flag: str) -> None:
        """Refuse what a feature flag has switched off.

        Raises:
            Forbidden: it has.
        """
        for needed in ("new_data_sources", flag):
            if not getattr(self._host.settings, needed):
                raise Forbidden(
                    "Data sources are switched off on this service."
                    if needed == "new_data_sources"
                    else "Imports into sources are switched off on this service.",
                    hint=f"Have the operator set {needed} = true.",
                )

    def _watch(self, source: Source) -> None:
        raise TypeError("the imports say how a file is watched")

    def _watch_all(self) -> None:
        """Watch the files that the opening found; it ran in a thread, where nothing can be watched."""
        while self._to_watch:
            self._watch(self._to_watch.pop())

    async def _find(self, source: str) -> Source:
        self._need("new_data_sources")
        self._watch_all()
        return await self._instance.connection.run(lambda tx: find(tx, source), read_only=True)

    async def _every(self) -> list[Source]:
        self._need("new_data_sources")
        self._watch_all()
        return await self._instance.connection.run(every, read_only=True)
