"""The real service in a process of its own, for tests that kill it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Service:
    """A running `duralite serve`."""

    process: subprocess.Popen[str]
    url: str

    def kill(self) -> None:
        """End it as a power cut of the process would: kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> int:
        """End it as an operator would, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def service(data: Path, port: int = 0, **env: str) -> Iterator[Service]:
    """Run the service over `data`, on a free port unless one is named; whatever is left of it at the end is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime", "serve", "--port", str(port), "--data", str(data)],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if line.startswith("duralite is at "):
                yield Service(process, line.removeprefix("duralite is at ").strip())
                return
        raise AssertionError("the service did not start: " + json.dumps(said))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        process.stderr.close()
