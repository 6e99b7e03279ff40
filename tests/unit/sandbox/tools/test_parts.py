"""The parts of a tool server's helpers: names, secrets, the operator's file, arguments, answers."""

from __future__ import annotations

import datetime as dt
import json
import keyword
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import CallToolResult, EmbeddedResource, TextContent, TextResourceContents, Tool

from helpers.stubs import stub_text
from runtime.errors import InputError, ToolError
from runtime.limits import Limits
from sandbox.tools.arguments import plain_arguments
from sandbox.tools.config import Command, Endpoint, read_servers
from sandbox.tools.names import clean_text, distinct, identifier
from sandbox.tools.redact import Redactor, env_secrets, header_secrets, url_secrets
from sandbox.tools.results import unwrap
from sandbox.tools.specs import tool_set

KEY = "sk-4711-abcdefgh"


def test_a_service_without_servers_does_not_load_the_client() -> None:
    code = "import sys, actors.session; sys.exit(len({'mcp', 'jsonschema', 'httpx2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# Names


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("my-shop", "my_shop"),
        ("a.b c", "a_b_c"),
        ("3d", "_3d"),
        ("class", "class_"),
        ("match", "match_"),
        ("__init__", "init__"),
        ("_path", "path"),
        ("größe", "größe"),
        ("ﬁle", "file"),
        ("查询", "查询"),
        ("", "_"),
        ("💥", "_"),
        ("a" * 500, "a" * 128),
    ],
)
def test_a_name_becomes_an_identifier(name: str, made: str) -> None:
    assert identifier(name) == made


@given(st.text(max_size=40))
def test_every_name_becomes_a_name_that_a_program_can_write(name: str) -> None:
    made = identifier(name)
    assert made.isidentifier() and not keyword.iskeyword(made) and not made.startswith("__")
    namespace: dict[str, Any] = {}
    exec(f"class C:\n    {made} = 1\nfound = C.{made}", namespace)
    assert namespace["found"] == 1


@given(st.text(), st.integers(10, 200))
def test_cleaned_text_is_bounded_and_hides_nothing(text: str, most: int) -> None:
    cleaned = clean_text(text, most)
    assert len(cleaned.encode("utf-8", "surrogatepass")) <= most
    assert all(c == "\n" or c.isprintable() for c in cleaned)


def test_names_that_are_alike_are_refused_both() -> None:
    good, refused = distinct(["a-b", "a.b", "c"])
    assert good == {"c": "c"}
    assert (
        refused["a-b"]
        == refused["a.b"]
        == "The names 'a-b' and 'a.b' would all be 'a_b': none of them is offered."
    )


# Secrets


def test_what_is_a_secret_and_what_is_not() -> None:
    env = {"API_KEY": "k3y!", "X": KEY, "TZ": "Europe/Berlin", "HOME": "/root/1234567", "MODE": "production", "N": "8080",
           "URL": "https://example.com/v1", "DB": "postgres://u:p@h/d", "PASSWORD": "word"}  # fmt: skip
    assert set(env_secrets(env)) == {"k3y!", KEY, "postgres://u:p@h/d", "word"}
    assert header_secrets({"Authorization": f"Bearer {KEY}", "Accept": "text/plain-1234"}) == [
        f"Bearer {KEY}",
        KEY,
    ]
    assert header_secrets({"X-Tenant": "acme", "X-Token": "acme"}) == ["acme"]
    assert "pass:w" in header_secrets({"Authorization": "Basic dXNlcjpwYXNzOnc="})
    assert url_secrets("https://h/api/mcp/s/Zm9vYmFyYmF6cXV4MTIz/mcp") == ["Zm9vYmFyYmF6cXV4MTIz"]
    assert set(url_secrets(f"https://u:p%20w@h/x?api_key=abc&page=2&t={KEY}")) == {"p%20w", "p w", "abc", KEY}


def test_a_secret_is_taken_out_wherever_it_stands() -> None:
    redactor = Redactor([KEY, f"Bearer {KEY}", 'quo"te-1'])
    assert redactor.text(f"a Bearer {KEY} b {KEY}") == "a [secret] b [secret]"
    value = {"a": [f"x{KEY}", 1], KEY: {"b": 'quo"te-1'}, "json": json.dumps({"c": 'quo"te-1'})}
    assert redactor.value(value) == {
        "a": ["x[secret]", 1],
        "[secret]": {"b": "[secret]"},
        "json": '{"c": "[secret]"}',
    }
    same = {"nothing": ["here"]}
    assert redactor.value(same) is same
    assert redactor.safe("│ sk-4711- │\n│ abcdefgh │") == "[withheld: it holds a piece of a secret]"
    assert redactor.safe("│ harmless │") == "│ harmless │"


# The operator's file


def servers_of(folder: Path, content: Any, **environment: str) -> dict[str, Any]:
    path = folder / "servers.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return {config.title: config for config in read_servers(path, environment)}


def test_the_file_of_desktop_clients_is_read(tmp_path: Path) -> None:
    found = servers_of(
        tmp_path,
        {
            "globalShortcut": "x",
            "mcpServers": {
                "git": {
                    "command": "${BIN:-/usr/bin}/git",
                    "args": ["${A}", "-x"],
                    "env": {"KEY": "${KEY}", "N": 5, "B": True},
                    "cwd": "/srv",
                    "timeout": 60,
                    "type": "stdio",
                    "autoApprove": [],
                },
                "shop": {"url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${KEY}"}},
            },
        },
        KEY=KEY,
        A="a",
    )
    assert found["git"].reach == Command(
        "/usr/bin/git", ("a", "-x"), {"KEY": KEY, "N": "5", "B": "true"}, "/srv"
    )
    assert found["shop"].reach == Endpoint("https://example.com/mcp", {"Authorization": f"Bearer {KEY}"})
    assert KEY not in repr(found) and found["shop"].redactor.text(KEY) == "[secret]"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (5, "not an object"),
        ({}, "neither a command nor a url"),
        ({"command": ""}, "neither a command nor a url"),
        ({"command": "x", "args": "y"}, "args is not a list of texts"),
        ({"command": "x", "env": {"A": [1]}}, "env is not an object of texts"),
        ({"command": "x", "env": {"A": "\0"}}, "NUL"),
        ({"url": "ws://x"}, "not an http or https URL"),
        ({"url": "http://x", "headers": []}, None),
        ({"url": "http://x", "headers": {"A": "b\nc"}}, "other than printable ASCII"),
        ({"url": "http://x", "type": "sse"}, "superseded"),
        ({"command": "${LACKS_1}", "args": ["${LACKS_2}"]}, "lacks LACKS_1, LACKS_2"),
    ],
)
def test_a_bad_entry_is_kept_with_its_problem(tmp_path: Path, entry: Any, said: str | None) -> None:
    config = servers_of(tmp_path, {"mcpServers": {"x": entry}})["x"]
    assert (config.problem is None and said is None) or (
        config.reach is None and said in (config.problem or "")
    )


@pytest.mark.parametrize("content", ["", "[]", "{", '{"mcpServers": 5}', f'{{"a": "{KEY}'])
def test_a_file_that_is_no_such_file_is_refused_without_its_content(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match="mcpServers") as caught:
        servers_of(tmp_path, content)
    assert KEY not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_servers(tmp_path / "nothing.json", {})


# Helpers


def tools_of(*tools: Tool) -> Any:
    return tool_set("s", tools, Limits(), Redactor([KEY]))


def test_a_schema_becomes_a_signature_that_a_program_can_write() -> None:
    schema = {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "Where."},
            "class": {"type": "integer", "default": 3},
            "kind": {"enum": ["a", "b"]},
            "item": {"$ref": "#/$defs/Item"},
        },
        "required": ["path"],
        "$defs": {"Item": {"type": "array", "items": {"type": "number"}}},
    }
    found = tools_of(Tool(name="read-it", description=f"Reads {KEY}.", input_schema=schema))
    (helper,) = found.specs
    assert helper.call() == "await tools.s.read_it(path, class_=3, kind=None, item=None, *, into=None)"
    assert (
        helper.doc == "Reads [secret].\n\nThe tool 'read-it' of the server 's'."
        and not helper.read_only
        and not helper.destructive
    )
    text = stub_text(found.specs)
    assert "async def read_it(self, path: str, class_: int = 3, kind: Literal['a', 'b'] = None" in text
    compile(text, "stub", "exec")
    bound = found.tools["tools.s.read_it"]
    assert bound.bind(["x", 5], {"item": [1]}) == ({"path": "x", "class": 5, "item": [1]}, None)
    assert bound.bind(["x"], {"into": "t"}) == ({"path": "x"}, "t")


def test_a_tool_with_a_parameter_of_the_name_into_keeps_it() -> None:
    found = tools_of(
        Tool(name="t", input_schema={"type": "object", "properties": {"into": {"type": "string"}}})
    )
    bound = found.tools["tools.s.t"]
    assert bound.bind([], {"into": "x", "into_table": "t"}) == ({"into": "x"}, "t")


def test_values_of_programs_become_json() -> None:
    moment = dt.datetime(2026, 1, 2, 3, 4)
    given = {"a": (1, b"x"), "b": moment, "c": Decimal("1.50"), "d": {2}, "e": 2**70}
    assert plain_arguments(given) == {
        "a": [1, "eA=="],
        "b": "2026-01-02T03:04:00",
        "c": "1.50",
        "d": [2],
        "e": 2**70,
    }
    for value in (float("nan"), float("inf"), object()):
        with pytest.raises(InputError):
            plain_arguments([value])
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(InputError, match="nested too deeply"):
        plain_arguments(deep)


# Answers


def answer(*texts: str, **more: Any) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text) for text in texts], **more)


@pytest.mark.parametrize(
    ("result", "wraps", "value"),
    [
        (answer("ignored", structured_content={"a": 1}), False, {"a": 1}),
        (answer("ignored", structured_content={"result": [1]}), True, [1]),
        (answer("ignored", structured_content={"result": [1]}), False, {"result": [1]}),
        (answer("true"), False, True),
        (answer('"text"'), False, "text"),
        (answer("NaN"), False, "NaN"),
        (answer("01234"), False, "01234"),
        (answer(""), False, ""),
        (answer('["\\ud800"]'), False, ["?"]),
        (answer(KEY), False, "[secret]"),
        (answer("[" * 61 + "]" * 61), False, "[" * 61 + "]" * 61),
        (answer("a", "b"), False, [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        (answer(), False, None),
        (
            CallToolResult(
                content=[
                    EmbeddedResource(type="resource", resource=TextResourceContents(uri="a:b", text="t"))
                ]
            ),
            False,
            [{"type": "resource", "uri": "a:b", "mime_type": None, "text": "t"}],
        ),
    ],
)
def test_an_answer_becomes_a_value(result: CallToolResult, wraps: bool, value: Any) -> None:
    found, size = unwrap("tools.a.b", result, Redactor([KEY]), wraps_result=wraps)
    assert found == value and size > 0


def test_an_error_becomes_an_exception_that_is_safe_to_show() -> None:
    with pytest.raises(ToolError, match=r"tools\.a\.b: Not found: \[secret\]") as caught:
        unwrap("tools.a.b", answer(f"Not\x1b[1m found:\u202e {KEY}", is_error=True), Redactor([KEY]))
    assert "helpers.describe" in (caught.value.hint or "") and len(str(caught.value)) < 200
    with pytest.raises(ToolError, match="did not say why"):
        unwrap("tools.a.b", answer(is_error=True), Redactor())
    with pytest.raises(ToolError) as long:
        unwrap("tools.a.b", answer("x" * 1_000_000, is_error=True), Redactor())
    assert len(long.value.message) < 3_000
