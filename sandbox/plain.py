"""Plain takes a live value of unknown shape and gives plain data: bounded in depth and size, cycles and all.

For engines that hand over objects instead of bytes. The forms are those of `sandbox.codec`: results become
JSON-ready data, arguments keep bytes, dates and decimals as they are.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from .codec import CodecError, plain_int

__all__ = ("Walk",)

_INT64 = 1 << 63
_TEXT_CHARS = 2_000


class Walk:
    """One walk over one value. `unfold` turns the engine's own objects into dicts, or returns None.

    With `exact` (arguments), what is not plain data raises `CodecError`; else it is shown in its text form,
    and `note` says so. `CodecError` is raised in any case when the value is larger than `max_bytes`.
    """

    def __init__(
        self,
        depth: int,
        max_bytes: int,
        *,
        exact: bool,
        unfold: Callable[[Any], Mapping[str, Any] | None] = lambda _: None,
    ) -> None:
        self.note: str | None = None
        self._depth = depth
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._exact = exact
        self._unfold = unfold
        self._path: set[int] = set()

    def plain(self, value: Any) -> Any:
        """Return the plain form of the value."""
        return self._convert(value, self._depth)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise CodecError(f"The value is larger than {self._max_bytes:,} bytes.")

    def _convert(self, value: Any, depth: int) -> Any:
        self._spend(2)
        if value is None or value is True or value is False:
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int):
            return self._int(value)
        if isinstance(value, float):
            return value if math.isfinite(value) or self._exact else {"$float": repr(value)}
        if isinstance(value, list | tuple | set | frozenset | dict | range):
            return self._container(value, depth)
        unfolded = self._unfold(value)
        return self._container(unfolded, depth) if unfolded is not None else self._scalar(value)

    def _container(self, value: Any, depth: int) -> Any:
        if depth <= 0:
            return self._odd(
                "The value is nested too deeply; what lies deeper is cut.", "<nested too deeply>"
            )
        if id(value) in self._path:
            return self._odd("The value holds itself; that place is shown as '<cycle>'.", "<cycle>")
        self._path.add(id(value))
        try:
            if isinstance(value, Mapping):
                return {self._key(key): self._convert(item, depth - 1) for key, item in value.items()}
            items = [self._convert(item, depth - 1) for item in value]
            return set(items) if self._exact and isinstance(value, set | frozenset) else items
        finally:
            self._path.discard(id(value))

    def _key(self, key: Any) -> str:
        if isinstance(key, str):
            return self._text(key)
        if key is None or isinstance(key, bool):
            return {None: "null", True: "true", False: "false"}[key]
        if isinstance(key, int | float) and -_INT64 < key < _INT64:
            return repr(key)
        return self._text(
            str(self._odd("Keys that are not text are shown in their text form.", key))[:_TEXT_CHARS]
        )

    def _text(self, value: str) -> str:
        self._spend(len(value))
        if value.isascii():
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _int(self, value: int) -> Any:
        self._spend(value.bit_length() // 4)
        return value if self._exact or -_INT64 <= value < _INT64 else plain_int(value)

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, bytes | bytearray):
            self._spend(len(value))
            return bytes(value) if self._exact else {"$bytes": base64.b64encode(value).decode()}
        if isinstance(value, datetime.datetime | datetime.date | datetime.time):
            return value if self._exact else value.isoformat()
        if isinstance(value, decimal.Decimal):
            return value if self._exact else str(value)
        if isinstance(value, datetime.timedelta | pathlib.PurePath):
            return self._text(str(value)[:_TEXT_CHARS])
        text = repr(value) if isinstance(value, complex) else f"<{type(value).__name__}>"
        return self._odd(f"A value of type {type(value).__name__} is not plain data.", text)

    def _odd(self, note: str, shown: Any) -> Any:
        if self._exact:
            raise CodecError(note)
        self.note = note
        return shown
