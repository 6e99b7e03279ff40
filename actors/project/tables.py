"""The tables that a pipeline reads: the import of its own project, and whatever its steps name.

A name is a pipeline of the project whose result is stored, another project of the same account, or
`project/pipeline`. All of them are held while they are read, and so are the other projects' files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from actors.project import catalogue
from actors.project.catalogue import Dataset
from actors.project.holds import Holds
from actors.project.pipeline import Step, StepError, named_tables
from actors.project.reading import dataset_of
from runtime.ids import MAX_NAME_BYTES, ActorAddress
from runtime.instance import Instance
from runtime.storage.transaction import Transaction
from runtime.tabular.reading import whole

__all__ = ("Tables", "tables_of")

Find = Callable[[Transaction], Dataset]


@asynccontextmanager
async def tables_of(instance: Instance, holds: Holds, steps: Sequence[Step]) -> AsyncIterator[Tables]:
    """Give the tables that steps read, held for the length of the block.

    Raises:
        NotFound: nothing was imported yet.
        StepError: a step names a table that is not there.
    """
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(holds.on(catalogue.current))
        found = Tables(instance.connection.path, source)
        for name in named_tables(steps):
            path, dataset = await _other(instance, holds, stack, name)
            found.add(name, path, dataset)
        yield found


async def _other(instance: Instance, holds: Holds, stack: AsyncExitStack, name: str) -> tuple[Path, Dataset]:
    own = instance.connection
    if name == "data":
        return own.path, await stack.enter_async_context(holds.on(catalogue.current))
    find: Find = partial(dataset_of, pipeline=name)
    if await own.run(lambda tx: catalogue.result(tx, name), read_only=True) is not None:
        return own.path, await stack.enter_async_context(holds.on(find))
    project, _, pipeline = name.removeprefix("project:").partition("/")
    address = ActorAddress(instance.address.type, instance.address.owner, project)
    fits = 0 < len(project.encode("utf-8", "replace")) <= MAX_NAME_BYTES
    other = await instance.host.acquire(address, create=False, held=True) if fits else None
    if other is None:
        raise StepError(
            f'there is no table "{name[:80]}".',
            hint="Name a pipeline that was executed, another project, or the result of one of its pipelines "
            "as project/pipeline.",
        )
    stack.callback(instance.host.release, other)
    theirs: Holds = other.actor.holds  # type: ignore[attr-defined]
    find = partial(dataset_of, pipeline=pipeline or None)
    return other.connection.path, await stack.enter_async_context(theirs.on(find))


class Tables:
    """The tables of one run, as arguments of the worker's tasks."""

    def __init__(self, path: Path, source: Dataset) -> None:
        self.arguments: dict[str, Any] = {"source": _described(path, source), "tables": {}}
        self.versions = {"data": str(source.facts["version"])}
        """The version of each table that was read, by its name; a result made from others is stale."""

    def add(self, name: str, path: Path, dataset: Dataset) -> None:
        """Add a table that a step names."""
        self.arguments["tables"][name] = _described(path, dataset)
        self.versions[name] = str(dataset.facts["version"])


def _described(path: Path, dataset: Dataset) -> dict[str, Any]:
    return {
        "file": whole(path),
        "name": dataset.table,
        "columns": [
            {
                "name": f.name,
                "type": f.type,
                "kind": f.column.kind,
                "scale": f.column.scale,
                "physical": f.physical,
            }
            for f in dataset.fields
        ],
        "version": dataset.facts["version"],
    }
