"""Repeat makes a run the same when it is run again: chance from a seed, time from a given moment.

The clock does not follow the world: it starts at the moment, ticks a microsecond at each reading and jumps by
what is slept, so that it depends on the program alone. `time.monotonic` and `perf_counter` measure as ever.
"""

from __future__ import annotations

import datetime
import os
import random
import time
from collections.abc import Callable
from typing import Any

__all__ = ("set_chance", "set_clock")

_TICK_NS = 1_000


def set_chance(seed: str) -> None:
    """Draw everything from one seed: `random`, `os.urandom`, and with it `uuid4` and `secrets`."""
    random.seed(seed)
    source = random.Random(f"urandom {seed}")
    os.urandom = random._urandom = source.randbytes  # type: ignore[attr-defined]


def set_clock(now: float) -> None:
    """Let every clock of the calendar start at `now` (Unix seconds)."""
    clock = _CLOCK
    clock.at_ns = int(now * 1_000_000_000)
    time.sleep = _sleep
    time.time_ns = clock.read_ns
    time.time = clock.read
    time.localtime, time.gmtime, time.ctime = _localtime, _gmtime, _ctime
    time.strftime = _strftime
    datetime.datetime = _DATETIME  # type: ignore[misc]
    datetime.date = _DATE  # type: ignore[misc]


class _Clock:
    def __init__(self, at_ns: int) -> None:
        self.at_ns = at_ns

    def read_ns(self) -> int:
        self.at_ns += _TICK_NS
        return self.at_ns

    def read(self) -> float:
        return self.read_ns() / 1_000_000_000


class _SameType(type):
    """Has objects of the real class count as objects of the one that stands in for it."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__mro__[1])

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.__mro__[1])


def _datetime_at(clock: _Clock) -> Any:
    real: Any = datetime.datetime

    class At(real, metaclass=_SameType):  # type: ignore[misc]
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return real.fromtimestamp(clock.read(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return real.fromtimestamp(clock.read(), datetime.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Any:
            return real.fromtimestamp(clock.read())

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return real(*args, **kwargs)

    return _named(At, "datetime")


def _date_at(clock: _Clock) -> Any:
    real: Any = datetime.date

    class At(real, metaclass=_SameType):  # type: ignore[misc]
        @classmethod
        def today(cls) -> Any:
            return real.fromtimestamp(clock.read())

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return real(*args, **kwargs)

    return _named(At, "date")


def _named(made: Any, name: str) -> Any:
    made.__name__ = made.__qualname__ = name
    made.__module__ = "datetime"
    return made


# Made in the zygote: a child, which copies each page of memory that it touches first, only puts them in their place.
_CLOCK = _Clock(0)
_DATETIME, _DATE = _datetime_at(_CLOCK), _date_at(_CLOCK)


def _or_now(function: Callable[[float], Any]) -> Any:
    return lambda seconds=None, /: function(_CLOCK.read() if seconds is None else seconds)


_localtime, _gmtime, _ctime = _or_now(time.localtime), _or_now(time.gmtime), _or_now(time.ctime)
_real_strftime, _real_sleep = time.strftime, time.sleep


def _strftime(form: str, when: Any = None, /) -> str:
    return _real_strftime(form, _localtime() if when is None else when)


def _sleep(seconds: Any, /) -> None:
    _real_sleep(seconds)
    _CLOCK.at_ns += int(seconds * 1_000_000_000)
