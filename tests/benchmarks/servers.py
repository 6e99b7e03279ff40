"""Servers that are measured: each a process on a core of its own, started on an empty folder and stopped by its pid.

A server says how it spells the operations; the load and the figures know nothing of that.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtime.accounts import Accounts
from runtime.clock import SystemClock
from runtime.directory import Directory
from runtime.limits import Limits
from runtime.storage.watchdog import Watchdog

from .load import Address, ask

__all__ = ("ROOT", "BareTool", "Echo", "Ours", "Peer", "Server")

ROOT = Path(__file__).resolve().parents[2]
_TICK = os.sysconf("SC_CLK_TCK")
_START_S = 60.0
_STOP_S = 30.0


class Server(ABC):
    """One server process and everything it started."""

    name = "server"
    prefix = "/v1/session/"
    run_value = "value"

    def __init__(self, folder: Path, port: int, core: int | None) -> None:
        self.data = folder / f"{self.name}-{port}"
        self.address: Address = ("127.0.0.1", port)
        self._core = core
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / f"{self.name}-{port}.log"
        self._heads: dict[tuple[str, str], bytes] = {}

    # What a server of a kind says of itself

    @abstractmethod
    def command(self) -> list[str]:
        """Return what starts it."""

    def environment(self) -> dict[str, str]:
        """Return variables that it is started with."""
        return {}

    def headers(self) -> dict[str, str]:
        """Return headers that each request carries."""
        return {}

    def prepare(self) -> None:
        """Make what its data folder needs before the first start. Nothing, by default."""
        return

    # Process

    def start(self, *, fresh: bool = True) -> None:
        """Start it, on an empty folder if `fresh`, and return when it listens.

        Raises:
            RuntimeError: it ended, or did not listen in time; the end of its log is in the message.
        """
        with suppress(OSError), socket.create_connection(self.address, 1):
            raise RuntimeError(f"{self.name}: something listens on port {self.address[1]} already.")
        if fresh:
            shutil.rmtree(self.data, ignore_errors=True)
            self.data.mkdir(parents=True)
            self.prepare()
        command = self.command()
        if self._core is not None:
            command = [sys.executable, "-c", _PINNED, str(self._core), *command]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_S
        while True:
            with suppress(OSError), socket.create_connection(self.address, 1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.name} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it and whatever it started, by pid. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        family = _family(process.pid)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in family[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running.")
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Return the CPU time that it and its children used so far."""
        total = 0
        for pid in _family(self.pid):
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += sum(map(int, fields[11:15]))
        return total / _TICK

    def memory_kib(self) -> int:
        """Return the resident memory of the server itself."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1])
        return 0

    # Requests

    def spell(self, operation: str, session: str, body: dict[str, Any]) -> bytes:
        """Return the whole HTTP request."""
        text = json.dumps(body, separators=(",", ":")).encode()
        head = self._heads.get((operation, session))
        if head is None:
            lines = [
                f"POST {self.prefix}{session}/{operation} HTTP/1.1",
                f"host: {self.address[0]}:{self.address[1]}",
                "content-type: application/json",
                *(f"{key}: {value}" for key, value in self.headers().items()),
                "content-length: ",
            ]
            head = self._heads[operation, session] = "\r\n".join(lines).encode()
        return b"%b%d\r\n\r\n%b" % (head, len(text), text)

    def ask(self, operation: str, session: str, body: dict[str, Any]) -> Any:
        """Do one operation and return its answer."""
        return json.loads(ask(self.address, self.spell(operation, session, body)))


class Ours(Server):
    """Duralite, with keys on and the guard where it always is."""

    name = "ours"

    def __init__(
        self, folder: Path, port: int, core: int | None, *, full: bool = True, max_open: int | None = None
    ) -> None:
        super().__init__(folder, port, core)
        self._full = full
        self._max_open = max_open
        self._key = ""

    def command(self) -> list[str]:
        """Return the `serve` command."""
        port = str(self.address[1])
        return [sys.executable, "-m", "runtime", "serve", "--port", port, "--data", str(self.data)]

    def environment(self) -> dict[str, str]:
        """Return settings: durability as the peer's unless told otherwise, and a key for every request."""
        settings = {
            "DURALITE_AUTH": "required",
            "DURALITE_LOG_LEVEL": "warning",
            "DURALITE_DURABILITY": "full" if self._full else "normal",
        }
        if self._max_open is not None:
            settings["DURALITE_LIMITS__MAX_OPEN"] = str(self._max_open)
        return settings

    def headers(self) -> dict[str, str]:
        """Return the key."""
        return {"authorization": f"Bearer {self._key}"}

    def prepare(self) -> None:
        """Make an account with a key."""
        self._heads.clear()
        self._key = asyncio.run(_make_key(self.data))


class Echo(Server):
    """The bare ASGI echo (`echo.py`)."""

    name = "echo"

    def command(self) -> list[str]:
        """Return the command."""
        return [sys.executable, "-m", f"{__package__}.echo", str(self.address[1])]


class BareTool(Server):
    """A tool of the MCP library alone (`bare_tool.py`)."""

    name = "bare tool"

    def command(self) -> list[str]:
        """Return the command."""
        return [sys.executable, "-m", f"{__package__}.bare_tool", str(self.address[1])]


class Peer(Server):
    """Cloudflare's workerd with a SQLite-backed object a session; one fsync a commit before the answer."""

    name = "peer"
    prefix = "/sessions/"
    run_value = "result"

    def __init__(self, folder: Path, port: int, core: int | None, program: Path) -> None:
        super().__init__(folder, port, core)
        self._program = program

    def command(self) -> list[str]:
        """Return the command, with the TTL alarm set for each session as ours does."""
        return [
            str(self._program / "node_modules/.bin/workerd"),
            "serve",
            "--experimental",
            str(self._program / "workerd.capnp"),
            "config",
            f"-ddata={self.data}",
            f"-shttp=127.0.0.1:{self.address[1]}",
        ]

    def environment(self) -> dict[str, str]:
        """Return its switches."""
        return {"PEER_TTL": "1"}

    def spell(self, operation: str, session: str, body: dict[str, Any]) -> bytes:
        """Return the request; a run says in addition that it wants a new isolate."""
        if operation == "run":
            body = {**body, "warm": ""}
        return super().spell(operation, session, body)


# Sets the core before the server starts a thread, then becomes the server: its pid stays the one that is stopped.
_PINNED = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"


async def _make_key(data: Path) -> str:
    watchdog = Watchdog()
    directory = Directory(data, SystemClock(), Limits(), watchdog)
    await directory.open()
    try:
        key, _ = await Accounts(directory, SystemClock()).create_key("bench")
    finally:
        await directory.close()
        watchdog.close()
    return key


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found
