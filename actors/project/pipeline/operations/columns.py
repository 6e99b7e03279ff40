"""Steps that rename, choose, split and join columns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from sqlglot import exp

from ..cells import Sql, as_text, call, integer, is_empty, negate, op, text, trimmed, when
from ..draft import Column, Draft
from ..functions import compile_pattern
from ..step import BaseStep, ColumnName, ColumnNames, Scalar
from ..table import StepError, common_type

__all__ = (
    "CleanNames",
    "Coalesce",
    "MergeColumns",
    "PromoteHeader",
    "RemoveColumn",
    "RemoveEmptyColumns",
    "RenameColumn",
    "SelectColumns",
    "SplitColumn",
    "unique_names",
)


class RenameColumn(BaseStep):
    """Give columns other names."""

    operation: Literal["rename_column"] = "rename_column"
    old_name: ColumnName | None = Field(default=None, description="The column.")
    new_name: str | None = Field(default=None, description="Its new name.", min_length=1)
    names: dict[str, str] | None = Field(
        default=None, description="Several columns: old and new names.", min_length=1
    )
    spellings: ClassVar[Mapping[str, str]] = {
        "column": "old_name",
        "from": "old_name",
        "to": "new_name",
        "mapping": "names",
        "columns": "names",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "rename_column",
        "oldName": "nm",
        "newName": "surname",
    }

    @model_validator(mode="after")
    def _one(self) -> RenameColumn:
        if (self.names is None) == (self.old_name is None or self.new_name is None):
            raise ValueError("give either `oldName` and `newName`, or `names`")
        return self

    def _apply(self, draft: Draft) -> None:
        wanted = self.names or {str(self.old_name): str(self.new_name)}
        draft.require(wanted)
        after = [wanted.get(name, name) for name in draft.names]
        for name in wanted.values():
            if not name.strip():
                raise StepError("a column needs a name that is not blank.")
            if after.count(name) > 1:
                raise StepError(
                    f'two columns would have the name "{name}".',
                    hint="Choose another name, or rename or remove that column first.",
                    column=name,
                )
        draft.columns = [
            Column(name, c.type, c.expr, c.scale) for name, c in zip(after, draft.columns, strict=True)
        ]


class RemoveColumn(BaseStep):
    """Remove columns."""

    operation: Literal["remove_column"] = "remove_column"
    columns: ColumnNames = Field(description="The columns to remove.", min_length=1)
    spellings: ClassVar[Mapping[str, str]] = {"column": "columns"}
    example: ClassVar[Mapping[str, Any]] = {"operation": "remove_column", "columns": ["note"]}

    def _apply(self, draft: Draft) -> None:
        draft.remove(draft.require(self.columns))


class SelectColumns(BaseStep):
    """Keep the columns given, in the order given; with `rest`, the others follow."""

    operation: Literal["select_columns"] = "select_columns"
    columns: ColumnNames = Field(description="The columns to keep, in order.", min_length=1)
    rest: bool = Field(default=False, description="Whether the other columns stay, after these.")
    spellings: ClassVar[Mapping[str, str]] = {"column": "columns", "keep_others": "rest"}
    example: ClassVar[Mapping[str, Any]] = {"operation": "select_columns", "columns": ["name", "city"]}

    def _apply(self, draft: Draft) -> None:
        names = draft.require(self.columns)
        chosen = [draft.columns[draft.index(name)] for name in names]
        others = [c for c in draft.columns if c.name not in set(names)]
        draft.columns = [*chosen, *(others if self.rest else ())]


class CleanNames(BaseStep):
    """Make all column names plain: letters, digits and one kind of separator."""

    operation: Literal["clean_names"] = "clean_names"
    style: Literal["snake", "camel", "lower", "trim"] = Field(
        default="snake", description="unit_price, unitPrice, unit price, or white space alone made tidy."
    )
    spellings: ClassVar[Mapping[str, str]] = {"case": "style", "format": "style"}
    example: ClassVar[Mapping[str, Any]] = {"operation": "clean_names"}

    def _apply(self, draft: Draft) -> None:
        names = unique_names([_clean(name, self.style) for name in draft.names])
        draft.columns = [
            Column(name, c.type, c.expr, c.scale) for name, c in zip(names, draft.columns, strict=True)
        ]


def _clean(name: str, style: str) -> str:
    tidy = " ".join(name.split())
    if style == "trim":
        return tidy
    folded = unicodedata.normalize(
        "NFKD", tidy.replace("ß", "ss").replace("%", " percent ").replace("&", " and ")
    )
    plain = "".join(c for c in folded if not unicodedata.combining(c))
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", plain)
    words = re.findall(r"[^\W_]+", plain.lower())
    if style == "camel":
        return "".join([*words[:1], *(w[:1].upper() + w[1:] for w in words[1:])])
    return ("_" if style == "snake" else " ").join(words)


def unique_names(names: Sequence[str]) -> list[str]:
    """Return names that are not blank and not alike: `column_3` for a blank third, `city_2` for a second `city`."""
    taken: set[str] = set()
    made = []
    for i, name in enumerate(names, 1):
        base = name if name.strip() else f"column_{i}"
        unique, n = base, 1
        while unique in taken or (unique != base and unique in names):
            n += 1
            unique = f"{base}_{n}"
        taken.add(unique)
        made.append(unique)
    return made


class SplitColumn(BaseStep):
    """Split the text of a column into several columns; where parts are missing, the cells are empty (NULL)."""

    operation: Literal["split_column"] = "split_column"
    column: ColumnName = Field(description="The column to split.")
    new_columns: ColumnNames = Field(description="The names of the parts.", min_length=1, max_length=200)
    method: Literal["delimiter", "position", "regex"] = Field(
        default="delimiter", description="What divides the parts."
    )
    delimiter: str = Field(
        default=",", description="The text between the parts.", min_length=1, max_length=100
    )
    positions: list[int] | None = Field(
        default=None,
        description="After how many characters to cut, rising: [2, 5] makes three parts.",
        min_length=1,
    )
    pattern: str | None = Field(
        default=None, description="The pattern between the parts, in the syntax of Python."
    )
    trim_results: bool = Field(default=True, description="Whether white space around the parts is removed.")
    keep_original: bool = Field(default=False, description="Whether the split column stays.")
    extra: Literal["keep", "drop"] = Field(
        default="keep",
        description="What happens to more parts than names: they stay in the last part, or are dropped.",
    )
    spellings: ClassVar[Mapping[str, str]] = {
        "source_column": "column",
        "separator": "delimiter",
        "regex": "pattern",
        "trim": "trim_results",
        "position": "positions",
        "into": "new_columns",
        "new_column_names": "new_columns",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "split_column",
        "column": "name",
        "delimiter": " ",
        "newColumns": ["first", "last"],
    }

    @model_validator(mode="before")
    @classmethod
    def _method(cls, data: Any) -> Any:
        if isinstance(data, dict) and "method" not in data:
            if data.get("pattern") is not None:
                return {**data, "method": "regex"}
            if data.get("positions") is not None:
                return {**data, "method": "position"}
        return data

    @model_validator(mode="after")
    def _whole(self) -> SplitColumn:
        if self.method == "position":
            if (
                self.positions is None
                or sorted(set(self.positions)) != self.positions
                or self.positions[0] < 1
            ):
                raise ValueError("`positions` has to be a list of rising numbers from 1 on")
        elif self.method == "regex" and not self.pattern:
            raise ValueError("the method regex needs `pattern`")
        if len(set(self.new_columns)) != len(self.new_columns):
            raise ValueError("`newColumns` has a name twice")
        return self

    def _apply(self, draft: Draft) -> None:
        for name in self.new_columns:
            draft.free(name, but=() if self.keep_original else (self.column,))
        column = draft.take(self.column)
        at = draft.index(self.column)
        if column.type != "string":
            draft.columns.append(Column("", "string", as_text(column)))
            draft.push()
        else:
            draft.columns.append(Column("", "string", column.expr))
        parts = {"delimiter": self._by_delimiter, "position": self._by_position, "regex": self._by_pattern}[
            self.method
        ](draft)
        draft.columns.pop()
        del draft.columns[len(draft.columns) - len(parts) :]
        if not self.keep_original:
            draft.columns.pop(at)
        after = at + 1 if self.keep_original else at
        draft.columns[after:after] = [
            Column(name, "string", trimmed(p.expr) if self.trim_results else p.expr)
            for name, p in zip(self.new_columns, parts, strict=True)
        ]

    # Each way leaves its parts as the last columns of the draft, before the text that is split.

    def _by_delimiter(self, draft: Draft) -> list[Column]:
        mark = draft.value(self.delimiter)
        for i in range(len(self.new_columns)):
            last = i == len(self.new_columns) - 1
            if not (draft.columns[-1].plain or (last and self.extra == "keep")):
                draft.push()
            rest = draft.columns.pop()
            at = call("instr", rest.expr, mark)
            found = op(at, ">", integer(0))
            if last and self.extra == "drop":
                what = f"has more than {len(self.new_columns)} parts"
                draft.count(found, rest.expr, self.column, mode="tell", what=what)
            head = when(
                (found, call("substr", rest.expr, integer(1), op(at, "-", integer(1)))), other=rest.expr
            )
            tail = when((found, call("substr", rest.expr, op(at, "+", integer(len(self.delimiter))))))
            draft.columns.append(Column("", "string", rest.expr if last and self.extra == "keep" else head))
            draft.columns.append(Column("", "string", exp.Null() if last else tail))
        return draft.columns[-1 - len(self.new_columns) : -1]

    def _by_position(self, draft: Draft) -> list[Column]:
        assert self.positions is not None
        cell = draft.columns.pop().expr
        starts = [0, *self.positions][: len(self.new_columns)]
        for i in range(len(self.new_columns)):
            if i >= len(starts):
                draft.columns.append(Column("", "string", exp.Null()))
                continue
            last = i == len(self.new_columns) - 1 and self.extra == "keep"
            end = self.positions[i] if i < len(self.positions) and not last else None
            length = () if end is None else (integer(end - starts[i]),)
            part = call("substr", cell, integer(starts[i] + 1), *length)
            there = op(call("length", cell), ">", integer(starts[i]))
            draft.columns.append(Column("", "string", when((there, part)) if i else part))
        draft.columns.append(Column("", "string", exp.Null()))
        return draft.columns[-1 - len(self.new_columns) : -1]

    def _by_pattern(self, draft: Draft) -> list[Column]:
        assert self.pattern is not None
        compile_pattern(self.pattern)
        cell, pattern = draft.columns.pop().expr, draft.value("c" + self.pattern)
        most = len(self.new_columns) if self.extra == "keep" else 0
        for i in range(len(self.new_columns)):
            draft.columns.append(
                Column("", "string", call("dl_part", pattern, cell, integer(i), integer(most)))
            )
        draft.columns.append(Column("", "string", exp.Null()))
        return draft.columns[-1 - len(self.new_columns) : -1]


class MergeColumns(BaseStep):
    """Join the text of several columns into one."""

    operation: Literal["merge_columns"] = "merge_columns"
    columns: ColumnNames = Field(description="The columns to join, in order.", min_length=1)
    new_column: str = Field(description="The name of the joined column.", min_length=1)
    separator: str = Field(default=" ", description="What goes between.", max_length=1_000)
    skip_nulls: bool = Field(
        default=True,
        description="Whether empty cells are left out with their separator; NULL where all are empty.",
    )
    keep_original: bool = Field(default=False, description="Whether the joined columns stay.")
    spellings: ClassVar[Mapping[str, str]] = {
        "source_columns": "columns",
        "target_column": "new_column",
        "delimiter": "separator",
        "keep_originals": "keep_original",
        "into": "new_column",
        "skip_empty": "skip_nulls",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "merge_columns",
        "columns": ["first", "last"],
        "newColumn": "name",
        "separator": " ",
    }

    def _apply(self, draft: Draft) -> None:
        names = draft.require(self.columns)
        draft.free(self.new_column, but=() if self.keep_original else names)
        sources = [
            draft.take(name, 1 if draft.columns[draft.index(name)].type == "string" else 2) for name in names
        ]
        at = min(draft.index(name) for name in names)
        merged = self._merged(draft, [draft.columns[draft.index(s.name)] for s in sources])
        if not self.keep_original:
            gone = set(names)
            draft.columns = [c for c in draft.columns if c.name not in gone]
            draft.columns.insert(at, Column(self.new_column, "string", merged))
        else:
            draft.add(self.new_column, merged, "string")

    def _merged(self, draft: Draft, sources: list[Column]) -> Sql:
        mark = draft.value(self.separator)
        if not self.skip_nulls:
            shown = [call("ifnull", as_text(c), text("")) for c in sources]
            return _joined([piece for s in shown for piece in (mark, s)][1:])
        # Joined with NULL is NULL: each cell is written once, and an empty one takes its separator along.
        pieces = [
            call("ifnull", op(mark, "||", call("nullif", as_text(c), text(""))), text("")) for c in sources
        ]
        joined = call("substr", _joined(pieces), integer(len(self.separator) + 1))
        return call("nullif", joined, text(""))


def _joined(pieces: list[Sql]) -> Sql:
    if len(pieces) == 1:
        return pieces[0]
    middle = len(pieces) // 2
    return op(_joined(pieces[:middle]), "||", _joined(pieces[middle:]))


class Coalesce(BaseStep):
    """Take the first cell that is not empty, from several columns."""

    operation: Literal["coalesce"] = "coalesce"
    columns: ColumnNames = Field(description="The columns, the preferred one first.", min_length=1)
    new_column: str = Field(description="The column to write.", min_length=1)
    default: Scalar = Field(default=None, description="What to write where all are empty.")
    keep_original: bool = Field(default=True, description="Whether the columns read stay.")
    spellings: ClassVar[Mapping[str, str]] = {
        "source_columns": "columns",
        "target_column": "new_column",
        "keep_originals": "keep_original",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "coalesce",
        "columns": ["mobile", "phone"],
        "newColumn": "contact",
    }

    def _apply(self, draft: Draft) -> None:
        names = draft.require(self.columns)
        draft.free(self.new_column, but=names)
        for name in names:
            draft.take(name)
        sources = [draft.columns[draft.index(name)] for name in names]
        kind = common_type(c.type for c in sources)
        if self.default is not None and _kind(self.default) != kind:
            kind = "number" if kind == "integer" and _kind(self.default) == "number" else "string"
        cases = [
            (negate(is_empty(c.expr, c)), as_text(c) if kind == "string" and c.type != "string" else c.expr)
            for c in sources
        ]
        other = draft.value(
            _word(self.default) if kind == "string" and self.default is not None else self.default
        )
        if not self.keep_original:
            draft.columns = [c for c in draft.columns if c.name not in set(names) - {self.new_column}]
        draft.put(self.new_column, when(*cases, other=other), kind)


def _kind(value: Scalar) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "string"


def _word(value: Scalar) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


class PromoteHeader(BaseStep):
    """Take the names of the columns from the first row, which goes away."""

    operation: Literal["promote_header"] = "promote_header"
    blocking = True
    example: ClassVar[Mapping[str, Any]] = {"operation": "promote_header"}

    def _apply(self, draft: Draft) -> None:
        draft.settle()
        named = draft.query(limit=1)
        for i, c in enumerate(draft.columns, 1):
            named.expressions[i].set("this", as_text(c))
        rows = draft.engine.probe(named, draft.value)
        if rows is None:
            draft.columns, draft.open = [], True
            return
        if not rows:
            raise StepError("there is no row to take names from.")
        names = unique_names(["" if cell is None else " ".join(str(cell).split()) for cell in rows[0][1:]])
        draft.columns = [
            Column(name, c.type, c.expr, c.scale) for name, c in zip(names, draft.columns, strict=True)
        ]
        draft.push(offset=1)


class RemoveEmptyColumns(BaseStep):
    """Remove the columns whose cells are all empty."""

    operation: Literal["remove_empty_columns"] = "remove_empty_columns"
    whitespace: bool = Field(default=True, description="Whether white space alone is empty.")
    spellings: ClassVar[Mapping[str, str]] = {"treat_whitespace_as_empty": "whitespace"}
    blocking = True
    example: ClassVar[Mapping[str, Any]] = {"operation": "remove_empty_columns"}

    def _apply(self, draft: Draft) -> None:
        draft.settle()
        filled = draft.query()
        filled.expressions[0].set("this", integer(1))
        for i, c in enumerate(draft.columns, 1):
            filled.expressions[i].set("this", call("max", negate(is_empty(c.expr, c, blank=self.whitespace))))
        filled.set("order", None)
        rows = draft.engine.probe(filled, draft.value)
        if rows is None:
            draft.open = True
            return
        kept = [c for c, some in zip(draft.columns, rows[0][1:], strict=True) if some]
        if not kept:
            raise StepError("all columns are empty; none would be left.")
        draft.columns = kept
