"""Write the reference pages from the code, so that they cannot say anything else: `python -m docs.generate`.

With `--check` nothing is written; the exit code tells whether the pages are up to date.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import click
import orjson
from pydantic import BaseModel

from actors.project.pipeline.formula_functions import FUNCTIONS
from actors.project.pipeline.operations import OPERATIONS as STEPS
from actors.project.pipeline.operations.compare import Condition
from actors.project.pipeline.operations.groups import Aggregate
from actors.project.pipeline.operations.rows import SortKey
from actors.project.pipeline.operations.tables import JoinKey
from actors.project.pipeline.step import BaseStep
from actors.project.pipeline.table import ColumnType
from actors.project.ask import EXAMPLES
from actors.project.filters import OPERATORS
from actors.project.sampling import KINDS
from actors.session import SessionActor
from actors.sources.service import METRICS as SOURCE_METRICS
from helpers.api import db_helpers, sql_helpers
from helpers.check.rules import RULES as CHECKS
from helpers.docs import helper_doc
from helpers.search import DISCOVERY
from helpers.spec import HelperSpec
from helpers.stubs import camel_case
from runtime.actor import Actor
from runtime.cli import cli
from runtime.gateway.metrics import METRICS
from runtime.gateway.openapi import error_classes, openapi_document
from runtime.guard import SESSION, rules
from runtime.host import Host
from runtime.limits import Limits
from runtime.method import MethodSpec
from runtime.registry import Registry
from runtime.settings import Settings
from sandbox.engines._monty_gaps import GAPS, MODULES
from sandbox.engines._monty_library import libraries

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Written by docs/generate.py from the code: change the code, then run `make docs`. -->\n"


def cell(text: object) -> str:
    """Return text for a cell of a table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines) + "\n"


def settings_page() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        if name == "limits":
            continue
        value = field.get_default(call_default_factory=True)
        shown = ", ".join(value) if isinstance(value, tuple) else value
        rows.append(
            (
                f"`{name}`",
                f"`{shown}`" if shown != "" else "none",
                f"`DURALITE_{name.upper()}`",
                field.description,
            )
        )
    return f"""# Settings

A setting comes from `duralite.toml` in the working folder (or the file that `DURALITE_CONFIG` names), then from
the environment, then from a flag of `duralite serve`; the later wins. `duralite config show --origin` tells
what holds and where it comes from. Lists in the environment are JSON.

{table(("setting", "default", "environment", "what it does"), rows)}
Limits have [a table of their own](limits.md).

```toml
# duralite.toml
port = 8484
durability = "full"

[limits]
max_open = 500
statement_s = 10
```
"""


def amount(value: object, unit: str) -> str:
    if unit == "bytes" and isinstance(value, int):
        for size, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
            if value >= size and value % size == 0:
                return f"{value // size} {name}"
    return f"{value:,} {unit}"


def limits_page() -> str:
    rows = []
    for name, field in Limits.model_fields.items():
        extra = field.json_schema_extra
        unit = str(extra["unit"]) if isinstance(extra, dict) else ""
        rows.append((f"`{name}`", amount(field.default, unit), field.description))
    return f"""# Limits

Every limit of the service. An error that a limit caused names it (`"limit": "max_rows"`). Set one in
`duralite.toml` under `[limits]`, by `DURALITE_LIMITS__<NAME>`, or with `duralite serve --limit name=value`.

{table(("limit", "default", "what it bounds"), rows)}"""


def errors_page() -> str:
    rows = []
    for cls in error_classes():
        first = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        rows.append((f'<a id="{cls.code}"></a>`{cls.code}`', cls.status, f"`{cls.__name__}`", first))
    return f"""# Errors

Every error says what happened, why, and what to do instead. Over HTTP it is `application/problem+json`
(RFC 9457); the command line shows the same members; in the sandbox it is an ordinary exception with `.code` and
`.hint`.

```json
{{
  "type": "/docs/errors#guard_refused",
  "title": "The statement is not allowed",
  "status": 403,
  "detail": "PRAGMA statements are not allowed: they change settings that the runtime depends on.",
  "code": "guard_refused",
  "hint": "To inspect, use the table-valued form: SELECT * FROM pragma_table_info('t').",
  "rule": "statement.pragma",
  "instance": "/v1/session/chat-42/query",
  "request_id": "…"
}}
```

`code` is stable and what a program tests for; the text may change. `limit` names [the limit](limits.md) that was
reached, `rule` [the guard rule](guard.md) that fired, `retry_after` the seconds to wait.

{table(("code", "status", "class", "meaning"), rows)}"""


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its words, `sessions ls`."""
    if isinstance(group, click.Group):
        for name in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), name)
            assert command is not None
            yield from commands(command, (*path, name))
    else:
        yield " ".join(path), group


def options(command: click.Command) -> str:
    rows = []
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.hidden:
            continue
        names = ", ".join(f"`{name}`" for name in parameter.opts)
        default = parameter.default
        shown = parameter.show_default and default not in (None, (), False)
        text = ", ".join(default) if isinstance(default, tuple) else default
        rows.append((names, f"{parameter.help}{f' Default: `{text}`.' if shown else ''}"))
    return table(("option", ""), rows) if rows else ""


def cli_page() -> str:
    parts = []
    for words, command in commands(cli):
        context = click.Context(command, info_name=f"duralite {words}")
        usage = command.get_usage(context).removeprefix("Usage: ")
        example = (command.epilog or "").replace("\b", "").replace("Example:", "").strip()
        text = inspect.cleandoc(command.help or "")
        parts.append(
            f"## {words}\n\n{text}\n\n```text\n{usage}\n```\n\n```sh\n{example}\n```\n\n{options(command)}"
        )
    return f"""# The command line

`duralite NOUN VERB`, or `python -m runtime NOUN VERB`. A command speaks to the service at `--url`; without it, to
the service that runs on the data folder; without one, it opens the data folder itself. `--json` writes exactly one
JSON document to stdout, the answer or the problem; remarks and progress go to stderr. `NO_COLOR` is heeded.

| exit code | meaning |
| --- | --- |
| 0 | ok |
| 1 | failed |
| 2 | usage |
| 3 | refused by the guard |
| 4 | not found |
| 5 | a limit was reached |

{chr(10).join(parts)}"""


def helper_section(helper: HelperSpec) -> str:
    name = helper.name
    alias = f"\n\nAlso spelt `{camel_case(name)}`." if camel_case(name) != name else ""
    call, _, rest = helper_doc(helper).partition("\n")
    text = rest.strip().replace("\nExample: ", "\nExample:\n\n```python\n")
    if "```python" in text:
        head, _, tail = text.partition("```python\n")
        line, _, more = tail.partition("\n")
        text = f"{head}```python\n{line}\n```\n{more}".rstrip()
    return f"### `{helper.path}`\n\n```python\n{call}\n```\n\n{text}{alias}\n"


def helpers_page() -> str:
    db = "\n".join(helper_section(helper) for helper in db_helpers(SessionActor.methods))
    found = "\n".join(helper_section(helper) for helper in DISCOVERY)
    sql = "\n".join(helper_section(helper) for helper in sql_helpers())
    return f"""# Helpers

What a program in the sandbox has in scope, without an import: `db` (the session's database), `sql` (builders of
SQL text and parameters), `inputs` (a dict), `tools`, and `helpers` with the same. Errors are ordinary exceptions
with `.code` and `.hint`. camelCase spellings work too; a `db` call may be awaited and need not be.

## db

`db.query` gives a list of dicts, with `.columns` and `.truncated`.

{db}
## helpers

`helpers.db`, `helpers.sql`, `helpers.tools` and `helpers.inputs` are the same objects again; `import helpers` and
`from helpers import db` work too.

{found}
## sql

A builder touches no database: it returns a `Query(sql, params)`, which `db.query` takes as it is. Every name is
quoted and every value bound. A table may be a Query itself, so builders nest.

{sql}"""


def guard_page() -> str:
    parts = []
    for layer in dict.fromkeys(rule.layer for rule in rules()):
        rows = [(f"`{r.id}`", r.title, r.reason, r.instead) for r in rules() if r.layer == layer]
        parts.append(f"## Layer: {layer}\n\n{table(('rule', 'refused', 'because', 'instead'), rows)}")
    bounds = [(f"`{name}`", f"{getattr(SESSION.limits, name):,}") for name in type(SESSION.limits).__slots__]
    return f"""# Guard rules

What strangers' SQL may not do, rule by rule. A refusal is the error [`guard_refused`](errors.md#guard_refused) and
names its rule; [the guard](../explanation/guard.md) tells how the layers work together.

{chr(10).join(parts)}
## Bounds of a statement

SQLite's own limits, as the session policy sets them.

{table(("bound", "value"), bounds)}"""


def metrics_page() -> str:
    rows = [(f"`{name}`", text) for name, text in {**METRICS, **SOURCE_METRICS}.items()]
    return f"""# Metrics

`GET /metrics`, in the Prometheus text format. Labels are bounded: no name that a caller chose is among them.

{table(("metric", "meaning"), rows)}"""


def method_section(type_name: str, spec: MethodSpec) -> str:
    verb = "GET, POST" if spec.read_only else "POST"
    rows = [
        (f"`{p.name}`", "yes" if p.required else f"no (`{p.default}`)", p.doc or "") for p in spec.parameters
    ]
    arguments = table(("argument", "needed", ""), rows) if rows else "No arguments.\n"
    scope = f"Scope `{spec.scope}`." + (" What it removes cannot be had back." if spec.destructive else "")
    if spec.aliases:
        scope += " Also " + ", ".join(f"`{alias}`" for alias in spec.aliases) + "."
    return f"### {verb} /v1/{type_name}/{{name}}/{spec.name}\n\n{spec.doc}\n\n{scope}\n\n{arguments}"


def http_page() -> str:
    document = openapi_document(Host(Settings()))
    rows = [
        (f"`{verb.upper()} {path}`", operation.get("summary", ""))
        for path, item in document["paths"].items()
        if "/{name}/" not in path or path.endswith("/events")
        for verb, operation in item.items()
        if isinstance(operation, dict) and "responses" in operation
    ]
    parts = [methods_of(cls) for cls in Registry() if cls is not SessionActor]
    return f"""# HTTP

Requests and answers are JSON; `/openapi.json` is the same for machines, `/docs` for a browser. A name in a path is
any text, percent-encoded. Errors are [problems](errors.md). A key goes into `Authorization: Bearer dl_…`; on a
loopback service the local owner needs none.

| header | meaning |
| --- | --- |
| `X-Request-Timeout` | seconds this call may take, at most the limit `call_s` |
| `Idempotency-Key` | on a POST that writes: the same key and body give the stored answer and no second effect |
| `If-None-Match` | on a GET: 304 while the session did not change |
| `X-Request-Id` | is echoed, and stands in the log |
| `Accept` | `text/csv` and `application/x-ndjson` for rows; or `?format=csv`, `?format=ndjson` |

## The service

{table(("endpoint", ""), rows)}
## Methods of a session

{chr(10).join(method_section("session", spec) for spec in SessionActor.methods.values() if spec.public)}
{chr(10).join(parts)}"""


def methods_of(cls: type[Actor]) -> str:
    """Return the methods of another type: its own in full, those that it shares with a session by their paths."""
    session, name = SessionActor.methods, cls.type_name
    public = [spec for spec in cls.methods.values() if spec.public]
    shared = [s for s in public if not s.aliases and s.doc == getattr(session.get(s.name), "doc", None)]
    own = chr(10).join(method_section(name, spec) for spec in public if spec not in shared)
    rows = [(f"`POST /v1/{name}/{{name}}/{spec.name}`", spec.summary) for spec in shared]
    like = f"\nLike those of a session:\n\n{table(('endpoint', ''), rows)}" if rows else ""
    return f"## Methods of the type {name}\n{like}\n{own}"


def projects_page() -> str:
    kinds = [(f"`{name}`", inspect.cleandoc(take.__doc__ or "")) for name, take in KINDS.items()]
    forms = [(form, f"`{example.format(text='city', number='amount')}`") for form, example in EXAMPLES]
    return f"""# Projects

What filters, samples and questions of a project can say. The methods stand under
[HTTP](http.md#methods-of-the-type-project); [how to work with projects](../how-to/projects.md) shows them at work.

## Filters

A condition is `{{"column": "city", "operator": "equals", "value": "Berlin"}}`; a list of them means all, and
`{{"and": […]}}`, `{{"or": […]}}`, `{{"not": …}}` put them together. Operators: {", ".join(f"`{o}`" for o in OPERATORS)};
the signs `=`, `!=`, `>`, `>=`, `<`, `<=` are taken too. A NULL matches no comparison.

## Samples

{table(("kind", "gives"), kinds)}
## Questions

What `ask` reads. A column is named as it is called, in double quotes if its name has odd characters or is a word of
the grammar; a text stands in single quotes or bare. `where` and conditions may follow most forms: `is`, `is not`, `>`,
`at least`, `less than`, `between … and …`, `contains`, `starts with`, `ends with`, `is one of a, b`, `is empty`,
joined by `and` and `or`.

{table(("form", "for instance"), forms)}"""


def pipelines_page() -> str:
    parts = [operation_section(name, cls) for name, cls in STEPS.items()]
    functions = [(f"`{f.signature}`", f.summary) for f in FUNCTIONS.values()]
    types = [(f"`{t}`",) for t in get_args(ColumnType)]
    listed = ", ".join(f"[`{name}`](#{name})" for name in STEPS)
    return f"""# Pipelines

The operations of a [pipeline](../explanation/pipelines.md), each with its settings. A step is an object with
`operation` and the settings beside it; `{{"type": …, "config": {{…}}}}` and `camelCase` are read as well. Every step
may have an `id` and `enabled`: false leaves it out. `pipeline_operations` gives all of this to a program, with a JSON
Schema for each operation.

Types of columns: {", ".join(cells[0] for cells in types)}.

{listed}

{chr(10).join(parts)}
{chr(10).join(map(part_section, (Condition, SortKey, Aggregate, JoinKey)))}
## Formulas

What `compute` reads: `+ - * / %`, `&` to join text, `= <> < <= > >=`, `and`, `or`, `not`, parentheses, text in single
or double quotes, `true`, `false`, `null`. A column stands by its name, or in `[ ]` if the name has spaces.

{table(("function", "gives"), functions)}"""


def part_section(cls: type[BaseModel]) -> str:
    """Return the section of a model that stands inside steps."""
    first = inspect.cleandoc(cls.__doc__ or "")
    rows = [
        (f"`{key}`", choices(cls, key), field.description or "") for key, field in cls.model_fields.items()
    ]
    return f"## {cls.__name__}\n\n{first}\n\n{table(('setting', 'one of', ''), rows)}"


def choices(cls: type[BaseModel], key: str) -> str:
    """Return the values that a setting may have, where they are listed."""
    schema = cls.model_json_schema(by_alias=False)
    found = schema.get("$defs", {}).get(cls.__name__, schema)["properties"][key]
    options = [o for part in (found, *found.get("anyOf", ())) for o in part.get("enum", ())]
    return ", ".join(f"`{o}`" for o in options)


def operation_section(name: str, cls: type[BaseStep]) -> str:
    fields = {k: f for k, f in cls.model_fields.items() if k not in ("operation", "id", "enabled")}
    schema = cls.model_json_schema(by_alias=False)["properties"]
    rows = [
        (
            f"`{key}`",
            "yes" if field.is_required() else f"no (`{orjson.dumps(schema[key].get('default')).decode()}`)",
            (field.description or "") + (f" One of {options}." if (options := choices(cls, key)) else ""),
        )
        for key, field in fields.items()
    ]
    settings = table(("setting", "needed", ""), rows) if rows else "No settings.\n"
    return f"### {name}\n\n{cls.summary()}\n\n```json\n{orjson.dumps(dict(cls.example)).decode()}\n```\n\n{settings}"


def checks_page() -> str:
    errors = [(f"`{rule}`", text) for rule, text in CHECKS.items() if not rule.startswith("lint.")]
    lint = [(f"`{rule}`", text) for rule, text in CHECKS.items() if rule.startswith("lint.")]
    return f"""# Checks before the run

A program is read before it runs. An error ends the run with nothing executed (`status` is `error`, `error.type` is
`CheckError`); a warning comes back in `warnings`, and the program runs. `check(code)` on an actor gives the report
alone. [Why and how](../explanation/checks.md).

## Mistakes

An error where it is sure to end the program, a warning where an `except`, a condition or a name that the program
changes itself could make it right.

{table(("rule", "finds"), errors)}
## Lint

Always a warning.

{table(("rule", "finds"), lint)}"""


def engines_page() -> str:
    shown = [(gap.words, f"`{'⏎'.join(gap.code.splitlines())}`") for gap in GAPS if not gap.silent]
    silent = [(gap.words, f"`{'⏎'.join(gap.code.splitlines())}`") for gap in GAPS if gap.silent]
    return f"""# Engines

The setting `engine` names what runs programs. Both give the same value for the same program, as far as `monty` can
run it; the tests compare them program by program.

| | process | monty |
| --- | --- | --- |
| Python | the CPython of the service, whole | a subset, by an interpreter of its own |
| where | Linux | anywhere; needs the extra `monty` |
| confined by | the kernel: system calls, Landlock, limits, namespaces | the interpreter |
| when | the default | off Linux, or where the kernel gives no confinement |

A program for monty is first put into the subset that it runs: classes that inherit, exceptions of the program's own,
decorated methods, generator functions, `del`, `async with`, and {len(libraries())} modules of the standard library
are written so that it can run them. Lines in errors are those of the program as it was sent.

## What monty lacks

A program that meets one of these ends with an error that says so. Each is shown by a program (⏎ is a new line) that
the tests run on both engines; this list is what a model is told.

{table(("not there", "shown by"), shown)}
## What is different in silence

{table(("difference", "shown by"), silent)}
## Modules in monty

{", ".join(f"`{name}`" for name in MODULES)}: the commonest part of each; of `sqlite3` the errors alone.
"""


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "limits.md": limits_page,
    "errors.md": errors_page,
    "cli.md": cli_page,
    "http.md": http_page,
    "projects.md": projects_page,
    "pipelines.md": pipelines_page,
    "helpers.md": helpers_page,
    "checks.md": checks_page,
    "engines.md": engines_page,
    "guard.md": guard_page,
    "metrics.md": metrics_page,
}


def pages() -> dict[str, str]:
    """Return every generated page by its file name."""
    return {name: f"{NOTE}{make().rstrip()}\n" for name, make in PAGES.items()}


def main(arguments: list[str]) -> int:
    stale: list[Any] = []
    for name, text in pages().items():
        path = REFERENCE / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(ROOT))
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{'out of date' if '--check' in arguments else 'written'}: {path}")
    if stale and "--check" in arguments:
        print("Run `make docs` and commit what it wrote.")
    return int("--check" in arguments and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
