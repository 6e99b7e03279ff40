"""What is wrong with given data, in the words that errors here use; pydantic's own speak to programmers."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic import ValidationError

__all__ = ("reasons",)

_MOST = 20


def reasons(error: ValidationError, noun: str, known: Iterable[str] = ()) -> list[dict[str, str]]:
    """Return `{path, reason}` of each mistake, at most 20; `noun` is what the data consists of, `known` its names."""
    names = list(known)
    found = []
    for item in error.errors(include_url=False, include_input=False, include_context=False)[:_MOST]:
        path = ".".join(str(part) for part in item["loc"])
        found.append({"path": path, "reason": _reason(item["type"], item["msg"], noun, path, names)})
    return found


def _reason(kind: str, text: str, noun: str, path: str, known: list[str]) -> str:
    match kind:
        case "missing":
            return "this field is required"
        case "extra_forbidden":
            near = get_close_matches(path, known, n=1)
            return f"there is no such {noun}" + (f", the nearest is {near[0]}" if near else "")
        case "value_error":
            return text.removeprefix("Value error, ")
        case "dict_type" | "model_type":
            return "an object is needed"
        case _:
            return text[:1].lower() + text[1:]
