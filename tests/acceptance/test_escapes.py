"""No program gets out: the shared corpus and our own, on the process engine, judged by what each must do.

After each of them the next run gives its answer, no process of the run is left, nobody was called, and the host
has not grown.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import socket
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sandbox.engine import Job, Limits, Outcome
from sandbox.engines.process import ProcessEngine
from tests.acceptance.sandbox_own_escapes import ESCAPES
from tests.acceptance.sandbox_support import CASES, LIBRARIES, SPECS, SqliteHost, shared

pytestmark = pytest.mark.asyncio(loop_scope="module")

_PATH = CASES / "escapes.json"
_SHARED = [case["name"] for case in json.loads(_PATH.read_text())] if _PATH.exists() else ["absent"]
_OWN = {name: (must, code) for name, must, code in ESCAPES}
_LIMITS = Limits(wall_s=1.0, cpu_s=0.4, memory_bytes=128 << 20, calls=1_000, frame_bytes=4 << 20)
_GROWTH_BYTES = 8 << 20
_LOADED = (
    "ctypes",
    "mmap",
    "multiprocessing",
    "http.client",
    "concurrent.futures.process",
    "asyncio.subprocess",
)


@dataclass
class Outside:
    """What an escape would reach: files, listeners, the environment."""

    folder: Path
    listeners: list[socket.socket]
    words: dict[str, str]

    def fill(self, code: str) -> str:
        for word, value in self.words.items():
            code = code.replace(f"@{word}@", value)
        return code

    def callers(self) -> list[str]:
        heard = []
        for listener in self.listeners:
            try:
                if listener.type == socket.SOCK_STREAM:
                    listener.accept()[0].close()
                else:
                    listener.recv(100)
            except BlockingIOError:
                continue
            heard.append(str(listener.getsockname()))
        return heard


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("outside")
    folder.chmod(0o755)
    canary = folder / "canary.txt"
    canary.write_text("CANARY-in-a-file")
    canary.chmod(0o644)
    database = sqlite3.connect(folder / "canary.db")
    database.executescript("create table secret(v); insert into secret values('CANARY-in-a-database')")
    database.close()
    listeners = [
        _listen(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        _listen(socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "stream")),
        _listen(socket.AF_UNIX, socket.SOCK_DGRAM, str(folder / "dgram")),
        _listen(socket.AF_UNIX, socket.SOCK_STREAM, f"\0duralite-test-{os.getpid()}"),
    ]
    port = listeners[0].getsockname()[1]
    listeners.append(_listen(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port)))
    os.environ["DURALITE_TEST_SECRET"] = "CANARY-in-the-environment"
    yield Outside(
        folder,
        listeners,
        {
            "CANARY_FILE": str(canary),
            "CANARY_DB": str(folder / "canary.db"),
            "TCP_PORT": str(port),
            "UNIX_PATH": str(folder / "stream"),
            "UNIX_DGRAM_PATH": str(folder / "dgram"),
            "ABSTRACT": f"duralite-test-{os.getpid()}",
            "HOST_PID": str(os.getpid()),
        },
    )
    del os.environ["DURALITE_TEST_SECRET"]
    for listener in listeners:
        listener.close()


def _listen(family: int, kind: int, address: Any) -> socket.socket:
    listener = socket.socket(family, kind)
    listener.bind(address)
    listener.setblocking(False)
    if kind == socket.SOCK_STREAM:
        listener.listen()
    return listener


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(outside: Outside) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(libraries=LIBRARIES, modules=_LOADED, warm=2)
    await engine.start()
    yield engine
    await engine.aclose()


@pytest.mark.parametrize("name", _SHARED)
async def test_a_shared_escape_fails(engine: ProcessEngine, outside: Outside, name: str) -> None:
    case = next(each for each in shared("escapes.json") if each["name"] == name)
    await _try(engine, outside, case["code"], case["must"])


@pytest.mark.parametrize("name", _OWN)
async def test_an_escape_of_our_own_fails(engine: ProcessEngine, outside: Outside, name: str) -> None:
    must, code = _OWN[name]
    await _try(engine, outside, code, must)


async def _try(engine: ProcessEngine, outside: Outside, code: str, must: str) -> None:
    host = SqliteHost()
    before = _peak()
    outcome = await engine.run(Job(outside.fill(code), SPECS, limits=_LIMITS), host)
    _judge(outcome, must.partition(":")[0])
    assert host.under_way == 0, "a host call outlived its run"
    benign = await engine.run(Job("db.query('select 2 + 3 as n')[0]['n']", SPECS), host)
    assert (benign.status, benign.value) == ("ok", 5), benign
    host.close()
    await _only_idle_children(engine)
    assert outside.callers() == []
    assert not list(Path("/tmp").glob("zz*"))
    gc.collect()
    assert _peak() - before < _GROWTH_BYTES


def _judge(outcome: Outcome, verdict: str) -> None:
    told = repr((outcome.value, outcome.output, outcome.error))
    assert "ESCAPED" not in told.replace("ESCAPED?", "") or _only_source(outcome), told
    assert "CANARY-in" not in told, told
    assert len(told) < 400_000
    json.dumps(outcome.value, allow_nan=False)
    if verdict == "LIMITED":
        stopped = outcome.status in ("limit", "error") or outcome.truncated
        assert stopped or outcome.value in ("none", "refused"), outcome
    if outcome.status != "ok":
        assert outcome.error is not None and outcome.error.type, outcome
    if outcome.status == "limit":
        assert outcome.limit is not None


def _only_source(outcome: Outcome) -> bool:
    """Tell whether the word stands only in a source line that the traceback quotes."""
    return "ESCAPED" not in repr((outcome.value, outcome.output)) and outcome.status in ("error", "limit")


async def _only_idle_children(engine: ProcessEngine) -> None:
    async with asyncio.timeout(10):
        while True:
            zygote = engine._zygote
            assert zygote is not None
            idle = {child.pid for child in engine._idle}
            if idle and _children(zygote.pid) == idle:
                return
            await asyncio.sleep(0.002)


def _children(pid: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
