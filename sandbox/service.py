"""The sandbox as a service of a host: one engine for all actors, started once and seen to confine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import helpers.sql
from sandbox.engine import Engine
from sandbox.engines.process import ProcessEngine

if TYPE_CHECKING:
    from runtime.host import Host

__all__ = ("make_engine", "start_engine", "stop_engine")


def make_engine(name: str, *, concurrency: int, waiting: int) -> Engine:
    """Return an engine by name (`process` or `monty`), not yet started."""
    libraries = {"sql": Path(helpers.sql.__file__).parent}
    if name == "monty":
        from sandbox.engines.monty import MontyEngine  # the extra may not be installed

        return MontyEngine(libraries=libraries, concurrency=concurrency, waiting=waiting)
    return ProcessEngine(libraries=libraries, concurrency=concurrency, waiting=waiting)


async def start_engine(host: Host) -> None:
    """Start the engine that the settings name and put it under `host.services["sandbox"]`. Once a host."""
    if "sandbox" in host.services:
        return
    limits = host.settings.limits
    engine = make_engine(host.settings.engine, concurrency=limits.run_concurrency, waiting=limits.run_waiting)
    host.services["sandbox"] = engine
    try:
        host.services["sandbox_witness"] = await engine.start()
    except BaseException:
        del host.services["sandbox"]
        await asyncio.shield(engine.aclose())
        raise


async def stop_engine(host: Host) -> None:
    """End the engine. Idempotent."""
    engine: Engine | None = host.services.pop("sandbox", None)
    if engine is not None:
        await engine.aclose()
