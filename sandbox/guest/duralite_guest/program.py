"""A program is user code at the top level of a fresh module: compiled here, run once, ended with a report.

Its value is that of the last statement where that is an expression or an assignment. `await` may stand at
the top level, and tolerates a plain value, since `db` calls have their answer at once.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import linecache
import resource
import signal
import sys
import types
from collections.abc import Callable, Coroutine
from typing import Any

from . import codec, faults, names
from .output import Writer
from .wire import Channel

__all__ = ("Program",)

# Modules that each program has of its own.
_REPLACED = ("__main__", "builtins", "helpers")
_VALUE, _TOLERATE = "__value__", "__tolerate__"


class Program:
    """One job, from source to report."""

    def __init__(self, job: dict[str, Any], channel: Channel, libraries: dict[str, types.ModuleType]) -> None:
        # A mark that some editors put before a text; CPython leaves it out of files as well.
        self._code: str = job["code"].removeprefix("\ufeff")
        self._filename: str = job["filename"]
        self._limits: dict[str, Any] = job["limits"]
        self._channel = channel
        self._module = self._make_module(job, libraries)

    @classmethod
    def rehearse(cls, libraries: dict[str, types.ModuleType]) -> None:
        """Go through the motions of a job before there is one.

        A forked process copies each page of memory on its first touch; touched now, it costs a waiting run
        nothing.
        """
        job = codec.decode(_REHEARSAL)
        # Not a copy of all modules: that alone would touch a page for each.
        before = {name: sys.modules.get(name) for name in _REPLACED}
        program = cls(job, _Silent(job["answer"]), libraries)  # type: ignore[arg-type]
        program._execute()
        codec.encode_result(program._module.__dict__[_VALUE], 64, 1024)
        faults.describe(ValueError(), program._filename, program._code, program._module.__dict__)
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
        linecache.cache.pop(program._filename, None)

    def run(self) -> None:
        """Run, and send the report. What user code raises is part of the report."""
        bound = int(self._limits["output_bytes"])
        out = Writer(self._channel, bound)
        sys.stdout, sys.stderr = out, out.sibling(b"E", "<stderr>")
        for name in ("__stdout__", "__stderr__", "__stdin__"):
            setattr(sys, name, None)
        sys.stdin = _NoInput()
        try:
            self._report(self._execute, out)
        except SystemExit as stop:
            if stop.code is None or stop.code == 0:
                self._report(lambda: None, out)
            else:
                self._fail(stop, out)
        except BaseException as error:
            self._fail(error, out)

    def _report(self, execute: Callable[[], Any], out: Writer) -> None:
        value = execute()
        _silence()
        out.finish()
        self._finish(value)

    def _execute(self) -> Any:
        module = self._module.__dict__
        source = self._code
        # Shown in tracebacks that user code prints itself.
        linecache.cache[self._filename] = (
            len(source),
            None,
            source.splitlines(keepends=True),
            self._filename,
        )
        compiled = compile(
            _rewrite(ast.parse(source, self._filename), "await" in source),
            self._filename,
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        if compiled.co_flags & inspect.CO_COROUTINE:
            _in_loop(self._await_module(compiled, module))
        else:
            exec(compiled, module)  # noqa: S102 - what this process is for
        value = module.get(_VALUE)
        # A forgotten await: give the answer, not the text of a coroutine object.
        return _in_loop(_wait_for(value)) if inspect.isawaitable(value) else value

    async def _await_module(self, compiled: types.CodeType, module: dict[str, Any]) -> None:
        await eval(compiled, module)  # noqa: S307 - as above
        value = module.get(_VALUE)
        if inspect.isawaitable(value):
            module[_VALUE] = await value

    def _make_module(self, job: dict[str, Any], libraries: dict[str, types.ModuleType]) -> types.ModuleType:
        found = names.scope(job["helpers"], self._channel, libraries)
        # Functions of `helpers` itself (search, describe) stand beside the namespaces in it.
        own = found.pop("helpers", None)
        module = types.ModuleType("__main__")
        module.__dict__.update(found)
        module.__dict__.update(
            inputs=job["inputs"],
            __builtins__=_BUILTINS,
            __file__=self._filename,
            __annotations__={},
            **{_TOLERATE: _tolerate},
        )
        helpers = types.ModuleType("helpers", "The helpers of this program.")
        helpers.__dict__.update(found, inputs=job["inputs"], **names.errors())
        helpers.__dict__.update({name: getattr(own, name) for name in (dir(own) if own else ())})
        module.__dict__["helpers"] = helpers
        sys.modules.update({"__main__": module, "builtins": _BUILTINS, "helpers": helpers})
        return module

    def _finish(self, value: Any) -> None:
        limit = int(self._limits["result_bytes"])
        try:
            data, note = codec.encode_result(value, int(self._limits["depth"]), limit)
        except (codec.TooLarge, MemoryError):
            self._channel.finish(
                {
                    "status": "limit",
                    "limit": "result_bytes",
                    "error": {
                        "type": "ResultTooLarge",
                        "message": f"The value at the end is larger than {limit:,} bytes of JSON.",
                        "hint": "End with a summary, or a page of it; keep the data in a table of `db`.",
                    },
                    "usage": _usage(),
                }
            )
            return
        self._channel.finish_encoded(data, {"status": "ok", "note": note, "usage": _usage()})

    def _fail(self, error: BaseException, out: Writer) -> None:
        _silence()
        out.finish()
        described = faults.describe(error, self._filename, self._code, self._module.__dict__)
        report: dict[str, Any] = {"status": "error", "error": described, "usage": _usage()}
        if isinstance(error, MemoryError):
            report.update(status="limit", limit="memory_bytes")
        self._channel.finish(report)


class _Silent:
    """A channel that goes nowhere, for the rehearsal."""

    def __init__(self, answer: Any) -> None:
        self._answer = codec.encode([0, "ok", answer], 64)

    def call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        codec.encode([0, name, args, kwargs], 64).encode()
        return codec.decode(self._answer)[2]


_REHEARSAL = """{
    "code": "rows = db.query('select 1', [1])\\nprint\\ntotal = 0\\nfor row in rows:\\n    total += row['n']\\ndef f(x):\\n    return {'a': x, 'b': f'{x} rows'}\\n[f(each) for each in range(3)]",
    "filename": "<code>",
    "helpers": [["db.query", [["sql", true, null], ["params", false, null]], "rows", false, ""]],
    "inputs": {},
    "limits": {"output_bytes": 1024},
    "answer": {"columns": ["n"], "rows": [[1], [2]], "truncated": false}
}"""


def _own_builtins() -> types.ModuleType:
    own = types.ModuleType("builtins", builtins.__doc__)
    own.__dict__.update(builtins.__dict__)
    own.__dict__.update(names.errors())
    return own


# What user code replaces in its builtins, the stub and the standard library do not see. Made once, in the
# zygote: a child is one program's alone.
_BUILTINS = _own_builtins()


class _NoInput:
    """Stands for standard input, which a program does not have."""

    def readline(self, *_: Any) -> str:
        raise RuntimeError("a program has no standard input; what it needs comes in `inputs`")

    read = readlines = readline

    def fileno(self) -> int:
        raise OSError("a program has no standard input")


def _silence() -> None:
    """Let no handler, timer or hook of user code into what follows."""
    sys.settrace(None)
    sys.setprofile(None)
    signal.pthread_sigmask(signal.SIG_BLOCK, _EVERY_SIGNAL)


_EVERY_SIGNAL = signal.valid_signals()


def _usage() -> list[float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return [used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]


def _in_loop(work: Coroutine[Any, Any, Any]) -> Any:
    # Not `asyncio.run`: that waits at the end for tasks which may never end. The process ends instead.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(work)


async def _wait_for(value: Any) -> Any:
    return await value


class _Ready:
    """A plain value that can be awaited."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Any:
        yield from ()
        return self._value


def _tolerate(value: Any) -> Any:
    return value if inspect.isawaitable(value) else _Ready(value)


class _Awaits(ast.NodeTransformer):
    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        call = ast.Call(ast.Name(_TOLERATE, ast.Load()), [node.value], [])
        node.value = ast.copy_location(call, node.value)
        ast.copy_location(call.func, node.value)
        return node


def _rewrite(tree: ast.Module, awaits: bool) -> ast.Module:
    """Make awaits tolerant, and keep the value of the last statement."""
    if awaits:
        tree = _Awaits().visit(tree)
    if tree.body:
        last = tree.body[-1]
        kept = _keep(last)
        for statement in kept:
            ast.fix_missing_locations(ast.copy_location(statement, last))
        tree.body[-1:] = kept
    return tree


def _keep(last: ast.stmt) -> list[ast.stmt]:
    store: ast.expr = ast.Name(_VALUE, ast.Store())
    if isinstance(last, ast.Expr):
        return [ast.Assign([store], last.value)]
    if isinstance(last, ast.Assign):
        target = last.targets[0]
        if isinstance(target, ast.Tuple | ast.List):
            loaded = _load(target)
            return [last, ast.Assign([store], loaded)] if loaded is not None else [last]
        return [ast.Assign([store, *last.targets], last.value)]
    if isinstance(last, ast.AugAssign) or (isinstance(last, ast.AnnAssign) and last.value is not None):
        loaded = _load(last.target)
        return [last, ast.Assign([store], loaded)] if loaded is not None else [last]
    return [last]


def _load(target: ast.expr) -> ast.expr | None:
    """Return the expression that reads a target back, None where reading could have effects."""
    if isinstance(target, ast.Name):
        return ast.Name(target.id, ast.Load())
    if isinstance(target, ast.Starred):
        return _load(target.value)
    if isinstance(target, ast.Tuple | ast.List):
        items = [_load(item) for item in target.elts]
        return ast.Tuple([item for item in items if item], ast.Load()) if all(items) else None
    if isinstance(target, ast.Attribute):
        base = _load(target.value)
        return ast.Attribute(base, target.attr, ast.Load()) if base else None
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant | ast.Name):
        base = _load(target.value)
        return ast.Subscript(base, target.slice, ast.Load()) if base else None
    return None
