"""Formulas compute a cell from its row: numbers, text, conditions and dates."""

from __future__ import annotations

from typing import Any

import pytest
from sqlglot import exp

from actors.project.pipeline import StepError, compile_pipeline, parse_steps
from actors.project.pipeline.formula_functions import FUNCTIONS
from actors.project.pipeline.table import Field, Table
from tests.pipelines import Rows, run

ROW: dict[str, tuple[str, Any]] = {
    "a": ("integer", 7), "b": ("number", 2.5), "none": ("number", None), "name": ("string", "Ann Lee"),
    "empty": ("string", ""), "unit price": ("number", 10.0), "paid": ("boolean", 1), "day": ("date", "2024-02-29"),
    "at": ("datetime", "2024-02-29T13:05:00"), "digits": ("string", "12.5"), "ü": ("integer", 3),
}  # fmt: skip


TABLE = Rows([(n, k) for n, (k, _) in ROW.items()], [[v for _, v in ROW.values()]])


def value(formula: str) -> Any:
    return values([formula])[0]


def values(formulas: list[str]) -> list[Any]:
    steps = [{"operation": "compute", "newColumn": f"out {i}", "formula": f} for i, f in enumerate(formulas)]
    return run(TABLE, steps).rows[0][len(ROW) :]


CASES: list[tuple[str, Any]] = [
    ("a + 1 * 2 - (3 - 1)", 7), ("a / 2", 3.5), ("a % 4", 3), ("-a % 4", 1), ("a / 0", None), ("a % 0", None),
    ("--a", 7), ("a * none", None), ("[unit price] * `unit price`", 100.0), ("ü * 2", 6), ("1.5e2", 150.0),
    ("a = 7 and not paid or b < 3", 1), ("a <> 7", 0), ("a != 8 && true", 1), ("none = null", 1), ("a = null", 0),
    ("none <> null", 0), ("not none > 1", None), ("name & '-' & a", "Ann Lee-7"), ("'it''s'", "it's"),
    ('"say ""x"""', 'say "x"'), ("'a\\nb'", "a\nb"), ("empty & none & b", "2.5"),
    ('if(a > 10, "big", a > 5, "mid", "small")', "mid"), ("if(paid, a, b)", 7), ("if(false, 1)", None),
    ("if(paid, a, 'x')", "7"), ("coalesce(empty, none, 'z')", "z"), ("coalesce(none, a)", 7),
    ("is_empty(empty)", 1), ("is_empty(a)", 0), ("concat(name, none, paid)", "Ann Leetrue"),
    ("length('Ä🙂')", 2), ("upper('straße')", "STRASSE"), ("lower('ÀB')", "àb"), ("title('ann lee')", "Ann Lee"),
    ("trim('\u00a0 x ')", "x"), ("left(name, 3)", "Ann"), ("right(name, 3)", "Lee"), ("right(name, 0)", ""),
    ("mid(name, 2, 2)", "nn"), ("mid(name, 5)", "Lee"), ("replace(name, 'e', 'i')", "Ann Lii"),
    ("contains(name, 'n L')", 1), ("contains(name, 'N')", 0), ("starts_with(name, 'Ann')", 1),
    ("ends_with(name, 'Ann')", 0), ("matches(name, '^A.*e$')", 1), ("text(a)", "7"), ("text(paid)", "true"),
    ("number(digits) + 1", 13.5), ("number(name)", None), ("number(paid)", 1), ("abs(-a)", 7), ("sign(-b)", -1),
    ("round(b)", 3.0), ("round(2.675, 2)", 2.68), ("floor(-b)", -3), ("ceil(b)", 3), ("sqrt(9)", 3.0),
    ("sqrt(-1)", None), ("power(2, 10)", 1024.0), ("ln(0)", None), ("min(a, b)", 2.5), ("max(a, b, 9)", 9),
    ("max(a, none)", None), ("year(day) * 100 + month(day)", 202402), ("day(at)", 29), ("hour(at)", 13),
    ("hour(day)", None), ("days_between(day, '2024-03-02')", 2), ("add_days(day, 1)", "2024-03-01"),
    ("day > '2024-01-01'", 1), ("9223372036854775807 + 1", 9223372036854775808.0),
]  # fmt: skip


def test_formulas_compute() -> None:
    found = dict(
        zip((formula for formula, _ in CASES), values([formula for formula, _ in CASES]), strict=True)
    )
    assert found == dict(CASES)


def test_every_function_is_tested_above() -> None:
    used = " ".join(formula for formula, _ in CASES)
    assert [name for name in FUNCTIONS if f"{name}(" not in used] == []


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("a +", "the formula ends where a value was expected"), ("a b", 'has "b" at character 3'),
        ("(a", r'where "\)" was expected'), ("a ? b", r"cannot be read from '\? b'"), ("nme", "nearest name"),
        ("[nope]", 'no column "nope"'), ("uper(name)", 'no function "uper". The nearest is "upper"'),
        ("left(name)", r"it is left\(text, n\)"), ("name * 2", "needs a number"), ("a and paid", "needs a condition"),
        ("a = name", "compared with"), ("if(a, 1, 2)", "needs a condition"), ("year(a)", "needs a date"),
        ("1e999", "too large"), ("(" * 60 + "a" + ")" * 60, "nested deeper"), ("a" + "+a" * 1200, "more than 1,500 parts"),
        ("'open", "cannot be read"), ("__import__('os')", "no function"), ("a.b", "cannot be read"),
    ],
)  # fmt: skip
def test_a_bad_formula_says_where_and_why(formula: str, said: str) -> None:
    with pytest.raises(StepError, match=said):
        value(formula)


def test_a_formula_replaces_a_column_of_its_name() -> None:
    table = Rows([("a", "integer"), ("b", "integer")], [[1, 2]])
    found = run(table, [{"operation": "compute", "newColumn": "a", "formula": "a + b"}])
    assert found.rows == [[3, 2]]


def test_functions_within_functions_stay_as_long_as_they_were_written() -> None:
    nested = "upper(" * 12 + "lower(trim(name))" + ")" * 12
    assert value(nested) == "ANN LEE"
    assert value("+".join(["a"] * 700)) == 4900
    assert value(" and ".join(["paid"] * 500)) == 1
    assert value("&".join(["name"] * 600)) == "Ann Lee" * 600


@pytest.mark.parametrize("chain", ["&", "+", "-", "*", " and "])
def test_a_long_chain_is_read_without_copying_it_again_for_each_part(
    chain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = 0
    whole = exp.Expression.copy

    def counted(node: exp.Expression) -> exp.Expression:
        nonlocal copied
        copied += sum(1 for _ in node.walk())
        return whole(node)

    monkeypatch.setattr(exp.Expression, "copy", counted)
    table = Table("d", (Field("a", "integer"), Field("paid", "boolean")), "main")
    cell = "paid" if chain == " and " else "a"

    def work(parts: int) -> int:
        nonlocal copied
        copied = 0
        step = {"operation": "compute", "newColumn": "n", "formula": chain.join([cell] * parts)}
        compile_pipeline(parse_steps([step]), table)
        return copied

    assert work(400) < 3 * work(200)


def test_divisions_in_a_row_are_bounded() -> None:
    assert value("/".join(["b"] * 3)) == 0.4
    with pytest.raises(StepError, match="more than 15 times in a row"):
        value("/".join(["a"] * 40))
