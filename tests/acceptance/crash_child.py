"""A service that is killed: it does what its argument says, and prints a line for each thing it acknowledged.

Usage: python -m tests.acceptance.crash_child FOLDER TASK
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from runtime.clock import SystemClock
from runtime.host import Host
from runtime.testing import ManualClock, harness
from tests.scratch import Durable, Mortal, Probe, Scratch

TYPES = (Scratch, Durable, Mortal, Probe)


def say(line: str) -> None:
    """Print one line at once, whole: the kill may come after any of them."""
    os.write(1, f"{line}\n".encode())


async def insert(host: Host, kind: str) -> None:
    """Insert for ever, from many callers into three actors, alone and in batches."""
    stubs = [host.namespace(kind).get(str(i)) for i in range(3)]
    for stub in stubs:
        await stub.create_table("t", "k INTEGER PRIMARY KEY, v TEXT")

    async def writer(number: int) -> None:
        stub = stubs[number % 3]
        for step in range(1_000_000):
            key = number * 1_000_000 + step * 10
            if number % 4:
                await stub.exec("INSERT INTO t VALUES (?, ?)", [key, "x" * 50])
                say(f"{number % 3} {key}")
            else:
                await stub.batch_insert("t", [{"k": key + i, "v": "y" * 50} for i in range(10)])
                for i in range(10):
                    say(f"{number % 3} {key + i}")

    await asyncio.gather(*(writer(number) for number in range(12)))


async def alarms(host: Host, kind: str) -> None:
    """Set alarms, some due at once, and wait to be killed."""
    now = host.clock.now()
    for number in range(20):
        probe = host.namespace("probe").get(str(number))
        await probe.set_alarm("soon", now + 0.5 + number / 100)
        await probe.set_alarm("fails", now, {"fail": 2})
        say(f"set {number}")
    await host.namespace("mortal").get("one").save_state("k", 1)
    say("done")
    await asyncio.Event().wait()


async def jobs(host: Host, kind: str) -> None:
    """Start a job of each kind and wait to be killed."""
    probe = host.namespace("probe").get("one")
    for name in ("wait", "resume"):
        say(f"{name} {(await probe.start_job(name)).id}")
    say("done")
    await asyncio.Event().wait()


async def delete(host: Host, kind: str) -> None:
    """Make and delete actors for ever."""
    for number in range(1_000_000):
        name = str(number % 20)
        await host.namespace("scratch").get(name).save_state("n", number)
        say(f"made {name} {number}")
        if number % 3 == 0:
            await host.namespace("scratch").delete(name)
            say(f"deleted {name} {number}")


async def hold(host: Host, kind: str) -> None:
    """Hold the folder."""
    say("done")
    await asyncio.Event().wait()


async def main(folder: str, task: str, kind: str) -> None:
    """Run one task over a folder, until the kill."""
    # Where time stands still no alarm is due before the kill, however slow the machine.
    clock = ManualClock(time.time()) if task == "alarms" else SystemClock()
    async with harness(Path(folder), *TYPES, clock=clock) as host:
        await {"insert": insert, "alarms": alarms, "jobs": jobs, "delete": delete, "hold": hold}[task](
            host, kind
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3]))
