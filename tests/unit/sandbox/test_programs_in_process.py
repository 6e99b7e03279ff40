"""What a program is: its value, its names, its errors, on the process engine."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.errors import GuardRefused, InputError, SqlError
from sandbox.engine import Encoded, HelperSpec, Job
from tests.unit.sandbox.conftest import Bench, TableHost

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("", None),
        ("1 + 1", 2),
        ("x = 5", 5),
        ("x: int = 5", 5),
        ("x: int", None),
        ("x = y = [1]", [1]),
        ("a, b = 1, (2, 3)", [1, [2, 3]]),
        ("a, *b = [1, 2, 3]", [1, [2, 3]]),
        ("n = 1\nn += 2", 3),
        ("d = {'a': 1}\nd['a'] += 2", 3),
        ("d = {}\nd['a'] = 7", 7),
        ("class A: pass\na = A()\na.x = 3", 3),
        ("a = iter([1, 2])\nx, y = a", [1, 2]),
        ("for i in range(3): i", None),
        ("def f(): return 1", None),
        ("if __name__ == '__main__':\n    x = 1", None),
        ("# only a comment", None),
        ("await tools.echo(3)", 3),
        ("await db.echo(3)", 3),
        ("x = await db.echo(3)\nx", 3),
        ("tools.echo(3)", 3),
        ("x = tools.echo(3)", 3),
        ("async def main(): return await tools.echo(4)\nmain()", 4),
        ("async def main(): return await db.echo(4)\nawait main()", 4),
        ("import asyncio\nasync def main(): return await tools.echo(5)\nasyncio.run(main())", 5),
        ("import asyncio\nawait asyncio.gather(*[tools.echo(i) for i in range(3)])", [0, 1, 2]),
        ("import asyncio\nasync with asyncio.timeout(5):\n    x = await tools.echo(1)\nx", 1),
        ("[await tools.echo(i) for i in range(2)]", [0, 1]),
        ("inputs['a']", 1),
        ("\ufeffx = 2\nx + 1", 3),
        ("helpers.inputs is inputs", True),
        ("import helpers\nhelpers.db is db", True),
        ("from helpers import db as d\nd.echo(1)", 1),
        ("db.batchInsert('t', [{}], onConflict='ignore')", 1),
        ("sql.countBy is sql.count_by", True),
        ("import asyncio\nt = asyncio.create_task(asyncio.sleep(1000))\nawait tools.echo(1)", 1),
        ("import sys\nsys.exit()", None),
        ("import sys\nsys.exit(0)", None),
    ],
)
async def test_a_program_has_the_value_of_its_last_statement(bench: Bench, code: str, value: Any) -> None:
    host = TableHost(batch_insert=lambda table, records, on_conflict: {"inserted": len(records)})
    assert await bench.value(code, host, inputs={"a": 1}) == value


async def test_rows_are_dicts_with_columns_and_the_cut_told(bench: Bench) -> None:
    host = TableHost(query=lambda sql: Encoded(b'{"columns":["a","b"],"rows":[[1,"x"]],"truncated":true}'))
    code = "r = db.query('q')\n[r, list(r.columns), r.truncated, r[0]['b'], isinstance(r, list)]"
    assert await bench.value(code, host) == [[{"a": 1, "b": "x"}], ["a", "b"], True, "x", True]


async def test_encoded_answers_carry_tags_to_the_program(bench: Bench) -> None:
    host = TableHost(echo=lambda: Encoded(b'{"n":[{"$bytes":"AAE="},{"$date":"2024-02-03"}]}'))
    assert await bench.value("x = db.echo()['n']\n[type(i).__name__ for i in x]", host) == ["bytes", "date"]


async def test_a_built_query_is_spread_into_text_and_parameters(bench: Bench) -> None:
    host = TableHost(query=lambda **given: {"columns": ["n"], "rows": [[1]], "truncated": False})
    await bench.value("db.query(sql.count_by('t', 'c', where={'x': 5}))", host)
    (_, _, args, kwargs), *_ = host.calls
    assert args == []
    assert "GROUP BY" in kwargs["sql"]
    assert kwargs["params"] == [5]


@pytest.mark.parametrize(
    "value",
    [
        "None",
        "True",
        "10**30",
        "1.5",
        "float('inf')",
        "b'x'",
        "'ä'",
        "[1, [2]]",
        "{'$bytes': 'AA=='}",
        "{1, 2}",
    ],
)
async def test_arguments_and_answers_keep_their_value(bench: Bench, value: str) -> None:
    assert await bench.value(f"v = {value}\nr = db.echo(v)\n[r == v, type(r) is type(v)]") == [True, True]


async def test_dates_and_decimals_keep_their_type(bench: Bench) -> None:
    code = (
        "from datetime import *\nfrom decimal import Decimal\n"
        "v = [datetime(2024, 1, 2, 3, 4, 5, 6, timezone.utc), date(2024, 1, 2), time(3, 4), Decimal('1.10')]\n"
        "r = db.echo(v)\n[r == v, [type(a) is type(b) for a, b in zip(r, v)], v]"
    )
    same, types, shown = await bench.value(code)
    assert same
    assert all(types)
    assert shown == ["2024-01-02T03:04:05.000006+00:00", "2024-01-02", "03:04:00", "1.10"]


async def test_errors_of_helpers_are_ordinary_exceptions(bench: Bench) -> None:
    def fail(sql: str) -> Any:
        raise SqlError("no such table: t", exception="OperationalError", hint="Tables: a, b.")

    code = (
        "import sqlite3\n"
        "try:\n    db.query('x')\n"
        "except HelperError as e:\n"
        "    r = [f'{type(e).__name__}: {e}', e.hint, e.code, isinstance(e, sqlite3.OperationalError), "
        "isinstance(e, OperationalError)]\nr"
    )
    host = TableHost(query=fail)
    assert await bench.value(code, host) == [
        "OperationalError: no such table: t",
        "Tables: a, b.",
        "sql_error",
        True,
        True,
    ]
    outcome = await bench.run("x = 1\ndb.query('x')", host)
    assert outcome.status == "error"
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.line) == ("OperationalError", 2)
    assert (outcome.error.hint, outcome.error.code) == ("Tables: a, b.", "sql_error")


async def test_awaited_errors_are_caught_the_same_way(bench: Bench) -> None:
    def fail(id: int) -> Any:
        raise GuardRefused("not allowed", rule="r")

    code = (
        "import asyncio\nr = await asyncio.gather(tools.shop.get_item(1), return_exceptions=True)\n"
        "[type(r[0]).__name__, str(r[0])]"
    )
    assert await bench.value(code, TableHost(get_item=fail)) == ["GuardRefused", "not allowed"]


async def test_what_breaks_in_the_host_is_not_told_to_the_program(bench: Bench) -> None:
    def fail(sql: str) -> Any:
        raise ValueError("secret path /etc/x")

    heard: list[dict[str, Any]] = []
    import asyncio

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context))
    outcome = await bench.run("db.query('x')", TableHost(query=fail))
    loop.set_exception_handler(None)
    assert outcome.error is not None
    assert "secret" not in repr(outcome)
    assert outcome.error.type == "InternalError"
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("code", "type_name", "line", "part", "hint"),
    [
        ("x = 1\nqurey", "NameError", 2, "qurey", None),
        ("orders = 1\nordres", "NameError", 2, "ordres", "orders"),
        ("math.pi", "NameError", 1, "math", "import math"),
        ("import numpy", "ModuleNotFoundError", 1, "numpy", "SQL"),
        ("import requests", "ModuleNotFoundError", 1, "requests", "tools"),
        ("import jsn", "ModuleNotFoundError", 1, "jsn", "json"),
        ("def f(:\n  pass", "SyntaxError", 1, "", None),
        ("x = 1\nreturn x", "SyntaxError", 2, "return", "last line"),
        ("def f():\n  await db.echo(1)", "SyntaxError", 2, "await", "async def"),
        ("open('x')", "PermissionError", 1, "x", "db"),
        ("db.qurey('x')", "AttributeError", 1, "Did you mean db.query", None),
        ("tools.github.x()", "AttributeError", 1, "github", None),
        ("db.query()", "TypeError", 1, "lacks sql", None),
        ("db.query('a', 'b', 'c')", "TypeError", 1, "at most 2", None),
        ("db.query('a', parms=1)", "TypeError", 1, "params", None),
        ("db.query('a', sql='b')", "TypeError", 1, "twice", None),
        ("db.echo(object())", "TypeError", 1, "plain data", None),
        ("x = tools.echo(1)\nx['a']", "TypeError", 2, "coroutine", "await"),
        ("rows = [{'a': 1}]\nrows[0].a", "AttributeError", 2, "'a'", "row['name']"),
        ("rows = [{'a': 1}]\nrows['a']", "TypeError", 2, "indices", "rows[0]"),
        ("input()", "RuntimeError", 1, "inputs", None),
        (
            "import asyncio\nasync def m(): pass\nawait m()\nasyncio.run(m())",
            "RuntimeError",
            4,
            "",
            "await main()",
        ),
        ("import threading\nthreading.Thread(target=print).start()", "RuntimeError", 2, "thread", "gather"),
        ("def f(n): return f(n + 1)\nf(0)", "RecursionError", 1, "", "loop"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", 1, "", None),
        ("import sys\nsys.exit('bad')", "SystemExit", 2, "bad", None),
        ("1 / 0", "ZeroDivisionError", 1, "zero", None),
        ("raise ValueError('half \\ud800')", "ValueError", 1, "half \\ud800", None),
        ("raise ExceptionGroup('g', [ValueError('\\udfff')])", "ExceptionGroup", 1, "\\udfff", None),
        ("class E(Exception): hint = '\\ud800'\nraise E('x')", "E", 2, "x", "\\ud800"),
        ("import sys\nsys.exit('x' * 10**7)", "SystemExit", 2, "cut", None),
        ("raise ExceptionGroup('g', [ValueError('inner')])", "ExceptionGroup", 1, "inner", None),
    ],
)
async def test_an_error_names_type_line_and_a_way_on(
    bench: Bench, code: str, type_name: str, line: int, part: str, hint: str | None
) -> None:
    outcome = await bench.run(code)
    assert outcome.status == "error", outcome
    error = outcome.error
    assert error is not None
    assert (error.type, error.line) == (type_name, line)
    assert part in error.message
    assert hint is None or hint in (error.hint or "")
    assert error.code is None


async def test_a_traceback_holds_the_programs_own_lines_only(bench: Bench) -> None:
    code = "import json\ndef load(t):\n    return json.loads(t)\ndef main():\n    load('{')\nmain()"
    outcome = await bench.run(code)
    assert outcome.error is not None
    assert outcome.error.traceback.splitlines() == [
        "  line 6: main()",
        "  line 5, in main: load('{')",
        "  line 3, in load: return json.loads(t)",
    ]


async def test_output_keeps_its_order_and_survives_an_error(bench: Bench) -> None:
    host = TableHost()
    code = "import sys\nprint('a', end='')\nprint('b')\nprint('c', file=sys.stderr)\nprint('d\\u202e')\n1 / 0"
    outcome = await bench.run(code, host)
    assert [(log.stream, log.text) for log in outcome.logs] == [
        ("stdout", "ab\n"),
        ("stderr", "c\n"),
        ("stdout", "d\u202e\n"),
    ]
    assert "".join(text for _, text in host.pieces) == outcome.output


async def test_printed_tracebacks_show_the_source(bench: Bench) -> None:
    outcome = await bench.run(
        "import traceback\ntry:\n    1 / 0\nexcept Exception:\n    traceback.print_exc()"
    )
    assert "1 / 0" in outcome.output


async def test_a_seed_makes_chance_repeat_and_its_absence_does_not(bench: Bench) -> None:
    code = "import random\nrandom.random()"
    assert await bench.value(code, seed=b"s") == await bench.value(code, seed=b"s")
    assert await bench.value(code) != await bench.value(code)


async def test_all_sources_of_chance_repeat_with_a_seed(bench: Bench) -> None:
    code = (
        "import os, random, secrets, uuid\n"
        "[random.random(), os.urandom(4).hex(), secrets.token_hex(4), str(uuid.uuid4()), random.SystemRandom().random()]"
    )
    assert await bench.value(code, seed=b"s") == await bench.value(code, seed=b"s")
    assert await bench.value(code, seed=b"s") != await bench.value(code, seed=b"t")


async def test_a_given_moment_is_what_every_calendar_clock_shows(bench: Bench) -> None:
    code = (
        "import time, datetime as d, sqlite3\nfrom datetime import datetime, date, timezone\n"
        "a = time.time()\ntime.sleep(0.01)\n"
        "made = datetime(2024, 5, 6)\n"
        "[datetime.now(timezone.utc).isoformat()[:16], str(date.today()), str(datetime.today())[:10], "
        "time.strftime('%Y'), time.gmtime().tm_year, 0.01 <= time.time() - a < 0.02, "
        "isinstance(made, datetime), isinstance(made, date), isinstance(date(2024, 1, 1), datetime), "
        "type(made + d.timedelta(1)).__name__, datetime.fromisoformat('2024-05-06') == made, made]"
    )
    value = await bench.value(code, now=1_700_000_000.0)
    assert value == [
        *("2023-11-14T22:13", "2023-11-14", "2023-11-14", "2023", 2023, True),
        *(True, True, False, "datetime", True, "2024-05-06T00:00:00"),
    ]
    assert await bench.value("import time\ntime.time()", now=5.0) == await bench.value(
        "import time\ntime.time()", now=5.0
    )


async def test_sets_come_in_the_same_order_in_every_run(bench: Bench) -> None:
    code = "list({'a', 'b', 'c', 'd', 'e', 'f'})"
    assert await bench.value(code) == await bench.value(code)


async def test_time_zones_and_late_imports_work_without_files(bench: Bench) -> None:
    code = (
        "import zoneinfo, datetime, statistics, decimal, csv, io, xml.etree.ElementTree, sqlite3, uuid, textwrap\n"
        "import calendar, html, fractions, heapq, logging, difflib, unittest.mock, email.message, gzip, hashlib\n"
        "datetime.datetime.strptime('3 Mar 2024', '%d %b %Y')\n"
        "'x'.encode('utf-16').decode('utf-16') + 'straße'.encode('idna').decode()\n"
        "hashlib.sha256(b'x').hexdigest()\nuuid.uuid4()\n"
        "str(datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin')).utcoffset())"
    )
    assert await bench.value(code) == "2:00:00"


async def test_inputs_that_cannot_cross_are_an_input_error(bench: Bench) -> None:
    for inputs in ({"x": object()}, {"x": "\ud800"}):
        with pytest.raises(InputError):
            await bench.run("1", inputs=inputs)
    with pytest.raises(InputError):
        await bench.run("'\ud800'")
    with pytest.raises(InputError):
        await bench.run("1", inputs={"x": "y" * 2_000_000}, limits={"frame_bytes": 1 << 20})


async def test_helpers_without_specs_leave_empty_namespaces(bench: Bench) -> None:
    outcome = await bench.engine.run(Job("[str(db), str(tools)]"), TableHost())
    assert outcome.value == ["<db: nothing connected>", "<tools: nothing connected>"]
    specs = (HelperSpec("ping"), HelperSpec("a.b.c"))
    outcome = await bench.engine.run(Job("[ping(), a.b.c()]", specs), TableHost(ping=lambda: 1, c=lambda: 2))
    assert outcome.value == [1, 2]


async def test_help_of_a_helper_is_its_doc(bench: Bench) -> None:
    assert await bench.value("db.echo.__doc__") == "Give back what came."
    assert await bench.value("'query' in dir(db)") is True
