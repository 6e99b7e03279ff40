"""Values cross three borders: JSON, Python and SQLite. This module is the one place that says how.

SQLite has five types; JSON has no bytes. int64 and float64 are exact, a bool binds as 0 or 1, bytes travel as
`{"$bytes": base64}`, a date or datetime as ISO text, Decimal as text, an infinity as
`{"$float": "Infinity"}`; NaN is refused, because SQLite would store it as NULL (DESIGN section 4, Types).
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from operator import itemgetter, ne
from typing import Any
from uuid import UUID

import orjson

from runtime.errors import InputError

__all__ = (
    "BYTES_TAG",
    "FLOAT_TAG",
    "Params",
    "SqlValue",
    "bind_params",
    "bind_records",
    "bind_value",
    "dumps",
    "dumps_rows",
    "loads",
)

SqlValue = int | float | str | bytes | None
Params = Sequence[Any] | Mapping[str, Any]

BYTES_TAG = "$bytes"
FLOAT_TAG = "$float"

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_PLAIN = frozenset({str, type(None), bytes})
_EXACT = _PLAIN | {int, float}


def bind_value(value: Any, where: str) -> SqlValue:
    """Return a value as SQLite binds it; `where` names the place for the error.

    Raises:
        InputError: NaN, an integer beyond 64 bits, a list or object, or a type without a counterpart.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value  # type: ignore[no-any-return]
    if kind is int:
        if _INT64_MIN <= value <= _INT64_MAX:
            return value  # type: ignore[no-any-return]
        raise InputError(
            f"{where} is an integer beyond 64 bits, which SQLite cannot store.",
            hint="Send it as text: " + repr(str(value))[:60] + ".",
        )
    if kind is float:
        if value != value:
            raise InputError(f"{where} is NaN, which SQLite would store as NULL.", hint="Send null instead.")
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return int(value)
    if isinstance(value, dict):
        return _tagged(value, where)
    return _converted(value, where)


def _converted(value: Any, where: str) -> SqlValue:
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, int):
        return bind_value(int(value), where)
    if isinstance(value, float):
        return bind_value(float(value), where)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (list, tuple)):
        raise InputError(
            f"{where} is a list, which SQLite cannot bind.",
            hint="Bind one value a placeholder, or send the list as JSON text and read it with json_each(?).",
        )
    raise InputError(
        f"{where} has the type {type(value).__name__}, which SQLite cannot bind.",
        hint="Use a number, text, bytes or null.",
    )


def _tagged(value: dict[str, Any], where: str) -> SqlValue:
    if len(value) == 1:
        if isinstance(text := value.get(BYTES_TAG), str):
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                raise InputError(
                    f"{where} is not valid base64.", hint='Send bytes as {"$bytes": "<base64>"}.'
                ) from None
        if (text := value.get(FLOAT_TAG)) in ("Infinity", "-Infinity"):
            return math.inf if text == "Infinity" else -math.inf
    raise InputError(
        f"{where} is an object, which SQLite cannot bind.",
        hint='Send JSON as text (json.dumps), or bytes as {"$bytes": "<base64>"}.',
    )


def bind_params(params: Any) -> Sequence[SqlValue] | dict[str, SqlValue]:
    """Return parameters as sqlite3 takes them: a list for `?`, a dict for `:name`, `@name` and `$name`.

    Raises:
        InputError: not a list or object, or a value that cannot be bound.
    """
    if not params:
        if params is None or isinstance(params, (list, tuple, dict)):
            return ()
    elif isinstance(params, (list, tuple)):
        for value in params:
            kind = type(value)
            if kind is not str and (kind is not int or not _INT64_MIN <= value <= _INT64_MAX):
                return [bind_value(v, f"Parameter {i}") for i, v in enumerate(params, 1)]
        return params
    elif isinstance(params, Mapping):
        return {str(k).lstrip(":@$"): bind_value(v, f"Parameter {k!r}") for k, v in params.items()}
    raise InputError(
        f"params is {type(params).__name__}; it must be a list or an object.",
        hint='Use "params": [1, "a"] for ? placeholders, or {"id": 1} for :id.',
    )


def _picked(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    if len(columns) > 1:
        try:
            return list(map(itemgetter(*columns), records))  # in C; most batches miss no key
        except KeyError:
            pass
    return [tuple(map(record.get, columns)) for record in records]


def _fits(column: tuple[Any, ...]) -> bool:
    """Tell whether SQLite takes all values of a column as they are."""
    kinds = set(map(type, column))
    if not kinds <= _EXACT:
        return False
    # NaN is the one value that differs from itself; integers are too large only beyond these bounds.
    if float in kinds and any(map(ne, column, column)):
        return False
    if int not in kinds:
        return True
    numbers = column if len(kinds) == 1 else [cell for cell in column if type(cell) is int]
    return min(numbers) >= _INT64_MIN and max(numbers) <= _INT64_MAX


def bind_records(
    records: Sequence[Mapping[str, Any]], columns: Sequence[str], first: int
) -> list[tuple[SqlValue, ...]]:
    """Return records as rows in the order of `columns`; a missing key is NULL. `first` numbers them in errors.

    Whole slices are looked at in C; only one that holds something unusual is looked at value by value.

    Raises:
        InputError: a value that cannot be bound, with its record and column.
    """
    rows = _picked(records, columns)
    if all(map(_fits, zip(*rows, strict=True))):
        return rows
    return [
        tuple(bind_value(v, f"Record {number}, column {c!r}") for c, v in zip(columns, row, strict=True))
        for number, row in enumerate(rows, first)
    ]


def _default(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {BYTES_TAG: base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(type(value).__name__)


def dumps(value: Any) -> bytes:
    """Return a value as JSON. Dataclasses, dates and UUIDs are known; bytes are tagged.

    Raises:
        TypeError: a type without a JSON form, an integer beyond 64 bits, or text that is not Unicode.
    """
    return orjson.dumps(value, default=_default, option=orjson.OPT_NON_STR_KEYS)


def dumps_rows(rows: Any) -> bytes:
    """Return rows as JSON, several times as fast as `dumps` does: all keys must be text.

    Raises:
        TypeError: as `dumps`.
    """
    return orjson.dumps(rows, default=_default)


def loads(
    data: bytes | bytearray | memoryview | str,
    *,
    what: str = "The body",
    hint: str = "Send one JSON object, encoded as UTF-8.",
) -> Any:
    """Return the value of a JSON text (RFC 8259: NaN, lone surrogates and depth over 1,024 are refused).

    `what` and `hint` tell in the error what the text is, and how it is written.

    Raises:
        InputError: the text is not JSON; the message says where.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{what} is not valid JSON: {error}.", hint=hint) from None
