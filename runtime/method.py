"""A method is declared once; every outside view of it is derived from its `MethodSpec`.

Three kinds of method, told apart by how they are written:

- `def m(self, tx, ...)` is a **unit**: one transaction, one thread hop. It runs in the thread of the actor's
  connection. Neighbouring units may share one commit; each is atomic all the same.
- `async def m(self, ...)` is a **turn**: it runs on the event loop, alone in its actor until it returns.
- `async def` with `concurrent=True` runs **beside** the turns and reaches the database through turns of its
  own: code runs, exports, anything long.

From the spec come the HTTP route and its OpenAPI entry, the helper inside the sandbox with its stub and docs,
the tool schemas, the CLI verb and the metrics label (DESIGN section 1).
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, Required, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from typing_extensions import TypedDict

from runtime.errors import InputError
from runtime.reasons import reasons

__all__ = ("HelperView", "MethodSpec", "Parameter", "collect_methods", "method", "spec_of")

Kind = Literal["unit", "turn", "concurrent"]
HelperView = str
"""How user code sees the answer: "whole", "rows" (a list of dicts), or the name of one field of it."""

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "_duralite_method"
_TOLD = 3


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a method, as every view shows it."""

    name: str
    annotation: Any
    required: bool
    default: Any
    doc: str | None
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Declaration:
    read_only: bool
    destructive: bool
    idempotent: bool
    concurrent: bool
    group: bool | Callable[[Mapping[str, Any]], bool]
    helper: HelperView | None
    public: bool
    scope: str | None
    aliases: tuple[str, ...]


def method(
    *,
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = False,
    concurrent: bool = False,
    group: bool | Callable[[Mapping[str, Any]], bool] = False,
    helper: HelperView | None = None,
    public: bool = True,
    scope: str | None = None,
    aliases: tuple[str, ...] = (),
) -> Callable[[F], F]:
    """Declare an actor method.

    Args:
        read_only: The method changes nothing; it also answers GET, and its unit opens no transaction.
        destructive: It removes what cannot be had back; views warn of it.
        idempotent: Doing it twice is doing it once.
        concurrent: It runs beside the actor's turns.
        group: Whether (or for which arguments) the unit is short enough to share a commit with others.
        helper: How code in the sandbox sees the answer; None keeps the method out of the sandbox.
        public: False keeps it off HTTP, CLI and MCP.
        scope: The key scope it needs; None means `read` for read-only methods, else `write`.
        aliases: Paths beside its own that HTTP answers, as `GET /api/projects/{name}/data` (runtime/gateway/aliases.py).
    """
    declared = _Declaration(
        read_only, destructive, idempotent, concurrent, group, helper, public, scope, aliases
    )

    def mark(function: F) -> F:
        setattr(function, _MARK, declared)
        return function

    return mark


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """Everything the outside needs to know about a method."""

    name: str
    kind: Kind
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    returns: Any
    summary: str
    doc: str
    read_only: bool
    destructive: bool
    idempotent: bool
    group: bool | Callable[[Mapping[str, Any]], bool]
    helper: HelperView | None
    public: bool
    scope: str
    aliases: tuple[str, ...]
    _arguments: TypeAdapter[Any] = field(repr=False)
    _input_schema: Mapping[str, Any] = field(repr=False)
    _output_schema: Mapping[str, Any] = field(repr=False)

    def input_schema(self) -> Mapping[str, Any]:
        """Return the JSON Schema of the arguments, an object."""
        return self._input_schema

    def output_schema(self) -> Mapping[str, Any]:
        """Return the JSON Schema of the answer."""
        return self._output_schema

    def bind(self, data: Any, *, lax: bool = False) -> dict[str, Any]:
        """Check named arguments and return them as keyword arguments.

        `lax` also takes numbers and booleans written as text, for arguments that came in a URL; `true` is no number.

        Raises:
            InputError: `errors` lists each bad argument with its path and reason.
        """
        if lax:
            self._refuse_truths(data)
        try:
            return self._arguments.validate_python(data, strict=not lax)  # type: ignore[no-any-return]
        except ValidationError as error:
            raise self._refusal(error) from None

    def _refuse_truths(self, data: Mapping[str, Any]) -> None:
        for parameter in self.parameters:
            options = parameter.schema.get("anyOf", (parameter.schema,))
            kinds = {option.get("type") for option in options}
            if (
                type(data.get(parameter.name)) is bool
                and kinds & {"integer", "number"}
                and "boolean" not in kinds
            ):
                problem = {"path": parameter.name, "reason": "a number is needed"}
                raise InputError(
                    f"{self.name}: {parameter.name}: a number is needed.",
                    hint=f"Use {self.signature()}.",
                    errors=[problem],
                )

    def bind_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Check a call written as Python writes it: positional arguments, then named ones.

        Raises:
            InputError: too many arguments, one given twice, or as `bind`.
        """
        if not args:
            return self.bind(dict(kwargs))
        names = [parameter.name for parameter in self.parameters]
        if len(args) > len(names):
            raise InputError(
                f"{self.name}() takes at most {len(names)} arguments, and {len(args)} were given.",
                hint=f"Use {self.signature()}.",
            )
        data = dict(zip(names, args, strict=False))
        if twice := data.keys() & kwargs.keys():
            raise InputError(
                f"{self.name}() got {sorted(twice)[0]!r} twice.", hint=f"Use {self.signature()}."
            )
        return self.bind({**data, **kwargs})

    def signature(self) -> str:
        """Return the call as a person would write it: `query(sql, params=…, limit=…)`."""
        return f"{self.name}({', '.join(p.name if p.required else f'{p.name}=…' for p in self.parameters)})"

    def _refusal(self, error: ValidationError) -> InputError:
        wrong = [
            {**each, "path": each["path"] or "(body)"}
            for each in reasons(error, "argument", [p.name for p in self.parameters])
        ]
        told = "; ".join(f"{each['path']}: {each['reason']}" for each in wrong[:_TOLD])
        return InputError(f"{self.name}: {told}.", hint=f"Use {self.signature()}.", errors=wrong)


def collect_methods(cls: type) -> dict[str, MethodSpec]:
    """Return the specs of all methods that a class declares or inherits, by name, in order of definition."""
    specs: dict[str, MethodSpec] = {}
    for base in reversed(cls.__mro__):
        for name, function in vars(base).items():
            if (declared := getattr(function, _MARK, None)) is not None:
                specs[name] = spec_of(name, function, declared)
            elif name in specs:
                del specs[name]  # overridden without @method: no longer part of the interface
    return specs


def spec_of(name: str, function: Callable[..., Any], declared: _Declaration) -> MethodSpec:
    """Derive the spec of one function from its signature, annotations and docstring.

    Raises:
        TypeError: the function is not written as one of the three kinds.
    """
    is_async = inspect.iscoroutinefunction(function)
    signature = inspect.signature(function)
    names = list(signature.parameters)
    leading = 1 if is_async else 2
    if not is_async and names[1:2] != ["tx"]:
        raise TypeError(f"{function.__qualname__}: a synchronous method takes (self, tx, ...)")
    if declared.concurrent and not is_async:
        raise TypeError(f"{function.__qualname__}: a concurrent method is written with async def")
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for key in names[leading:]:
        needed = signature.parameters[key].default is inspect.Parameter.empty
        fields[key] = (Required if needed else NotRequired)[hints.get(key, Any)]
    arguments = _adapter(f"{name}_arguments", fields)
    schema = arguments.json_schema()
    properties = schema.get("properties", {})
    parameters = tuple(
        Parameter(
            name=key,
            annotation=hints.get(key, Any),
            required=signature.parameters[key].default is inspect.Parameter.empty,
            default=signature.parameters[key].default,
            doc=properties.get(key, {}).get("description"),
            schema=properties.get(key, {}),
        )
        for key in names[leading:]
    )
    doc = inspect.cleandoc(function.__doc__ or "")
    if not doc:
        raise TypeError(f"{function.__qualname__}: a method needs a docstring; every view of it shows it")
    return MethodSpec(
        name=name,
        kind="unit" if not is_async else "concurrent" if declared.concurrent else "turn",
        function=function,
        parameters=parameters,
        returns=hints.get("return"),
        summary=doc.split("\n\n")[0].replace("\n", " "),
        doc=doc,
        read_only=declared.read_only,
        destructive=declared.destructive,
        idempotent=declared.idempotent or declared.read_only,
        group=declared.group,
        helper=declared.helper,
        public=declared.public,
        scope=declared.scope or ("read" if declared.read_only else "write"),
        aliases=declared.aliases,
        _arguments=arguments,
        _input_schema=schema,
        _output_schema=_output_schema(hints.get("return")),
    )


def _adapter(name: str, fields: dict[str, Any]) -> TypeAdapter[Any]:
    make: Any = TypedDict  # made from data, which type checkers do not follow
    shape = make(name, fields)
    shape.__pydantic_config__ = ConfigDict(extra="forbid")
    return TypeAdapter(shape)


def _output_schema(annotation: Any) -> Mapping[str, Any]:
    if annotation is None or annotation is type(None):
        return {"type": "null"}
    try:
        return TypeAdapter(annotation).json_schema(mode="serialization")
    except PydanticSchemaGenerationError:
        return {}
