"""`duralite demo` shows the whole of it on real data, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = os.environ.get("DURALITE_COMMAND")
COMMAND = (INSTALLED,) if INSTALLED else (sys.executable, "-m", "runtime")


def demo(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DURALITE_", "PYTHON"))}
    paths = {"TMPDIR": str(folder)} | ({} if INSTALLED else {"PYTHONPATH": str(ROOT)})
    return subprocess.run(
        [*COMMAND, "demo", *flags],
        cwd=folder,
        env=kept | paths,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_demo_loads_all_penguins_and_its_program_answers(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Loaded 344 penguins" in done.stdout
    for words in (
        ["Adelie", "146", "73", "73"],
        ["Chinstrap", "68", "34", "34"],
        ["Gentoo", "119", "58", "61"],
    ):
        assert any(line.split()[:4] == words for line in done.stdout.splitlines())
    assert "Try next" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_as_json_is_the_result_of_the_run_and_what_it_saved(tmp_path: Path) -> None:
    shown: dict[str, Any] = json.loads(demo(tmp_path, "--json").stdout)
    names = [call["name"] for call in shown["result"]["calls"]]
    assert {"db.create_table", "db.batch_insert", "db.query", "db.save_state"} <= set(names)
    assert shown["saved"] == shown["result"]["value"]
    assert {row["species"]: row["mean_g"] for row in shown["saved"]} == {
        "Adelie": 3706,
        "Chinstrap": 3733,
        "Gentoo": 5092,
    }
