"""The codec is the one form in which values cross between the host and a program: JSON with tags.

JSON's own values are themselves, within the limits of exactness: integers of 64 bits, finite floats, text
without lone surrogates. Everything else is an object with one key, the tag:

    {"$bytes": base64}  {"$datetime": iso}  {"$date": iso}  {"$time": iso}  {"$decimal": text}
    {"$int": digits}    {"$float": "nan" | "inf" | "-inf"}  {"$set": [items]}
    {"$dict": [[key, value], …]}      a dict that would read as a tag itself

`encode` writes what the host gives out. `decode` reads what a hostile program wrote: bounded in bytes by the
channel and in depth here, exact, without recursion on attacker-made depth, and with one error, `CodecError`.
Where `decode` leaves tags alone (`plain=True`, results), dates and decimals become text, sets become lists.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import decimal
import math
from collections.abc import Callable, Mapping
from typing import Any

import orjson

__all__ = ("CodecError", "decode", "encode", "plain_int")

_MAX_INT_DIGITS = 10_000
# As `_MAX_INT_DIGITS`, for the power of ten of a decimal: "1E+999999" must not become a million digits.
_MAX_DECIMAL_CHARS = 10_000
_INT64 = 1 << 63
# Under the 4,300 digits that Python writes.
_MAX_DECIMAL_BITS = 13_000


class CodecError(ValueError):
    """Raised when bytes are not a value, or a value has no encoding; the message is fit for users."""


def encode(value: Any, depth: int = 200) -> bytes:
    """Encode host data. Raises `CodecError` for what has no encoding or is nested deeper than `depth`."""
    try:
        return orjson.dumps(_to_wire(value, depth))
    except orjson.JSONEncodeError as error:
        raise CodecError(f"The value cannot be encoded: {error}") from None


def decode(data: bytes | bytearray | memoryview, depth: int, *, plain: bool = False) -> Any:
    """Decode hostile bytes. Raises `CodecError` when they are not JSON, or are nested deeper than `depth`."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise CodecError(f"The bytes are not JSON: {error}") from None
    except RecursionError:
        raise CodecError("The value is nested too deeply.") from None
    # A value has at most as many levels as the bytes have opening brackets: the walk is for the rare rest.
    raw = bytes(data)
    if raw.count(b"[") + raw.count(b"{") > depth and not _within(value, depth):
        raise CodecError(f"The value is nested more than {depth} levels deep.")
    if b'"$' not in raw and b"\\u0024" not in raw:
        return value
    return _from_wire(value, _PLAIN if plain else _EXACT)


def _within(value: Any, depth: int) -> bool:
    layer = [value] if type(value) in (dict, list) else []
    for _ in range(depth):
        if not layer:
            return True
        layer = [
            child
            for parent in layer
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) is list or type(child) is dict
        ]
    return not layer


def _to_wire(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return _text(value) if kind is str else value
    if kind is int:
        return value if -_INT64 <= value < _INT64 else {"$int": _digits(value)}
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if depth <= 0:
        raise CodecError("The value is nested too deeply.")
    if isinstance(value, Mapping):
        return _dict_to_wire(value, depth)
    if isinstance(value, list | tuple):
        return [_to_wire(item, depth - 1) for item in value]
    if isinstance(value, set | frozenset):
        return {"$set": [_to_wire(item, depth - 1) for item in value]}
    return _scalar_to_wire(value)


def _text(value: str) -> str:
    # orjson refuses a lone surrogate at the very end, with a message that does not help; say it here.
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise CodecError("The text holds a lone surrogate, which is not a character.") from None
    return value


def _dict_to_wire(value: Mapping[Any, Any], depth: int) -> Any:
    pairs = [(key, _to_wire(item, depth - 1)) for key, item in value.items()]
    if any(type(key) is not str for key, _ in pairs):
        raise CodecError("The keys of a dict must be text.")
    if len(pairs) == 1 and pairs[0][0].startswith("$"):
        return {"$dict": [[key, item] for key, item in pairs]}
    return {_text(key): item for key, item in pairs}


def _scalar_to_wire(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime.datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, datetime.date):
        return {"$date": value.isoformat()}
    if isinstance(value, datetime.time):
        return {"$time": value.isoformat()}
    if isinstance(value, decimal.Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, str):
        return _text(str.__str__(value))
    if isinstance(value, int):
        return _to_wire(int(value), 1)
    if isinstance(value, float):
        return _to_wire(float(value), 1)
    raise CodecError(f"A value of type {type(value).__name__} cannot be handed to a program.")


def _digits(value: int) -> str:
    if value.bit_length() > _MAX_INT_DIGITS * 3:
        raise CodecError("The integer has too many digits.")
    return hex(value)


def _from_wire(value: Any, tags: Mapping[str, Callable[[Any], Any]]) -> Any:
    # Depth is bounded before: this recursion is at most `depth` levels deep.
    if type(value) is list:
        return [_from_wire(item, tags) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((key, item),) = value.items()
        if key.startswith("$"):
            if key == "$dict":
                return _dict_from_wire(item, tags)
            if key == "$set" and type(item) is list:
                return _set_from_wire([_from_wire(each, tags) for each in item], tags)
            read = tags.get(key)
            if read is None:
                raise CodecError("A value has an unknown tag.")
            try:
                return read(item)
            except (ValueError, TypeError, ArithmeticError, binascii.Error):
                raise CodecError(f"A value tagged {key} is not valid.") from None
    return {key: _from_wire(item, tags) for key, item in value.items()}


def _dict_from_wire(item: Any, tags: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    if type(item) is not list or not all(
        type(pair) is list and len(pair) == 2 and type(pair[0]) is str for pair in item
    ):
        raise CodecError("A value tagged $dict is not valid.")
    return {key: _from_wire(each, tags) for key, each in item}


def _set_from_wire(items: list[Any], tags: Mapping[str, Callable[[Any], Any]]) -> Any:
    if tags is _PLAIN:
        return items
    try:
        return set(items)
    except TypeError:
        raise CodecError("A value tagged $set holds items that cannot be in a set.") from None


def plain_int(value: int) -> dict[str, str]:
    """Return the plain form of an integer that JSON numbers cannot hold: decimal digits, hex past 4,000 of them."""
    return {"$int": str(value) if value.bit_length() < _MAX_DECIMAL_BITS else hex(value)}


def _str(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(value)
    return value


def _bytes(value: Any) -> bytes:
    return base64.b64decode(_str(value), validate=True)


def _int(value: Any) -> int:
    if len(_str(value)) > _MAX_INT_DIGITS:
        raise ValueError(value)
    return int(value, 16)


def _float(value: Any) -> float:
    if value not in ("nan", "inf", "-inf"):
        raise ValueError(value)
    return float(value)


def _decimal(value: Any) -> decimal.Decimal:
    if len(_str(value)) > _MAX_DECIMAL_CHARS:
        raise ValueError(value)
    return decimal.Decimal(value)


def _plain_int(value: Any) -> dict[str, str]:
    return plain_int(_int(value))


def _plain_bytes(value: Any) -> dict[str, str]:
    _bytes(value)
    return {"$bytes": value}


def _plain_float(value: Any) -> dict[str, str]:
    return {"$float": repr(_float(value))}


_EXACT: Mapping[str, Callable[[Any], Any]] = {
    "$bytes": _bytes,
    "$datetime": lambda value: datetime.datetime.fromisoformat(_str(value)),
    "$date": lambda value: datetime.date.fromisoformat(_str(value)),
    "$time": lambda value: datetime.time.fromisoformat(_str(value)),
    "$decimal": _decimal,
    "$int": _int,
    "$float": _float,
}

_PLAIN: Mapping[str, Callable[[Any], Any]] = {
    "$bytes": _plain_bytes,
    "$datetime": _str,
    "$date": _str,
    "$time": _str,
    "$decimal": _str,
    "$int": _plain_int,
    "$float": _plain_float,
}
