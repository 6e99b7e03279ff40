"""The docs for a model: what is in scope, one complete example, the limits, the usual refusals with their fixes.

A model reads them with every request, so they keep to a budget of tokens (estimated as characters / 4).
Detail is given up in a fixed order until the text fits: first the builders' docs become one line for each,
then those of `tools`, then those of `db`; then, in the same order, the lines become bare names. Connected tools
take a third of the budget at most: where there are more, they are told as names, or as namespaces with the
number of their tools. The example, the limits and the refusals always stay.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal, get_args

from helpers.spec import HelperSpec
from runtime.guard.rules import RULES
from runtime.limits import Limits

__all__ = ("EXAMPLE", "estimate_tokens", "helper_doc", "model_docs")

EXAMPLE = """\
db.create_table("orders", {"customer": "TEXT", "amount": "REAL", "day": "TEXT"})
db.batch_insert("orders", [
    {"customer": "AAA", "amount": 10.0, "day": "2024-01-10"},
    {"customer": "BBB", "amount": 17.5, "day": "2024-02-11"},
    {"customer": "AAA", "amount": 20.0, "day": "2024-02-12"},
])
top = db.query(sql.group_stats("orders", "customer", "amount", order="-sum", limit=3))
months = db.query("SELECT substr(day, 1, 7) AS month, SUM(amount) AS total FROM orders GROUP BY 1 ORDER BY 1")
db.save_state("best_customer", top[0]["customer"])
for row in top:
    print(f"{row['customer']}: {row['sum']:.2f}")
{"best": top[0]["customer"], "months": months}
"""

_INTRODUCTION = """\
Write Python 3. Your code runs in a sandbox beside a SQLite database of its own, which is kept between runs.
In scope: `db` (the database), `sql` (builders of SQL and parameters), `tools` (tool servers), `inputs` (a
dict), and `helpers` with the same. `db` calls return at once; `tools` calls are awaited, and `await` works at
the top level. There is no network and no file system. What you print is returned as logs, and the value of
the last expression (or last assignment) as the result. Bind values with ? and never paste them into SQL.
"""

_DISCOVERY = """\
`helpers.search("words")` finds helpers, `helpers.describe("db.query")` tells all about one.
"""
_SQL_OPTIONS = """\
Each returns a Query for `db.query`, which gives a list of dicts. `where` is a dict, such as
`{"status": "open", "id": [1, 2], "amount": {">=": 5, "<": 9}}`, or `sql.Query("a > ?", [1])`; `order` is a
column of the result, `"-count"` descending; a table may be a Query.

"""
# From `Gives:` to the end of its sentence.
_GIVES = re.compile(r"\bGives\b.*?[.;](?=\s|$)", re.DOTALL)

# The refusals that models meet most, by rule; their text is that of the guard.
_REFUSALS = ("statement.several", "statement.pragma", "statement.transaction")
_LIMITS = {
    "max_rows": "rows in one result, then cut, with .truncated set: aggregate in SQL or add LIMIT",
    "statement_s": "for one statement",
    "max_batch_records": "records in one batch_insert",
    "run_wall_s": "for the whole program",
    "run_memory_bytes": "of memory",
    "run_calls": "helper calls in one run",
    "run_output_bytes": "of printed text, then cut",
    "run_result_bytes": "for the result: return a summary, keep the data in tables",
}

Level = Literal["full", "lines", "names", "counts"]
_DETAIL: tuple[Level, ...] = get_args(Level)
_SPACES_COUNTED = 40
_SPACES = ("sql", "tools", "db")
_LEVELS: tuple[tuple[Level, Level, Level], ...] = (
    ("full", "full", "full"),
    ("lines", "full", "full"),
    ("lines", "lines", "full"),
    ("lines", "lines", "lines"),
    ("names", "lines", "lines"),
    ("names", "names", "lines"),
    ("names", "names", "names"),
)


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text: a quarter of its characters."""
    return -(-len(text) // 4)


def model_docs(
    helpers: Iterable[HelperSpec],
    *,
    limits: Limits | None = None,
    budget: int = 4_000,
    discovery: bool = False,
    gaps: str = "",
) -> str:
    """Return the docs as Markdown, within `budget` tokens where the parts that always stay leave room.

    With `discovery` they say that `helpers.search` and `helpers.describe` are in scope. `gaps` is what the
    engine lacks of Python, as it says itself.
    """
    each = [helper for helper in helpers if helper.namespace != "helpers"]
    table = limits or Limits()
    least = _tools_level([helper for helper in each if _space(helper) == "tools"], budget // 3)
    text = ""
    for levels in _LEVELS:
        chosen = dict(zip(_SPACES, levels, strict=True))
        chosen["tools"] = max(chosen["tools"], least, key=_DETAIL.index)
        text = _document(each, table, chosen, discovery, gaps)
        if estimate_tokens(text) <= budget:
            return text
    return text


def _space(helper: HelperSpec) -> str:
    space = helper.path.partition(".")[0]
    return space if space in _SPACES else "tools"


def _tools_level(tools: list[HelperSpec], budget: int) -> Level:
    """Return the most detail with which connected tools stay within a budget."""
    for level in _DETAIL[:-1]:
        if estimate_tokens("\n".join(_tools_text(tools, level))) <= budget:
            return level
    return _DETAIL[-1]


def _tools_text(tools: list[HelperSpec], level: Level) -> list[str]:
    if level == "counts":
        counts = Counter(helper.namespace for helper in tools)
        shown = [f"`{space}` ({number:,})" for space, number in counts.most_common(_SPACES_COUNTED)]
        more = f", and {len(counts) - len(shown):,} more" if len(counts) > len(shown) else ""
        told = f"{len(tools):,} tools are connected: {', '.join(shown)}{more}."
        return [f'## tools\n\n{told} Find one with `helpers.search("words")`.\n'] if tools else []
    groups = groupby(tools, key=lambda helper: helper.namespace)
    return [f"## {space}\n\n{_section(list(members), level)}\n" for space, members in groups]


def helper_doc(helper: HelperSpec) -> str:
    """Return everything about one helper: call, result, doc, parameters."""
    lines = [f"{helper.call()} -> {helper.returns}", "", helper.doc.strip()]
    described = [f"- {p.name}: {p.doc}" for p in helper.parameters if p.doc]
    if described:
        lines += ["", *described]
    if helper.destructive:
        lines += ["", "What it removes cannot be had back."]
    return "\n".join(lines).strip()


def _document(
    helpers: Sequence[HelperSpec], limits: Limits, levels: dict[str, Level], discovery: bool, gaps: str
) -> str:
    parts = [_INTRODUCTION + (_DISCOVERY if discovery else "")]
    if gaps:
        parts.append(f"## What this Python lacks\n\n{gaps.strip()}\n")
    for space, members in groupby(helpers, key=_space):
        level = levels[space]
        if space == "tools":
            parts += _tools_text(list(members), level)
            continue
        remark = _SQL_OPTIONS if space == "sql" and level != "names" else ""
        parts.append(f"## {space}\n\n{remark}{_section(list(members), level)}\n")
    parts.append(f"## Example\n\n```python\n{EXAMPLE}```\n")
    parts.append("## Limits\n\n" + "\n".join(_limit_lines(limits)) + "\n")
    refusals = [f"- {RULES[rule].title}. {RULES[rule].instead}" for rule in _REFUSALS]
    parts.append("## Refused, and what to write instead\n\n" + "\n".join(refusals) + "\n")
    return "\n".join(parts)


def _section(helpers: list[HelperSpec], level: Level) -> str:
    if level == "full":
        return "\n\n".join(f"### `{helper.path}`\n\n{helper_doc(helper)}" for helper in helpers)
    if level == "lines":
        return "\n".join(map(_line, helpers))
    return ", ".join(f"`{helper.name}`" for helper in helpers)


def _line(helper: HelperSpec) -> str:
    """Return the call, the summary, and what the result's columns are where the doc says so."""
    returns = "" if helper.returns in ("Any", "Query") else f" -> {helper.returns}"
    gives = _GIVES.search(helper.doc)
    columns = f" {' '.join(gives[0].split())}" if gives and gives[0] not in helper.summary else ""
    return f"- `{helper.call()}{returns}`: {helper.summary}{columns}"


def _limit_lines(limits: Limits) -> list[str]:
    return [f"- {_amount(name, getattr(limits, name))} {text}" for name, text in _LIMITS.items()]


def _amount(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        mebibytes = value / 1024**2
        return f"{mebibytes:g} MiB" if mebibytes >= 1 else f"{value / 1024:g} KiB"
    return f"{value:g} seconds" if name.endswith("_s") else f"{value:,}"
