"""What the zygote imports before the doors close: a sealed child cannot read a file, so this is what there is.

Also warmed here is what the standard library reads late: time zones, the platform's name, codecs.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import importlib.util
import io
import pkgutil
import platform
import sys
import time
import zoneinfo
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ("HIDDEN", "MODULES", "load_library", "load_modules")

MODULES: tuple[str, ...] = (
    "__future__",
    "_strptime",
    "abc",
    "argparse",
    "array",
    "ast",
    "asyncio",
    "atexit",
    "base64",
    "bisect",
    "builtins",
    "bz2",
    "calendar",
    "cmath",
    "codecs",
    "collections",
    "collections.abc",
    "colorsys",
    "concurrent.futures",
    "concurrent.futures.thread",
    "configparser",
    "contextlib",
    "contextvars",
    "copy",
    "copyreg",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "dis",
    "email",
    "email.message",
    "email.mime.text",
    "email.mime.multipart",
    "email.parser",
    "email.policy",
    "email.utils",
    "enum",
    "errno",
    "fnmatch",
    "fractions",
    "functools",
    "gc",
    "getpass",
    "graphlib",
    "gzip",
    "hashlib",
    "heapq",
    "hmac",
    "html",
    "html.parser",
    "http",
    "http.client",
    "inspect",
    "io",
    "ipaddress",
    "itertools",
    "json",
    "keyword",
    "linecache",
    "locale",
    "logging",
    "lzma",
    "math",
    "mimetypes",
    "numbers",
    "opcode",
    "operator",
    "os",
    "os.path",
    "pathlib",
    "pickle",
    "pickletools",
    "platform",
    "pprint",
    "queue",
    "quopri",
    "random",
    "re",
    "reprlib",
    "resource",
    "sched",
    "secrets",
    "select",
    "selectors",
    "shlex",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "stat",
    "statistics",
    "string",
    "stringprep",
    "struct",
    "subprocess",
    "symtable",
    "sys",
    "sysconfig",
    "tempfile",
    "textwrap",
    "threading",
    "time",
    "timeit",
    "token",
    "tokenize",
    "tomllib",
    "traceback",
    "tracemalloc",
    "types",
    "typing",
    "unicodedata",
    "unittest",
    "unittest.mock",
    "urllib",
    "urllib.error",
    "urllib.parse",
    "urllib.request",
    "uuid",
    "warnings",
    "weakref",
    "xml.dom.minidom",
    "xml.etree.ElementTree",
    "xml.sax",
    "zipfile",
    "zlib",
    "zoneinfo",
    "encodings.ascii",
    "encodings.cp1252",
    "encodings.cp437",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.punycode",
    "encodings.raw_unicode_escape",
    "encodings.unicode_escape",
    "encodings.utf_16",
    "encodings.utf_16_be",
    "encodings.utf_16_le",
    "encodings.utf_32",
    "encodings.utf_8",
    "encodings.utf_8_sig",
    "encodings.hex_codec",
    "encodings.base64_codec",
    "encodings.iso8859_15",
    "encodings.rot_13",
)

HIDDEN: tuple[str, ...] = ("_ctypes", "ctypes", "ctypes._endian", "mmap")
"""What the guest itself needs and programs have no use for. No boundary: one obstacle more."""


def load_modules(extra: tuple[str, ...] = ()) -> None:
    """Import what user code may import. What this Python lacks is passed over."""
    for name in (*MODULES, *extra):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    _warm()


def load_library(name: str, folder: str) -> ModuleType:
    """Import the package in `folder` under the alias `duralite_{name}`, with all its modules."""
    alias = f"duralite_{name}"
    spec = importlib.util.spec_from_file_location(
        alias, f"{folder}/__init__.py", submodule_search_locations=[folder]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not a package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module
    spec.loader.exec_module(module)
    for found in pkgutil.walk_packages([folder], f"{alias}."):
        importlib.import_module(found.name)
    return module


def _warm() -> None:
    with contextlib.suppress(OSError):
        time.tzset()
    platform.uname()
    with contextlib.suppress(AttributeError):
        # The host's name is nobody's business.
        platform._uname_cache = platform.uname()._replace(node="sandbox")  # type: ignore[attr-defined]
    datetime.datetime.strptime("2000-01-01", "%Y-%m-%d")
    with contextlib.suppress(OSError, AttributeError):
        _keep_zones()


def _keep_zones() -> None:
    """Hold the zone database as bytes; `zoneinfo` asks its fallback for it when it finds no file."""
    held: dict[str, bytes] = {}
    for key in zoneinfo.available_timezones():
        for folder in zoneinfo.TZPATH:
            with contextlib.suppress(OSError):
                held[key] = Path(folder, key).read_bytes()
                break
    fallback: Any = zoneinfo._common
    missing = fallback.load_tzdata

    def load_tzdata(key: str) -> Any:
        return io.BytesIO(held[key]) if key in held else missing(key)

    fallback.load_tzdata = load_tzdata
