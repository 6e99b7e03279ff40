"""The reference is complete and says what the code says; no link in the documentation leads nowhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from actors.session import SessionActor
from actors.sources.service import METRICS as SOURCE_METRICS
from docs.generate import REFERENCE, commands, pages
from helpers.api import db_helpers, sql_helpers
from runtime.accounts import SCOPES
from runtime.cli import cli
from runtime.gateway.metrics import METRICS
from runtime.gateway.openapi import error_classes, openapi_document
from runtime.guard import rules
from runtime.host import Host
from runtime.limits import Limits
from runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PROSE = sorted(
    path for path in (*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *(ROOT / "docs").rglob("*.md"))
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "text"), pages().items())
def test_a_generated_page_is_what_the_code_would_write_now(name: str, text: str) -> None:
    assert page(name) == text, "run `make docs` and commit what it wrote"


@pytest.mark.parametrize("name", [n for n in Settings.model_fields if n != "limits"])
def test_every_setting_is_documented(name: str) -> None:
    assert f"| `{name}` |" in page("settings.md")
    assert Settings.model_fields[name].description


@pytest.mark.parametrize("name", list(Limits.model_fields))
def test_every_limit_is_documented_with_unit_and_reason(name: str) -> None:
    assert f"| `{name}` |" in page("limits.md")
    field = Limits.model_fields[name]
    assert field.description
    assert isinstance(field.json_schema_extra, dict)
    assert field.json_schema_extra["unit"]


@pytest.mark.parametrize("cls", error_classes(), ids=lambda cls: cls.code)
def test_every_error_code_is_documented_with_its_status(cls: Any) -> None:
    assert f'<a id="{cls.code}"></a>`{cls.code}` | {cls.status} |' in page("errors.md")


def test_no_two_errors_share_a_code() -> None:
    codes = [cls.code for cls in error_classes()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(("words", "command"), list(commands(cli)))
def test_every_command_is_documented_with_its_options(words: str, command: Any) -> None:
    text = page("cli.md").partition(f"\n## {words}\n")[2].partition("\n## ")[0]
    assert text
    assert all(
        f"`{option}`" in text for p in command.params if p.param_type_name == "option" for option in p.opts
    )


def document() -> dict[str, Any]:
    return openapi_document(Host(Settings()))


@pytest.mark.parametrize("path", list(document()["paths"]))
def test_every_endpoint_is_documented(path: str) -> None:
    text = page("http.md")
    assert f" {path}`" in text or f" {path}\n" in text


@pytest.mark.parametrize("helper", [*db_helpers(SessionActor.methods), *sql_helpers()], ids=lambda h: h.path)
def test_every_helper_is_documented(helper: Any) -> None:
    assert f"### `{helper.path}`" in page("helpers.md")
    assert helper.summary


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.id)
def test_every_guard_rule_is_documented_with_what_to_write_instead(rule: Any) -> None:
    text = page("guard.md")
    assert f"| `{rule.id}` |" in text
    assert rule.instead.split("|")[0].strip() in text


@pytest.mark.parametrize("name", [*METRICS, *SOURCE_METRICS])
def test_every_metric_is_documented(name: str) -> None:
    assert f"| `{name}` |" in page("metrics.md")


@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_is_documented(scope: str) -> None:
    assert f"| `{scope}` |" in (ROOT / "docs/how-to/keys-and-accounts.md").read_text(encoding="utf-8")


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    text = (ROOT / "docs" / "explanation" / "dependencies.md").read_text(encoding="utf-8")
    told = {
        name for row in re.findall(r"^\| ([a-z0-9, -]+) \|", text, re.MULTILINE) for name in row.split(", ")
    }
    assert names == told - {"package", "---"}


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_page_and_a_place_on_it(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads} | set(
        re.findall(r'<a id="([^"]+)">', text)
    )


def test_every_page_can_be_found_from_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    found = {(ROOT / "docs" / target).resolve() for target in LINK.findall(index)}
    folders = ("tutorial", "how-to", "reference", "explanation")
    assert {p for folder in folders for p in (ROOT / "docs" / folder).glob("*.md")} <= found


def test_the_glossary_is_in_order_and_says_each_word_once() -> None:
    words = re.findall(r"^\| ([^|]+?) \| [^|]+ \|$", page("glossary.md"), re.MULTILINE)[2:]
    assert len(words) > 30
    assert words == sorted(words, key=str.lower)
    assert len(words) == len(set(words))
