"""`demo`: the whole of it in a few seconds, on real data: a service, a session, a program in the sandbox."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from runtime.cli.client import Client, Place, connect, running_service, session_path
from runtime.cli.command import local
from runtime.cli.failure import FAILED, OK, ServiceError
from runtime.cli.output import Output

__all__ = ("COMMANDS", "example_file", "read_penguins")

SESSION = "penguins"
_ROOT = Path(__file__).resolve().parents[2]
_START_S = 60.0
_STOP_S = 30.0
_NUMBERS = frozenset({"bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "year"})
_SCHEMA = {
    "species": "TEXT NOT NULL",
    "island": "TEXT NOT NULL",
    "bill_length_mm": "REAL",
    "bill_depth_mm": "REAL",
    "flipper_length_mm": "INTEGER",
    "body_mass_g": "INTEGER",
    "sex": "TEXT",
    "year": "INTEGER NOT NULL",
}
_NEXT = (
    ("make serve", "the service, on http://127.0.0.1:8484 (its pages: /docs); then, in another terminal:"),
    ("{duralite} run - --session chat-42", "type a program, end it with Ctrl-D; `db` and `sql` are in scope"),
    ("{duralite} sessions show chat-42", "look at what the program left"),
    ("{duralite} tools --only run --format anthropic", "the tool to give to a model"),
    ("docs/tutorial/first-session.md", "the same at leisure"),
)


def example_file(name: str) -> Path:
    """Return a file of docs/examples, from a checkout or from the installed package."""
    here = Path(__file__).resolve().parent
    places = (_ROOT / "docs" / "examples" / name, here / "examples" / name)
    return next((place for place in places if place.exists()), places[0])


def read_penguins() -> list[dict[str, Any]]:
    """Return the 344 penguins as records; `NA` is None."""
    with example_file("penguins.csv").open(encoding="utf-8", newline="") as file:
        return [{name: _measure(name, text) for name, text in row.items()} for row in csv.DictReader(file)]


def _measure(name: str, text: str) -> Any:
    if text == "NA":
        return None
    if name not in _NUMBERS:
        return text
    return float(text) if "_mm" in name and name.startswith("bill") else int(text)


@local("demo", example="duralite demo")
def demo(out: Output) -> int:
    """Start a service, load penguins into a session, and run a program on them in the sandbox."""
    return asyncio.run(_demo(out))


def _tell(out: Output, text: str) -> None:
    # The story is what this command is for: it goes where the answer goes.
    if not out.quiet:
        out.text(text)


async def _demo(out: Output) -> int:
    with tempfile.TemporaryDirectory(prefix="duralite-demo-") as folder:
        started = time.perf_counter()
        async with _service(Path(folder)) as place, connect(place, out.note) as client:
            _tell(out, f"The service is up at {place.url} ({_ms(started)})")
            loaded = await _load(client, out)
            result = await _run(client, out, loaded)
            answer = await client.call("POST", session_path(SESSION, "get_state"), {"key": "penguins_answer"})
    if out.as_json:
        out.json({"result": result, "saved": answer["value"]})
    if result["status"] != "ok" or answer["value"] != result["value"]:
        out.fail({"detail": "The program did not end as it should.", **(result["error"] or {})})
        return FAILED
    _tell(out, "The service has stopped. Try next:")
    duralite = _command()
    for line, what in _NEXT:
        _tell(out, f"  {line.format(duralite=duralite)}\n      {what}")
    return OK


async def _load(client: Client, out: Output) -> int:
    records = read_penguins()
    started = time.perf_counter()
    await client.call("POST", session_path(SESSION, "create_table"), {"name": "penguins", "schema": _SCHEMA})
    body = {"table": "penguins", "records": records}
    answer = await client.call("POST", session_path(SESSION, "batch_insert"), body)
    _tell(out, f"Loaded {answer['inserted']} penguins into the session {SESSION!r} ({_ms(started)})")
    return int(answer["inserted"])


async def _run(client: Client, out: Output, rows: int) -> dict[str, Any]:
    code = example_file("penguins_program.py").read_text(encoding="utf-8")
    started = time.perf_counter()
    body = {"code": code, "inputs": {"rows": rows}}
    result: dict[str, Any] = await client.call("POST", session_path(SESSION, "run"), body)
    _tell(out, f"Ran docs/examples/penguins_program.py in the sandbox ({_ms(started)})\n")
    if not out.as_json and result["status"] == "ok":
        out.value(result["value"])
        out.text("\n" + "\n".join(result["logs"]) + "\n")
        calls = [[call["name"], call["ms"]] for call in result["calls"]]
        out.table(("call", "ms"), calls)
        usage = result["usage"]
        total = f"{usage['wall_ms']:.1f} ms in all, {usage['cpu_ms']:.1f} ms of CPU"
        _tell(out, f"{usage['calls']} calls, {total}\n")
    return result


@asynccontextmanager
async def _service(data: Path) -> AsyncIterator[Place]:
    """Give a service of its own on a free port, as a process; it is stopped at the end."""
    flags = ("--data", str(data), "--port", "0", "--log-level", "warning")
    command = (sys.executable, "-m", "runtime", "serve", *flags)
    log = data / "service.log"
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=data, env=_environment(), stdout=stream, stderr=stream
        )
    try:
        yield Place(url=await _url(process, data))
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _url(process: asyncio.subprocess.Process, data: Path) -> str:
    ended = asyncio.ensure_future(process.wait())
    try:
        async with asyncio.timeout(_START_S):
            while not ended.done():
                if (url := running_service(data)) is not None:
                    return url
                await asyncio.wait([ended], timeout=0.02)
    except TimeoutError:
        pass
    finally:
        ended.cancel()
    said = (data / "service.log").read_text(errors="replace").strip()[-2_000:]
    raise ServiceError(
        {
            "code": "unavailable",
            "title": "The service did not start",
            "detail": f"The service of the demo did not start. It said: {said or 'nothing'}",
            "hint": "`duralite doctor` tells what this machine lacks.",
        }
    )


def _environment() -> dict[str, str]:
    # Settings of the operator do not belong here, and the folder that this runs from may be any.
    found = {name: value for name, value in os.environ.items() if not name.startswith("DURALITE_")}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), found.get("PYTHONPATH"))))
    return found


def _command() -> str:
    """Return how this command was called, for the lines that a person copies."""
    called = Path(sys.argv[0])
    if called.name != "duralite":
        return "python -m runtime"
    try:
        return str(called.relative_to(Path.cwd()))
    except ValueError:
        return str(called)


def _ms(started: float) -> str:
    return f"{(time.perf_counter() - started) * 1e3:,.0f} ms"


COMMANDS = (demo,)
