"""Lists of steps as JSON: read in every spelling, told what is wrong with them, written in one.

A step is `{"operation": "trim", "columns": ["city"]}`. Its settings may also stand in a `config` object, the
operation may be called `type`, and keys may be written `targetType` or `target_type`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from runtime.errors import InputError

from .operations import OPERATIONS, OTHER_NAMES
from .step import BaseStep, snake_case
from .table import StepError, nearest

__all__ = (
    "VERSION",
    "Step",
    "dump_steps",
    "operations",
    "parse_steps",
    "read_document",
    "step_schema",
    "write_document",
)

VERSION = 1
"""The version of the JSON of a pipeline."""

MAX_STEPS = 500

Step = BaseStep
"""A step of any operation."""

_OPERATION_KEYS = ("operation", "type", "op", "kind_of_step")
_CONFIG_KEYS = ("config", "settings", "params", "parameters", "options")


def parse_steps(data: Any) -> tuple[BaseStep, ...]:
    """Return the steps of a list that came from outside.

    Raises:
        StepError: a step is not valid; the message says which, and what is wrong with it.
        InputError: it is no list, or too long.
    """
    if isinstance(data, Mapping) and "steps" in data:
        return read_document(data)
    if not isinstance(data, Sequence) or isinstance(data, str | bytes):
        raise InputError(
            "The steps of a pipeline are a list.", hint='[{"operation": "trim", "columns": ["city"]}]'
        )
    if len(data) > MAX_STEPS:
        raise InputError(f"A pipeline has at most {MAX_STEPS} steps; these are {len(data):,}.")
    return tuple(_parse_step(item, number) for number, item in enumerate(data, 1))


def _parse_step(data: Any, number: int) -> BaseStep:
    if isinstance(data, BaseStep):
        return data
    if not isinstance(data, Mapping):
        raise StepError(f"a step is an object, not {type(data).__name__}.", step=number, operation="?")
    flat = _flattened(data)
    named = next((flat.pop(key) for key in _OPERATION_KEYS if isinstance(flat.get(key), str)), None)
    if named is None:
        raise StepError(
            "the step does not say its operation.", step=number, operation="?",
            hint="Operations: " + ", ".join(OPERATIONS) + ".",
        )  # fmt: skip
    operation = snake_case(named.strip()).replace(" ", "_")
    if operation not in OPERATIONS:
        if operation == "suffix" and "value" in flat:
            flat["suffix"] = flat.pop("value")
        operation = OTHER_NAMES.get(operation, operation)
    cls = OPERATIONS.get(operation)
    if cls is None:
        near = nearest(operation, [*OPERATIONS, *OTHER_NAMES])
        near = OTHER_NAMES.get(near, near) if near else None
        raise StepError(
            f'there is no operation "{named}".' + (f' The nearest is "{near}".' if near else ""),
            step=number, operation=named[:50], hint="Operations: " + ", ".join(OPERATIONS) + ".",
        )  # fmt: skip
    return _validated(cls, _spelled(cls, flat), number)


def _flattened(data: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        name = snake_case(str(key))
        if name in _CONFIG_KEYS and isinstance(value, Mapping):
            for inner, setting in value.items():
                flat.setdefault(snake_case(str(inner)), setting)
        else:
            flat[name] = value
    if "disabled" in flat:
        flat["enabled"] = not flat.pop("disabled")
    return flat


def _spelled(cls: type[BaseStep], flat: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in flat.items():
        field = key if key in cls.model_fields else cls.spellings.get(key, key)
        made.setdefault(field, value)
    listed = made.get("columns")
    if isinstance(listed, str) and "columns" in cls.model_fields and cls.__name__ != "Union":
        made["columns"] = [listed]
    return made


def _validated(cls: type[BaseStep], settings: dict[str, Any], number: int) -> BaseStep:
    operation = cls.model_fields["operation"].default
    try:
        return cls.model_validate(settings)
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        path = ".".join(str(p) for p in first["loc"])
        if first["type"] == "extra_forbidden":
            near = nearest(path, cls.model_fields)
            reason = f'there is no setting "{path}".' + (f' The nearest is "{near}".' if near else "")
        elif first["type"] == "missing":
            reason = f'the setting "{path}" is missing.'
        else:
            said = first["msg"].removeprefix("Value error, ")
            reason = f'"{path}": {said}.' if path else f"{said}."
        names = [n for n in cls.model_fields if n not in ("operation", "id", "enabled")]
        raise StepError(
            reason, step=number, operation=operation,
            hint=f"Settings of {operation}: {', '.join(names) or 'none'}. Example: {_json(cls.example)}",
            errors=[{"path": ".".join(str(p) for p in err["loc"]), "reason": err["msg"]}
                    for err in e.errors(include_url=False)[:10]],
        ) from None  # fmt: skip


def _json(data: Any) -> str:
    return orjson.dumps(data).decode()


def dump_steps(steps: Sequence[BaseStep]) -> list[dict[str, Any]]:
    """Return steps as JSON in the one spelling that is written: what differs from the defaults, operation first."""
    made = []
    for step in steps:
        rest = step.model_dump(mode="json", exclude_defaults=True)
        made.append({"operation": step.name, **rest})
    return made


def write_document(steps: Sequence[BaseStep], *, name: str | None = None) -> dict[str, Any]:
    """Return a pipeline as a document that `read_document` reads, here or elsewhere."""
    return {"format": "duralite.pipeline", "version": VERSION, "name": name, "steps": dump_steps(steps)}


def read_document(document: Mapping[str, Any]) -> tuple[BaseStep, ...]:
    """Return the steps of a document.

    Raises:
        InputError: it was written by a later version, or is no pipeline.
    """
    version = document.get("version", VERSION)
    if not isinstance(version, int) or version > VERSION or version < 1:
        raise InputError(
            f"The pipeline was written in version {version}; this service reads up to {VERSION}.",
            hint="Export it again from a service of this version.",
        )
    steps = document.get("steps")
    if not isinstance(steps, list):
        raise InputError('A pipeline is an object with a list "steps".')
    return parse_steps(steps)


def operations() -> list[dict[str, Any]]:
    """Return what a user interface or a model needs to know of each operation: name, line, example, schema."""
    return [
        {
            "operation": name,
            "summary": cls.summary(),
            "example": dict(cls.example),
            "blocking": cls.blocking,
            "schema": cls.model_json_schema(),
        }
        for name, cls in OPERATIONS.items()
    ]


def step_schema() -> dict[str, Any]:
    """Return the JSON Schema of one step: one object for each operation, told apart by `operation`."""
    members = tuple(OPERATIONS.values())
    union: Any = members[0]
    for cls in members[1:]:
        union = union | cls
    schema: dict[str, Any] = TypeAdapter(Annotated[union, Field(discriminator="operation")]).json_schema()
    return schema
