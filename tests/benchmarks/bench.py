"""A bench is one run of the benchmarks: its folder, cores, how long samples last, and the servers it started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .figures import Pairs, in_turn
from .load import Load
from .servers import ROOT, BareTool, Echo, Ours, Peer, Server

__all__ = ("Bench", "install_peer")

FOLDER = ROOT / ".bench"
_SHARED = ROOT.parent / "shared" / "bench"


@dataclass(slots=True)
class Bench:
    """What every measurement is given. `peer` is the peer's program, None where it cannot be had."""

    folder: Path
    quick: bool
    rounds: int
    seconds: float
    server_core: int | None
    client_core: int | None
    peer: Path | None
    running: list[Server] = field(default_factory=list)

    def ours(self, *, full: bool = True, max_open: int | None = None) -> Ours:
        """Return our server, not yet started."""
        return Ours(self.folder, _free_port(), self.server_core, full=full, max_open=max_open)

    def echo(self) -> Echo:
        """Return the bare echo, not yet started."""
        return Echo(self.folder, _free_port(), self.server_core)

    def bare_tool(self) -> BareTool:
        """Return a tool of the MCP library alone, not yet started."""
        return BareTool(self.folder, _free_port(), self.server_core)

    def peers(self) -> list[Server]:
        """Return the peer in a list, or an empty one."""
        return [Peer(self.folder, _free_port(), self.server_core, self.peer)] if self.peer else []

    @contextmanager
    def serving(self, *servers: Server) -> Iterator[None]:
        """Run servers for the time of a block, and stop them whatever happens in it."""
        try:
            for server in servers:
                self.running.append(server)
                server.start()
            yield
        finally:
            for server in servers:
                server.stop()
                shutil.rmtree(server.data, ignore_errors=True)
            self.running = [server for server in self.running if server not in servers]

    def in_turn(self, sides: Mapping[str, Callable[[], tuple[float, Mapping[str, Any]]]]) -> Pairs:
        """Sample sides in turn, `rounds` times."""
        return in_turn(self.rounds, sides, self._servers_cpu, retries=1 if self.quick else 2)

    def loads(
        self, sides: Mapping[str, tuple[Server, Callable[[], Load]]], value: Callable[[Load], float]
    ) -> Pairs:
        """Sample loads in turn; what a request cost the server and the client goes into the facts."""

        def sampler(server: Server, load: Callable[[], Load]) -> Callable[[], tuple[float, dict[str, Any]]]:
            def sample() -> tuple[float, dict[str, Any]]:
                cpu = server.cpu_seconds()
                seen = load()
                spent = server.cpu_seconds() - cpu
                return value(seen), {
                    "p50_ms": seen.p50_ms,
                    "p99_ms": seen.p99_ms,
                    "max_ms": seen.max_ms,
                    "server_us_each": round(spent / seen.all_answers * 1e6, 1),
                    "client_cpu": seen.client_cpu,
                }

            return sample

        return self.in_turn({side: sampler(*pair) for side, pair in sides.items()})

    @contextmanager
    def on_server_core(self) -> Iterator[None]:
        """Do what is measured in this process on the core where servers run."""
        if self.server_core is None or self.client_core is None:
            yield
            return
        os.sched_setaffinity(0, {self.server_core})
        try:
            yield
        finally:
            os.sched_setaffinity(0, {self.client_core})

    def _servers_cpu(self) -> float:
        return sum(server.cpu_seconds() for server in self.running)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def install_peer() -> tuple[Path | None, str]:
    """Return the peer's program and why there is none.

    It is made once from `../shared/bench/peer`, in `.bench/`, which git does not see.
    """
    program = FOLDER / "peer"
    if not (_SHARED / "peer").is_dir():
        return None, "the folder ../shared/bench is absent"
    if not (program / "node_modules/.bin/workerd").exists():
        npm = shutil.which("npm")
        if npm is None:
            return None, "npm is absent"
        shutil.rmtree(program, ignore_errors=True)
        program.mkdir(parents=True)
        for source in (_SHARED / "peer").iterdir():
            if source.is_file():
                (program / source.name).write_bytes(source.read_bytes())
        done = subprocess.run(
            [npm, "install", "--no-fund", "--no-audit"],
            cwd=program,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            return None, f"npm install failed: {done.stderr.strip()[-300:]}"
    return program, ""
