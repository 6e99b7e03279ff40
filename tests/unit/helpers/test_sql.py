"""What the property tests do not show: names, refusals, nesting, full-text search, examples, the load by path."""

from __future__ import annotations

import importlib.util
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from helpers import sql
from runtime.guard import SESSION, Guard

FOLDER = Path(sql.__file__).parent


SCRIPT = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer, status, country, amount, created_at);
INSERT INTO orders VALUES
    (1, 'AAA', 'open', 'DE', 10.0, '2024-01-10 10:00:00'), (2, 'BBB', 'paid', 'FR', 17.5, '2024-02-11'),
    (3, 'AAA', 'paid', 'DE', 20.0, '2024-02-12T08:00:00Z'), (4, NULL, 'open', 'DE', NULL, NULL);
CREATE TABLE customers (name, city);
INSERT INTO customers VALUES ('AAA', 'Bonn'), ('BBB', 'Lyon');
CREATE TABLE people (name, email, born);
INSERT INTO people VALUES ('Ann', 'a@b.c', 1980), ('Ann', '', 1980), ('Bob', NULL, 1990);
CREATE TABLE daily_sales (shop, day, total);
INSERT INTO daily_sales VALUES ('a', 1, 5), ('a', 2, 7), ('b', 1, 1);
CREATE TABLE penguins (flipper_length_mm, body_mass_g);
INSERT INTO penguins VALUES (181, 3750), (186, 3800), (195, 3250);
CREATE VIRTUAL TABLE articles USING fts5(title, body);
INSERT INTO articles VALUES ('Sea ice', 'the ice melts'), ('Sea birds', 'not about ice AND water'),
    ('Land', 'the sea "is" far');
"""


class Database:
    """A database as user code has it: every statement passes the session guard."""

    def __init__(self, script: str) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.executescript(script)
        self._guard = Guard(SESSION)
        self._guard.install(self._connection)

    def query(self, query: str | sql.Query, params: Any = ()) -> list[dict[str, Any]]:
        text, values = query if isinstance(query, sql.Query) else (query, params)
        verdict = self._guard.check(text)
        self._guard.enter()
        try:
            cursor = self._connection.execute(verdict.sql, values)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]
        finally:
            self._guard.leave()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def database() -> Iterator[Database]:
    made = Database(SCRIPT)
    yield made
    made.close()


@pytest.mark.parametrize("builder", sql.BUILDERS, ids=lambda builder: builder.__name__)
def test_every_builder_has_an_example_that_runs(builder: Any, database: Database) -> None:
    (example,) = re.findall(r"Example: (.+)", builder.__doc__)
    assert f"sql.{builder.__name__}(" in example
    # The examples stand in the prompt and in the docs: they are this project's own text.
    assert eval(example, {"sql": sql, "db": database}) not in ([], None)


@pytest.mark.parametrize("builder", sql.BUILDERS, ids=lambda builder: builder.__name__)
def test_every_builder_says_what_it_gives(builder: Any) -> None:
    assert re.search(r"\bGives\b|^List ", builder.__doc__)


def test_all_is_a_tuple_of_what_is_there() -> None:
    assert isinstance(sql.__all__, tuple)
    assert {builder.__name__ for builder in sql.BUILDERS} < set(sql.__all__)
    assert all(hasattr(sql, name) for name in sql.__all__)


def test_camel_case_spellings_are_the_same_functions() -> None:
    assert sql.countBy is sql.count_by
    assert sql.movingAverage is sql.moving_average
    assert {"topN", "groupStats", "distinctValues", "nullAnalysis", "quoteIdentifier"} < set(dir(sql))


def test_an_unknown_builder_names_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no builder 'count_buy'; the builders are count_by, top_n"):
        sql.count_buy  # noqa: B018


def test_the_folder_loads_by_path_under_another_name_with_the_standard_library_alone() -> None:
    """The sandbox child has no `helpers` package and no third-party package."""
    code = f"""
import importlib.util, sys
place = {str(FOLDER)!r}
spec = importlib.util.spec_from_file_location("duralite_sql", place + "/__init__.py", submodule_search_locations=[place])
module = importlib.util.module_from_spec(spec)
sys.modules["duralite_sql"] = module
spec.loader.exec_module(module)
query = module.countBy("t", "a", where=[{{"b": 1}}, module.Query("c > ?", [2])])
assert query.params == (1, 2), query
assert not any(name.partition(".")[0] in ("helpers", "runtime") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, cwd="/", timeout=60)


def test_loading_it_twice_keeps_the_copies_apart() -> None:
    module = load_again()
    assert module.Query is not sql.Query
    assert tuple(module.count_by("t", "a")) == tuple(sql.count_by("t", "a"))


def load_again() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "duralite_sql_again", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        for name in [name for name in sys.modules if name.startswith(spec.name)]:
            del sys.modules[name]
    return module


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("", ValueError, "is empty"),
        ("a\x00b", ValueError, "NUL"),
        ("a\ud800", ValueError, "surrogate"),
        (None, TypeError, "not NoneType"),
        (7, TypeError, "not int"),
        (b"a", TypeError, "not bytes"),
    ],
)
def test_a_name_that_sqlite_cannot_hold_is_refused(name: Any, error: type[Exception], message: str) -> None:
    for build in (
        lambda: sql.quote_identifier(name),
        lambda: sql.count_by(name, "a"),
        lambda: sql.count_by("t", "a", where={name: 1}),
        lambda: sql.search("t", "x", ["a", name]),
        lambda: sql.top_n("t", name),
    ):
        with pytest.raises(error, match=message):
            build()


def test_a_misspelt_column_is_an_error_and_not_a_text(database: Database) -> None:
    """SQLite reads an unknown name in double quotes as text, unless a table stands before it."""
    for query in (
        sql.count_by("orders", "custmer"),
        sql.statistics("orders", "custmer"),
        sql.top_n("orders", "amount", where={"custmer": "AAA"}),
        sql.pivot("orders", "customer", "custmer", ["a"]),
        sql.search("orders", "AAA", ["customer", "custmer"]),
        sql.null_analysis("orders", ["custmer"]),
        sql.join("orders", "customers", {"custmer": "name"}),
        sql.cohort("orders", "custmer", "created_at"),
    ):
        with pytest.raises(sqlite3.OperationalError, match=r"no such column: orders\.custmer"):
            database.query(query)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sql.count_by("t", "a", where="a = 1"), r"sql\.Query\("),
        (
            lambda: sql.count_by("t", "a", where={"a": {"~": 1}}),
            r"'~' is no operator for 'a'; the operators are =",
        ),
        (lambda: sql.count_by("t", "a", where={"a": {}}), "empty dict"),
        (lambda: sql.count_by("t", "a", where={"a": {"between": [1]}}), "a list of two values"),
        (lambda: sql.count_by("t", "a", where={"a": {"in": 1}}), "is a list"),
        (lambda: sql.count_by("t", "a", where={"a": {"contains": 1}}), "is text"),
        (lambda: sql.count_by("t", "a", where={"a": {">": [1]}}), "is not one value"),
        (lambda: sql.count_by("t", "a", where={"a": [[1]]}), "is not one value"),
        (lambda: sql.count_by("t", "a", where={"a": list(range(10_001))}), r"sql\.join"),
        (lambda: sql.count_by("t", "a", where=sql.Query("a = :a", {"a": 1})), r"write \? in its text"),  # type: ignore[arg-type]
        (
            lambda: sql.count_by("t", "a", order="b"),
            "`order` names 'b', and the result has only 'a', 'count'",
        ),
        (lambda: sql.count_by("t", "a", order=[]), "`order` is a column name"),
        (lambda: sql.count_by("t", "a", limit=-1), "`limit` is -1"),
        (lambda: sql.count_by("t", "a", limit=True), "`limit` is a whole number"),
        (lambda: sql.count_by("t", "a", limit="5"), "`limit` is a whole number"),  # type: ignore[arg-type]
        (lambda: sql.count_by("t", []), "names no column"),
        (lambda: sql.count_by("t", ["a", "a"]), "twice"),
        (lambda: sql.count_by("t", 5), "a name or a list of names"),  # type: ignore[arg-type]
        (lambda: sql.top_n("t", "a", 0), "`n` is 0"),
        (lambda: sql.percentile("t", "a", 0.95 * 200), "from 0 to 100"),
        (lambda: sql.percentile("t", "a", [50, 50.0]), "twice"),
        (lambda: sql.percentile("t", "a", "95"), "from 0 to 100"),  # type: ignore[arg-type]
        (lambda: sql.histogram("t", "a", 0), "`bins` is 0"),
        (lambda: sql.moving_average("t", "a", "b", 0), "`window` is 0"),
        (lambda: sql.temporal("t", "a", "decade"), "hour, day, week, month, quarter, year"),
        (lambda: sql.temporal("t", "a", "day", aggregate="sum"), "needs `measure`"),
        (lambda: sql.temporal("t", "a", "day", measure="b", aggregate="middle"), "`aggregate` is one of sum"),
        (lambda: sql.cohort("t", "a", "b", "hour"), "day, week, month, quarter, year"),
        (lambda: sql.pivot("t", "a", "b", []), r"sql\.distinct_values"),
        (lambda: sql.pivot("t", "a", "b", "xyz"), r"sql\.distinct_values"),
        (lambda: sql.search("t", "  ", "a"), "`text` is blank"),
        (lambda: sql.search("t", "x"), "no column to look in"),
        (lambda: sql.search("t", "x" * 600, "a"), "instr"),
        (lambda: sql.search("t", "x\x00y", "a"), "NUL"),
        (lambda: sql.search("t", "x", "a", match="most"), "phrase, all or any"),
        (lambda: sql.search(sql.Query("SELECT 1"), "x", fts=True), "name of an FTS5 table"),
        (lambda: sql.join("a", "b", {}), "names no column"),
        (lambda: sql.join("a", "b", "c", how="cross"), "inner, left, right, full"),
        (lambda: sql.sample("t", 5, seed=1.5), "`seed` is a whole number"),  # type: ignore[arg-type]
        (lambda: sql.null_analysis("t", [f"c{i}" for i in range(201)]), "several queries"),
    ],
)
def test_a_call_that_makes_no_sense_says_what_to_write(build: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        build()


def test_builders_nest(database: Database) -> None:
    joined = sql.join("orders", "customers", {"customer": "name"}, columns=["amount", "customers.city"])
    expensive = sql.group_stats(joined, "city", "amount", where={"amount": {">": 5}}, order="-sum", limit=1)
    (best,) = database.query(expensive)
    assert (best["city"], best["sum"]) == ("Bonn", 30.0)
    assert len(database.query(sql.sample(sql.Query("SELECT id FROM orders;\n"), 2))) == 2
    with_comment = sql.Query("SELECT * FROM orders WHERE id > ? -- the later ones", [1])
    assert database.query(sql.count_by(with_comment, "status", order="status")) == [
        {"status": "open", "count": 1},
        {"status": "paid", "count": 2},
    ]


def test_join_merges_the_columns_that_both_tables_share(database: Database) -> None:
    database.query("CREATE TABLE notes (id, note)")
    database.query("INSERT INTO notes VALUES (1, 'first'), (9, 'lonely')")
    query = sql.join("orders", "notes", "id", how="full", where=sql.Query("note NOT NULL"), order="id")
    found = database.query(query)
    assert [(row["id"], row["note"], row["customer"]) for row in found] == [
        (1, "first", "AAA"),
        (9, "lonely", None),
    ]


def test_a_table_can_be_joined_with_itself(database: Database) -> None:
    pairs = sql.join(
        "orders",
        "orders",
        {"customer": "customer"},
        columns=["id", "orders_2.id"],
        where=sql.Query('"orders"."id" < "orders_2"."id"'),
    )
    assert database.query(pairs) == [{"id": 1, "orders_2.id": 3}]


def test_full_text_search_takes_no_word_for_an_operator(database: Database) -> None:
    def titles(text: str, **options: Any) -> list[str]:
        return [row["title"] for row in database.query(sql.search("articles", text, fts=True, **options))]

    assert titles("sea ice") == ["Sea ice"]
    assert set(titles("sea ice", match="all")) == {"Sea ice", "Sea birds"}
    assert set(titles("birds far", match="any")) == {"Sea birds", "Land"}
    assert titles("ice AND water") == ["Sea birds"]
    assert titles('"is" far') == ["Land"]
    assert titles("sea", columns=["body"]) == ["Land"]
    assert titles("NEAR(ice") == []
    assert titles("title:sea*") == []


def test_search_in_text_takes_percent_and_underscore_as_they_are(database: Database) -> None:
    database.query("CREATE TABLE marks (a)")
    database.query("INSERT INTO marks VALUES (?), (?), (?), (?)", ["50%_off", "50 off", "50%xoff", r"a\b"])
    assert [row["a"] for row in database.query(sql.search("marks", "%_", "a"))] == ["50%_off"]
    assert [row["a"] for row in database.query(sql.search("marks", "\\", "a"))] == [r"a\b"]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({"status": "open", "country": "DE"}, [1, 4]),
        ({"amount": None}, [4]),
        ({"customer": ["BBB", None]}, [2, 4]),
        ({"customer": []}, []),
        ({"amount": {"between": [10, 18]}}, [1, 2]),
        ({"amount": {">=": 10, "<": 18}, "status": {"!=": "paid"}}, [1]),
        ({"created_at": {"starts_with": "2024-02"}}, [2, 3]),
        ({"created_at": {"startsWith": "2024-02"}}, [2, 3]),
        ({"created_at": {"like": "%10"}}, []),
        ({"created_at": {"glob": "2024-0[12]-1[01]*"}}, [1, 2]),
        ({"customer": {"is": None}}, [4]),
        ({"customer": {"NOT IN": ["AAA", None]}}, [2]),
        ([{"status": "paid"}, sql.Query("amount > ? OR amount < ?", (18, 3))], [3]),
        (sql.Query("id % 2 = ?", [0]), [2, 4]),
    ],
)
def test_where_is_data(where: Any, ids: list[int], database: Database) -> None:
    found = database.query(sql.distinct_values("orders", "id", where=where))
    assert [row["id"] for row in found] == ids


def test_every_value_is_bound_and_never_in_the_text() -> None:
    poison = "'; DROP TABLE orders; --"
    for query in (
        sql.count_by("t", "a", where={"b": poison, "c": [poison], "d": {"contains": poison}}),
        sql.pivot("t", "a", "b", [1], where={"b": poison}),
        sql.search("t", poison, ["a"]),
        sql.null_analysis("t", ["a"], where={"b": {"<": poison}}),
    ):
        assert "DROP" not in query.sql
        assert any(isinstance(value, str) and "DROP" in value for value in query.params)


def test_what_occurs_twice_in_the_result_gets_an_underscore(database: Database) -> None:
    database.query("CREATE TABLE odd (count, n)")
    database.query("INSERT INTO odd VALUES (5, 1), (5, 2)")
    assert database.query(sql.count_by("odd", "count")) == [{"count": 5, "count_": 2}]
    (row,) = database.query(sql.pivot("odd", "n", "count", [5, "5"], where={"n": 1}))
    assert row == {"n": 1, "5": 1, "5_": 0}
