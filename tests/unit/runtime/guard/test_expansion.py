"""What a text compiles to is counted before SQLite compiles it."""

from __future__ import annotations

import pytest

from runtime.guard.expansion import expansion, outline
from runtime.guard.tokens import tokenize

LIMIT = 4_096


def weight(sql: str, views: dict[str, str] | None = None) -> int:
    return expansion(outline(tokenize(sql)), views or {}, LIMIT)


def doubling(steps: int, form: str = "a{n}(x) AS (SELECT p.x FROM a{m} p, a{m} q)") -> str:
    parts = [form.format(n=n, m=n - 1) for n in range(1, steps + 1)]
    return f"WITH a0(x) AS (SELECT 1), {', '.join(parts)} SELECT count(*) FROM a{steps}"


def test_a_plain_statement_weighs_one() -> None:
    assert weight("SELECT a, b FROM t WHERE c IN (1, 2, 3)") == 1


def test_each_use_of_an_expression_counts() -> None:
    assert weight("WITH x AS (SELECT 1) SELECT * FROM x a, x b, x c") == 4


@pytest.mark.parametrize(
    "form",
    [
        "a{n}(x) AS (SELECT p.x FROM a{m} p, a{m} q)",
        '"a{n}"(x) AS (SELECT p.x FROM [A{m}] p JOIN `a{m}` q)',
        "a{n}(x) AS NOT MATERIALIZED (SELECT x FROM a{m} UNION ALL SELECT x FROM a{m})",
        "a{n}(x) AS (SELECT 1 WHERE 1 IN a{m} AND 2 IN a{m})",
        "'a{n}'(x) AS (SELECT p.x FROM 'a{m}' p, 'a{m}' q)",
        "a{n} AS (SELECT (SELECT x FROM a{m}) + (SELECT x FROM a{m}) AS x)",
        "a{n}(x) AS (SELECT p.x FROM (a{m} p), (a{m} q))",
    ],
)
def test_doubling_is_seen_in_every_spelling(form: str) -> None:
    assert weight(doubling(5, form)) > 2**5
    assert weight(doubling(20, form)) > LIMIT


def test_ten_steps_in_a_row_are_nothing() -> None:
    steps = ", ".join(f"s{n} AS (SELECT v+1 AS v FROM s{n - 1})" for n in range(1, 11))
    assert weight(f"WITH s0 AS (SELECT 1 AS v), {steps} SELECT v FROM s10") == 12


def test_a_recursive_step_counts_once() -> None:
    assert (
        weight("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<9) SELECT * FROM n") == 2
    )


def test_names_belong_to_their_parentheses() -> None:
    inner = "(WITH x AS (SELECT 1) SELECT * FROM x)"
    assert weight(f"SELECT * FROM {inner}, {inner}, {inner}") < 10


def test_columns_named_like_expressions_are_no_uses() -> None:
    sql = "WITH region AS (SELECT r.region, total FROM s r), total AS (SELECT total.x FROM region total) SELECT region.region FROM region, total"  # fmt: skip
    assert weight(sql) < 10


def test_stored_views_are_part_of_it() -> None:
    views = {f"w{n}": f"CREATE VIEW w{n} AS SELECT p.x FROM w{n - 1} p, w{n - 1} q" for n in range(1, 25)}
    assert weight("SELECT * FROM w3", views) == 8
    assert weight("SELECT * FROM main.'w24'", views) > LIMIT


def test_views_that_name_each_other_end() -> None:
    views = {"a": "CREATE VIEW a AS SELECT * FROM b", "b": "CREATE VIEW b AS SELECT * FROM a"}
    assert weight("SELECT * FROM a", views) < 10


def join(tables: int, terms: str) -> str:
    return f"SELECT 1 FROM {', '.join(f't x{n}' for n in range(tables))} WHERE {terms}"


def test_a_wide_join_by_many_terms_is_too_much_and_a_chain_is_not() -> None:
    every = " AND ".join(f"x{a}.a=x{b}.b" for a in range(60) for b in range(a))
    chain = " AND ".join(f"x{n}.a=x{n - 1}.b" for n in range(1, 64))
    assert weight(join(60, every)) > LIMIT
    assert weight(join(64, chain)) < 1_000


def test_joins_in_on_clauses_and_parentheses_count_too() -> None:
    on = " ".join(
        f"JOIN t x{n} ON ({' AND '.join(f'x{n}.a=x{m}.b' for m in range(n))})" for n in range(1, 60)
    )
    assert weight(f"SELECT 1 FROM t x0 {on}") > LIMIT
    nested = ", ".join(f"t x{n}" for n in range(60))
    every = " AND ".join(f"x{a}.a=x{b}.b" for a in range(60) for b in range(a))
    assert weight(f"SELECT 1 FROM ({nested}) WHERE {every}") > LIMIT


@pytest.mark.parametrize("sql", ["", "(", ")))", "AS (", "x AS", "WITH a AS (", ") AS (", "1 AS (SELECT 1)", "as (" * 5_000])  # fmt: skip
def test_broken_texts_are_counted_too(sql: str) -> None:
    assert weight(sql) >= 1
