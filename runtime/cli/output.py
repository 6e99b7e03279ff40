"""Output is what a person or a program reads: the answer on stdout, everything else on stderr.

With `--json` stdout holds exactly one JSON document: the answer, or the problem. Data comes from strangers, so
characters that move the cursor, change colours or turn the reading direction are shown escaped and never sent
to a terminal. Colour follows the terminal and NO_COLOR.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TextIO

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from runtime.values import dumps

__all__ = ("Output", "counted", "safe")

# C0 and C1 controls, marks and overrides of the reading direction, invisible separators, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_LAYOUT = "\n\t"
_MOST_ROWS = 1_000
_PIPE_WIDTH = 100_000
_NARROW = 24
"""Columns up to this width are never broken."""
_LEAST = 16
"""What a wider column needs, broken, to be readable."""


def safe(text: str, *, keep: str = "") -> str:
    """Return text with every unsafe character written as an escape; those in `keep` stay."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _escape(character: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return named.get(character) or (
        f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    )


def _cell(value: Any, null: str = "NULL") -> Text:
    match value:
        case None:
            return Text(null, style="dim")
        case bool() | int() | float():
            return Text(str(value))
        case str():
            return Text(safe(value))
        case _:
            return Text(safe(dumps(value).decode()))


class Output:
    """Where one command writes."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.console = _console(sys.stdout)
        self.errors = _console(sys.stderr)

    # The answer

    def json(self, value: Any) -> None:
        """Write a value as one JSON document."""
        text = orjson.dumps(orjson.loads(dumps(value)), option=orjson.OPT_INDENT_2).decode()
        # A JSON text holds these characters inside strings only, where an escape means the same.
        print(_UNSAFE.sub(lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text))  # noqa: T201

    def text(self, text: str, *, style: str = "") -> None:
        """Write lines of text; not with --json."""
        if not self.as_json:
            self.console.print(Text(safe(text, keep=_LAYOUT), style=style), soft_wrap=True)

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        title: str | None = None,
        null: str = "NULL",
    ) -> None:
        """Write rows as a table; where the terminal is too narrow for one, a line a cell. At most 1,000 rows.

        Not with --json.
        """
        if self.as_json:
            return
        each = list(rows)
        heads = [Text(safe(column)) for column in columns]
        cells = [[_cell(value, null) for value in row] for row in each[:_MOST_ROWS]]
        widths = [max(cell.cell_len for cell in column) for column in zip(heads, *cells, strict=True)]
        least = sum(width if width <= _NARROW else _LEAST for width in widths) + 2 * len(widths)
        if cells and least > self.console.width:
            self._records(heads, cells)
        else:
            numeric = [_is_numeric(row[i] for row in each) for i in range(len(columns))]
            table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
            for head, right, width in zip(heads, numeric, widths, strict=True):
                justify: Literal["left", "right"] = "right" if right else "left"
                table.add_column(head, justify=justify, overflow="fold", no_wrap=width <= _NARROW)
            for row in cells:
                table.add_row(*row)
            self.console.print(table)
        if len(each) > _MOST_ROWS:
            self.note(f"The first {_MOST_ROWS:,} of {len(each):,} rows are shown; --json gives all.")

    def _records(self, heads: Sequence[Text], rows: Iterable[Sequence[Text]]) -> None:
        width = max(head.cell_len for head in heads)
        for number, row in enumerate(rows, 1):
            self.console.print(Text(f"row {number:,}", style="dim"))
            for head, cell in zip(heads, row, strict=True):
                gap = " " * (width - head.cell_len + 2)
                self.console.print(Text(head.plain, style="bold") + Text(gap) + cell, soft_wrap=True)

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Write names and values, one a line; not with --json."""
        width = max(map(len, facts), default=0)
        for name, value in facts.items():
            if not self.as_json:
                line = Text(f"{name:<{width}}  ", style="bold") + _cell(value)
                self.console.print(line, soft_wrap=True)

    def value(self, value: Any) -> None:
        """Write any value: records as a table, text as it is, all else as JSON. Not with --json."""
        if self.as_json:
            return
        if columns := _record_columns(value):
            self.table(columns, [[row[c] for c in columns] for row in value])
        elif isinstance(value, str):
            self.text(value)
        else:
            text = orjson.dumps(orjson.loads(dumps(value)), option=orjson.OPT_INDENT_2).decode()
            self.text(text)

    def done(self, answer: Any, remark: str) -> None:
        """Tell that something was done: what the service answered with --json, and a remark to the person."""
        if self.as_json:
            self.json(answer)
        self.note(remark, style="")

    # Everything else

    def note(self, text: str, *, style: str = "dim") -> None:
        """Write a remark to stderr; not with --quiet."""
        if not self.quiet:
            self.errors.print(Text(safe(text, keep=_LAYOUT), style=style), soft_wrap=True)

    def fail(self, problem: Mapping[str, Any]) -> None:
        """Write a problem: what happened, why, and what to do."""
        if self.as_json:
            self.json(problem)
            return
        detail = str(problem.get("detail") or problem.get("title") or "It failed.")
        line = Text("error: ", style="bold red") + Text(safe(detail, keep=_LAYOUT))
        self.errors.print(line, soft_wrap=True)
        cause = problem.get("cause") or {}
        told = {"cause": cause.get("detail"), **problem, "hint": cause.get("hint") or problem.get("hint")}
        for name in ("cause", "hint", "limit", "rule", "request_id"):
            if told.get(name):
                text = Text(f"  {name}: ", style="bold") + Text(safe(str(told[name]), keep=_LAYOUT))
                self.errors.print(text, soft_wrap=True)

    def progress(self, *, share: bool = False) -> Progress:
        """Return a bar for bytes on their way (or, with `share`, for a share of anything), on stderr; in a terminal only."""
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn() if share else DownloadColumn(),
            TimeElapsedColumn(),
            console=self.errors,
            transient=True,
            disable=self.quiet or not self.errors.is_terminal,
        )


def _console(stream: TextIO) -> Console:
    # A pipe has no width: a table there must neither wrap nor lose characters.
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def _is_numeric(values: Iterable[Any]) -> bool:
    known = [v for v in values if v is not None]
    return bool(known) and all(isinstance(v, (int, float)) for v in known)


def _record_columns(value: Any) -> list[str]:
    if not (isinstance(value, list) and value and all(isinstance(row, dict) for row in value)):
        return []
    columns = list(value[0])
    return columns if columns and all(list(row) == columns for row in value) else []
