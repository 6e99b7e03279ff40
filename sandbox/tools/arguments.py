"""Arguments are checked against a tool's schema before they are sent, so that a mistake comes back with its path.

The schema is a stranger's. It may be no schema, refer to pages of the network, hold a pattern that takes for ever, or
branch without end; and it may be wrong, while the server takes what it refuses. So a check is made of steps that
are counted, follows references within the schema alone, leaves patterns to the server, and where it cannot come
to an end says nothing: the server has the last word anyway.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from decimal import Decimal
from typing import Any
from uuid import UUID

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from runtime.errors import InputError

__all__ = ("ArgumentCheck", "plain_arguments")

_MOST_STEPS = 20_000
_DEEPEST = 64
# Expressions of a stranger, in another dialect than Python's: matching one may never end.
_LEFT_OUT = (
    "pattern",
    "patternProperties",
    "format",
    "uniqueItems",
    "unevaluatedProperties",
    "unevaluatedItems",
)
_steps: ContextVar[int] = ContextVar("duralite_schema_steps", default=0)

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError]]


class _EnoughError(Exception):
    """Raised when a check takes too many steps."""


def _counted(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        left = _steps.get() - 1
        _steps.set(left)
        if left <= 0:
            raise _EnoughError
        yield from keyword(validator, value, instance, schema) or ()

    return check


def _no_others(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    # What the patterns would allow is not known here.
    if "patternProperties" not in schema:
        yield from (
            Draft202012Validator.VALIDATORS["additionalProperties"](validator, value, instance, schema) or ()
        )


_Validator = extend(
    Draft202012Validator,
    {
        **{name: _counted(check) for name, check in Draft202012Validator.VALIDATORS.items()},
        "additionalProperties": _counted(_no_others),
        **dict.fromkeys(_LEFT_OUT),
    },
)


class ArgumentCheck:
    """The check of one tool's arguments."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        # An empty registry: nothing is fetched.
        self._validator: Any = _Validator(schema, registry=Registry())

    def __call__(self, path: str, arguments: Mapping[str, Any], signature: str) -> None:
        """Check named arguments of the helper `path`.

        Raises:
            InputError: they do not fit; the message says where and why, the hint how the helper is called.
        """
        token = _steps.set(_MOST_STEPS)
        try:
            error = best_match(self._validator.iter_errors(arguments))
        except (_EnoughError, RecursionError, Unresolvable, SchemaError):
            return
        except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, IndexError):
            return  # what is no schema breaks the check in many ways
        finally:
            _steps.reset(token)
        if error is not None:
            place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
            where = f" {place.lstrip('.')!s:.200}:" if place else ""
            raise InputError(f"{path}:{where} {_reason(error)}.", hint=f"Use {signature:.500}.")


def _reason(error: ValidationError) -> str:
    value, wanted = error.instance, error.validator_value
    match error.validator:
        case "type":
            return f"{_kind(value)} was given, and {_names(wanted)} is needed"
        case "enum":
            return f"{value!r:.80} is none of {', '.join(f'{item!r:.60}' for item in list(wanted)[:20])}"
        case "required":
            lacking = [name for name in wanted if name not in value]
            return f"{', '.join(map(repr, lacking[:10]))} is missing"
        case "additionalProperties":
            known = set(error.schema.get("properties", ())) if isinstance(error.schema, Mapping) else set()
            odd = [name for name in value if name not in known]
            return f"there is no {', '.join(f'{name!r:.60}' for name in odd[:10])}"
        case "anyOf" | "oneOf":
            return f"{value!r:.80} fits none of the forms that are allowed"
        case _:
            return f"{error.message:.200}".rstrip(".")


def _names(wanted: Any) -> str:
    return " or ".join(wanted) if isinstance(wanted, list) else str(wanted)


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    names = ((int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"))
    return next((name for kind, name in names if isinstance(value, kind)), type(value).__name__)


def plain_arguments(value: Any, depth: int = _DEEPEST) -> Any:
    """Return a program's value as JSON data: dates as ISO text, bytes as base64, decimals as text, sets as lists.

    Raises:
        InputError: NaN or an infinity, or nested too deeply.
    """
    if depth < 0:
        raise InputError("An argument is nested too deeply.", hint="Pass flatter data.")
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{value!r} has no form in JSON.", hint="Pass None, or text.")
        return value
    if isinstance(value, Mapping):
        return {str(key): plain_arguments(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_arguments(item, depth - 1) for item in value]
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise InputError(
        f"A value of type {type(value).__name__} cannot be sent to a tool.", hint="Pass plain data."
    )
