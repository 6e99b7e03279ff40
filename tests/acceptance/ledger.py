"""A session whose tools are plain functions with a ledger: a file that shows what was really done, and how often."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from actors.session import SessionActor
from helpers.spec import HelperSpec, ParamSpec
from runtime.errors import ToolError
from runtime.host import Host
from runtime.ids import ActorAddress
from sandbox.tools.staging import stage
from sandbox.tools.toolbox import ToolAnswer

__all__ = ("LedgerSession", "LedgerTools", "ledger", "open_gate")

_N = (ParamSpec("n"),)
_GATED = (ParamSpec("n"), ParamSpec("gate", False, None))
SPECS = (
    HelperSpec(
        "tools.shop.order", _GATED, awaitable=True, doc="Order once; what is ordered is in the ledger."
    ),
    HelperSpec("tools.shop.look", _GATED, awaitable=True, read_only=True, doc="Look something up."),
    HelperSpec("tools.shop.put", _GATED, awaitable=True, idempotent=True, doc="Put a thing in its place."),
    HelperSpec("tools.shop.fail", _N, awaitable=True, doc="Fail."),
    HelperSpec("tools.shop.items", (*_N, ParamSpec("into", False, None)), awaitable=True, read_only=True),
)


class LedgerTools:
    """Answers like a toolbox. A call with a gate waits until the file of that name is there.

    `delay` gives the seconds that a call takes: with chance in it, calls end in any order.
    """

    delay: ClassVar[Callable[[], float] | None] = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def helpers(self, address: ActorAddress) -> tuple[HelperSpec, ...]:
        return SPECS

    async def call(
        self,
        address: ActorAddress,
        path: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        timeout_s: float,
    ) -> ToolAnswer:
        spec = next(each for each in SPECS if each.path == path)
        given = dict(zip([p.name for p in spec.parameters], args, strict=False)) | dict(kwargs)
        n = given["n"]
        with (self._folder / "ledger").open("a") as file:
            file.write(f"{spec.name} {n}\n")
        if gate := given.get("gate"):
            while not (self._folder / gate).exists():
                await asyncio.sleep(0.002)
        if LedgerTools.delay is not None:
            await asyncio.sleep(LedgerTools.delay())
        if spec.name == "fail":
            raise ToolError(f"no {n} here")
        if spec.name == "items":
            rows = [{"id": i, "name": f"item {i}"} for i in range(n)]
            if given.get("into"):
                return ToolAnswer(None, read_only=True, staged=stage(rows, table=given["into"], origin=path))
            return ToolAnswer(rows, read_only=True)
        return ToolAnswer({"n": n, "done": spec.name}, spec.read_only, spec.idempotent)

    async def release(self, address: ActorAddress) -> None:
        """Hold nothing."""

    async def close(self) -> None:
        """End nothing."""


class LedgerSession(SessionActor, type_name="session"):
    """A session with the tools of the ledger; `LEDGER` in the environment is its folder."""

    ledger_folder: ClassVar[Path | None] = None

    @classmethod
    async def start_type(cls, host: Host) -> None:
        """Put the ledger's tools in the place of the toolbox."""
        host.services["tools"] = LedgerTools(cls.ledger_folder or Path(os.environ["LEDGER"]))
        await super().start_type(host)


def ledger(folder: Path) -> list[str]:
    """Return what was done so far."""
    path = folder / "ledger"
    return path.read_text().splitlines() if path.exists() else []


def open_gate(folder: Path, name: str) -> None:
    """Let calls through that wait at a gate."""
    (folder / name).touch()
