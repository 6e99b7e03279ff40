"""Steps that change the text of cells. Cells that hold no text (numbers, dates, booleans) stay as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ..cells import (
    Sql,
    as_text,
    both,
    call,
    either,
    integer,
    is_empty,
    is_foreign,
    only_text,
    op,
    text,
    trimmed,
    when,
)
from ..draft import Column, Draft
from ..functions import compile_pattern
from ..step import BaseStep, ColumnName, ColumnNames, Scalar
from ..table import StepError
from .compare import typed_value

__all__ = (
    "Affix",
    "CollapseWhitespace",
    "Extract",
    "Lowercase",
    "Pad",
    "ReplaceValues",
    "StripControl",
    "TitleCase",
    "Trim",
    "Uppercase",
)


class _TextStep(BaseStep):
    columns: ColumnNames | None = Field(
        default=None, description="The columns to change; left out, all columns of text.", min_length=1
    )
    spellings: ClassVar[Mapping[str, str]] = {"column": "columns"}
    uses: ClassVar[int] = 1

    def _cell(self, column: Column) -> Sql:
        raise AssertionError

    def _apply(self, draft: Draft) -> None:
        names = draft.names if self.columns is None else draft.require(self.columns)
        for name in names:
            if draft.columns[draft.index(name)].type == "string":
                draft.replace(name, self._cell(draft.take(name, self.uses)))


class Trim(_TextStep):
    """Remove white space (all that Unicode knows) around the text of cells."""

    operation: Literal["trim"] = "trim"
    example: ClassVar[Mapping[str, Any]] = {"operation": "trim", "columns": ["city"]}

    def _cell(self, column: Column) -> Sql:
        return trimmed(column.expr)


class Uppercase(_TextStep):
    """Write the text of cells in capitals, in any script."""

    operation: Literal["uppercase"] = "uppercase"
    example: ClassVar[Mapping[str, Any]] = {"operation": "uppercase", "columns": ["city"]}

    def _cell(self, column: Column) -> Sql:
        return only_text(column.expr, call("upper", column.expr), "dl_upper")


class Lowercase(_TextStep):
    """Write the text of cells in small letters, in any script."""

    operation: Literal["lowercase"] = "lowercase"
    example: ClassVar[Mapping[str, Any]] = {"operation": "lowercase", "columns": ["city"]}

    def _cell(self, column: Column) -> Sql:
        return only_text(column.expr, call("lower", column.expr), "dl_lower")


class TitleCase(_TextStep):
    """Begin each word with a capital, and write the rest of it in small letters."""

    operation: Literal["title_case"] = "title_case"
    example: ClassVar[Mapping[str, Any]] = {"operation": "title_case", "columns": ["city"]}

    def _cell(self, column: Column) -> Sql:
        return call("dl_title", column.expr)


class CollapseWhitespace(_TextStep):
    """Make each run of white space one space, and remove it around the text."""

    operation: Literal["collapse_whitespace"] = "collapse_whitespace"
    example: ClassVar[Mapping[str, Any]] = {"operation": "collapse_whitespace", "columns": ["note"]}

    uses = 2

    def _cell(self, column: Column) -> Sql:
        cell = column.expr
        odd = either(
            op(call("instr", cell, text("  ")), ">", integer(0)),
            op(cell, "glob", text("*[\t\n\x0b\x0c\r\x1c-\x1f]*")),
            is_foreign(cell),
        )
        return when((odd, call("dl_one_space", cell)), other=call("trim", cell))


class StripControl(_TextStep):
    """Remove control characters and invisible marks; tabs and line breaks stay."""

    operation: Literal["strip_control"] = "strip_control"
    example: ClassVar[Mapping[str, Any]] = {"operation": "strip_control", "columns": ["note"]}

    uses = 2

    def _cell(self, column: Column) -> Sql:
        cell = column.expr
        odd = either(is_foreign(cell), op(cell, "glob", text("*[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]*")))
        return when((odd, call("dl_plain", cell)), other=cell)


class Affix(_TextStep):
    """Put a text before or after each cell that is not empty."""

    operation: Literal["affix"] = "affix"
    prefix: str = Field(default="", description="Goes before.")
    suffix: str = Field(default="", description="Goes after.")
    example: ClassVar[Mapping[str, Any]] = {"operation": "affix", "columns": ["code"], "prefix": "DE-"}

    def _apply(self, draft: Draft) -> None:
        for name in draft.require(self.columns) if self.columns else draft.names:
            column = draft.take(name)
            if self.columns is None and column.type != "string":
                continue
            shown = op(op(draft.value(self.prefix), "||", as_text(column)), "||", draft.value(self.suffix))
            draft.replace(name, when((is_empty(column.expr, column), column.expr), other=shown), "string")


class Pad(BaseStep):
    """Fill cells up to a length, as 7 to 007."""

    operation: Literal["pad"] = "pad"
    columns: ColumnNames = Field(description="The columns to change; they become text.", min_length=1)
    length: int = Field(description="The length to reach, in characters.", ge=1, le=1_000)
    fill: str = Field(default="0", description="The character to fill with.", min_length=1, max_length=1)
    side: Literal["left", "right"] = Field(default="left", description="Where to fill.")
    spellings: ClassVar[Mapping[str, str]] = {
        "column": "columns",
        "width": "length",
        "character": "fill",
        "char": "fill",
    }
    example: ClassVar[Mapping[str, Any]] = {"operation": "pad", "columns": ["zip"], "length": 5}

    def _apply(self, draft: Draft) -> None:
        for name in draft.require(self.columns):
            column = draft.take(name)
            if column.type not in ("string", "date", "datetime"):
                draft.replace(name, as_text(column), "string")
                column = draft.take(name)
            cell, padding = column.expr, draft.value(self.fill * self.length)
            room = op(integer(self.length), "-", call("length", cell))
            filling = call("substr", padding, integer(1), room)
            shown = op(filling, "||", cell) if self.side == "left" else op(cell, "||", filling)
            short = both(op(room, ">", integer(0)), op(cell, "<>", text("")))
            draft.replace(name, when((short, shown), other=cell), "string")


class ReplaceValues(BaseStep):
    """Replace text inside cells, whole cells, or by a table of old and new values."""

    operation: Literal["replace_values"] = "replace_values"
    columns: ColumnNames = Field(description="The columns to change.", min_length=1)
    find: Scalar = Field(
        default=None, description='What to look for; null or "" with match `whole` are empty cells.'
    )
    replace: Scalar = Field(default="", description="What to write instead.")
    match: Literal["part", "whole", "regex"] = Field(
        default="part",
        description="`part` replaces each occurrence in the text, `whole` a cell that equals it, `regex` by a "
        "pattern in the syntax of Python, with \\1 for groups in `replace`.",
    )
    mapping: dict[str, Scalar] | None = Field(
        default=None,
        description="Old and new values of whole cells, in place of `find` and `replace`.",
        max_length=5_000,
    )
    case_sensitive: bool = Field(default=True, description="Whether capitals count.")
    spellings: ClassVar[Mapping[str, str]] = {
        "column": "columns",
        "search": "find",
        "from": "find",
        "to": "replace",
        "replacement": "replace",
        "replace_with": "replace",
        "pattern": "find",
        "values": "mapping",
        "mappings": "mapping",
        "mode": "match",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "replace_values",
        "columns": ["city"],
        "find": "Muenchen",
        "replace": "München",
        "match": "whole",
    }

    @model_validator(mode="before")
    @classmethod
    def _literal(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("match"), str):
            names = {
                "literal": "part",
                "contains": "part",
                "exact": "whole",
                "cell": "whole",
                "regexp": "regex",
            }
            return {**data, "match": names.get(data["match"], data["match"])}
        return data

    def _apply(self, draft: Draft) -> None:
        for name in draft.require(self.columns):
            column = draft.take(name)
            if self.mapping is not None:
                self._map(draft, column)
            elif self.match == "whole":
                self._whole(draft, column, [(self.find, self.replace)])
            else:
                self._inside(draft, column)

    def _map(self, draft: Draft, column: Column) -> None:
        assert self.mapping is not None
        self._whole(draft, column, list(self.mapping.items()))

    def _whole(self, draft: Draft, column: Column, pairs: list[tuple[Scalar, Scalar]]) -> None:
        fold: Callable[[Sql], Sql] = (
            (lambda s: s) if self.case_sensitive else lambda s: only_text(s, call("lower", s), "dl_fold")
        )
        kept = all(_fits(column, new) for _, new in pairs)
        shown = column.expr if kept else as_text(column)
        cases = []
        for old, new in pairs:
            if old is None or old == "":
                condition = is_empty(column.expr, column)
            elif column.type == "string":
                wanted = _word(old)
                condition = op(
                    fold(column.expr), "=", draft.value(wanted if self.case_sensitive else wanted.casefold())
                )
            else:
                condition = op(column.expr, "=", draft.value(typed_value(column, old)))
            value = new if new is None or not kept else typed_value(column, new)
            cases.append((condition, draft.value(value if kept or new is None else _word(new))))
        draft.replace(
            column.name, when(*cases, other=shown) if cases else shown, column.type if kept else "string"
        )

    def _inside(self, draft: Draft, column: Column) -> None:
        if not isinstance(self.find, str) or not self.find:
            raise StepError(
                '"find" has to be a text that is not empty.', hint='Use match "whole" for empty cells.'
            )
        if column.type != "string":
            raise StepError(
                f'"{column.name}" holds values of type {column.type}, which have no text to look into.',
                hint='Use match "whole", or cast the column to "string" first.',
                column=column.name,
            )
        new = "" if self.replace is None else _word(self.replace)
        cell, find = column.expr, draft.value(self.find)
        if self.match == "regex":
            pattern = compile_pattern(self.find, not self.case_sensitive)
            _check_template(pattern, new)
            mark = "c" if self.case_sensitive else "i"
            made = call("dl_replace", draft.value(mark + self.find), cell, draft.value(new))
        elif self.case_sensitive:
            made = call("replace", cell, find, draft.value(new))
        else:
            made = call("dl_replace_literal", cell, find, draft.value(new))
        draft.replace(column.name, made)


class Extract(BaseStep):
    """Take a part of a text into a column: by a pattern, or what stands before, after or between texts."""

    operation: Literal["extract"] = "extract"
    column: ColumnName = Field(description="The column to read.")
    new_column: str | None = Field(default=None, description="The column to write; left out, the same one.")
    pattern: str | None = Field(
        default=None, description="A pattern in the syntax of Python; NULL where it is not found."
    )
    group: int = Field(
        default=0,
        description="The group of the pattern to take; 0 takes the first group, if it has one.",
        ge=0,
        le=99,
    )
    before: str | None = Field(default=None, description="Take what stands before this text.", min_length=1)
    after: str | None = Field(default=None, description="Take what stands after this text.", min_length=1)
    start: int | None = Field(default=None, description="Take from this character on; the first is 1.", ge=1)
    length: int | None = Field(default=None, description="How many characters, with `start`.", ge=1)
    spellings: ClassVar[Mapping[str, str]] = {
        "source_column": "column",
        "target_column": "new_column",
        "regex": "pattern",
        "into": "new_column",
    }
    example: ClassVar[Mapping[str, Any]] = {
        "operation": "extract",
        "column": "email",
        "after": "@",
        "newColumn": "domain",
    }

    @model_validator(mode="after")
    def _one_way(self) -> Extract:
        ways = [
            self.pattern is not None,
            self.before is not None or self.after is not None,
            self.start is not None,
        ]
        if sum(ways) != 1:
            raise ValueError("give either `pattern`, or `before` and/or `after`, or `start`")
        return self

    def _apply(self, draft: Draft) -> None:
        if self.new_column is not None:
            draft.free(self.new_column, but=(self.column,))
        column = draft.take(self.column)
        if column.type != "string":
            draft.add("", as_text(column), "string")
            draft.push()
            column = draft.columns.pop()
        draft.put(self.new_column or self.column, self._taken(draft, column.expr), "string")

    def _taken(self, draft: Draft, cell: Sql) -> Sql:
        if self.pattern is not None:
            pattern = compile_pattern(self.pattern)
            group = self.group or min(pattern.groups, 1)
            if group > pattern.groups:
                raise StepError(
                    f"the pattern has {pattern.groups} groups, not {group}.", hint="Put ( ) around a part."
                )
            return call("dl_extract", draft.value("c" + self.pattern), cell, integer(group))
        if self.start is not None:
            length = () if self.length is None else (integer(self.length),)
            return call("substr", cell, integer(self.start), *length)
        if self.after is not None and self.before is not None:
            between = f"{re.escape(self.after)}(.*?){re.escape(self.before)}"
            return call("dl_extract", draft.value("c(?s)" + between), cell, integer(1))
        mark = draft.value(self.before or self.after)
        at = call("instr", cell, mark)
        if self.before is not None:
            found = call("substr", cell, integer(1), op(at, "-", integer(1)))
        else:
            found = call("substr", cell, op(at, "+", call("length", mark)))
        return when((op(at, ">", integer(0)), found))


def _fits(column: Column, value: Scalar) -> bool:
    if value is None:
        return True
    try:
        typed_value(column, value)
    except StepError:
        return False
    return True


def _word(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _check_template(pattern: re.Pattern[str], template: str) -> None:
    try:
        # A pattern that always matches, with as many groups: expanding proves the template.
        re.compile("()" * pattern.groups).sub(_named(pattern, template), "")
    except (re.error, IndexError) as e:
        raise StepError(
            f'"{template}" does not fit the pattern: {e}.', hint="Write \\\\ for a backslash."
        ) from None


def _named(pattern: re.Pattern[str], template: str) -> str:
    return re.sub(
        r"\\g<([^\d>]\w*)>",
        lambda m: f"\\g<{pattern.groupindex[m[1]]}>" if m[1] in pattern.groupindex else m[0],
        template,
    )
