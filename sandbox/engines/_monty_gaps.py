"""What monty lacks of Python, as programs that CPython runs and monty does not: the text for a model comes from here.

A test runs every one on both engines. A gap that has closed, and a difference that is not named, fail it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._monty_library import libraries

__all__ = ("GAPS", "MODULES", "Gap", "gaps_text")


@dataclass(frozen=True, slots=True)
class Gap:
    """One thing that is not there: in words for a model, with a program that shows it.

    A `silent` one gives another value where CPython's is expected; the others end the program with an error.
    """

    words: str
    code: str
    silent: bool = False


GAPS: tuple[Gap, ...] = (
    Gap(
        "generator functions that print, write, raise, or never end by themselves",
        "def g():\n    n = 0\n    while True:\n        yield n\n        n += 1\nnext(g())",
    ),
    Gap(
        "`@contextmanager`",
        "from contextlib import contextmanager\n@contextmanager\ndef f():\n    yield 1\nwith f() as x:\n    y = x\ny",
    ),
    Gap("async generators", "async def g():\n    yield 1\nx = 0\nasync for i in g():\n    x = i\nx"),
    Gap("async comprehensions", "async def g():\n    for i in ():\n        yield i\n[i async for i in g()]"),
    Gap("Enum classes", "from enum import Enum\nclass A(Enum):\n    X = 1\nA.X.value"),
    Gap("NamedTuple classes", "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\nP(1).x"),
    Gap("TypedDict classes", "from typing import TypedDict\nclass P(TypedDict):\n    x: int\nP(x=1)['x']"),
    Gap(
        "dataclasses that inherit",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n@dataclass\nclass B(A):\n    y: int = 2\nB(1).y",
    ),
    Gap("classes that inherit from list, dict, str", "class A(list):\n    pass\nlen(A())"),
    Gap(
        "property setters",
        "class A:\n    @property\n    def x(self):\n        return 1\n    @x.setter\n    def x(self, v):\n        pass\nA().x",
    ),
    Gap("`__lt__` of own classes", "class A:\n    def __lt__(self, other):\n        return True\nA() < A()"),
    Gap("`__name__` of functions", "def f():\n    pass\nf.__name__"),
    Gap("`issubclass`", "issubclass(KeyError, LookupError)"),
    Gap("`ascii`", "ascii('é')"),
    Gap("`json.dumps(default=)`", "import json\njson.dumps({'a': {1}}, default=list)"),
    Gap("`asyncio.TaskGroup`", "import asyncio\nasync with asyncio.TaskGroup() as tg:\n    pass\n1"),
    Gap(
        "`functools.cmp_to_key`",
        "from functools import cmp_to_key\nsorted([2, 1], key=cmp_to_key(lambda a, b: a - b))",
    ),
    Gap("`functools.total_ordering`", "from functools import total_ordering\n1"),
    Gap(
        "`isocalendar` and `toordinal` of dates",
        "from datetime import date\nlist(date(2024, 1, 5).isocalendar())",
    ),
    Gap(
        "dataclasses with an order",
        "from dataclasses import dataclass\n@dataclass(order=True)\nclass P:\n    x: int\nP(1).x",
    ),
    Gap(
        "exception groups",
        "try:\n    raise ExceptionGroup('g', [ValueError('a')])\nexcept* ValueError as e:\n    r = str(e.exceptions[0])\nr",
    ),
    Gap(
        "classes with `__aenter__`",
        "class C:\n    async def __aenter__(self):\n        return 1\n    async def __aexit__(self, *a):\n        return False\nasync with C() as c:\n    r = c\nr",
    ),
    Gap("asyncio.Queue, asyncio.wait", "import asyncio\nasyncio.Queue().qsize()"),
    Gap("`contextlib.redirect_stdout`, `sys.stdout.write`", "import sys\nsys.stdout.write('a')\n1"),
    Gap("`re.subn`", "import re\nlist(re.subn('a', 'b', 'aa'))"),
    Gap("bytes of a list", "bytes([65])"),
    Gap("`bit_length` and `as_integer_ratio`", "(5).bit_length()"),
    Gap("encodings but UTF-8", "'é'.encode('latin-1').hex()"),
    Gap(
        "generator expressions, map, filter and zip are lists, made whole",
        "log = []\ndef f(x):\n    log.append(x)\n    return True\nany(f(x) for x in (1, 2))\nlog",
        silent=True,
    ),
    Gap(
        "`asyncio.wait_for` and `asyncio.timeout` do not end what they wait for",
        "import asyncio\ntry:\n    await asyncio.wait_for(asyncio.sleep(0.05), 0.001)\n    r = 'done'\n"
        "except asyncio.TimeoutError:\n    r = 'timeout'\nr",
        silent=True,
    ),
    Gap(
        "the words of some errors differ",
        "try:\n    [1, 2]['a']\nexcept TypeError as e:\n    r = str(e)\nr",
        silent=True,
    ),
)

MODULES: tuple[str, ...] = tuple(
    sorted(
        {
            "base64",
            "binascii",
            "bisect",
            "collections",
            "copy",
            "csv",
            "datetime",
            "decimal",
            "functools",
            "hashlib",
        }
        | {"itertools", "json", "math", "random", "re", "sys", "time", "typing", "asyncio", "dataclasses"}
        | {"sqlite3", *libraries()}
    )
)
"""The modules that a program can import; of `sqlite3` there are only the errors."""


def gaps_text() -> str:
    """Return what a model has to know, in a paragraph."""
    missing = "; ".join(gap.words for gap in GAPS if not gap.silent)
    other = "; ".join(gap.words for gap in GAPS if gap.silent)
    return (
        f"This sandbox runs a subset of Python. Not there: {missing}. Of the standard library only "
        f"{' '.join(MODULES)} are there, the commonest part of each. {other[:1].upper()}{other[1:]}.\n"
    )
