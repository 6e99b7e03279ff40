"""The witness: before a zygote is used, a child of it must be refused everything that a program must not do.

A layer that is believed on and is off is worse than none. So nothing is taken from configuration: a probe
child, made like all others, tries; a second one without the filter shows what Landlock alone refuses; and the
kernel's own account of the probe is read from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from runtime.errors import Unavailable

from .. import codec
from ..engine import Witness
from ._channel import Channel
from ._zygote import Child, Zygote

__all__ = ("bear_witness",)

_PROBE_S = 10.0
_MAX_REPORT = 65536
# What Landlock must refuse by itself where the kernel has it.
_LANDLOCK_ACTS = ("open a file", "list a directory")


async def bear_witness(zygote: Zygote) -> Witness:
    """Probe a zygote's children. Raises `Unavailable` when a required layer does not bite."""
    sealed, status = await _probe(zygote, sealed=True)
    allowed = sorted(act for act, answer in sealed.items() if answer == "allowed")
    if allowed:
        raise Unavailable(
            f"The sandbox is not tight: a sealed process was allowed to {', '.join(allowed)}.",
            hint="The process engine needs Linux with seccomp filters; elsewhere use the monty engine.",
            engine="process",
        )
    _check_status(status)
    warnings: list[str] = []
    landlock = zygote.report["landlock"]
    if landlock:
        unsealed, _ = await _probe(zygote, sealed=False)
        open_acts = [act for act in _LANDLOCK_ACTS if unsealed.get(act) == "allowed"]
        if open_acts:
            raise Unavailable(
                f"Landlock is there and does not bite: it allowed a process to {', '.join(open_acts)}.",
                engine="process",
            )
    else:
        warnings.append("Landlock is not available: the filter alone refuses paths.")
    if "net" not in zygote.report["namespaces"]:
        warnings.append(f"No namespaces: {zygote.report['gaps']}")
    return Witness(
        engine="process",
        layers={
            "seccomp": True,
            "no_new_privs": True,
            "landlock": landlock,
            "namespaces": zygote.report["namespaces"],
            "uid": status.get("Uid", "").split("\t")[0],
            "capabilities": status.get("CapEff", ""),
            "rlimits": sealed.get("raise a limit") != "allowed",
            "python": zygote.report["python"],
        },
        refused=tuple(sorted(sealed)),
        warnings=tuple(warnings),
    )


def _check_status(status: dict[str, str]) -> None:
    """Hold the kernel's account against what is required. An account that cannot be read is no proof against."""
    if not status:
        return
    wanted = {"Seccomp": "2", "NoNewPrivs": "1", "CapEff": "0000000000000000"}
    for name, value in wanted.items():
        if status.get(name, value) != value:
            raise Unavailable(
                f"The sandbox is not tight: the kernel says {name} {status[name]}.", engine="process"
            )
    if "0" in status.get("Uid", "").split("\t"):
        raise Unavailable("The sandbox is not tight: its processes run as root.", engine="process")


async def _probe(zygote: Zygote, sealed: bool) -> tuple[dict[str, str], dict[str, str]]:
    child = await zygote.ask(sealed=sealed)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes | None] = loop.create_future()

    def on_frame(kind: int, body: bytes) -> None:
        if not answer.done():
            answer.set_result(body if kind == ord("D") else None)

    def on_end(_: str) -> None:
        if not answer.done():
            answer.set_result(None)

    channel = Channel(child.socket, _MAX_REPORT, on_frame, on_end)
    try:
        channel.open()
        channel.send(b"W")
        body = await asyncio.wait_for(answer, _PROBE_S)
        status = _status(child)
    except TimeoutError:
        body = None
    finally:
        child.kill()
        channel.close()
    if body is None:
        ended = await asyncio.wait_for(child.exited, _PROBE_S)
        raise Unavailable(f"The sandbox's probe gave no answer ({ended}).", engine="process")
    report: Any = codec.decode(body, 8)
    return report["value"], status


def _status(child: Child) -> dict[str, str]:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {}
