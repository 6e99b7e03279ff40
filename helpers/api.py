"""The helper API is what an actor type's methods and the sql builders look like from inside a program.

A method declared with `helper=` is part of `db`; the value says what user code gets (`runtime.method`). The
specs made here are the single source of the sandbox's callables, the stubs, the docs and `helpers.search`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from helpers import sql
from helpers.annotations import resolve, type_text
from helpers.spec import ROWS, WHOLE, HelperSpec, ParamSpec
from runtime.method import MethodSpec, Parameter

__all__ = ("builder_helper", "db_helpers", "method_helper", "sql_helpers")

# How rows travel is for the two ends of the wire to settle; user code always gets a list of dicts.
_WIRE_PARAMETERS = ("row_format",)


def db_helpers(
    methods: Mapping[str, MethodSpec] | Iterable[MethodSpec], namespace: str = "db"
) -> tuple[HelperSpec, ...]:
    """Return the helpers of an actor type (`SessionActor.methods`): its methods that user code may see."""
    each = methods.values() if isinstance(methods, Mapping) else methods
    return tuple(method_helper(method, namespace) for method in each if method.helper is not None)


def method_helper(method: MethodSpec, namespace: str = "db") -> HelperSpec:
    """Return one method as a helper.

    Raises:
        ValueError: the method is not meant for user code, or names a field that its answer does not have.
    """
    if method.helper is None:
        raise ValueError(f"{method.name} is declared without helper=; user code does not see it.")
    definitions = method.input_schema().get("$defs", {})
    hidden = _WIRE_PARAMETERS if method.helper == ROWS else ()
    names = [parameter.name for parameter in method.parameters]
    parameters = [_parameter(p, definitions) for p in method.parameters if p.name not in hidden]
    if names[:2] == ["sql", "params"]:
        # A Query carries its parameters with it (sandbox guest).
        first = parameters[0]
        parameters[0] = ParamSpec(
            first.name, first.required, first.default, f"{first.annotation} | Query", first.doc
        )
    return HelperSpec(
        path=f"{namespace}.{method.name}",
        parameters=tuple(parameters),
        result=method.helper,
        doc=method.doc,
        returns=_returns(method),
        read_only=method.read_only,
        destructive=method.destructive,
    )


def _parameter(parameter: Parameter, definitions: Mapping[str, Any]) -> ParamSpec:
    return ParamSpec(
        name=parameter.name,
        required=parameter.required,
        default=None if parameter.required else _plain(parameter.default),
        annotation=type_text(parameter.schema, definitions),
        doc=parameter.doc or "",
    )


def _plain(value: Any) -> Any:
    """Return a default as plain data; what has no plain form is None."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return None


def _returns(method: MethodSpec) -> str:
    schema = method.output_schema()
    definitions = schema.get("$defs", {})
    if method.helper == ROWS:
        return "Rows"
    if method.helper == WHOLE:
        return type_text(schema, definitions)
    answer = resolve(schema, definitions)
    fields = answer.get("properties", {})
    if fields and method.helper not in fields:
        raise ValueError(
            f"{method.name} is declared with helper={method.helper!r}, which is no field of its answer: "
            f"{', '.join(fields)}."
        )
    return type_text(fields.get(method.helper, answer.get("additionalProperties")), definitions)


def sql_helpers() -> tuple[HelperSpec, ...]:
    """Return the sql builders as helpers, in the order in which docs show them."""
    return tuple(builder_helper(builder) for builder in sql.BUILDERS)


def builder_helper(builder: Callable[..., Any]) -> HelperSpec:
    """Return one sql builder as a helper; its doc keeps the `Gives:` and `Example:` paragraphs."""
    empty = inspect.Parameter.empty
    return HelperSpec(
        path=f"sql.{builder.__name__}",
        parameters=tuple(
            ParamSpec(
                name=parameter.name,
                required=parameter.default is empty,
                default=None if parameter.default is empty else _plain(parameter.default),
                annotation=str(parameter.annotation),
                keyword_only=parameter.kind is inspect.Parameter.KEYWORD_ONLY,
            )
            for parameter in inspect.signature(builder).parameters.values()
        ),
        doc=inspect.cleandoc(builder.__doc__ or ""),
        returns="Query",
        read_only=True,
    )
