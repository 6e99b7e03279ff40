"""A child is the process of one run: it seals itself, waits for its job, runs it, and is killed.

The order matters: everything that a job could influence happens after the seal. Only the resource limits
wait for the job, whose numbers they are.
"""

from __future__ import annotations

import gc
import math
import sys
from types import ModuleType
from typing import Any

from . import codec, kernel, probe, repeat
from .program import Program
from .wire import Channel

__all__ = ("LIBRARIES", "serve")

LIBRARIES: dict[str, ModuleType] = {}
"""Names in scope of user code to the packages that the zygote loaded for them."""

# The host ends a run by CPU time to the millisecond; the kernel's limit in whole seconds stands behind it.
_CPU_MARGIN_S = 2


def serve(fd: int, address_space: int, sealed: bool) -> None:
    """Seal this process, then do the one job that comes over `fd`."""
    if sealed:
        kernel.seal()
    channel = Channel(fd)
    if not channel.waiting():
        Program.rehearse(LIBRARIES)
    kind, body = channel.receive()
    if kind == b"W":
        channel.finish({"value": probe.run()})
        channel.hold()
    job: dict[str, Any] = codec.decode(str(body, "utf-8"))
    limits = job["limits"]
    kernel.limit_resources(
        address_space + int(limits["memory_bytes"]), math.ceil(limits["cpu_s"]) + _CPU_MARGIN_S
    )
    if job["seed"] is not None:
        repeat.set_chance(job["seed"])
    if job["now"] is not None:
        repeat.set_clock(job["now"])
    sys.setrecursionlimit(1000)
    gc.enable()
    channel.configure(limits)
    Program(job, channel, LIBRARIES).run()
    channel.hold()
