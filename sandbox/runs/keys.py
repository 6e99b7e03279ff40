"""A key finds a call again: a hash of what it asks, by path and arguments."""

from __future__ import annotations

import base64
import datetime
import decimal
import hashlib
from functools import lru_cache
from typing import Any

import orjson

from sandbox import codec

__all__ = ("key_of", "shown")


def key_of(name: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return what finds a call again, and its arguments as JSON."""
    try:
        text = orjson.dumps([args, kwargs], default=_tagged)
    except orjson.JSONEncodeError:
        text = codec.encode([args, kwargs])  # an integer beyond 64 bits
    return hashlib.blake2b(text, digest_size=16, person=_person(name)).digest(), text


@lru_cache(maxsize=4096)
def _person(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def shown(text: bytes, most: int) -> str:
    """Return arguments as text, cut after so many bytes; a cut text ends with …"""
    return text.decode() if len(text) <= most else text[:most].decode("utf-8", "ignore") + " …"


def _tagged(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, set | frozenset):
        return {"$set": sorted(map(repr, value))}
    if isinstance(value, decimal.Decimal | datetime.time):
        return str(value)
    raise TypeError(type(value).__name__)
