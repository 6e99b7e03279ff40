"""How a model learns what there is: the one tool and its description, search and describe over thousands of tools."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from actors.session.actor import SessionActor
from helpers.api import db_helpers, sql_helpers
from helpers.docs import estimate_tokens, model_docs
from helpers.schemas import CODE_TOOL, TARGETS, code_tool
from helpers.search import DISCOVERY, MOST_FOUND, describe, discover, search
from helpers.spec import HelperSpec, ParamSpec
from runtime.errors import InputError, NotFound
from runtime.testing import harness

_VERBS = ("create", "list", "update", "delete", "fetch", "archive", "assign", "merge", "close", "export")
_NOUNS = ("issue", "invoice", "customer", "ticket", "calendar_event", "mailbox", "pull_request", "contract")


def _tools(count: int) -> tuple[HelperSpec, ...]:
    chance = random.Random(1)
    made = []
    for number in range(count):
        verb, noun = _VERBS[number % 10], _NOUNS[number // 10 % 8]
        server = f"server_{number // 80}"
        doc = f"{verb.capitalize()} one {noun.replace('_', ' ')} of the tenant {chance.randrange(10**6)}."
        parameters = (
            ParamSpec("id", annotation="int", doc=f"The {noun}."),
            ParamSpec("dry_run", False, False),
        )
        made.append(HelperSpec(f"tools.{server}.{verb}_{noun}", parameters, awaitable=True, doc=doc))
    return tuple(made)


MANY = _tools(2_000)
DB = tuple(db_helpers(SessionActor.methods))
ALL = (*DB, *sql_helpers(), *MANY)
RUN = SessionActor.methods["run"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("merge pull request", "merge_pull_request"),
        ("pull_request merge", "merge_pull_request"),
        ("mergePullRequest", "merge_pull_request"),
        ("archive a contract", "archive_contract"),
        ("archve contrat", "archive_contract"),
        ("invioce export", "export_invoice"),
        ("assign tickets", "assign_ticket"),
    ],
)
def test_the_tool_that_is_meant_is_found_among_thousands(words: str, name: str) -> None:
    assert search(ALL, words)[0]["path"].endswith(f".{name}")


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    rare = HelperSpec("tools.notes.lookup", (), doc="Return a list of the glossary of terms.")
    assert search((*MANY, rare), "list glossary")[0]["path"] == "tools.notes.lookup"


def test_results_are_bounded_whatever_is_asked() -> None:
    assert len(search(ALL, "tenant", 10_000)) == MOST_FOUND
    assert len(search(ALL, "", 10_000)) == MOST_FOUND
    assert search(ALL, "x" * 100_000) == []
    long = HelperSpec("tools.a.b", (), doc="word " * 10_000)
    (found,) = search((long,), "word")
    assert len(found["summary"]) <= 301
    assert len(describe((long,), "tools.a.b")) <= 8_001


def test_a_namespace_with_thousands_of_tools_is_told_in_short() -> None:
    text = describe(ALL, "tools")
    assert text.count("\n") == MOST_FOUND
    assert "1,950 more" in text and "tools.server_0 (80)" in text
    assert describe(ALL, "tools.server_3").count("\n") == MOST_FOUND
    with pytest.raises(NotFound) as caught:
        describe(ALL, "tools.server_3.merge_pul_request")
    assert "tools.server_3.merge_pull_request" in str(caught.value.hint)


def test_calls_from_a_program_are_bound_like_any_other() -> None:
    assert discover(DB, "helpers.search", ["percentile"], {"limit": 1})[0]["path"] == "sql.percentile"
    assert discover(DB, "helpers.search", [], {"text": "batch"})[0]["path"] == "db.batch_insert"
    assert "db.query(sql" in discover(DB, "helpers.describe", ["db.query"], {})
    for args, kwargs in (([], {}), (["a", 1, 2], {}), (["a"], {"nope": 1}), ([5], {}), (["a", "b"], {})):
        with pytest.raises(InputError):
            discover(DB, "helpers.search", args, kwargs)


@pytest.mark.parametrize("budget", [1_500, 2_000, 4_000, 8_000])
def test_thousands_of_tools_are_told_within_the_budget(budget: int) -> None:
    text = model_docs(ALL, budget=budget, discovery=True)
    assert estimate_tokens(text) <= budget
    assert "2,000 tools are connected: `tools.server_0` (80)" in text
    assert "db.batch_insert" in text or "`batch_insert`" in text


def test_a_few_tools_are_told_in_full_and_a_hundred_as_names() -> None:
    few = model_docs((*DB, *sql_helpers(), *MANY[:3]), budget=8_000, discovery=True)
    assert "### `tools.server_0.list_issue`" in few
    some = model_docs((*DB, *sql_helpers(), *MANY[:100]), budget=4_000, discovery=True)
    assert "## tools.server_1" in some and "`close_issue`" in some and "### `tools" not in some


def test_what_the_engine_lacks_is_told() -> None:
    assert "## What this Python lacks\n\nNo yield.\n" in model_docs(DB, gaps="No yield.\n")
    assert "lacks" not in model_docs(DB)


@pytest.mark.parametrize("target", TARGETS)
def test_the_one_tool_takes_a_program_and_its_inputs(target: str) -> None:
    made = code_tool(RUN, target, description="All about it.")
    tool: dict[str, Any] = made.get("function") or made
    assert (tool["name"], tool["description"]) == (CODE_TOOL, "All about it.")
    schema = next(tool[key] for key in ("parameters", "input_schema", "inputSchema") if key in tool)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert list(schema["properties"]) == ["session", "code", "inputs"]
    assert schema["required"] == ["code"]
    jsonschema.validate({"code": "1", "inputs": {"a": [1]}}, schema)
    for wrong in ({}, {"code": 5}, {"code": "1", "background": True}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    json.dumps(made, allow_nan=False)


def test_the_one_tool_of_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(InputError):
        code_tool(RUN, "soap", description="")


async def test_a_session_gives_its_tools_in_the_form_of_each_api(tmp_path: Path) -> None:
    async with harness(tmp_path, SessionActor) as host:
        session = host.namespace("session").get("tools")
        for target in TARGETS:
            (made,) = await session.tools(format=target, budget=1_500)
            tool = made.get("function") or made
            assert tool["name"] == CODE_TOOL
            assert 'helpers.search("words")' in tool["description"]
            assert estimate_tokens(tool["description"]) <= 1_500
        both = await session.tools(format="anthropic", methods=True)
        assert {"run_code", "session_query", "session_tools"} <= {tool["name"] for tool in both}


async def test_a_program_searches_and_describes_its_helpers(tmp_path: Path) -> None:
    async with harness(tmp_path, SessionActor) as host:
        session = host.namespace("session").get("search")
        result = await session.run(
            code="[helpers.search('insert many records', 3)[0]['path'], helpers.describe('sql.countBy')[:12]]"
        )
        assert result.value == ["db.batch_insert", "sql.count_by"], result.error
        again = await session.run(code="from helpers import search\nimport helpers\nsearch('average')[0]")
        assert again.value["path"].startswith("sql."), again.error
        wrong = await session.run(
            code="try:\n    helpers.describe('nope')\nexcept NotFound as e:\n    r = e.hint\nr"
        )
        assert "helpers.search" in wrong.value or "nearest" in wrong.value, wrong.error


def test_discovery_is_described_like_every_helper() -> None:
    assert [spec.path for spec in DISCOVERY] == ["helpers.search", "helpers.describe"]
    assert all(spec.read_only and spec.doc and spec.parameters[0].doc for spec in DISCOVERY)
