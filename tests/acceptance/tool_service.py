"""A real service with tool servers, and its log in a file, for tests that look at what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.service import ROOT, Service

__all__ = ("alive", "children", "tool_service")


@contextmanager
def tool_service(folder: Path, servers: dict[str, Any], **env: str) -> Iterator[Service]:
    """Run the service over `folder / "data"` with these servers, and write what it logs to `folder / "log"`."""
    config = folder / "servers.json"
    config.write_text(json.dumps({"mcpServers": servers}))
    log = folder / "log"
    with log.open("ab") as written:
        begin = written.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime", "serve", "--port", "0", "--data", str(folder / "data")],
            cwd=ROOT,
            env={**os.environ, "DURALITE_MCP_SERVERS": str(config), **env},
            stdout=subprocess.DEVNULL,
            stderr=written,
        )
    try:
        yield Service(process, _url(process, log, begin))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def _url(process: subprocess.Popen[Any], log: Path, begin: int) -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        for line in log.read_bytes()[begin:].decode().splitlines():
            if line.startswith("duralite is at "):
                return line.removeprefix("duralite is at ").strip()
        time.sleep(0.02)
    raise AssertionError(log.read_text())


def children(pid: int) -> list[int]:
    """Return all processes below one, the nearest first."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def alive(pid: int) -> bool:
    """Tell whether a process runs (one that nobody has buried yet does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
