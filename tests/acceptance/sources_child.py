"""A service that ends itself with kill -9 at a named step of a promotion or of an import.

Usage: python -m tests.acceptance.sources_child FOLDER STEP
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.sources.ingest import Ingest
from runtime import promotion
from runtime.clock import SystemClock
from runtime.directory import Directory
from runtime.host import Host
from runtime.streams import Upload
from runtime.testing import harness

TYPES = ("actors.session:SessionActor", "actors.project:ProjectActor", "actors.sources:SourcesActor")
PROMOTIONS = ("before the intent", "after the intent", "before the rename", "after the rename", "before the end", "after the end")  # fmt: skip
IMPORTS = ("while parsing", "while converting", "before it is put in place", "after it is put in place")


def die() -> None:
    """End as a power cut of the process would."""
    os.kill(os.getpid(), signal.SIGKILL)


def around(holder: Any, name: str, *, before: bool) -> None:
    """Have the process die before, or right after, a function does its work."""
    inner: Callable[..., Any] = getattr(holder, name)
    if asyncio.iscoroutinefunction(inner):

        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            if before:
                die()
            answer = await inner(*args, **kwargs)
            die()
            return answer

        setattr(holder, name, asynchronous)
        return

    def synchronous(*args: Any, **kwargs: Any) -> Any:
        if before:
            die()
        answer = inner(*args, **kwargs)
        die()
        return answer

    setattr(holder, name, synchronous)


def arm(step: str) -> None:
    """Set where the process will die."""
    places: dict[str, tuple[Any, str, bool]] = {
        "before the intent": (Directory, "begin_promotion", True),
        "after the intent": (Directory, "begin_promotion", False),
        "before the rename": (promotion, "_rename", True),
        "after the rename": (promotion, "_rename", False),
        "before the end": (Directory, "end_promotion", True),
        "after the end": (Directory, "end_promotion", False),
        "before it is put in place": (Ingest, "_put", True),
        "after it is put in place": (Ingest, "_put", False),
    }
    if step in places:
        holder, name, before = places[step]
        around(holder, name, before=before)


async def promote(host: Host) -> None:
    """Promote a session that holds something."""
    stub = host.namespace("session").get("chat")
    await stub.create_table("t", "id INTEGER PRIMARY KEY, v TEXT")
    await stub.exec("CREATE INDEX by_v ON t (v)")
    await stub.batch_insert("t", [{"v": str(n)} for n in range(1000)])
    await stub.save_state("k", [1, 2])
    await stub.promote("lasting")


async def import_(host: Host, folder: Path, step: str) -> None:
    """Import a second version over a first one, and a new file."""
    stub = host.namespace("sources").get("default")
    content = b"a,b\n" + b"".join(b"%d,text %d\n" % (n, n) for n in range(200_000))
    path = folder / "new.csv"
    path.write_bytes(content)
    source = await stub.create(Upload(path, len(content), "text/csv", "new.csv"))
    async for event in host.events.listen(stub.id):
        phase = event.data.get("phase") if event.type == "import" else None
        if step == f"while {phase}":
            die()
        if event.type == "job" and event.data["state"] != "running":
            break
    os.write(1, f"{await stub.get(source['id'])}\n".encode())


async def main(folder: Path, step: str) -> None:
    """Do it, over a real clock."""
    async with harness(folder / "data", *TYPES, clock=SystemClock()) as host:
        if step in PROMOTIONS:
            arm(step)
            await promote(host)
        else:
            arm(step)
            await import_(host, folder, step)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
