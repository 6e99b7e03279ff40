"""Tokens are cut where SQLite cuts them."""

from __future__ import annotations

import time

import pytest

from runtime.guard.tokens import ILLEGAL, NUMBER, OP, QUOTED, STRING, VARIABLE, WORD, name_of, tokenize


def texts(sql: str) -> list[str]:
    return [token[1] for token in tokenize(sql)]


def test_words_are_lower_case_and_strings_are_as_written() -> None:
    assert [(t[0], t[1]) for t in tokenize("SELECT 'It''s' AS Name")] == [
        (WORD, "select"), (STRING, "'It''s'"), (WORD, "as"), (WORD, "name"),
    ]  # fmt: skip


@pytest.mark.parametrize("quoted", ['"Key"', "`Key`", "[Key]"])
def test_all_quoting_styles_give_the_name(quoted: str) -> None:
    (token,) = tokenize(quoted)
    assert token[0] == QUOTED
    assert name_of(token) == "key"


def test_a_quoted_operator_or_keyword_is_a_name() -> None:
    assert texts('";" "from" "("') == ['";', '"from', '"(']


def test_a_doubled_quote_stays_inside() -> None:
    assert name_of(tokenize('"a""b"')[0]) == 'a"b'


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("-- SELECT 1\nATTACH", ["attach"]),
        ("/*/*/ATTACH", ["attach"]),
        ("/**/ATTACH", ["attach"]),
        ("\ufeff\fATTACH", ["attach"]),
        ("SELECT 1 /* open", ["select", "1"]),
        ("SELECT 1 -- open", ["select", "1"]),
        ("a /*", ["a", "/", "*"]),
        (" \vATTACH", ["attach"]),
    ],
)
def test_white_space_and_comments_are_those_of_sqlite(sql: str, words: list[str]) -> None:
    assert texts(sql) == words


def test_a_vertical_tab_alone_is_illegal_and_a_no_break_space_is_part_of_a_name() -> None:
    assert tokenize("\vSELECT")[0][0] == ILLEGAL
    assert texts("\u00a0select") == ["\u00a0select"]


def test_variables_numbers_and_operators_stand_alone() -> None:
    kinds = [token[0] for token in tokenize("?1 :a @b $c::d(e) #f 0x1F .5 1e-3 || ->>")]
    assert kinds == [VARIABLE] * 5 + [NUMBER] * 3 + [OP] * 2


def test_places_point_into_the_text() -> None:
    sql = "  SELECT /* x */ 1 ;"
    tokens = tokenize(sql)
    assert sql[tokens[0][2] : tokens[1][3]] == "SELECT /* x */ 1"


@pytest.mark.parametrize("piece", ["[", "'", '"', "`", "/*", "$a(", "x'", "'x", "(("])
def test_hostile_texts_take_linear_time(piece: str) -> None:
    started = time.process_time()
    tokenize("SELECT 1 " + piece * (250_000 // len(piece)))
    assert time.process_time() - started < 10  # a hang guard: quadratic would take minutes
