"""What a reader is told about a file. Everything may be left out: then it is found out, and reported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from runtime.errors import InputError
from runtime.reasons import reasons

__all__ = ("FileFormat", "ParseOptions", "column_number", "options_of")

M = TypeVar("M", bound=BaseModel)
FileFormat = Literal["csv", "excel", "ndjson", "json", "parquet"]
TypeName = Literal["string", "number", "integer", "boolean", "date", "datetime"]
_SPELLINGS = {
    "text": "string",
    "str": "string",
    "int": "integer",
    "float": "number",
    "real": "number",
    "bool": "boolean",
    "timestamp": "datetime",
}
_FORMATS = {"tsv": "csv", "txt": "csv", "xlsx": "excel", "xlsm": "excel", "xls": "excel", "xlsb": "excel", "ods": "excel", "jsonl": "ndjson"}  # fmt: skip
_RANGE = re.compile(r"\$?([A-Za-z]{1,3})\$?([0-9]{1,9})(?::\$?([A-Za-z]{1,3})\$?([0-9]{1,9}))?")


def column_number(letters: str) -> int:
    """Return the number of a spreadsheet column: A is 1, AA is 27."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number


def options_of(kind: type[M], given: M | Mapping[str, Any] | None, what: str) -> M:
    """Return options of a kind from plain data; `what` names them in the message.

    Raises:
        InputError: they are not valid; the message says which and why.
    """
    if isinstance(given, kind):
        return given
    try:
        return kind.model_validate(given or {})
    except ValidationError as error:
        wrong = reasons(error, "option", kind.model_fields)
        first = ": ".join(filter(None, wrong[0].values()))
        raise InputError(
            f"The {what} are not valid: {first}.",
            hint="Options: " + ", ".join(kind.model_fields) + ".",
            errors=wrong,
        ) from None


def _plain_type(value: Any) -> Any:
    return _SPELLINGS.get(value.lower(), value.lower()) if isinstance(value, str) else value


def _plain_format(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    lowered = value.lower().lstrip(".")
    return _FORMATS.get(lowered, lowered)


def _names(name: str, *others: str) -> AliasChoices:
    first, *rest = name.split("_")
    return AliasChoices(name, first + "".join(part.title() for part in rest), *others)


class ParseOptions(BaseModel):
    """How to read a file. Rows and columns are counted from 1, as a spreadsheet does; snake_case or camelCase.

    Source: project-database.md, parse config (sheet, startRow, endRow, startColumn, endColumn, hasHeaders).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    format: Annotated[FileFormat, BeforeValidator(_plain_format)] | None = Field(
        None, description="What the file is; found out from its first bytes when left out."
    )
    encoding: str | None = Field(None, max_length=40, description="Encoding of a text file.")
    delimiter: str | None = Field(None, max_length=4, description="What separates cells; `\\t` for a tab.")
    quote: str | None = Field(
        None, max_length=1, description="What encloses cells; an empty text for nothing."
    )
    header: bool | None = Field(
        None,
        validation_alias=_names("header", "hasHeaders", "has_headers", "hasHeader", "has_header"),
        description="Whether the first row holds the names of the columns.",
    )
    sheet: str | int | None = Field(
        None, description="Sheet of a workbook: its name, or its number from 1. The first visible one else."
    )
    start_row: int | None = Field(
        None,
        ge=1,
        validation_alias=_names("start_row"),
        description="First row that is read, header included.",
    )
    end_row: int | None = Field(
        None, ge=1, validation_alias=_names("end_row"), description="Last row that is read."
    )
    start_column: int | None = Field(
        None,
        ge=1,
        le=16_384,
        validation_alias=_names("start_column"),
        description="First column that is read.",
    )
    end_column: int | None = Field(
        None, ge=1, le=16_384, validation_alias=_names("end_column"), description="Last column that is read."
    )
    range: str | None = Field(None, max_length=40, description="Rows and columns at once, like `B2:F90`.")
    types: dict[str, Annotated[TypeName, BeforeValidator(_plain_type)]] = Field(
        default_factory=dict,
        validation_alias=_names("types", "columnTypes", "column_types"),
        description="Types of columns by name; a row whose cell does not fit is kept aside.",
    )
    empty_as_null: bool = Field(
        False, validation_alias=_names("empty_as_null"), description="Empty text cells are NULL, not ''."
    )
    null_values: tuple[str, ...] = Field(
        (), max_length=50, validation_alias=_names("null_values"), description="Words that mean NULL."
    )
    decimal: Literal[".", ","] = Field(".", description="The decimal sign of numbers.")
    thousands: Literal["", ",", ".", " ", "'", "_"] = Field(
        "", description="What groups the digits of numbers."
    )
    comment: str | None = Field(None, max_length=4, description="Lines that begin so are left out.")
    trim: bool = Field(False, description="Cut white space off both ends of each cell.")
    ragged: Literal["aside", "pad"] = Field(
        "aside",
        validation_alias=_names("ragged", "shortRows", "short_rows"),
        description="Short rows: kept aside with line and reason, or padded with NULL.",
    )

    @field_validator("delimiter", "comment", mode="before")
    @classmethod
    def _unescape(cls, value: Any) -> Any:
        return {"\\t": "\t", "tab": "\t", "": None}.get(value, value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> ParseOptions:
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '\r\n"'):
            raise ValueError("delimiter: one character that is neither a quote nor an end of line")
        if self.range is not None and _RANGE.fullmatch(self.range.strip()) is None:
            raise ValueError("range: write it like B2:F90")
        first_row, first_column, last_row, last_column = self.region()
        if last_row is not None and last_row < first_row:
            raise ValueError("end_row comes before start_row")
        if last_column is not None and last_column < first_column:
            raise ValueError("end_column comes before start_column")
        if self.thousands and self.thousands == self.decimal:
            raise ValueError("thousands and decimal cannot be the same sign")
        return self

    def region(self) -> tuple[int, int, int | None, int | None]:
        """Return (first row, first column, last row, last column), counted from 1; None: to the end."""
        found = None if self.range is None else _RANGE.fullmatch(self.range.strip())
        if found is None:
            return self.start_row or 1, self.start_column or 1, self.end_row, self.end_column
        left, top, right, bottom = found.groups()
        return (
            int(top),
            column_number(left),
            None if bottom is None else int(bottom),
            None if right is None else column_number(right),
        )

    @property
    def bounded(self) -> bool:
        """Whether a part of the file was asked for, so that nothing may be guessed about where it begins."""
        return self.region() != (1, 1, None, None)
