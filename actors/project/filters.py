"""A filter says which rows, a sort in which order: both are data, and become SQL with parameters here.

A condition is `{"column": "city", "operator": "equals", "value": "Berlin"}`; conditions are put together by
`{"and": […]}`, `{"or": […]}` and `{"not": …}`, and a list of them means all. A NULL matches no comparison, only
`is_null`. Columns are looked up before any SQL is made, so that a slip of the pen is an error and not an empty
answer (SQLite takes an unknown name in double quotes for a text).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from actors.project.catalogue import Dataset
from actors.project.fields import Field
from runtime.errors import InputError
from runtime.storage.transaction import quote
from runtime.values import loads

__all__ = ("OPERATORS", "order_by", "value_for", "where")

_COMPARISONS = {
    "equals": "=",
    "not_equals": "<>",
    "greater_than": ">",
    "greater_than_or_equal": ">=",
    "less_than": "<",
    "less_than_or_equal": "<=",
}
_SPELLINGS = {
    "=": "equals",
    "==": "equals",
    "eq": "equals",
    "!=": "not_equals",
    "<>": "not_equals",
    "ne": "not_equals",
    ">": "greater_than",
    "gt": "greater_than",
    ">=": "greater_than_or_equal",
    "gte": "greater_than_or_equal",
    "<": "less_than",
    "lt": "less_than",
    "<=": "less_than_or_equal",
    "lte": "less_than_or_equal",
    "is_empty": "empty",
    "is_not_empty": "not_empty",
}
OPERATORS = (
    *_COMPARISONS,
    "contains",
    "not_contains",
    "starts_with",
    "ends_with",
    "between",
    "in",
    "not_in",
    "is_null",
    "is_not_null",
    "empty",
    "not_empty",
)
"""What a condition can ask; the signs `=`, `!=`, `>`, `>=`, `<`, `<=` are taken too."""

_EXAMPLE = 'Write it like [{"column": "city", "operator": "equals", "value": "Berlin"}].'
_MOST_VALUES = 1_000
_DEEPEST = 8
_MOST_CONDITIONS = 100
Sql = tuple[str, list[Any]]


def where(dataset: Dataset, given: Any) -> Sql:
    """Return ` WHERE …` (empty text for no filter) and its parameters. `given` may be JSON text.

    Raises:
        InputError: it is not a filter.
        NotFound: it names a column that is not there.
    """
    if isinstance(given, str):
        given = loads(given, what="The filter", hint=_EXAMPLE) if given.strip() else None
    if given is None or given == [] or given == {}:
        return "", []
    params: list[Any] = []
    text = _Conditions(dataset, params).make(given, 0)
    return f" WHERE {text}", params


class _Conditions:
    """One filter while it becomes SQL."""

    def __init__(self, dataset: Dataset, params: list[Any]) -> None:
        self._dataset = dataset
        self._params = params
        self._count = 0

    def make(self, given: Any, depth: int) -> str:
        """Return the SQL of a condition, or of what holds several."""
        self._count += 1
        if depth > _DEEPEST or self._count > _MOST_CONDITIONS:
            raise InputError(
                f"The filter has more than {_MOST_CONDITIONS} conditions, or is nested deeper than {_DEEPEST}.",
                hint="Use `in` for many values, or write the SQL for query.",
            )
        if isinstance(given, list):
            return self._all(given, " AND ", depth)
        if not isinstance(given, Mapping):
            raise _not_a_condition(given)
        if len(given) == 1:
            ((key, inner),) = given.items()
            if key in ("and", "or") and isinstance(inner, list):
                return self._all(inner, f" {key.upper()} ", depth)
            if key == "not":
                return f"NOT coalesce({self.make(inner, depth + 1)}, 0)"
        return self._condition(given)

    def _all(self, each: list[Any], between: str, depth: int) -> str:
        if not each:
            return "1" if between == " AND " else "0"
        return "(" + between.join(self.make(one, depth + 1) for one in each) + ")"

    def _condition(self, given: Mapping[str, Any]) -> str:
        if not isinstance(given.get("column"), str) or given.keys() - {"column", "operator", "value"}:
            raise _not_a_condition(given)
        named = given.get("operator", "equals")
        operator = _SPELLINGS.get(named, named) if isinstance(named, str) else None
        if operator not in OPERATORS:
            raise InputError(
                f"There is no operator {named!r:.60}.", hint="Operators: " + ", ".join(OPERATORS) + "."
            )
        field = self._dataset.field(given["column"])
        return _MAKERS[operator](self, field, operator, given.get("value"))

    def _put(self, *values: Any) -> None:
        self._params += values

    def compare(self, field: Field, operator: str, value: Any) -> str:
        """A column against a value."""
        if value is None:
            wanted = {"equals": "is_null", "not_equals": "is_not_null"}.get(operator)
            if wanted is None:
                raise InputError(
                    f"Nothing is {operator.replace('_', ' ')} null.", hint="Use is_null or is_not_null."
                )
            return self.null(field, wanted, None)
        self._put(value_for(field, value))
        return f"{quote(field.sql_name)} {_COMPARISONS[operator]} ?"

    def text(self, field: Field, operator: str, value: Any) -> str:
        """A text within a text, taken as it stands: no character of it is a wildcard."""
        if not isinstance(value, (str, int, float)):
            raise InputError(f"{operator} needs a text as value.", hint='For instance "value": "Ber".')
        column, wanted = quote(field.sql_name), str(value)
        if operator == "starts_with":
            self._put(wanted, wanted)
            return f"substr({column}, 1, length(?)) = ?"
        if operator == "ends_with":
            self._put(wanted, wanted, wanted)
            return (
                f"(length({column}) >= length(?) AND substr({column}, length({column}) - length(?) + 1) = ?)"
            )
        self._put(wanted)
        return f"instr({column}, ?) {'=' if operator == 'not_contains' else '>'} 0"

    def between(self, field: Field, operator: str, value: Any) -> str:
        """A column between two values, both included."""
        if not isinstance(value, list) or len(value) != 2 or None in value:
            raise InputError("between needs two values.", hint='For instance "value": [1, 10].')
        self._put(*(value_for(field, item) for item in value))
        return f"{quote(field.sql_name)} BETWEEN ? AND ?"

    def among(self, field: Field, operator: str, value: Any) -> str:
        """A column among values."""
        if not isinstance(value, list) or not 0 < len(value) <= _MOST_VALUES or None in value:
            raise InputError(
                f"{operator} needs a list of 1 to {_MOST_VALUES:,} values without null.",
                hint='For instance "value": ["a", "b"].',
            )
        self._put(*(value_for(field, item) for item in value))
        verb = "IN" if operator == "in" else "NOT IN"
        return f"{quote(field.sql_name)} {verb} ({', '.join('?' * len(value))})"

    def null(self, field: Field, operator: str, value: Any) -> str:
        """NULL or not; `empty` takes a text without visible characters for NULL too."""
        column = quote(field.sql_name)
        match operator:
            case "is_null":
                return f"{column} IS NULL"
            case "is_not_null":
                return f"{column} IS NOT NULL"
            case "empty":
                return f"({column} IS NULL OR trim({column}) = '')"
            case _:
                return f"({column} IS NOT NULL AND trim({column}) <> '')"


Maker = Callable[[_Conditions, Field, str, Any], str]
_MAKERS: dict[str, Maker] = {
    **dict.fromkeys(_COMPARISONS, _Conditions.compare),
    **dict.fromkeys(("contains", "not_contains", "starts_with", "ends_with"), _Conditions.text),
    "between": _Conditions.between,
    **dict.fromkeys(("in", "not_in"), _Conditions.among),
    **dict.fromkeys(("is_null", "is_not_null", "empty", "not_empty"), _Conditions.null),
}


def _not_a_condition(given: Any) -> InputError:
    return InputError(
        f"{given!r:.100} is not a condition.",
        hint='Write {"column": "city", "operator": "equals", "value": "Berlin"}, or {"and": […]}, {"or": […]}.',
    )


def value_for(field: Field, value: Any) -> Any:
    """Return a value as the column stores its own, so that the two compare.

    Raises:
        InputError: it is none that the column can hold.
    """
    match field.type, value:
        case "string" | "date", str():
            return value
        case "string", bool():
            return "true" if value else "false"
        case "string", int() | float():
            return str(value)
        case "boolean", bool() | 0 | 1:
            return int(value)
        case "boolean", str() if value.strip().lower() in ("true", "false"):
            return int(value.strip().lower() == "true")
        case "number", int() | float() if not isinstance(value, bool) and abs(value) < 2.0**1023:
            return value
        case "number", str():
            for kind in (int, float):
                try:
                    number = kind(value)
                except ValueError:
                    continue
                if abs(number) < 2**63:
                    return number
    raise InputError(
        f"{value!r:.80} is no value for the {field.type} column {field.name!r:.80}.",
        hint={"number": "Give a number.", "boolean": "Give true or false."}.get(field.type, "Give a text."),
    )


def order_by(dataset: Dataset, given: Any) -> str:
    """Return ` ORDER BY …` with the row's number last, so that the order is total.

    `given` is a text as `city,-amount` (a minus turns the order), or a list of such words or of
    `{"column": …, "direction": "asc" | "desc"}`. NULLs come last either way.

    Raises:
        InputError: it is not a sort.
        NotFound: it names a column that is not there.
    """
    terms = []
    for item in _words(dataset, given):
        if isinstance(item, str):
            exact = any(f.name == item for f in dataset.fields)
            down, name = not exact and item.startswith("-"), item if exact else item.removeprefix("-")
        elif isinstance(item, Mapping) and isinstance(item.get("column", item.get("name")), str):
            name = item.get("column", item.get("name"))
            direction = item.get("direction", "asc")
            if direction not in ("asc", "desc"):
                raise InputError(f"There is no direction {direction!r:.40}.", hint="Directions: asc, desc.")
            down = direction == "desc"
        else:
            raise InputError(
                f"{item!r:.80} is not a sort.", hint='Write "city,-amount", or [{"column": "city"}].'
            )
        column = quote(dataset.field(name).sql_name)
        terms.append(f"{column} {'DESC' if down else 'ASC'} NULLS LAST")
    if len(terms) > 10:
        raise InputError("More than 10 columns to sort by.", hint="Leave some out.")
    return " ORDER BY " + ", ".join([*terms, "row_id"])


def _words(dataset: Dataset, given: Any) -> list[Any]:
    if given is None or given == "":
        return []
    if isinstance(given, str):
        if given.lstrip()[:1] in ("[", "{"):
            given = loads(given, what="The list of columns", hint="Write names with commas, or a JSON list.")
        elif any(f.name in (given, given.removeprefix("-")) for f in dataset.fields):
            return [given]  # a name may hold a comma
        else:
            return [word.strip() for word in given.split(",") if word.strip()]
    return list(given) if isinstance(given, list) else [given]
