"""`python -m tests.benchmarks`: measure, print each figure with its ratios and goals, and keep it as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from . import inside, pipelines, programs, projects, protocol, recorded, served, sources, tables, tools
from .bench import FOLDER, Bench, install_peer
from .figures import Figure
from .report import line, plan, summary

_MEASUREMENTS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "point": served.point_selects,
    "insert": served.inserts,
    "bulk": served.bulk,
    "first": served.first_query,
    "beside": served.beside_a_slow_query,
    "run": served.runs,
    "recorded": recorded.recorded_runs,
    "check": programs.checks,
    "mcp": protocol.tool_calls,
    "tools": tools.tool_servers,
    "memory": served.memory,
    "guard": inside.guard,
    "calls": inside.actor_calls,
    "alarms": inside.alarms,
    "loads": tables.loads,
    "wide": tables.wide,
    "many": tables.many_loads,
    "exports": tables.exports,
    "workbooks": tables.workbooks,
    "pipelines": pipelines.pipelines,
    "previews": pipelines.previews,
    "reads": projects.reads,
    "sources": sources.queries,
}


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for and return 0: a missed goal is a fact, not a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer cases and shorter samples: under two minutes"
    )
    parser.add_argument("--only", default=",".join(_MEASUREMENTS), help="of: " + ", ".join(_MEASUREMENTS))
    parser.add_argument("--rounds", type=int, default=3, help="samples of each side, taken in turn")
    parser.add_argument("--seconds", type=float, default=None, help="length of one sample of a rate")
    parser.add_argument("--no-peer", action="store_true", help="leave the peer out")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, and nothing else")
    asked = parser.parse_args(arguments)
    chosen = asked.only.split(",")
    if unknown := [name for name in chosen if name not in _MEASUREMENTS]:
        parser.error(f"no such measurement: {unknown[0]}")

    # Servers are stopped on the way out, whichever way that is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    say: Callable[[str], None] = (lambda _: None) if asked.json else lambda text: print(text, flush=True)
    FOLDER.mkdir(exist_ok=True)
    peer, why = (None, "it was left out") if asked.no_peer else install_peer()
    if why:
        say(f"The peer is not measured: {why}.")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    pinned = len(cores) > 1
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="run-") as folder:
        seconds = asked.seconds or (0.5 if asked.quick else 1.5)
        server, client = (cores[0], cores[1]) if pinned else (None, None)
        bench = Bench(Path(folder), asked.quick, asked.rounds, seconds, server, client, peer)
        if pinned:
            os.sched_setaffinity(0, {cores[1]})
        say(plan(bench, _machine()))
        began, figures = time.monotonic(), list[Figure]()
        try:
            for name in chosen:
                for figure in _MEASUREMENTS[name](bench):
                    figures.append(figure)
                    say(line(figure))
        finally:
            facts = {**_machine(), "took_s": round(time.monotonic() - began), "quick": asked.quick}
            kept = _keep(figures, facts)
    if asked.json:
        sys.stdout.write(kept.read_text())
    say(summary(figures, facts, kept))
    return 0


def _machine() -> dict[str, Any]:
    model = "unknown"
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (text.split(":", 1)[1].strip() for text in lines if text.startswith("model name")), model
        )
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def _keep(figures: list[Figure], facts: dict[str, Any]) -> Path:
    kept = FOLDER / "result.json"
    kept.write_text(json.dumps({"machine": facts, "figures": [f.plain() for f in figures]}, indent=1) + "\n")
    return kept


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
