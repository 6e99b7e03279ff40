"""Frames between the service and a worker: one letter, a length, and so many bytes.

To the worker: `H` (hello: its settings) and `T` (a task). From it: `U` (it is up), `P` (a report), then one of
`R` (the answer as JSON), `B` (the answer as bytes) and `E` (an error). The last three carry first how much
memory the worker holds, so that one that grew can be replaced.
"""

from __future__ import annotations

import struct
from typing import Any

import orjson

from runtime.errors import DuraliteError, InternalError, LimitExceeded

__all__ = ("HEAD", "MEMORY", "bounded", "error_state", "frame", "raised", "unpack_head")

HEAD = struct.Struct("<cI")
MEMORY = struct.Struct("<Q")
_MOST = 64 * 1024 * 1024
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def frame(kind: bytes, body: bytes = b"") -> bytes:
    """Return one frame."""
    return HEAD.pack(kind, len(body)) + body


def unpack_head(head: bytes) -> tuple[bytes, int]:
    """Return kind and length of a frame.

    Raises:
        ValueError: longer than a frame may be.
    """
    kind, length = HEAD.unpack(head)
    if length > _MOST + MEMORY.size:
        raise ValueError("The frame is too long.")
    return kind, length


def bounded(body: bytes) -> bytes:
    """Return a body that fits into a frame.

    Raises:
        LimitExceeded: it does not.
    """
    if len(body) > _MOST:
        raise LimitExceeded(
            f"The answer has {len(body):,} bytes, which is more than passes between two processes.",
            hint="Ask for fewer rows or columns, or write the result into a file.",
            limit="max_result_bytes",
        )
    return body


def error_state(error: DuraliteError) -> bytes:
    """Return an error as a frame's body."""
    state = {k: v for k, v in vars(error).items() if not k.startswith("_")}
    return orjson.dumps({"class": type(error).__name__, "state": state}, default=str, option=_OPTIONS)


def raised(body: bytes) -> DuraliteError:
    """Return the error that a frame's body tells of, of the class that it had in the worker."""
    told: dict[str, Any] = orjson.loads(body)
    found = _class(str(told["class"]))
    error: DuraliteError = found.__new__(found)
    state = told["state"]
    Exception.__init__(error, state["message"])
    vars(error).update(state)
    return error


def _class(name: str) -> type[DuraliteError]:
    """Return an error class by its name, also one that is defined above the runtime and loaded here."""
    kinds: list[type[DuraliteError]] = [DuraliteError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return next((kind for kind in kinds if kind.__name__ == name), InternalError)
