"""What tests of pipelines share: a table as plain rows, run through the engine, and the same steps in plain Python.

`by_rows` is the oracle: one list of rows for each step, written without a look at how the engine does it.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from actors.project.pipeline.execute import execute, preview
from actors.project.pipeline.numbers import parse_number, show_number

__all__ = ("Rows", "by_rows", "look", "run", "write_live")


@dataclass
class Rows:
    """A table in memory: names with their types, and rows as lists; `lost` counts cells that did not convert."""

    columns: list[tuple[str, str]]
    rows: list[list[Any]]
    lost: int = 0
    warnings: list[dict[str, Any]] = field(default_factory=list)
    described: list[dict[str, Any]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.columns]

    def at(self, name: str) -> int:
        return self.names.index(name)

    def kind(self, name: str) -> str:
        return self.columns[self.at(name)][1]

    def cells(self, name: str) -> list[Any]:
        return [row[self.at(name)] for row in self.rows]


def write_live(path: Path, table: Rows, name: str = "d1") -> dict[str, Any]:
    """Write a table into a file as a project's lies, and return it as an argument of the tasks."""
    with closing(sqlite3.connect(path)) as live:
        live.execute("PRAGMA journal_mode=WAL")
        listed = ", ".join(["row_id INTEGER PRIMARY KEY", *(f"c{i}" for i in range(len(table.columns)))])
        live.execute(f"CREATE TABLE {name} ({listed})")
        marks = ", ".join("?" * len(table.columns))
        names = ", ".join(f"c{i}" for i in range(len(table.columns)))
        live.executemany(f"INSERT INTO {name} ({names}) VALUES ({marks})", table.rows)
        live.commit()
    return {
        "file": str(path),
        "name": name,
        "columns": [{"name": n, "type": k} for n, k in table.columns],
        "version": "1",
    }


def run(table: Rows, steps: Sequence[Mapping[str, Any]], tables: Mapping[str, Rows] | None = None) -> Rows:
    """Run steps over a table by the engine."""
    with tempfile.TemporaryDirectory() as folder:
        args = _arguments(Path(folder), table, steps, tables)
        staging = Path(folder) / "staging.sqlite"
        answer = execute(args | {"staging": str(staging)}, lambda report: None)
        with closing(sqlite3.connect(staging)) as made:
            rows = [list(row) for row in made.execute("SELECT * FROM d ORDER BY row_id")]
        assert sorted(p.name for p in Path(folder).iterdir() if p.name.startswith("staging")) == [
            "staging.sqlite"
        ]
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert answer["rows"] == len(rows)
    columns = [(c["name"], c["kind"]) for c in answer["columns"]]
    lost = sum(w["count"] for w in answer["warnings"])
    return Rows(columns, [row[1:] for row in rows], lost, answer["warnings"], answer["columns"])


def look(
    table: Rows, steps: Sequence[Mapping[str, Any]], *, up_to: int | None = None, limit: int = 100
) -> Rows:
    """Look at the first rows twice, the second time from what was kept; both must be alike."""
    with tempfile.TemporaryDirectory() as folder:
        args = _arguments(Path(folder), table, steps, None)
        args |= {"cache": f"{folder}/cache", "up_to": up_to, "limit": limit}
        first, again = (preview(args, lambda report: None) for _ in range(2))
    assert first == again
    return Rows([(c["name"], c["type"]) for c in first["columns"]], first["rows"], warnings=first["warnings"])


def _arguments(
    folder: Path, table: Rows, steps: Sequence[Mapping[str, Any]], tables: Mapping[str, Rows] | None
) -> dict[str, Any]:
    others = {
        name: write_live(folder / f"other{i}.sqlite", other)
        for i, (name, other) in enumerate((tables or {}).items())
    }
    return {"source": write_live(folder / "live.sqlite", table), "tables": others, "steps": list(steps)}


# The oracle

Change = Callable[[Rows, Mapping[str, Any], Mapping[str, Rows]], Rows]
_ORACLE: dict[str, Change] = {}


def by_rows(
    table: Rows, steps: Iterable[Mapping[str, Any]], tables: Mapping[str, Rows] | None = None
) -> Rows:
    """Apply steps to rows in plain Python."""
    now = Rows(list(table.columns), [list(row) for row in table.rows])
    for step in steps:
        after = _ORACLE[step["operation"]](now, step, tables or {})
        after.lost += now.lost
        now = after
    return now


def _oracle(name: str) -> Callable[[Change], Change]:
    def keep(change: Change) -> Change:
        _ORACLE[name] = change
        return change

    return keep


def shown(cell: Any, kind: str) -> Any:
    if cell is None:
        return None
    if kind == "boolean":
        return "true" if cell else "false"
    return show_number(cell) if kind in ("integer", "number") else cell


def empty(cell: Any) -> bool:
    return cell is None or cell == ""


def _cells(change: Callable[[str], Any]) -> Change:
    def made(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
        names = [n for n in step.get("columns") or t.names if t.kind(n) == "string"]
        at = {t.at(n) for n in names}
        rows = [[change(c) if i in at and c is not None else c for i, c in enumerate(row)] for row in t.rows]
        return Rows(t.columns, rows)

    return made


_ORACLE["trim"] = _cells(str.strip)
_ORACLE["uppercase"] = _cells(str.upper)
_ORACLE["lowercase"] = _cells(str.lower)
_ORACLE["collapse_whitespace"] = _cells(lambda c: " ".join(c.split()))


@_oracle("filter")
def _filter(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    at, kind = t.at(step["column"]), t.kind(step["column"])
    keep = step.get("mode", "keep") == "keep"
    return Rows(
        t.columns, [r for r in t.rows if meets(r[at], kind, step["operator"], step.get("value")) is keep]
    )


def meets(cell: Any, kind: str, operator: str, value: Any) -> bool:
    if operator == "is_empty":
        return empty(cell) if kind == "string" else cell is None
    if operator == "is_not_empty":
        return not meets(cell, kind, "is_empty", None)
    if kind == "string" and isinstance(value, int | float) and operator in _COMPARE:
        cell = None if cell is None else parse_number(cell)
    if cell is None:
        return False
    if operator in _COMPARE:
        return bool(_COMPARE[operator](cell, value))
    if operator == "in":
        return cell in value
    if operator == "between":
        return bool(value[0] <= cell <= value[1])
    text = shown(cell, kind)
    if operator == "contains":
        return str(value) in text
    if operator == "not_contains":
        return str(value) not in text
    return bool(text.startswith(value) if operator == "starts_with" else text.endswith(value))


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "equals": lambda a, b: a == b,
    "not_equals": lambda a, b: a != b,
    "greater_than": lambda a, b: a > b,
    "greater_than_or_equal": lambda a, b: a >= b,
    "less_than": lambda a, b: a < b,
    "less_than_or_equal": lambda a, b: a <= b,
}


@_oracle("deduplicate")
def _deduplicate(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    at = [t.at(n) for n in step.get("columns") or t.names]
    first: dict[tuple[Any, ...], list[Any]] = {}
    for row in t.rows:
        first.setdefault(tuple(row[i] for i in at), row)
    return Rows(t.columns, list(first.values()))


@_oracle("rename_column")
def _rename(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    columns = list(t.columns)
    at = t.at(step["oldName"])
    columns[at] = (step["newName"], columns[at][1])
    return Rows(columns, t.rows)


def _only(t: Rows, names: Sequence[str]) -> Rows:
    at = [t.at(n) for n in names]
    return Rows([t.columns[i] for i in at], [[row[i] for i in at] for row in t.rows])


@_oracle("remove_column")
def _remove(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    gone = {t.at(n) for n in step["columns"]}
    return _only(t, [n for i, n in enumerate(t.names) if i not in gone])


@_oracle("select_columns")
def _select(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    return _only(t, step["columns"])


@_oracle("sort")
def _sort(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    rows = list(t.rows)
    for key in reversed(step["columns"]):
        at = t.at(key["name"])
        some = [r for r in rows if r[at] is not None]
        none = [r for r in rows if r[at] is None]
        # Reversing twice keeps rows that are alike in their order.
        if key.get("direction") == "desc":
            some.reverse()
            some = sorted(some, key=lambda r: r[at])[::-1]
        else:
            some = sorted(some, key=lambda r: r[at])
        rows = none + some if step.get("nullsPosition") == "first" else some + none
    return Rows(t.columns, rows)


@_oracle("limit")
def _limit(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    return Rows(t.columns, t.rows[step.get("offset", 0) :][: step["count"]])


@_oracle("skip")
def _skip(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    return Rows(t.columns, t.rows[step["count"] :])


@_oracle("row_number")
def _number(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    return Rows([(step["newColumn"], "integer"), *t.columns], [[i, *r] for i, r in enumerate(t.rows, 1)])


def converted(cell: Any, kind: str, target: str) -> Any:
    """What a cell becomes, None where it does not convert."""
    if kind == target or (kind, target) == ("integer", "number"):
        return cell
    if target == "string":
        return shown(cell, kind)
    if target in ("number", "integer"):
        value = parse_number(cell) if kind == "string" else cell
        if target == "integer" and isinstance(value, float):
            return int(value) if value.is_integer() and abs(value) <= 2**53 else None
        return value
    if target == "boolean":
        if kind == "string":
            word = cell.strip().lower()
            return 1 if word in ("true", "t", "yes", "y", "1", "on") else 0 if word in (
                "false", "f", "no", "n", "0", "off") else None  # fmt: skip
        return int(cell) if cell in (0, 1) else None
    if target == "date" and kind == "string":
        try:
            whole = re.fullmatch(r"\d{4}-\d\d-\d\d", cell.strip(), re.ASCII)
            return date.fromisoformat(cell.strip()).isoformat() if whole else None
        except ValueError:
            return None
    raise AssertionError((kind, target))


@_oracle("cast_column")
def _cast(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    at, kind = t.at(step["column"]), t.kind(step["column"])
    target, lost, rows = step["targetType"], 0, []
    for row in t.rows:
        cell = row[at]
        none = cell is None or (kind == "string" and target != "string" and not cell.strip())
        made = None if none else converted(cell, kind, target)
        if made is None and not none:
            lost += 1
            if step["onError"] == "skip":
                continue
        rows.append([*row[:at], made, *row[at + 1 :]])
    columns = [(n, target if i == at else k) for i, (n, k) in enumerate(t.columns)]
    return Rows(columns, rows, lost)


def _filled(rows: list[list[Any]], at: int) -> list[list[Any]]:
    last, made = None, []
    for row in rows:
        last = row[at] if not empty(row[at]) else last
        made.append([*row[:at], last, *row[at + 1 :]])
    return made


@_oracle("fill_down")
def _down(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    rows = t.rows
    for name in step["columns"]:
        rows = _filled(rows, t.at(name))
    return Rows(t.columns, rows)


@_oracle("fill_up")
def _up(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    rows = t.rows[::-1]
    for name in step["columns"]:
        rows = _filled(rows, t.at(name))
    return Rows(t.columns, rows[::-1])


@_oracle("split_column")
def _split(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    at, names, mark = t.at(step["column"]), step["newColumns"], step["delimiter"]
    rows = []
    for row in t.rows:
        cell = shown(row[at], t.kind(step["column"]))
        parts = [] if cell is None else cell.split(mark, len(names) - 1)
        cells = [p.strip() for p in parts] + [None] * (len(names) - len(parts))
        rows.append([*row[:at], *cells, *row[at + 1 :]])
    columns = [*t.columns[:at], *((n, "string") for n in names), *t.columns[at + 1 :]]
    return Rows(columns, rows)


@_oracle("merge_columns")
def _merge(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    kinds, at = dict(t.columns), [t.at(n) for n in step["columns"]]
    rows = []
    for row in t.rows:
        texts = [shown(row[i], kinds[t.names[i]]) for i in at]
        if step.get("skipNulls", True):
            merged = step["separator"].join(x for x in texts if x) or None
        else:
            merged = step["separator"].join(x or "" for x in texts)
        rows.append([*row, merged])
    return Rows([*t.columns, (step["newColumn"], "string")], rows)


def _common(kinds: Iterable[str]) -> str:
    found = set(kinds)
    if len(found) == 1:
        return found.pop()
    return "number" if found <= {"integer", "number"} else "string"


def _as(cell: Any, kind: str, wanted: str) -> Any:
    return shown(cell, kind) if wanted == "string" else cell


@_oracle("fill_across")
def _across(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    columns, rows = list(t.columns), [list(r) for r in t.rows]
    at = [t.at(n) for n in step["columns"]]
    for k in range(1, len(at)):
        wanted = _common(t.columns[i][1] for i in at[: k + 1])
        columns[at[k]] = (columns[at[k]][0], wanted)
        for old, new in zip(t.rows, rows, strict=True):
            filled = next((i for i in reversed(at[: k + 1]) if not empty(old[i])), at[k])
            new[at[k]] = _as(old[filled], t.columns[filled][1], wanted)
    return Rows(columns, rows)


@_oracle("unpivot")
def _unpivot(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    ids, turned = step["idColumns"], step["valueColumns"]
    wanted = _common(t.kind(n) for n in turned)
    rows = [
        [*(row[t.at(i)] for i in ids), n, _as(row[t.at(n)], t.kind(n), wanted)]
        for row in t.rows
        for n in turned
    ]
    columns = [(i, t.kind(i)) for i in ids]
    return Rows([*columns, (step["variableColumnName"], "string"), (step["valueColumnName"], wanted)], rows)


@_oracle("split_to_rows")
def _explode(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    at, rows = t.at(step["column"]), []
    for row in t.rows:
        parts = [None] if row[at] is None else [p.strip() for p in row[at].split(step["delimiter"])]
        rows += [[*row[:at], part, *row[at + 1 :]] for part in parts]
    return Rows(t.columns, rows)


def aggregated(cells: list[Any], kind: str, function: str) -> Any:
    filled = [c for c in cells if c is not None and (kind != "string" or c != "")]
    if function == "count_rows":
        return len(cells)
    if function == "count":
        return len(filled)
    if function == "count_distinct":
        return len(set(filled))
    if function == "join":
        return ", ".join(shown(c, kind) for c in filled) or None if filled else None
    if not filled:
        return None
    simple: dict[str, Callable[[list[Any]], Any]] = {
        "sum": sum, "mean": lambda v: sum(v) / len(v), "min": min, "max": max, "median": median,
        "first": lambda v: v[0], "last": lambda v: v[-1],
    }  # fmt: skip
    return simple[function](filled)


def _result_kind(kind: str, function: str) -> str:
    if function.startswith("count"):
        return "integer"
    if function in ("mean", "median"):
        return "number"
    if function == "join":
        return "string"
    return "integer" if function == "sum" and kind == "boolean" else kind


@_oracle("group")
def _group(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    at = [t.at(n) for n in step["columns"]]
    groups: dict[tuple[Any, ...], list[list[Any]]] = {} if at else {(): []}
    for row in t.rows:
        groups.setdefault(tuple(row[i] for i in at), []).append(row)
    columns, rows = [t.columns[i] for i in at], [list(key) for key in groups]
    for a in step["aggregates"]:
        i = t.at(a["column"])
        kind = t.columns[i][1]
        columns.append((a["newColumn"], _result_kind(kind, a["function"])))
        for row, members in zip(rows, groups.values(), strict=True):
            row.append(aggregated([m[i] for m in members], kind, a["function"]))
    return Rows(columns, rows)


@_oracle("pivot")
def _pivot(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    index = [t.at(n) for n in step["indexColumns"]]
    by, value = t.at(step["columnSource"]), t.at(step["valueSource"])
    heads = sorted({shown(r[by], t.columns[by][1]) for r in t.rows if r[by] is not None})
    groups: dict[tuple[Any, ...], dict[Any, list[Any]]] = {}
    for row in t.rows:
        cells = groups.setdefault(tuple(row[i] for i in index), {})
        cells.setdefault(shown(row[by], t.columns[by][1]), []).append(row[value])
    kind, function = t.columns[value][1], step["aggregation"]
    rows = [
        [*key, *(aggregated(cells[h], kind, function) if h in cells else None for h in heads)]
        for key, cells in groups.items()
    ]
    made = [(h if h.strip() else "(empty)", _result_kind(kind, function)) for h in heads]
    return Rows([*(t.columns[i] for i in index), *made], rows)


@_oracle("window")
def _window(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    at = t.at(step["column"])
    parts: dict[Any, list[int]] = {}
    for i, row in enumerate(t.rows):
        parts.setdefault(tuple(row[t.at(n)] for n in step["partitionBy"]), []).append(i)
    made: list[Any] = [None] * len(t.rows)
    for members in parts.values():
        total = None
        for n, i in enumerate(members):
            cell = t.rows[i][at]
            if step["function"] == "lag":
                made[i] = t.rows[members[n - 1]][at] if n else None
            elif step["function"] == "row_number":
                made[i] = n + 1
            else:
                total = cell if total is None else total if cell is None else total + cell
                made[i] = total
    kind = "integer" if step["function"] == "row_number" else t.columns[at][1]
    return Rows([*t.columns, (step["newColumn"], kind)], [[*r, m] for r, m in zip(t.rows, made, strict=True)])


@_oracle("coalesce")
def _coalesce(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    at = [t.at(n) for n in step["columns"]]
    wanted = _common(t.columns[i][1] for i in at)
    rows = []
    for row in t.rows:
        found = next((i for i in at if not empty(row[i])), None)
        rows.append([*row, None if found is None else _as(row[found], t.columns[found][1], wanted)])
    return Rows([*t.columns, (step["newColumn"], wanted)], rows)


@_oracle("remove_empty_rows")
def _no_empty(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    def blank(cell: Any) -> bool:
        return cell is None or (isinstance(cell, str) and not cell.strip())

    return Rows(t.columns, [r for r in t.rows if not all(map(blank, r))])


@_oracle("union")
def _union(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    other = tables[step["table"]]
    names = t.names + [n for n in other.names if n not in t.names]
    kinds = [_common(x.kind(n) for x in (t, other) if n in x.names) for n in names]
    rows = [
        [_as(row[x.at(n)], x.kind(n), k) if n in x.names else None for n, k in zip(names, kinds, strict=True)]
        for x in (t, other)
        for row in x.rows
    ]
    return Rows(list(zip(names, kinds, strict=True)), rows)


@_oracle("join")
def _join(t: Rows, step: Mapping[str, Any], tables: Mapping[str, Rows]) -> Rows:
    other, (left, right) = tables[step["table"]], (step["on"][0]["left"], step["on"][0]["right"])
    rest = [n for n in other.names if n != right]
    numeric = {t.kind(left), other.kind(right)} <= {"integer", "number"}
    alike = numeric or t.kind(left) == other.kind(right)

    def key(table: Rows, row: list[Any], name: str) -> Any:
        cell = row[table.at(name)]
        return cell if alike else shown(cell, table.kind(name))

    rows = []
    for row in t.rows:
        wanted = key(t, row, left)
        found = [o for o in other.rows if wanted is not None and key(other, o, right) == wanted]
        if step["operation"] == "lookup":
            found = found[:1]
        if not found and (step["operation"] == "lookup" or step.get("kind") == "left"):
            rows.append([*row, *(None for _ in rest)])
        rows += [[*row, *(o[other.at(n)] for n in rest)] for o in found]
    return Rows([*t.columns, *((step.get("prefix", "") + n, other.kind(n)) for n in rest)], rows)


_ORACLE["lookup"] = _join
