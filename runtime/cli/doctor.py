"""`doctor`: what this machine has and lacks, each finding with what to do about it."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import shutil
import time
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from runtime.cli.client import Place, running_service
from runtime.cli.command import data_option, local
from runtime.cli.failure import FAILED, OK
from runtime.cli.output import Output
from runtime.errors import DuraliteError, Unavailable
from runtime.guard import Finding, engine_findings
from runtime.settings import Settings

__all__ = ("COMMANDS", "findings")

# The runtime imports nothing above it; the sandbox is asked for by name.
_SANDBOX = "sandbox.service"
_DISK_FLOOR = 1024**3
_EARLIEST = 1_735_689_600  # 2025-01-01: a clock before this release was made is wrong
_FILES_PER_ACTOR = 3  # the database, its log, its index
_FILES_BESIDE = 200
_PACKAGES = ("aiosqlite", "sqlglot", "starlette", "uvicorn", "uvloop", "orjson", "pydantic")
_DATA_PACKAGES = {"duckdb": "duckdb", "python-calamine": "python_calamine", "xlsxwriter": "xlsxwriter"}
_FILES = "Workbooks, Parquet, data sources"
_STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


def findings(settings: Settings) -> list[Finding]:
    """Return all findings, in the order in which they are shown."""
    return [
        _python(),
        *engine_findings(),
        *_versions(),
        _sandbox(settings),
        _folder(settings.data),
        _service(settings.data),
        _open_files(settings),
        _clock(),
    ]


def _python() -> Finding:
    text = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if platform.system() != "Linux":
        return Finding("warning", text, "The process engine needs Linux; elsewhere use the engine monty.")
    return Finding("ok", text, "")


def _versions() -> list[Finding]:
    found, missing = [], []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        hint = "Install duralite anew: pip install --force-reinstall duralite."
        return [Finding("error", f"Missing: {', '.join(missing)}", hint)]
    return [Finding("ok", "Libraries", ", ".join(found)), _files()]


def _files() -> Finding:
    """Tell whether workbooks, Parquet and data sources work here."""
    missing = [package for package, module in _DATA_PACKAGES.items() if find_spec(module) is None]
    if missing:
        hint = Unavailable.lacks(missing[0], "data").hint
        return Finding("warning", _FILES, f"Not installed: {', '.join(missing)}. {hint}")
    found = ", ".join(f"{package} {version(package)}" for package in _DATA_PACKAGES)
    return Finding("ok", _FILES, found)


def _sandbox(settings: Settings) -> Finding:
    """Start the engine, which lets a witness try everything that user code must not do."""
    try:
        witness = asyncio.run(_witness(settings))
    except DuraliteError as error:
        return Finding("error", f"Sandbox: {settings.engine}", f"{error.message} {error.hint or ''}".strip())
    except ImportError as error:
        hint = f"{error}. Install the extra: pip install 'duralite[{settings.engine}]'."
        return Finding("error", f"Sandbox: {settings.engine}", hint)
    layers = [name for name, bites in witness["layers"].items() if bites and not isinstance(bites, str)]
    detail = f"{len(witness['refused'])} forbidden acts were refused; layers: {', '.join(layers)}."
    if witness["warnings"]:
        detail = f"{detail} {' '.join(witness['warnings'])}"
        return Finding("warning", f"Sandbox: {settings.engine}", detail)
    return Finding("ok", f"Sandbox: {settings.engine}", detail)


async def _witness(settings: Settings) -> dict[str, Any]:
    engine = import_module(_SANDBOX).make_engine(settings.engine, concurrency=1, waiting=1)
    try:
        seen: dict[str, Any] = (await engine.start()).to_dict()
        return seen
    finally:
        await engine.aclose()


def _folder(data: Path) -> Finding:
    title = f"Data folder {data}"
    there = data
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding("error", title, f"{there} cannot be written. Choose another: --data or DURALITE_DATA.")
    free = shutil.disk_usage(there).free
    if free < _DISK_FLOOR:
        return Finding("warning", title, f"Only {free / 1024**2:,.0f} MiB are free on its disk.")
    state = "is writable" if data.exists() else "will be made on first use"
    return Finding("ok", title, f"It {state}; {free / 1024**3:,.0f} GiB are free.")


def _service(data: Path) -> Finding:
    url = running_service(data)
    if url is None:
        return Finding("ok", "Service", "None runs on the data folder; commands open it themselves.")
    return Finding("ok", "Service", f"It runs at {url}.")


def _open_files(settings: Settings) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = settings.limits
    needed = limits.max_open * _FILES_PER_ACTOR + limits.max_connections + _FILES_BESIDE
    detail = f"{soft:,} may be open, up to {needed:,} are needed at most."
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return Finding("ok", "Open files", detail)
    mend = f"Raise it (ulimit -n {needed}; the hard limit is {hard:,}) or lower max_open or max_connections."
    return Finding("warning", "Open files", f"{detail} {mend}")


def _clock() -> Finding:
    now = time.time()
    if now < _EARLIEST:
        return Finding("error", "Clock", "It is before 2025: alarms and expiry would fire at the wrong time.")
    return Finding("ok", "Clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


@local("doctor", example="duralite doctor")
@data_option
def doctor(out: Output, data: Path | None) -> int:
    """Check this machine: SQLite, sandbox, data folder, limits. Exit code 1 if something does not work."""
    found = findings(Place(data=data).settings())
    if out.as_json:
        out.json([{"level": f.level, "title": f.title, "detail": f.detail} for f in found])
    for finding in found:
        out.text(f"{finding.level:<8} {finding.title}", style=_STYLES[finding.level])
        if finding.detail:
            out.text(f"         {finding.detail}")
    return FAILED if any(f.level == "error" for f in found) else OK


COMMANDS = (doctor,)
