"""The check before the run: what is wrong is told with its place and what to write; what works is never refused."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from actors.session.actor import SessionActor
from helpers.api import db_helpers
from helpers.check import CHECKED_CHARS, Report, check
from helpers.check.rules import RULES
from helpers.check.values import accepts
from helpers.docs import EXAMPLE
from helpers.search import DISCOVERY
from helpers.spec import HelperSpec, ParamSpec
from tests.unit.sandbox.parity_programs import PROGRAMS

ROOT = Path(__file__).resolve().parents[3]
CASES = ROOT.parent / "shared" / "cases" / "programs.json"


def tool(path: str, /, **parameters: str) -> HelperSpec:
    given = tuple(ParamSpec(name, not text.endswith("None"), None, text) for name, text in parameters.items())
    return HelperSpec(path, given, awaitable=True, doc="A tool.")


HELPERS = (
    *db_helpers(SessionActor.methods),
    tool("tools.shop.get_item", id="int"),
    tool("tools.shop.list_items", page="int | None"),
    tool("tools.my_files.read_file", path="str", pageSize="int | None"),
    *DISCOVERY,
)


def found(code: str, **inputs: object) -> Report:
    report = check(code, HELPERS, inputs=inputs or None)
    assert {finding.rule for finding in (*report.errors, *report.warnings)} <= RULES.keys()
    return report


@pytest.mark.parametrize(
    ("code", "line", "said", "nearest"),
    [
        ("x = 1\ndb.qurey('SELECT 1')", 2, "db has no 'qurey'", "db.query"),
        ("db.execute('DROP TABLE t')", 1, "db has no 'execute'", "db.exec"),
        ("db.insert('t', {'a': 1})", 1, "db has no 'insert'", "db.batch_insert"),
        ("db.batchInser('t', [])", 1, "db has no 'batchInser'", "db.batch_insert"),
        ("db.count_by('t', 'a')", 1, "db has no 'count_by'", "sql.count_by"),
        ("sql.countby('t', 'a')", 1, "sql has no 'countby'", "sql.count_by"),
        ("await tools.shop.get_itm(id=1)", 1, "tools.shop has no 'get_itm'", "tools.shop.get_item"),
        ("await tools.git.log()", 1, "tools has no 'git'", None),
        ("tools['my-files'].read_file(path='x')", 1, "tools takes no [ ]", "tools.my_files"),
        ("db['t']", 1, "db takes no [ ]", None),
        ("db('SELECT 1')", 1, "db is no function", None),
        ("db.query.all()", 1, "db.query is a function", None),
        ("q = db.query\nq(5)", 2, "sql must be str | Query, not 5", None),
        ("from helpers import db as store\nstore.nope()", 2, "db has no 'nope'", None),
        ("import helpers as h\nh.db.nope()", 2, "db has no 'nope'", None),
        ("helpers.tools.shop.nope()", 1, "tools.shop has no 'nope'", None),
        ("from helpers import nope", 1, "helpers has no 'nope'", None),
        ("import db", 1, "There is no module 'db'", None),
        ("from tools import shop", 1, "There is no module 'tools'", None),
        ("inputs.year", 1, "inputs is a dict", None),
        ("rows = db.query('SELECT a FROM t LIMIT 5')\nrows.fetchall()", 2, "rows of a query have no", None),
        ("(await db.query('SELECT a FROM t')).to_dict()", 1, "rows of a query have no", None),
        (
            "def f():\n    rows = db.query('SELECT 1')\n    return rows.rows\nf()",
            3,
            "rows of a query have",
            None,
        ),
        ("db.query()", 1, "lacks sql", None),
        ("db.query('SELECT 1', parms=[1])", 1, "no parameter 'parms'", "params"),
        ("db.query('SELECT 1', [], 5, 6)", 1, "takes 3 arguments", None),
        ("db.query('SELECT 1', sql='SELECT 2')", 1, "given 'sql' twice", None),
        ("db.query(5)", 1, "sql must be str | Query", None),
        ("db.query(['SELECT 1'])", 1, "sql must be str | Query", None),
        ("db.query('SELECT 1', limit='10')", 1, "limit must be int | None", None),
        ("db.query(sql.top_n('t', 'c'), [1])", 1, "brings its own params", None),
        ("db.batch_insert('t', {'a': 1})", 1, "records must be list", None),
        ("db.batch_insert('t', [1])", 1, "holds a value that must be dict", None),
        ("db.batch_insert('t', [{}], onConflict='repalce')", 1, "must be one of 'replace'", "replace"),
        ("db.create_table('t', {'a': 1})", 1, "holds a value that must be str", None),
        ("db.create_table('t', ['a TEXT'])", 1, "schema must be str | dict", None),
        ("db.save_state('k')", 1, "lacks value", None),
        ("sql.count_by('t')", 1, "lacks by", None),
        ("sql.count_by('t', 'a', 'b')", 1, "takes 2 arguments by position", None),
        ("sql.count_by('t', 'a', wher={})", 1, "no parameter 'wher'", "where"),
        ("await tools.shop.get_item('a')", 1, "id must be int", None),
        ("await tools.shop.get_item(1, 2)", 1, "takes 1 argument,", None),
        ("helpers.search(5)", 1, "text must be str", None),
        ("def f():\n    return db.nope()\nf()", 2, "db has no 'nope'", None),
        ("data = {'ok': true}", 1, "'true' is not defined", "True"),
        ("x = [1, null]", 1, "'null' is not defined", "None"),
        ("query('SELECT 1')", 1, "'query' is not defined", "db.query"),
        ("totl = 1\nprint(total)", 2, "'total' is not defined", "totl"),
        ("return 5", 1, "return stands outside a function", None),
        ("def f():\n    x = await tools.shop.get_item(id=1)", 2, "await stands in a function that", None),
        ("async with x:\n    pass\nbreak", 3, "break stands outside a loop", None),
        ("yield 1", 1, "yield stands outside a function", None),
    ],
)
def test_a_mistake_is_told_with_its_place_and_the_nearest_name(
    code: str, line: int, said: str, nearest: str | None
) -> None:
    report = found(code)
    assert not report.ok
    told = [finding for finding in report.errors if said in finding.message]
    assert told, report.errors
    assert (told[0].line, told[0].nearest) == (line, nearest)
    assert told[0].hint


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("```python\nprint(1)\n```", "```"),
        ("SELECT name FROM people", "This is SQL"),
        ("SELECT 1", "This is SQL"),
        ("\ufeffSELECT max(a)", "This is SQL"),
        ("const x = 5", "JavaScript"),
        ("for (let i = 0; i < 3; i++) {\n}", "colon"),
        ("if x && y:\n    pass", "and"),
        ("x === 1", "=="),
        ("i++", "+= 1"),
        ("// a comment", "#"),
        ("print “hello”", "quotes"),
        ("  x = 1\n", "left margin"),
        ("if True:\n    x = 1\n  y = 2", "alike"),
        ("print 'hello'", "print("),
        ("rows = db.query('SELECT 1'", "cut off"),
        ("x = 'abc", "quote"),
        ("!pip install pandas", "shell"),
        (">>> 1 + 1", ">>>"),
    ],
)
def test_what_is_no_python_gets_a_hint_for_what_models_write(code: str, hint: str) -> None:
    (error,) = found(code).errors
    assert "not Python" in error.message
    assert error.hint is not None and hint in error.hint
    assert error.line >= 1 and error.column >= 1


@pytest.mark.parametrize(
    "code",
    [
        "db = 3\ndb.foo()",
        "def f(tools):\n    return tools.foo(1, 2)\nf(inputs)",
        "class db:\n    def nope(self): ...\ndb().nope()",
        "for sql in ['SELECT 1']:\n    sql.upper()",
        "with open('x') as db:\n    db.nope()",
        "import json as db\ndb.dumps({})",
        "[tools.title() for tools in ['a']]",
        "f = lambda db: db.anything()",
        "def f():\n    global db\n    db = 1\ndb.nope()",
        "try:\n    import x\nexcept ImportError as db:\n    db.nope()",
        "match 1:\n    case db:\n        db.nope()",
        "if (db := 5): db.nope()",
        "try:\n    db.nope()\nexcept AttributeError:\n    pass",
        "try:\n    db.query(5)\nexcept Exception as e:\n    r = str(e)\nr",
        "if hasattr(db, 'vacuum'):\n    db.vacuum()",
        "f = getattr(db, 'nope', None)",
        "db.mine = lambda: 1\ndb.mine()",
        "from contextlib import suppress\nwith suppress(AttributeError):\n    db.nope()",
        "def retry(fn):\n    try:\n        return fn()\n    except Exception as e:\n        return str(e)\nretry(lambda: db.nope())",
        "async def f():\n    return db.nope()\nimport asyncio\nawait asyncio.gather(f(), return_exceptions=True)",
        "import asyncio\nawait asyncio.gather(tools.shop.get_item(nope=1), return_exceptions=True)",
        "later = tools.shop.get_item(nope=1)",
        "rows = db.query('SELECT 1')\nrows = list(rows)\nrows.anything",
        "rows = db.query('SELECT 1')\nrows.sort(key=len)\nrows.columns, rows.truncated, rows.copy()",
        "rows = db.query('SELECT 1')\nrows.extra = 5\nrows.extra",
        "for rows in [db.query('SELECT 1')]:\n    rows.nope",
        "setattr(db, 'nope', print)\ndb.nope()",
        "exec('db = 1')\ndb.nope()",
        "db.query(*['SELECT 1'])",
        "db.query(**{'sql': 'SELECT 1'})",
        "args = {'id': 1}\nawait tools.shop.get_item(**args)",
        "await tools.my_files.read_file('x', pageSize=3)",
        "db.query('SELECT 1', limit=True)",
        "db.query('SELECT ?', (1,))",
        "db.batch_insert('t', ({'a': i} for i in range(3)))",
        "db.batch_insert('t', records := [{'a': 1}])",
        "db.batchInsert('t', [{'a': 1}], onConflict='ignore')",
        "db.list_state(limit=None)",
        "await db.query('SELECT 1')",
        "x = tools.shop.get_item(id=1)\nawait x",
        "helpers.db.query('SELECT 1')\nhelpers.HelperError",
        "from helpers import *\nquery",
        "sql.Query('SELECT 1', []).params\nsql.BUILDERS",
        "db.query.__name__",
        "def f():\n    return undefined_at_first()\ndef undefined_at_first(): ...",
        "try:\n    unknown\nexcept NameError:\n    unknown = 1\nunknown",
        "if False:\n    nowhere",
        "import sys\nsys.exit()\nnowhere",
        "def f(x: Nowhere) -> Nowhere: ...",
        "class A:\n    n = 1\n    def f(self): return self.n\n    m = n + 1\nA().m",
        "inputs['anything']",
        "inputs.get('a')",
        "x = yes = (yield_ := 1)",
        "def g():\n    yield 1\nasync def h():\n    async for x in g(): yield x\n    return",
        "def f():\n    return (await x for x in [])",
        "while True:\n    break\nfor i in []:\n    continue\nelse:\n    pass",
        "type_ = 1\nprint(f'{type_!r:>{10}}')",
        "@staticmethod\ndef f(): ...\n__name__, __doc__, __file__, ToolError, GuardRefused, OperationalError",
    ],
)
def test_what_may_work_is_not_refused(code: str) -> None:
    assert found(code).errors == ()


@pytest.mark.parametrize(
    ("code", "rule", "line"),
    [
        ("rows = db.query('SELECT * FROM t')\nprint(rows)", "lint.whole_result", 2),
        ("print(db.query('SELECT a FROM t'))", "lint.whole_result", 1),
        ("db.query('SELECT * FROM t')", "lint.whole_result", 1),
        ("n = 1\ndb.query(f'SELECT * FROM t WHERE a = {n} LIMIT 1')", "lint.pasted_sql", 2),
        ("n = 1\ndb.query('SELECT a FROM t WHERE a = %s LIMIT 1' % n)", "lint.pasted_sql", 2),
        ("n = '1'\ndb.exec('DELETE FROM t WHERE a = ' + n)", "lint.pasted_sql", 2),
        ("n = 1\ndb.exec('DELETE FROM t WHERE a = {}'.format(n))", "lint.pasted_sql", 2),
        ("for i in range(9):\n    db.exec('INSERT INTO t VALUES (?)', [i])", "lint.row_by_row", 2),
        ("for i in range(9):\n    db.batch_insert('t', [{'a': i}])", "lint.row_by_row", 2),
        ("open('x.csv')", "lint.files", 1),
        ("import requests", "lint.module", 1),
        ("from pandas import DataFrame", "lint.module", 1),
        ("import os\nos.listdir('.')", "lint.outside", 2),
        ("import subprocess\nsubprocess.run(['ls'])", "lint.outside", 2),
        ("import sqlite3\nsqlite3.connect('x')", "lint.outside", 2),
        ("import time\ntime.sleep(5)", "lint.sleep", 2),
        ("name = input('who? ')", "lint.input", 1),
        ("tools.shop.get_item(id=1)\nx = 1", "lint.await", 1),
        ("db.query('INSERT INTO t VALUES (1)')", "lint.reads_only", 1),
        ("db.exec('SELECT * FROM t')", "lint.writes_only", 1),
        ("rows = db.query('SELECT a FROM t LIMIT 5')\nrows['a']", "lint.rows", 2),
        ("for r in db.query('SELECT a FROM t LIMIT 5'):\n    print(r[0])", "lint.row", 2),
        ("db.query('SELECT a FROM t LIMIT 1')[0][0]", "lint.row", 1),
        ("import asyncio\nasync def main(): ...\nawait main()\nasyncio.run(main())", "lint.nested_loop", 4),
    ],
)
def test_what_models_get_wrong_is_a_warning(code: str, rule: str, line: int) -> None:
    report = found(code)
    assert report.ok
    assert (rule, line) in [(finding.rule, finding.line) for finding in report.warnings]
    assert all(finding.hint for finding in report.warnings)


@pytest.mark.parametrize(
    "code",
    [
        "print(db.query('SELECT count(*) AS n FROM t'))",
        "print(db.query('SELECT * FROM t LIMIT 5'))",
        "db.query('SELECT * FROM t', limit=5)",
        "db.query(\"SELECT name, type FROM pragma_table_info('t')\")",
        "db.query('SELECT name FROM sqlite_master')",
        "table = 't'\ndb.query(f'SELECT a FROM {sql.quote_identifier(table)} LIMIT 1')",
        "ids = [1]\nmarks = ','.join('?' * len(ids))\ndb.query(f'SELECT a FROM t WHERE id IN ({marks}) LIMIT 9', ids)",
        "db.exec('INSERT INTO t VALUES (1)')",
        "for part in [[{}], [{}]]:\n    db.batch_insert('t', part)",
        "def open(name): return name\nopen('x')",
        "rows = [(1, 2)]\nfor r in rows:\n    r[0]",
        "import os.path, re, json, statistics",
    ],
)
def test_what_is_fine_gets_no_warning(code: str) -> None:
    assert found(code) == Report()


def test_an_input_that_this_run_does_not_have_is_a_warning() -> None:
    (warning,) = found("inputs['yaer']", year=2024).warnings
    assert warning.nearest == "year"
    assert found("inputs['year']", year=2024) == Report()
    assert found("inputs['yaer']") == Report()


def test_a_column_counts_characters() -> None:
    (error,) = found("x = 'äöü€'; db.nope()").errors
    assert (error.line, error.column) == (1, 13)


def test_without_a_connected_server_every_tool_is_unknown() -> None:
    (error,) = check("await tools.git.log()", ()).errors
    assert error.hint == "No tool server is connected here."


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_program_of_the_corpus_is_refused_but_for_its_mistake(name: str) -> None:
    report = found(PROGRAMS[name], year=2024)
    assert report.ok == (not name.startswith(("mistake", "syntax"))), report


def test_no_shared_program_is_refused() -> None:
    if not CASES.exists():
        pytest.skip("the shared cases are not beside the repository: programs.json")
    for case in json.loads(CASES.read_text(encoding="utf-8"))["cases"]:
        assert found(case["code"]).errors == (), case["name"]


def test_no_program_of_the_documentation_is_refused() -> None:
    assert found(EXAMPLE) == Report()
    penguins = (ROOT / "docs" / "examples" / "penguins_program.py").read_text(encoding="utf-8")
    assert found(penguins, rows=[]).errors == ()
    recorded = (ROOT / "docs" / "examples" / "recorded").glob("*.json")
    programs = [turn["answer"] for path in recorded for turn in json.loads(path.read_text(encoding="utf-8"))]
    assert len(programs) == 9


_DEEP = (
    ("-" * 60_000 + "1", False),
    ("a" + ".b" * 30_000, False),
    ("1" + "+1" * 30_000, False),
    ("f" + "()" * 30_000, False),
    ("[" * 190 + "]" * 190, True),
    ("(" * 5_000, True),
    ("x = " + "9" * 60_000, True),
    ("lambda: " * 5_000 + "1", False),
    ("a;" * 30_000, True),
)


@pytest.mark.parametrize(("code", "complete"), _DEEP, ids=[code[:8] for code, _ in _DEEP])
def test_deep_and_large_programs_are_bounded(code: str, complete: bool) -> None:
    report = found(code)
    assert report.complete == complete
    assert len(report.errors) <= 20 and len(report.warnings) <= 20
    if not complete:
        assert report.ok and report.warnings


def test_a_program_over_the_bound_is_not_read() -> None:
    report = found("db.nope()\n" * CHECKED_CHARS)
    assert report.ok and not report.complete
    assert "64" in report.warnings[0].message or "65" in report.warnings[0].message


@pytest.mark.parametrize("code", ["\0", "x = '\ud800'", "\ufeff1", "", "   ", "\r\r", "\f1"])
def test_odd_text_gives_a_report(code: str) -> None:
    assert isinstance(found(code), Report)


def test_thousands_of_mistakes_give_a_bounded_report() -> None:
    report = found("\n".join(f"db.nope_{n}({n})" for n in range(3_000)))
    assert len(report.errors) == 20
    assert [finding.line for finding in report.errors] == list(range(1, 21))


def test_a_type_text_that_is_not_understood_takes_anything() -> None:
    for text in ("Any", "Foo", "list[", "int | Foo", "Callable[[int], str]", "Literal[X]", "", "a" * 5_000):
        accepted = accepts(text)
        assert accepted is None or accepted.misfit(ast.parse("{}", mode="eval").body) is None
