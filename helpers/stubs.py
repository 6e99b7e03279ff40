"""The stub is the scope of a program as type text (.pyi): what a checker and a model read before code runs.

One class for each namespace (`db`, `sql`, `tools.shop`), one method for each helper with its summary, the
camelCase spelling beside it, and the names that are in scope. It is generated from helper specs alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from helpers.spec import HelperSpec

__all__ = ("camel_case", "stub_text")

_PREAMBLE = '''\
"""The names that a program has in scope. Generated: change the methods or builders, not this text."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypedDict

class Query(NamedTuple):
    """SQL text and the values bound to it; db.query takes it as it is."""
    sql: str
    params: tuple[Any, ...] | list[Any] = ...

Value = bool | int | float | str | bytes | date | datetime | time | Decimal | None
Columns = str | Sequence[str]
Table = str | Query
Where = Mapping[str, Any] | Query | Sequence[Any] | None
Order = str | Sequence[str] | None

_QueryClass = type[Query]

class _SqlNames:
    Query: _QueryClass
    def quote_identifier(self, name: str) -> str:
        """Return a name in double quotes, fit for SQL text."""
    def quoteIdentifier(self, name: str) -> str:
        """Return a name in double quotes, fit for SQL text."""

class Rows(list[dict[str, Any]]):
    """The rows of a result; `truncated` says that a limit cut it."""
    columns: list[str]
    truncated: bool

class HelperError(Exception):
    """The base of all errors that helpers raise."""
    code: str
    hint: str | None
'''
_SCOPE = ("db", "sql", "tools")
_FUNCTIONS = '''\
    def search(self, text: str, limit: int = 10) -> list[dict[str, str]]:
        """Find helpers by words: their paths and summaries."""
    def describe(self, path: str) -> str:
        """Return the signature and the whole doc of one helper."""
'''


def camel_case(name: str) -> str:
    """Return the camelCase spelling of a snake_case name: `batch_insert` is `batchInsert`."""
    head, *rest = name.strip("_").split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def stub_text(
    helpers: Iterable[HelperSpec], inputs: Mapping[str, str] | None = None, *, discovery: bool = False
) -> str:
    """Return the .pyi text for a program's scope.

    `helpers` are those of `db`, `sql` and `tools`; `inputs` gives the type text of each input, if known. With
    `discovery`, `helpers.search` and `helpers.describe` are in scope as well.
    """
    spaces: dict[str, list[HelperSpec]] = {name: [] for name in _SCOPE}
    for helper in helpers:
        spaces.setdefault(helper.namespace, []).append(helper)
    children: dict[str, list[str]] = {name: [] for name in spaces}
    for path in list(spaces):
        while "." in path:
            parent = path.rpartition(".")[0]
            spaces.setdefault(parent, [])
            siblings = children.setdefault(parent, [])
            if path not in siblings:
                siblings.append(path)
            path = parent
    # Inner namespaces first, so that the text also reads from top to bottom.
    ordered = sorted(spaces, key=lambda path: (-path.count("."), list(spaces).index(path)))
    parts = [_PREAMBLE, *(_namespace(path, spaces[path], children.get(path, [])) for path in ordered)]
    parts.append(_scope([path for path in ordered if "." not in path], inputs, discovery))
    return "\n".join(parts)


def _class_name(path: str) -> str:
    return "_" + "".join(part[:1].upper() + part[1:] for part in path.replace(".", "_").split("_"))


def _namespace(path: str, helpers: list[HelperSpec], children: list[str]) -> str:
    # A name of its own class: inside _Sql the word Query must still mean the type.
    base = "(_SqlNames)" if path == "sql" else ""
    lines = [f"class {_class_name(path)}{base}:"]
    lines += [f"    {child.rpartition('.')[2]}: {_class_name(child)}" for child in children]
    names = {helper.name for helper in helpers}
    for helper in helpers:
        lines += _function(helper)
        if (alias := camel_case(helper.name)) not in names:
            lines.append(f"    {alias} = {helper.name}")
    return "\n".join(lines if len(lines) > 1 else [*lines, "    ..."]) + "\n"


def _function(helper: HelperSpec) -> list[str]:
    arguments = helper.arguments(annotated=True)
    head = (
        f"{'async ' if helper.awaitable else ''}def {helper.name}(self{', ' if arguments else ''}{arguments})"
    )
    summary = helper.summary.replace("\\", "\\\\").replace('"""', "'''")
    body = f'        """{summary}{" " if summary.endswith(chr(34)) else ""}"""' if summary else "        ..."
    return [f"    {head} -> {helper.returns}:", body]


def _scope(names: list[str], inputs: Mapping[str, str] | None, discovery: bool) -> str:
    lines = ["class _Helpers:", *(f"    {name}: {_class_name(name)}" for name in names)]
    lines.append(_FUNCTIONS if discovery else "")
    if inputs and all(name.isidentifier() for name in inputs):
        lines.append("class _Inputs(TypedDict):")
        lines += [f"    {name}: {annotation}" for name, annotation in inputs.items()]
        lines += ["", "inputs: _Inputs"]
    else:
        lines.append("inputs: dict[str, Any]")
    lines += [f"{name}: {_class_name(name)}" for name in names]
    return "\n".join([*lines, "helpers: _Helpers"]) + "\n"
