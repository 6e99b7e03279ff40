"""A JSON Schema, read as a Python type: `{"type": "integer"}` is `int`, an open object `dict[str, Any]`.

The text is for stubs and docs. It says what a caller may pass, not every bound: a schema that Python's types
cannot express becomes the nearest wider type, at last `Any`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ("resolve", "type_text")

_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_DEEPEST = 8


def resolve(schema: Any, definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow `$ref` to a definition of the same document; an unknown one is the empty schema."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        schema = definitions.get(reference.rpartition("/")[2], {})
    return {}


def type_text(schema: Any, definitions: Mapping[str, Any] | None = None, _depth: int = 0) -> str:
    """Return the Python type for a schema; `definitions` are the `$defs` of its document."""
    known = definitions or {}
    schema = resolve(schema, known)
    if _depth > _DEEPEST:
        return "Any"
    if isinstance(values := schema.get("enum", [schema["const"]] if "const" in schema else None), Sequence):
        return _literals(values)
    for word in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(word), Sequence):
            return _union(type_text(option, known, _depth + 1) for option in options)
    kind = schema.get("type")
    if isinstance(kind, Sequence) and not isinstance(kind, str):
        return _union(type_text({**schema, "type": one}, known, _depth + 1) for one in kind)
    if kind == "array":
        return f"list[{type_text(schema.get('items'), known, _depth + 1)}]"
    if kind == "object" or "properties" in schema:
        values = schema.get("additionalProperties")
        inner = type_text(values, known, _depth + 1) if isinstance(values, Mapping) else "Any"
        return f"dict[str, {'Any' if schema.get('properties') else inner}]"
    return _PLAIN.get(kind, "Any") if isinstance(kind, str) else "Any"


def _literals(values: Sequence[Any]) -> str:
    plain = [value for value in values if value is None or isinstance(value, (bool, int, str))]
    return f"Literal[{', '.join(map(repr, plain))}]" if plain and len(plain) == len(values) else "Any"


def _union(options: Any) -> str:
    names = list(dict.fromkeys(options))
    if not names or "Any" in names:
        return "Any"
    # None last, as people write it.
    names.sort(key=lambda name: name == "None")
    return " | ".join(names)
