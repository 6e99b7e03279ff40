"""The `duralite` command as a person or a script uses it: real processes, one service, exit codes, one JSON document.

`DURALITE_COMMAND` names an installed command to test in the place of this checkout's (`make build` does).
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = os.environ.get("DURALITE_COMMAND")
COMMAND = (INSTALLED,) if INSTALLED else (sys.executable, "-m", "runtime")


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DURALITE_", "PYTHON"))}
    return kept | ({} if INSTALLED else {"PYTHONPATH": str(ROOT)}) | more


@dataclass(frozen=True)
class Duralite:
    """The command, run in a folder of its own."""

    folder: Path

    def __call__(
        self, *words: str, input: str | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words],
            cwd=self.folder,
            env=environment(**variables),
            input=input,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def json(self, *words: str, code: int = 0, input: str | None = None) -> Any:
        done = self(*words, "--json", input=input)
        assert done.returncode == code, done.stderr + done.stdout
        return json.loads(done.stdout)


MCP_HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "0"},
}


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """Run a service on the data of a folder."""
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0"], cwd=folder, env=environment(), stdout=log, stderr=log
        )
    until = time.monotonic() + 60
    while not (folder / ".duralite" / "server.json").exists():
        assert service.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < until, (folder / "log").read_text()
        time.sleep(0.05)
    try:
        yield
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 0
    assert not (folder / ".duralite" / "server.json").exists()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Duralite]:
    """Give the command in a folder whose data a service serves."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder):
        yield Duralite(folder)


@pytest.fixture
def alone(tmp_path: Path) -> Duralite:
    """Give the command in a folder that nobody serves."""
    return Duralite(tmp_path)


def test_a_statement_that_writes_tells_the_rows_changed_and_one_that_reads_shows_them(
    served: Duralite,
) -> None:
    made = served.json("sql", "orders", "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
    assert made["rows_affected"] == 0
    insert = "INSERT INTO t (name, price) VALUES (?, ?)"
    assert served.json("sql", "orders", insert, "-p", "ann", "-p", "2.5")["rows_affected"] == 1
    named = (
        "sql",
        "orders",
        "INSERT INTO t (name, price) VALUES (:name, NULL)",
        "--params",
        '{"name": "bob"}',
    )
    assert served.json(*named)["last_insert_rowid"] == 2
    assert served.json("sql", "orders", "SELECT name, price FROM t")["rows"] == [["ann", 2.5], ["bob", None]]
    shown = served("sql", "orders", "WITH a AS (SELECT * FROM t) SELECT name FROM a ORDER BY id")
    assert shown.stdout.split() == ["name", "ann", "bob"]
    deleted = served("sql", "orders", "WITH a AS (SELECT 1) DELETE FROM t RETURNING name")
    assert "2 rows changed" in deleted.stderr
    assert "ann" in deleted.stdout


def test_a_command_says_that_it_made_a_data_folder_and_says_it_once(alone: Duralite) -> None:
    first, second = alone("sessions", "ls"), alone("sessions", "ls")
    assert f"New data folder {alone.folder / '.duralite'}" in first.stderr
    assert "New data folder" not in second.stderr


def test_looking_into_a_session_that_is_not_there_makes_none(served: Duralite) -> None:
    for words in (("runs", "ls"), ("snippets", "ls"), ("approvals", "ls")):
        assert served(*words, "-s", "never-made").returncode == 4
    assert "never-made" not in [each["name"] for each in served.json("sessions", "ls")]


def test_exit_codes_tell_a_refusal_a_missing_name_a_limit_and_wrong_usage_apart(served: Duralite) -> None:
    assert served("sql", "codes", "SELECT 1").returncode == 0
    assert served.json("sql", "codes", "SELECT * FROM nowhere", code=1)["code"] == "sql_error"
    assert served("sql").returncode == 2
    assert served("run", "-", "--input", "no-equals-sign", input="1").returncode == 2
    refused = served.json("sql", "codes", "PRAGMA table_info(t)", code=3)
    assert refused["rule"] == "statement.pragma"
    assert "pragma_table_info" in refused["hint"]
    assert served.json("sessions", "show", "never-made", code=4)["code"] == "actor_not_found"
    assert served.json("run", "-", "--timeout", "0.5", code=5, input="while True: pass")["status"] == "limit"


def test_a_program_prints_its_output_and_then_its_value(served: Duralite) -> None:
    program = "print('hello', inputs['who'], inputs['n'] + 1)\n[{'a': 1, 'b': None}]"
    done = served("run", "-", "--input", "who=ann", "--inputs", '{"n": 41}', input=program)
    assert done.returncode == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["hello", "ann", "42"],
        ["a", "b"],
        ["1", "NULL"],
    ]


def test_a_program_that_fails_tells_its_line_and_what_to_do(served: Duralite, tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("x = 0\nprint('before')\nsum_total = 1 / x\n")
    done = served("run", str(file))
    assert done.returncode == 1
    assert done.stdout == "before\n"
    assert "line 3" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_a_program_that_cannot_be_right_is_not_begun(served: Duralite, tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("x = 1\nprint('before')\nsum_total = x + y\n")
    done = served("run", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert "line 3: CheckError: The name 'y' is not defined." in done.stderr


def test_words_and_programs_that_are_not_text_are_refused_and_not_traced(
    served: Duralite, tmp_path: Path
) -> None:
    file = tmp_path / "program.py"
    file.write_bytes(b"'\xff'")
    program = served("run", str(file))
    statement = served("sql", "words", "SELECT '\udcff'")
    name = served("sql", "words-\udcff", "SELECT 1")
    assert (program.returncode, statement.returncode, name.returncode) == (2, 1, 1)
    assert not any("Traceback" in done.stderr for done in (program, statement, name))


def test_a_program_that_the_guard_refuses_ends_with_its_exit_code(served: Duralite) -> None:
    assert served("run", "-", input="db.exec('VACUUM')").returncode == 3


def test_control_and_bidi_characters_in_data_are_shown_escaped(served: Duralite) -> None:
    program = "print('\\x1b[2J\\u202egnp.exe')\n'\\x9b31m'"
    done = served("run", "-", input=program)
    assert "\\x1b[2J\\u202egnp.exe" in done.stdout
    assert "\\x9b31m" in done.stdout
    table = served("sql", "control", "SELECT char(27) || '[31m' AS a, char(8238) AS \"b\u202e\"")
    as_json = served("run", "-", "--json", input=program)
    for text in (done.stdout, table.stdout, as_json.stdout):
        assert not set(text) & set("\x1b\x9b\u202e")
    assert json.loads(as_json.stdout)["value"] == "\x9b31m"


def test_sessions_are_listed_shown_kept_copied_and_deleted_under_any_name(served: Duralite) -> None:
    name = "../a b/ü%2F.."
    served.json("sql", name, "CREATE TABLE kept (x)")
    facts = served.json("sessions", "show", name)
    assert (facts["name"], [t["name"] for t in facts["tables"]]) == (name, ["kept"])
    assert served.json("sessions", "pin", name)["pinned"] is True
    assert served.json("sessions", "show", name)["pinned"] is True
    assert served.json("sessions", "unpin", name)["pinned"] is False
    served.json("sessions", "clone", name, "copy of it")
    assert {"copy of it", name} <= {s["name"] for s in served.json("sessions", "ls")}
    assert [s["name"] for s in served.json("sessions", "ls", "--search", "copy of")] == ["copy of it"]
    assert served("sessions", "rm", name, input="n\n").returncode == 1
    assert served.json("sessions", "rm", name, "copy of it", "--yes") == {"deleted": [name, "copy of it"]}
    assert served.json("sessions", "ls", "--search", "copy of") == []


def test_what_is_exported_is_a_database_and_comes_back_whole(served: Duralite, tmp_path: Path) -> None:
    program = "db.create_table('t', 'n INTEGER, s TEXT'); db.batch_insert('t', [{'n': i, 's': 'x' * 50} for i in range(5000)])"
    assert served("run", "-", "-s", "big", input=program).returncode == 0
    file = tmp_path / "big.sqlite"
    assert served.json("sessions", "export", "big", "-o", str(file))["bytes"] == file.stat().st_size
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("SELECT count(*), sum(n) FROM t").fetchone() == (5000, 12_497_500)
    assert served("sessions", "export", "big", "-o", str(file)).returncode == 2
    assert served.json("sessions", "import", "again", str(file))["tables"] == {"t": 5000}
    rows = tmp_path / "rows.csv"
    served.json("sessions", "export", "again", "--format", "csv", "--sql", "SELECT n FROM t", "-o", str(rows))
    assert len(rows.read_text().split()) == 5001
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.sqlite", "rows.csv"]


def test_a_file_that_is_no_database_is_refused_and_not_imported(served: Duralite, tmp_path: Path) -> None:
    file = tmp_path / "fake.sqlite"
    file.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    problem = served.json("sessions", "import", "fake", str(file), code=1)
    assert problem["status"] in (400, 422)
    assert problem["hint"]


def test_keys_are_shown_once_and_work_until_they_are_revoked(served: Duralite) -> None:
    made = served.json("keys", "create", "--account", "alice", "--scope", "read", "--label", "test")
    url = json.loads((served.folder / ".duralite" / "server.json").read_text())["url"]
    listed = {key["id"]: key for key in served.json("keys", "ls")}
    assert listed[made["id"]]["scopes"] == ["read"]
    assert made["key"] not in json.dumps(listed)
    assert served("sessions", "ls", "--json", DURALITE_URL=url, DURALITE_KEY=made["key"]).stdout == "[]\n"
    assert served("sql", "x", "CREATE TABLE t (a)", "--url", url, "--key", made["key"]).returncode == 1
    served.json("keys", "revoke", made["id"])
    after = served("sessions", "ls", "--json", "--url", url, "--key", made["key"])
    assert json.loads(after.stdout)["code"] == "unauthorized"


def test_a_service_of_public_names_alone_is_found_by_commands_on_its_machine(alone: Duralite) -> None:
    """They ask it directly, under a name that it answers for."""
    (alone.folder / "duralite.toml").write_text('allowed_hosts = ["db.example.org"]\nport = 0\n')
    with serving(alone.folder):
        listed = alone(
            "sessions", "ls", "--json", HTTP_PROXY="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9"
        )
        assert listed.stdout == "[]\n", listed.stderr
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": MCP_HELLO}
        assert '"serverInfo"' in alone("mcp", input=json.dumps(hello) + "\n").stdout


def test_a_service_that_is_not_there_is_told_as_a_problem(alone: Duralite) -> None:
    problem = alone.json("sessions", "ls", "--url", "http://127.0.0.1:9", code=1)
    assert problem["code"] == "unreachable"
    assert "duralite serve" in problem["hint"]


def test_without_a_service_the_data_folder_is_opened_by_the_command_itself(alone: Duralite) -> None:
    program = "db.create_table('t', 'a'); db.batch_insert('t', [{'a': 1}, {'a': 2}])"
    assert alone("run", "-", "-s", "mine", "--data", "elsewhere", input=program).returncode == 0
    rows = alone.json("sql", "mine", "SELECT sum(a) AS total FROM t", "--data", "elsewhere")
    assert rows["rows"] == [[3]]
    assert not (alone.folder / ".duralite").exists()


def test_files_of_any_size_go_in_and_out_without_a_service_too(alone: Duralite) -> None:
    program = (
        "db.create_table('t', 's TEXT'); db.batch_insert('t', [{'s': str(i) * 500} for i in range(9000)])"
    )
    assert alone("run", "-", "-s", "big", input=program).returncode == 0
    size = alone.json("sessions", "export", "big", "-o", "big.sqlite")["bytes"]
    assert size == (alone.folder / "big.sqlite").stat().st_size > 10_000_000
    assert alone.json("sessions", "import", "again", "big.sqlite")["rows"] == 9000


def test_a_marker_of_a_service_that_was_killed_is_not_believed(alone: Duralite) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    data = alone.folder / ".duralite"
    data.mkdir()
    (data / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "pid": gone.pid}))
    assert alone.json("sql", "x", "SELECT 1 AS one")["rows"] == [[1]]


def test_settings_are_shown_with_where_they_come_from(alone: Duralite) -> None:
    (alone.folder / "duralite.toml").write_text("port = 9000\n[limits]\nmax_open = 7\n")
    done = alone("config", "show", "--origin", "--json", DURALITE_LIMITS__MAX_ROWS="5", DURALITE_PROT="1")
    shown = json.loads(done.stdout)
    assert shown["port"] == {"value": 9000, "origin": "duralite.toml"}
    assert shown["limits.max_open"] == {"value": 7, "origin": "duralite.toml"}
    assert shown["limits.max_rows"] == {"value": 5, "origin": "DURALITE_LIMITS__MAX_ROWS"}
    assert shown["durability"] == {"value": "normal", "origin": "default"}
    assert "DURALITE_PROT is no setting" in alone("config", "show", DURALITE_PROT="1").stderr


@pytest.mark.parametrize("text", ["port = 'many'\n", "prot = 1\n", "port = \n"])
def test_a_wrong_settings_file_is_told_and_not_traced(alone: Duralite, text: str) -> None:
    (alone.folder / "duralite.toml").write_text(text)
    done = alone("config", "show")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "settings" in done.stderr
    assert "duralite.toml" in done.stderr


def test_a_misspelt_setting_is_told_with_the_nearest(alone: Duralite) -> None:
    (alone.folder / "duralite.toml").write_text("prot = 1\n[limits]\nmax_opn = 1\n")
    told = alone("config", "show").stderr
    assert "prot: there is no such setting, the nearest is port" in told
    assert "limits.max_opn: there is no such setting, the nearest is limits.max_open" in told


def test_a_settings_file_that_is_named_must_be_there(alone: Duralite) -> None:
    done = alone("config", "show", DURALITE_CONFIG="nowhere.toml")
    assert done.returncode == 2
    assert "nowhere.toml, which is not there" in done.stderr


@pytest.mark.parametrize("types", ["nope:X", "nope", "runtime.settings:Settings", "runtime.settings:Nope"])
def test_an_actor_type_that_is_none_is_told_and_not_traced(alone: Duralite, types: str) -> None:
    done = alone("serve", "--port", "0", "--types", types)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert types in done.stderr


def test_doctor_sees_the_sandbox_refuse_and_the_folder_writable(alone: Duralite) -> None:
    found = {f["title"]: f for f in alone.json("doctor")}
    assert found["Sandbox: process"]["level"] in ("ok", "warning")
    assert found["Data folder .duralite"]["level"] == "ok"
    assert any(title.startswith("SQLite") for title in found)
    assert found["Workbooks, Parquet, data sources"]["level"] in ("ok", "warning")


def test_doctor_fails_where_the_data_folder_cannot_be(alone: Duralite) -> None:
    (alone.folder / "file").write_text("")
    found = alone.json("doctor", "--data", str(alone.folder / "file" / "data"), code=1)
    assert [f["level"] for f in found if f["title"].startswith("Data folder")] == ["error"]


@pytest.mark.parametrize("target", ["openai", "openai-chat", "anthropic", "mcp"])
def test_tools_are_written_for_each_api(alone: Duralite, target: str) -> None:
    (tool,) = alone.json("tools", "--format", target, "--only", "run")
    assert "session_run" in (tool.get("name"), tool.get("function", {}).get("name"))
    assert "session" in json.dumps(tool)


def test_the_one_tool_comes_first_and_is_the_same_as_a_session_gives(
    alone: Duralite, served: Duralite
) -> None:
    (here,) = alone.json("tools", "--format", "anthropic", "--budget", "1500")
    (there,) = served.json("tools", "--format", "anthropic", "--budget", "1500", "--session", "tools/of ü")
    assert here == there
    assert here["name"] == "run_code"
    names = [tool["name"] for tool in alone.json("tools", "--format", "anthropic", "--methods")]
    assert names[0] == "run_code" and "session_query" in names


def test_quiet_writes_the_answer_and_nothing_else(served: Duralite) -> None:
    done = served("sql", "quiet", "SELECT 1 AS one", "--quiet")
    assert (done.stdout.split(), done.stderr) == (["one", "1"], "")


def test_a_reader_that_closes_early_gets_no_trace(served: Duralite) -> None:
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9000) SELECT i FROM n"
    run = subprocess.Popen(
        [*COMMAND, "sql", "pipe", many, "--json"],
        cwd=served.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.close()
    assert b"Traceback" not in run.stderr.read()
    run.stderr.close()
    run.wait(30)
