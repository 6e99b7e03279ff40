"""Figures of tables: a file comes in, is stored and goes out again, beside the plain tools for each step.

The limits are measured on the same files in the same round: `csv` drains the csv module's reader, `bind` is
executemany of ready tuples, `copy` an INSERT … SELECT of the same rows, `fetch` reads all rows into tuples.
"""

from __future__ import annotations

import asyncio
import csv
import gc
import os
import random
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import uvloop
import xlsxwriter
from python_calamine import CalamineWorkbook

from runtime.host import Host
from runtime.ids import ActorAddress
from runtime.registry import Registry
from runtime.settings import Settings
from runtime.tabular.adopt import adopt
from runtime.tabular.reading import load
from runtime.tabular.writing import download

from .bench import Bench
from .figures import Figure, Goal
from .inside import Scratch
from .load import percentile

__all__ = ("exports", "loads", "many_loads", "wide", "workbooks")

_CITIES = [
    "Berlin",
    "München",
    "Köln",
    "Paris",
    "Lyon",
    "Roma",
    "Milano",
    "Madrid",
    "Sevilla",
    "Lisboa",
    "Wien",
    "Graz",
    "Zürich",
    "Genève",
    "Praha",
    "Brno",
]
_FIRST = ["Anna", "José", "Zoë", "Łukasz", "Mary", "Jürgen", "Søren", "Chloé"]
_LAST = ["Müller", "Smith", "García", "Novák", "Rossi", "Dupont"]
_WORDS = ["lorem", "ipsum", "dolor,", "sit", "amet", '"quoted"', "consectetur", "adi\npiscing", "elit"]
_NAMES = ["id", "code", "name", "email", "city", "amount", "qty", "active", "day", "note"]
Sample = Callable[[], tuple[float, Mapping[str, Any]]]


def _mixed(path: Path, rows: int) -> Path:
    """Write the file of ten mixed columns: the same for the same number of rows."""
    if path.exists():
        return path
    r = random.Random(7)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(_NAMES)
        for number in range(1, rows + 1):
            day = f"20{r.randrange(10, 25)}-{r.randrange(1, 13):02d}-{r.randrange(1, 29):02d}"
            out.writerow(
                (number, f"{r.randrange(10**7):08d}", f"{r.choice(_FIRST)} {r.choice(_LAST)}",
                 f"user{r.randrange(400_000)}@example.org", r.choice(_CITIES), f"{r.random() * 10_000:.2f}",
                 r.randrange(1_000) if r.random() > 0.05 else "", ("true", "false")[r.randrange(2)], day,
                 " ".join(r.choices(_WORDS, k=4)))
            )  # fmt: skip
    return path


class _Service:
    """A host in this process, its workers, and what they cost."""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.folder = folder
        self.host = Host(Settings(data=folder / "data"), registry=Registry((Scratch,)))
        self.run(self.host.start())
        self.workers = self.host.services["workers"]

    def run(self, body: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(body)

    def timed(self, body: Coroutine[Any, Any, Any]) -> tuple[float, dict[str, Any]]:
        """Return how long something takes, and the CPU that workers used for it: on a busy machine the better figure."""
        before = self.cpu_seconds()
        taken, _ = _timed(lambda: self.run(body))
        return taken, {"cpu_s": round(self.cpu_seconds() - before, 2)}

    def cpu_seconds(self) -> float:
        """Return the CPU that the workers used, as the noise must not count it."""
        total = 0.0
        for pid in self.workers.pids():
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - a line of the kernel's
                fields = file.read().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def memory(self) -> int:
        """Return the largest memory that any worker ever held, in MB."""
        peaks = [0]
        for pid in self.workers.pids():
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peaks += [int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")]
        return max(peaks)

    def stop(self) -> None:
        self.run(self.host.stop())
        self._runner.close()


@contextmanager
def _service(bench: Bench) -> Iterator[_Service]:
    """Run a service on all cores of the bench."""
    cores = {c for c in (bench.server_core, bench.client_core) if c is not None}
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    service = _Service(bench.folder)
    bench.running.append(service)  # type: ignore[arg-type]
    try:
        yield service
    finally:
        bench.running.remove(service)  # type: ignore[arg-type]
        service.stop()
        shutil.rmtree(service.folder / "data", ignore_errors=True)
        os.sched_setaffinity(0, before)


def _timed(work: Callable[[], Any]) -> tuple[float, dict[str, Any]]:
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began, {}


def _drain(path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        for _ in csv.reader(file):
            pass


def _fresh(path: Path, columns: int = 10) -> sqlite3.Connection:
    path.unlink(missing_ok=True)
    raw = sqlite3.connect(path, isolation_level=None)
    raw.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF")
    raw.execute(f"CREATE TABLE d (row_id INTEGER PRIMARY KEY, {', '.join(f'c{n}' for n in range(columns))})")
    return raw


def _ready(path: Path) -> list[tuple[Any, ...]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        return [
            (int(r[0]), *r[1:5], float(r[5]), int(r[6]) if r[6] else None, int(r[7] == "true"), r[8], r[9])
            for r in rows
        ]


def _bind(folder: Path, rows: list[tuple[Any, ...]]) -> float:
    with closing(_fresh(folder / "bind.sqlite")) as raw:
        began = time.perf_counter()
        raw.execute("BEGIN")
        raw.executemany(
            f"INSERT INTO d ({', '.join(f'c{n}' for n in range(10))}) VALUES (?,?,?,?,?,?,?,?,?,?)", rows
        )
        raw.execute("COMMIT")
        return time.perf_counter() - began


def _copy(folder: Path) -> float:
    with closing(_fresh(folder / "copy.sqlite")) as raw:
        raw.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL")
        raw.execute("ATTACH ? AS s", (str(folder / "bind.sqlite"),))
        began = time.perf_counter()
        raw.execute("INSERT INTO d SELECT * FROM s.d")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return time.perf_counter() - began


def _import(path: Path, target: Path) -> None:
    with closing(_fresh(target)):
        pass
    script = f".import --csv '{path}' t\n"
    subprocess.run(["sqlite3", str(target)], input=script, text=True, check=True, capture_output=True)


def loads(bench: Bench) -> Iterator[Figure]:
    """Read, infer, store: a delimited file of ten columns into a staging file, and from there into an actor's."""
    staging = bench.folder / "staging.sqlite"
    with _service(bench) as service:
        for rows in (100_000,) if bench.quick else (100_000, 1_000_000):
            path = _mixed(bench.folder / f"mixed-{rows}.csv", rows)
            ready = _ready(path)
            service.run(load(service.workers, path, None, staging))

            def floors(
                path: Path = path, ready: list[tuple[Any, ...]] = ready
            ) -> tuple[float, dict[str, Any]]:
                began = time.process_time()
                drained, _ = _timed(partial(_drain, path))
                bound = _bind(bench.folder, ready)
                cpu = round(time.process_time() - began, 2)
                copied = _copy(bench.folder)
                return drained + bound, {
                    "csv_s": drained,
                    "bind_s": bound,
                    "copy_s": copied,
                    "cpu_s": cpu,
                }

            sides: dict[str, Sample] = {
                "ours": lambda path=path: service.timed(load(service.workers, path, None, staging)),  # type: ignore[misc]
                "csv + bind": floors,
                "copy": lambda: (_copy(bench.folder), {}),
                "adopted": lambda: (service.run(_adopted(service, staging)), {}),
            }
            if shutil.which("sqlite3"):
                sides["sqlite3 .import"] = lambda path=path: _timed(  # type: ignore[misc]
                    partial(_import, path, bench.folder / "cli.sqlite")
                )
            pairs = bench.in_turn(sides)
            case = f"{rows:,} rows of 10 columns"
            limit = 2.0 if rows == 100_000 else 10.0
            goals = (Goal(1.35, "csv + bind", at_least=False), Goal(limit, at_least=False))
            yield pairs.figure("load a table", case, "s", goals)
            yield pairs.figure(
                "adopt a table", case, "s", (Goal(1.2, "copy", at_least=False),), ours="adopted"
            )


async def _adopted(service: _Service, staging: Path) -> float:
    """Return how long adopting a staging file into a fresh actor takes."""
    address = ActorAddress("scratch", "local", "adopts")
    await service.host.delete(address)
    actor = await service.host.acquire(address, held=True)
    assert actor is not None
    began = time.perf_counter()
    await adopt(actor.connection, staging, "d1", finish=lambda tx: None)
    taken = time.perf_counter() - began
    service.host.release(actor)
    return taken


def wide(bench: Bench) -> Iterator[Figure]:
    """Memory of a worker that loads a hundred columns: it must not grow with the file."""
    rows = 100_000 if bench.quick else 1_000_000
    path = bench.folder / f"wide-{rows}.csv"
    line = ",".join(f"{n * 7919 % 9973}" if n % 3 else f"t{n}" for n in range(100)) + "\n"
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(f"col{n}" for n in range(100)) + "\n")
        for _ in range(rows // 1_000):
            file.write(line * 1_000)
    with _service(bench) as service:
        taken, _ = _timed(
            lambda: service.run(load(service.workers, path, None, bench.folder / "wide.sqlite"))
        )
        stored = (bench.folder / "wide.sqlite").stat().st_size / path.stat().st_size
        facts = {
            "seconds": round(taken, 2),
            "csv_mb": path.stat().st_size >> 20,
            "stored_over_csv": round(stored, 2),
        }
        goal = (Goal(150, at_least=False),)
        yield Figure(
            "memory of a load",
            f"{rows:,} rows of 100 columns",
            "MB",
            service.memory(),
            goals=goal,
            facts=facts,
        )
    path.unlink()
    (bench.folder / "wide.sqlite").unlink()


def many_loads(bench: Bench) -> Iterator[Figure]:
    """Ten loads at once, and what the service's own loop feels of them."""
    rows = 100_000 if bench.quick else 1_000_000
    path = _mixed(bench.folder / f"mixed-{rows}.csv", rows)
    with _service(bench) as service:
        one, alone = service.timed(load(service.workers, path, None, bench.folder / "one.sqlite"))
        lags: list[float] = []

        async def all_at_once() -> None:
            stop = asyncio.ensure_future(_lag(lags))
            await asyncio.gather(
                *(
                    load(
                        service.workers,
                        path,
                        None,
                        bench.folder / f"many-{n}.sqlite",
                        account=f"account {n % 5}",
                    )
                    for n in range(10)
                )
            )
            stop.cancel()

        taken, all_of_them = service.timed(all_at_once())
        cores = len(os.sched_getaffinity(0))
        case = f"10 × {rows:,} rows at once on {cores} cores"
        facts = {
            "one_s": round(one, 2),
            "cpu_each_over_alone": round(all_of_them["cpu_s"] / (10 * alone["cpu_s"]), 2),
            "peak_mb_each": service.memory(),
        }
        yield Figure(
            "loads over their serial time by core",
            case,
            "×",
            taken / (10 * one / cores),
            goals=(Goal(1.15, at_least=False),),
            facts=facts,
        )
        goal = (Goal(5, at_least=False),)
        late = {"p50_ms": round(percentile(sorted(lags), 0.5), 3), "max_ms": round(max(lags), 2)}
        yield Figure(
            "lag of the loop beside loads, p99",
            case,
            "ms",
            percentile(sorted(lags), 0.99),
            goals=goal,
            facts=late,
        )
    for left in bench.folder.glob("many-*.sqlite"):
        left.unlink()


async def _lag(lags: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        lags.append((time.perf_counter() - began - 0.005) * 1e3)


def exports(bench: Bench) -> Iterator[Figure]:
    """A table as CSV, from the file to the last byte of a body, beside a bare fetch and DuckDB's COPY."""
    rows = 100_000 if bench.quick else 1_000_000
    path = _mixed(bench.folder / f"mixed-{rows}.csv", rows)
    staging, parquet = bench.folder / "export.sqlite", bench.folder / "export.parquet"
    with _service(bench) as service:
        found = service.run(load(service.workers, path, None, staging))
        sql = f"SELECT {', '.join(c.physical for c in found.columns)} FROM d ORDER BY row_id"
        duckdb.sql(
            f"COPY (SELECT * FROM read_csv('{path}', all_varchar=true)) TO '{parquet}' (FORMAT parquet)"
        )

        async def ours() -> tuple[float, dict[str, Any]]:
            began, first, size = time.perf_counter(), 0.0, 0
            body = await download(service.workers, staging, sql, found.columns, "csv", "t")
            async for piece in body.chunks:
                first = first or time.perf_counter() - began
                size += len(piece)
            assert size > path.stat().st_size
            return time.perf_counter() - began, {"first_byte_ms": first * 1e3, "peak_mb": service.memory()}

        def fetch() -> None:
            with closing(sqlite3.connect(staging)) as raw:
                cursor = raw.execute(sql)
                while cursor.fetchmany(5_000):
                    pass

        copied = f"COPY (SELECT * FROM '{parquet}') TO '{bench.folder / 'export.csv'}' (FORMAT csv)"
        pairs = bench.in_turn(
            {
                "ours": lambda: service.run(ours()),
                "fetch": lambda: _timed(fetch),
                "duckdb copy of parquet": lambda: _timed(lambda: duckdb.sql(copied)),
            }
        )
        goals = (Goal(2.8, "fetch", at_least=False), Goal(10, at_least=False))
        yield pairs.figure("export as CSV", f"{rows:,} rows of 10 columns", "s", goals)


def workbooks(bench: Bench) -> Iterator[Figure]:
    """A workbook into a staging file, beside calamine making Python rows of it."""
    rows = 20_000 if bench.quick else 100_000
    path = bench.folder / "mixed.xlsx"
    book = xlsxwriter.Workbook(str(path), {"constant_memory": True})
    sheet = book.add_worksheet()
    for y, row in enumerate([_NAMES, *_ready(_mixed(bench.folder / "mixed-100000.csv", 100_000))[:rows]]):
        sheet.write_row(y, 0, ["" if c is None else c for c in row])
    book.close()

    def plain() -> None:
        with CalamineWorkbook.from_path(str(path)) as opened:
            opened.get_sheet_by_index(0).to_python()

    with _service(bench) as service:
        staging = bench.folder / "book.sqlite"
        service.run(load(service.workers, path, None, staging))
        pairs = bench.in_turn(
            {
                "ours": lambda: service.timed(load(service.workers, path, None, staging)),
                "calamine rows": lambda: _timed(plain),
            }
        )
        yield pairs.figure(
            "load a workbook",
            f"{rows:,} rows of 10 columns",
            "s",
            (Goal(1.25, "calamine rows", at_least=False),),
        )
