"""Lint: what models write that runs, but not as meant, or at a cost. Warnings alone, each with what to write instead."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

from .report import Finding, Findings
from .scope import Reach
from .walk import Place, Walk

__all__ = ("Lint",)

_READERS, _WRITERS = ("db.query",), ("db.exec",)
_TAKE_SQL = ("db.query", "db.exec", "db.explain")
_NETWORK = frozenset(
    {"requests", "httpx", "aiohttp", "urllib3", "websockets", "boto3", "openai", "anthropic"}
)
_TABLES = frozenset(
    {"pandas", "numpy", "polars", "duckdb", "pyarrow", "scipy", "sklearn", "sqlalchemy", "matplotlib"}
)
_PROCESSES = frozenset({"multiprocessing", "ctypes", "mmap", "pty", "fcntl", "termios"})
_OUTSIDE = frozenset(
    {"os.system", "os.popen", "os.listdir", "os.walk", "os.makedirs", "os.mkdir", "os.remove", "os.environ"}
    | {"os.getenv", "os.fork", "subprocess.run", "subprocess.Popen", "subprocess.check_output", "shutil.copy"}
    | {"urllib.request.urlopen", "socket.socket", "sqlite3.connect", "socket.create_connection"}
    | {"threading.Thread", "http.client.HTTPSConnection", "http.client.HTTPConnection", "glob.glob"}
)
_NO_FILES = "There are no files here. Keep data in db; results go into the last expression."
_NO_NETWORK = "There is no network here; reach the outside through tools."
_FROM = re.compile(r"\bfrom\b", re.IGNORECASE)
_SCHEMA = re.compile(r"\bfrom\s+(?:pragma_\w+|sqlite_(?:master|schema))\b", re.IGNORECASE)
_AGGREGATE = re.compile(r"\b(limit|group\s+by|count|sum|avg|min|max|total)\b", re.IGNORECASE)
_FIRST_WORD = re.compile(r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*([a-z]+)", re.IGNORECASE | re.DOTALL)
_WRITES = frozenset({"insert", "update", "delete", "replace", "create", "drop", "alter"})


class Lint:
    """All lint rules over one walked program."""

    def __init__(self, walk: Walk, reach: Reach, found: Findings) -> None:
        self._walk = walk
        self._reach = reach
        self._found = found
        self._last: int | None = None
        self._loops: dict[str, list[tuple[ast.expr, Place]]] = {}
        for target, over, place in walk.loops:
            if isinstance(target, ast.Name):
                self._loops.setdefault(target.id, []).append((over, place))

    def apply(self, tree: ast.Module) -> None:
        """Look at the whole program."""
        if tree.body and isinstance(last := tree.body[-1], ast.Expr):
            self._last = id(last.value)  # the sandbox awaits it
        for call, place in self._walk.calls:
            path = self._reach.path(call.func, place.scope)
            if path is None:
                self._own_call(call, place)
            else:
                self._helper_call(path, call, place)
        for node, place in self._walk.subscripts:
            self._subscript(node, place)
        for statement, _ in self._walk.imports:
            self._import(statement)
        if tree.body:
            self._end(tree.body[-1], Place(self._walk.module))

    def _warn(self, node: ast.AST, message: str, hint: str, rule: str) -> None:
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        self._found.add(Finding(line, column, message, hint, rule=f"lint.{rule}"), certain=False)

    # Helpers

    def _helper_call(self, path: str, call: ast.Call, place: Place) -> None:
        first = _argument(call, 0, "sql")
        if path in _TAKE_SQL and first is not None:
            self._statement(path, call, first, place)
        if path == "db.batch_insert" and place.loop:
            records = _argument(call, 1, "records")
            if isinstance(records, ast.List) and len(records.elts) == 1:
                self._one_by_one(call)
        spec = self._reach.tree.helpers.get(path)
        if spec is not None and spec.awaitable and id(call) in self._walk.dropped and id(call) != self._last:
            self._warn(
                call,
                f"{path} is not awaited, so it may never run.",
                f"Write `await {path}(…)`, or gather several: `await asyncio.gather(…)`.",
                "await",
            )

    def _statement(self, path: str, call: ast.Call, first: ast.expr, place: Place) -> None:
        pasted = _pasted(first)
        if pasted is not None:
            self._warn(
                pasted,
                "Values are pasted into the SQL text.",
                'Bind them: db.query("… WHERE name = ?", [name]); a name goes through sql.quote_identifier.',
                "pasted_sql",
            )
        word = _first_word(first)
        if path in _READERS and word in _WRITES:
            self._warn(
                call, f"db.query only reads, and this is {word.upper()}.", "Use db.exec.", "reads_only"
            )
        elif path in _WRITERS and word in ("select", "values"):
            self._warn(call, "db.exec gives a number, not rows.", "Use db.query to read.", "writes_only")
        elif path in _WRITERS and word in ("insert", "replace") and place.loop:
            self._one_by_one(call)

    def _one_by_one(self, call: ast.Call) -> None:
        self._warn(
            call,
            "Rows are inserted one by one.",
            "Collect them in a list, and insert it once: db.batch_insert(table, records).",
            "row_by_row",
        )

    # What is not there

    def _own_call(self, call: ast.Call, place: Place) -> None:
        name = _dotted(call.func)
        if name is None or place.scope.look_up(name) is not None:
            return
        inside = name.partition(".")[0]
        if name == "print":
            self._printed(call, place)
        elif name == "open":
            self._warn(call, "open() is refused in the sandbox.", _NO_FILES, "files")
        elif name == "input":
            self._warn(call, "Nobody answers input() here.", "Read `inputs`, a dict, instead.", "input")
        elif name in ("exit", "quit"):
            self._warn(call, f"{name}() ends the program without a value.", "Use if and else.", "exit")
        elif name in _OUTSIDE:
            hint = _NO_NETWORK if inside in ("urllib", "socket", "http") else _NO_FILES
            if inside == "sqlite3":
                hint = "The database is at hand as db: db.query(…), db.exec(…)."
            elif inside in ("subprocess", "threading") or name in ("os.system", "os.popen", "os.fork"):
                hint = "There are no processes or threads here; gather calls of tools with asyncio.gather."
            self._warn(call, f"{name} is refused in the sandbox.", hint, "outside")
        elif name == "time.sleep" and not _is_short(call):
            self._warn(
                call,
                "Sleeping uses up the run's wall time.",
                "Leave it out: helper calls wait by themselves. Between awaited calls, `await asyncio.sleep(…)`.",
                "sleep",
            )
        elif name == "asyncio.run" and self._walk.awaited and place.block == "module":
            self._warn(call, "The program runs in a loop already.", "Write `await main()`.", "nested_loop")

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            modules = [node.module or ""] if not node.level else []
        for module in modules:
            top = module.partition(".")[0]
            if top in _NETWORK:
                hint = _NO_NETWORK
            elif top in _TABLES:
                hint = (
                    "Only the standard library is here: group, join and aggregate with SQL (db.query, sql)."
                )
            elif top in _PROCESSES:
                hint = "There are no processes here."
            elif (
                top
                and top not in sys.stdlib_module_names
                and top not in ("helpers", "db", "sql", "tools", "inputs")
            ):
                hint = "Only the standard library is here."
            else:
                continue
            self._warn(node, f"There is no module {top!r} in the sandbox.", hint, "module")

    # Rows

    def _query_of(self, node: ast.expr, place: Place) -> ast.Call | None:
        return self._reach.query(node, place.scope)

    def _is_row(self, node: ast.expr, place: Place) -> bool:
        """Tell whether an expression is one row of a query: rows[0], or the variable of a loop over rows."""
        if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice):
            return self._query_of(node.value, place) is not None
        if not isinstance(node, ast.Name):
            return False
        found = place.scope.look_up(node.id)
        if found is None or len(found[1]) != 1:
            return False
        return any(
            at.scope.look_up(node.id) == found and self._query_of(over, at) is not None
            for over, at in self._loops.get(node.id, ())
        )

    def _subscript(self, node: ast.Subscript, place: Place) -> None:
        if not isinstance(node.slice, ast.Constant):
            return
        key = node.slice.value
        if isinstance(key, str) and self._query_of(node.value, place) is not None:
            hint = f'Write rows[0]["{key}"], or go through them: for row in rows.'
            self._warn(node, "db.query gives a list of rows, not one row.", hint, "rows")
        elif isinstance(key, int) and not isinstance(key, bool) and self._is_row(node.value, place):
            hint = 'Take a column by its name: row["name"].'
            self._warn(node, "A row is a dict, not a tuple.", hint, "row")

    def _printed(self, call: ast.Call, place: Place) -> None:
        for argument in call.args:
            query = self._query_of(argument, place)
            if query is not None and _unbounded(query):
                self._whole(argument, "A whole result is printed.")

    def _end(self, last: ast.stmt, place: Place) -> None:
        value = last.value if isinstance(last, ast.Expr | ast.Assign | ast.AnnAssign) else None
        if value is None:
            return
        query = self._query_of(value, place)
        if query is not None and _unbounded(query):
            self._whole(value, "The value of the program is a whole result.")

    def _whole(self, node: ast.AST, message: str) -> None:
        hint = "Add LIMIT, or aggregate in SQL; show the count and a few rows."
        self._warn(node, message, hint, "whole_result")


def _is_short(call: ast.Call) -> bool:
    """Tell whether a call sleeps for a tenth of a second at most."""
    value = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    return isinstance(value, int | float) and value <= 0.1


def _argument(call: ast.Call, number: int, name: str) -> ast.expr | None:
    if len(call.args) > number:
        return call.args[number]
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _text(node: ast.expr) -> str | None:
    """Return the literal text of an expression; of an f-string what it begins with."""
    if isinstance(node, ast.JoinedStr):
        return _text(node.values[0]) if node.values else ""
    if isinstance(node, ast.BinOp):
        return _text(node.left)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _first_word(node: ast.expr) -> str:
    text = _text(node)
    found = _FIRST_WORD.match(text[:2_000]) if text else None
    return found[1].lower() if found else ""


def _unbounded(query: ast.Call) -> bool:
    first = _argument(query, 0, "sql")
    if first is None or len(query.args) > 2 or any(k.arg in ("limit", None) for k in query.keywords):
        return False
    text = _text(first) if isinstance(first, ast.Constant) else None
    if text is None or _first_word(first) != "select" or _FROM.search(text) is None:
        return False
    return _AGGREGATE.search(text) is None and _SCHEMA.search(text) is None


def _pasted(node: ast.expr) -> ast.expr | None:
    """Return the value that is pasted into a text: by an f-string, %, + or format."""
    match node:
        case ast.JoinedStr():
            return next((each for each in _formatted(node) if not _harmless(each)), None)
        case ast.BinOp(op=ast.Mod(), left=left, right=right) if _text(left) is not None:
            return None if _harmless(right) else right
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            if _text(left) is None and _text(right) is None:
                return None
            return next((e for e in (left, right) if not (_harmless(e) or _text(e) is not None)), None)
        case ast.Call(func=ast.Attribute(value=value, attr="format"), args=args) if _text(value) is not None:
            return next((each for each in args if not _harmless(each)), None)
    return None


def _formatted(node: ast.JoinedStr) -> Iterator[ast.expr]:
    return (each.value for each in node.values if isinstance(each, ast.FormattedValue))


def _harmless(node: ast.expr) -> bool:
    """Tell whether what is pasted cannot be a value: a constant, a quoted name, a row of question marks."""
    match node:
        case ast.Constant():
            return True
        case ast.Call(func=ast.Attribute(attr=attr)):
            return attr in ("join", "quote_identifier", "quoteIdentifier")
        case ast.BinOp(left=ast.Constant(), right=ast.Call()):
            return True  # "?" * len(values)
        case ast.Name(id=name):
            return "placeholder" in name or "mark" in name
    return False


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])
