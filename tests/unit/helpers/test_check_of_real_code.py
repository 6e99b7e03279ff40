"""The check over the standard library's own files: thousands of lines that work, and not one is refused."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from actors.session.actor import SessionActor
from helpers.api import db_helpers
from helpers.check import CHECKED_CHARS, check

HELPERS = tuple(db_helpers(SessionActor.methods))
FILES = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))


@pytest.mark.parametrize("letter", sorted({path.name[0] for path in FILES}))
def test_no_module_of_the_standard_library_is_refused(letter: str) -> None:
    for path in FILES:
        code = path.read_text(encoding="utf-8")
        if path.name[0] == letter and len(code) <= CHECKED_CHARS:
            assert check(code, HELPERS).errors == (), path.name
