"""Stages kept between previews: the rows after a step that had to see all of them, keyed by what made them.

A key is a hash of the source (its file's table and version) and of the steps up to there, so that a stage never
needs to be made invalid: other data or other steps have another key. The folder is bounded in bytes; what was
not read for longest goes first.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from .step import BaseStep
from .steps import dump_steps

__all__ = ("StageFolder", "stage_keys")

_LEFT_S = 3_600


def stage_keys(source: Any, steps: Sequence[BaseStep]) -> list[str]:
    """Return the key after each step. `source` is plain data that says what the steps read, versions included."""
    state = hashlib.sha256(orjson.dumps(source, option=orjson.OPT_SORT_KEYS))
    keys = []
    for step in dump_steps(steps):
        step.pop("id", None)
        state.update(orjson.dumps(step, option=orjson.OPT_SORT_KEYS))
        keys.append(state.hexdigest()[:32])
    return keys


class StageFolder:
    """The folder of kept stages. Several processes may use it at once: files appear whole, under their key."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self.most_bytes = most_bytes

    def path(self, key: str) -> Path:
        """Return where the stage of a key lies, or would lie."""
        return self.folder / f"{key}.stage"

    def found(self, key: str) -> bool:
        """Tell whether a stage is there, and count that as a use of it."""
        try:
            os.utime(self.path(key))
        except OSError:
            return False
        return True

    def begin(self, key: str) -> Path:
        """Return a path to write a stage to."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{key}.{os.getpid()}.part"

    def finish(self, key: str, part: Path) -> Path:
        """Make a written stage visible and return its path."""
        part.replace(self.path(key))
        return self.path(key)

    def scratch(self) -> Path:
        """Return a path for stages that are of use to this process alone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"scratch.{os.getpid()}.part"

    def trim(self) -> None:
        """Remove what was not used for longest until the folder is within its bound, and what a killed worker left."""
        files = []
        with suppress(OSError):
            for entry in os.scandir(self.folder):
                with suppress(OSError):
                    facts = entry.stat()
                    if entry.name.endswith(".part"):
                        # Nothing takes so long; what is being written now is not of this age.
                        if facts.st_mtime < time.time() - _LEFT_S:
                            Path(entry.path).unlink()
                        continue
                    files.append((facts.st_mtime, facts.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.most_bytes:
                return
            # A reader that has it open keeps its rows; the name goes.
            with suppress(OSError):
                Path(path).unlink()
                total -= size
