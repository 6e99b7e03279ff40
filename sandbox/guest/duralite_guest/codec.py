"""The guest's half of the codec: JSON with tags, as the host's `sandbox.codec` describes them.

Two ways of writing. Arguments of calls are exact: what has no encoding is a TypeError or ValueError in user
code. Results are lenient: what has no encoding becomes its bounded text form, with a note that says so.
The C encoder does the work where nothing needs a tag; its text is checked, and the slow way taken if in doubt.
"""

from __future__ import annotations

import abc
import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json.decoder
import json.encoder
import math
import pathlib
import types
import uuid
from collections.abc import Callable
from typing import Any

__all__ = ("TooLarge", "decode", "encode", "encode_result")

_INT64 = 1 << 63
_REPR_CHARS = 2_000


class TooLarge(Exception):
    """Raised when a result is over its bound."""


class _NeedsTags(Exception):
    pass


class _Loader:
    strict = False
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, object_hook: Callable[[dict[str, Any]], Any] | None) -> None:
        self.object_hook = object_hook
        self.object_pairs_hook = None


def decode(text: str) -> Any:
    """Decode what the host wrote, which is trusted."""
    scan = _scan_tags if '"$' in text else _scan
    return scan(text, 0)[0]


def encode(value: Any, depth: int) -> str:
    """Encode exactly. Raises TypeError or ValueError that names what has no encoding."""
    fast = _encode_fast(value, depth)
    return fast if fast is not None else _fast_text(_Exact(depth).convert(value, depth))


def encode_result(value: Any, depth: int, max_bytes: int) -> tuple[bytes, str | None]:
    """Encode leniently. Returns the bytes, and a note where something was shown in another form.

    Raises `TooLarge` over `max_bytes`.
    """
    if isinstance(value, str | bytes | bytearray) and len(value) > max_bytes:
        raise TooLarge
    fast = _encode_fast(value, depth)
    note = None
    if fast is None:
        lenient = _Lenient(depth, max_bytes)
        fast = _fast_text(lenient.convert(value, depth))
        note = lenient.note
    data = fast.encode("utf-8", "replace")
    if len(data) > max_bytes:
        raise TooLarge
    return data, note


def _refuse(value: object) -> Any:
    raise _NeedsTags


_encode_c = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, _refuse, json.encoder.encode_basestring, None, ":", ",", False, False, False
)
_join = "".join
# One byte a character: digits as 0, brackets as themselves, all else dropped or blank.
_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def _fast_text(value: Any) -> str:
    return _join(_encode_c(value, 0))


def _encode_fast(value: Any, depth: int) -> str | None:
    try:
        text = _join(_encode_c(value, 0))
        raw = text.encode()
    except (_NeedsTags, ValueError, TypeError, RecursionError, UnicodeEncodeError, RuntimeError):
        return None
    # A tag to be escaped, or an integer of 19 digits and more, which may not fit 64 bits.
    if '{"$' in text or b"0" * 19 in raw.translate(_DIGITS):
        return None
    return text if _shallow(raw, depth) else None


def _shallow(raw: bytes, depth: int) -> bool:
    if raw.count(b"[") + raw.count(b"{") <= depth:
        return True
    # Each pass peels at least the innermost level. Brackets inside text may leave a rest: then in doubt.
    brackets = raw.translate(None, _NOT_BRACKETS)
    for _ in range(depth):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return True
    return False


class _Converter(abc.ABC):
    """Turns a value into what the C encoder can write, tags and all."""

    def __init__(self, depth: int) -> None:
        self._limit = depth

    def convert(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return self._text(value)
        if kind is int:
            return value if -_INT64 <= value < _INT64 else {"$int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if depth <= 0 and isinstance(value, dict | list | tuple | set | frozenset):
            return self._too_deep()
        if isinstance(value, dict):
            return self._dict(value, depth)
        if isinstance(value, list | tuple):
            return [self.convert(item, depth - 1) for item in list(value)]
        if isinstance(value, set | frozenset):
            return {"$set": [self.convert(item, depth - 1) for item in list(value)]}
        return self._scalar(value, depth)

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        pairs = [(self._key(key), self.convert(item, depth - 1)) for key, item in list(value.items())]
        if len(pairs) == 1 and pairs[0][0].startswith("$"):
            return {"$dict": [list(pair) for pair in pairs]}
        return dict(pairs)

    def _key(self, key: Any) -> str:
        if type(key) is str:
            return self._text(key)
        if key is None or key is True or key is False:
            return {None: "null", True: "true", False: "false"}[key]
        if isinstance(key, str):
            return self._text(str.__str__(key))
        if isinstance(key, int | float) and -_INT64 < key < _INT64:
            return int.__repr__(key) if isinstance(key, int) else float.__repr__(key)
        return self._odd_key(key)

    def _scalar(self, value: Any, depth: int) -> Any:
        if isinstance(value, enum.Enum):
            return self.convert(value.value, depth)
        if isinstance(value, bytes | bytearray | memoryview):
            return {"$bytes": base64.b64encode(value).decode()}
        if isinstance(value, datetime.datetime):
            return {"$datetime": datetime.datetime.isoformat(value)}
        if isinstance(value, datetime.date):
            return {"$date": datetime.date.isoformat(value)}
        if isinstance(value, datetime.time):
            return {"$time": datetime.time.isoformat(value)}
        if isinstance(value, decimal.Decimal):
            return {"$decimal": decimal.Decimal.__str__(value)}
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return self.convert(int.__index__(value), 1)
        if isinstance(value, float):
            return self.convert(float.__float__(value), 1)
        if isinstance(value, uuid.UUID | pathlib.PurePath | fractions.Fraction | datetime.timedelta):
            return str(value)
        if isinstance(value, collections.deque | range | _DICT_VIEWS):
            # Item by item: a range may be longer than any memory, and the bound ends it on the way.
            return [self.convert(item, depth - 1) for item in value] if depth > 0 else self._too_deep()
        if isinstance(value, types.MappingProxyType):
            return self.convert(dict(value), depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            if depth <= 0:
                return self._too_deep()
            names = [item.name for item in dataclasses.fields(value)]
            return self._dict({name: getattr(value, name, None) for name in names}, depth)
        return self._odd(value)

    @abc.abstractmethod
    def _text(self, value: str) -> str:
        """Return text that is text."""

    @abc.abstractmethod
    def _too_deep(self) -> Any:
        """Stand in for what lies too deep."""

    @abc.abstractmethod
    def _odd_key(self, key: Any) -> str:
        """Stand in for a key that is not plain."""

    @abc.abstractmethod
    def _odd(self, value: Any) -> Any:
        """Stand in for a value that is not plain data."""


class _Exact(_Converter):
    def _text(self, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("the text holds a lone surrogate, which is not a character") from None
        return value

    def _too_deep(self) -> Any:
        raise ValueError(
            f"the value is nested more than {self._limit} levels deep (or holds itself); pass flat data"
        )

    def _odd_key(self, key: Any) -> str:
        raise TypeError(f"a dict with keys of type {type(key).__name__} cannot be passed; use text keys")

    def _odd(self, value: Any) -> Any:
        raise TypeError(
            f"a value of type {type(value).__name__} cannot be passed to a helper; pass plain data "
            "(None, bool, numbers, text, bytes, dates, lists, dicts)"
        )


class _Lenient(_Converter):
    def __init__(self, depth: int, max_bytes: int) -> None:
        super().__init__(depth)
        self.note: str | None = None
        self._left = max_bytes
        self._path: set[int] = set()

    def convert(self, value: Any, depth: int) -> Any:
        # Each value takes a byte at least: a shared list in a shared list cannot grow past the bound.
        self._left -= 2 + (len(value) if isinstance(value, str | bytes) else 0)
        if self._left < 0:
            raise TooLarge
        if id(value) in self._path:
            self.note = "The value holds itself; that place is shown as '<cycle>'."
            return "<cycle>"
        self._path.add(id(value))
        try:
            return super().convert(value, depth)
        finally:
            self._path.discard(id(value))

    def _text(self, value: str) -> str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _too_deep(self) -> Any:
        self.note = f"The value is nested more than {self._limit} levels deep; what lies deeper is cut."
        return "<nested too deeply>"

    def _odd_key(self, key: Any) -> str:
        if isinstance(key, enum.Enum | datetime.date | datetime.time | uuid.UUID | decimal.Decimal):
            return self._text(str(key.value if isinstance(key, enum.Enum) else key)[:_REPR_CHARS])
        self.note = "Keys that are not text are shown in their text form."
        return self._text(_repr(key))

    def _odd(self, value: Any) -> Any:
        self.note = (
            f"A value of type {type(value).__name__} is not plain data; its text form is shown. "
            "End with lists, dicts, numbers or text."
        )
        return self._text(_repr(value))


_DICT_VIEWS: Any = type({}.keys()) | type({}.values()) | type({}.items())


def _repr(value: object) -> str:
    try:
        text = repr(value)
        text = str.__str__(text)
    except BaseException:  # whatever it raises, it is data that is being shown, not the program that ends
        text = f"<{type(value).__name__} object>"
    return text if len(text) <= _REPR_CHARS else text[:_REPR_CHARS] + "…"


def _read_tag(value: dict[str, Any]) -> Any:
    if len(value) != 1:
        return value
    ((key, item),) = value.items()
    read = _TAGS.get(key)
    return value if read is None else read(item)


_TAGS: dict[str, Callable[[Any], Any]] = {
    "$bytes": base64.b64decode,
    "$datetime": datetime.datetime.fromisoformat,
    "$date": datetime.date.fromisoformat,
    "$time": datetime.time.fromisoformat,
    "$decimal": decimal.Decimal,
    "$int": lambda text: int(text, 16),
    "$float": float,
    "$set": set,
    "$dict": dict,
}

_scan: Callable[[str, int], tuple[Any, int]] = json.decoder.scanner.c_make_scanner(_Loader(None))  # type: ignore[attr-defined]
_scan_tags: Callable[[str, int], tuple[Any, int]] = json.decoder.scanner.c_make_scanner(  # type: ignore[attr-defined]
    _Loader(_read_tag)
)
