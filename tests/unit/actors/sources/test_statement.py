"""What a statement of DuckDB's SQL may be: one that reads, of listed functions and of tables that were given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from actors.sources.ask import ask
from actors.sources.duck import Engine, Table, open_engine
from actors.sources.functions import FUNCTIONS, OPERATORS, TABLE_FUNCTIONS, VOLATILE
from runtime.errors import DeadlineExceeded, DuraliteError, GuardRefused, LimitExceeded, SqlError
from runtime.limits import Limits
from runtime.values import loads

MOST = 256_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables as Parquet: `sales`, which is given, and `secret`, which is not."""
    place = tmp_path_factory.mktemp("parquet")
    with closing(duckdb.connect()) as raw:
        raw.execute(
            f"COPY (SELECT range AS i, 'n' || range AS s, range * 0.5::DOUBLE AS d FROM range(1000))"
            f" TO '{place}/sales.parquet' (FORMAT parquet)"
        )
        raw.execute(f"COPY (SELECT 42 AS secret) TO '{place}/secret.parquet' (FORMAT parquet)")
    return place


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with open_engine(
        memory_bytes=256 << 20, threads=2, temp=str(tmp_path / "temp"), temp_bytes=16 << 20, seconds=20
    ) as engine:
        yield engine


def asked(folder: Path, sql: str, *, seconds: float = 20.0, **given: Any) -> dict[str, Any]:
    """Ask as a worker does, in this process."""
    args = {
        "sources": {"sales": {"main": True, "tables": {"sales": str(folder / "sales.parquet")}}},
        "sql": sql,
        "params": None,
        "limit": None,
        "row_format": "objects",
        "limits": Limits().model_dump(),
        "seconds": seconds,
        "memory_bytes": 256 << 20,
        "threads": 2,
        "temp": str(folder / "temp"),
        "temp_bytes": 16 << 20,
    }
    answer: dict[str, Any] = loads(ask({**args, **given}, lambda _: None))
    return answer


READS = [
    "SELECT count(*), sum(i), avg(d) FROM sales",
    "FROM sales LIMIT 2",
    "FROM data LIMIT 2",
    "SELECT * FROM Sales LIMIT 1",
    "DESCRIBE sales",
    "SUMMARIZE sales",
    "EXPLAIN SELECT * FROM sales",
    "EXPLAIN ANALYZE SELECT * FROM sales",
    "VALUES (1, 'a'), (2, NULL)",
    "WITH x AS (SELECT i FROM sales) SELECT max(i) FROM x",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 50) SELECT sum(n) FROM r",
    "SELECT i % 10 AS k, count(*) FROM sales GROUP BY ALL ORDER BY ALL",
    "SELECT i, row_number() OVER (PARTITION BY i % 2 ORDER BY d DESC) FROM sales QUALIFY row_number() OVER (ORDER BY i) < 3",
    "SELECT list_transform([1, 2], lambda x: x + 1), {'a': 1}.a, [x * 2 for x in [1, 2]], MAP {'k': 1}['k']",
    "SELECT s LIKE 'n%', s ILIKE 'N%', s ~ 'n', i BETWEEN 1 AND 2, i IN (1, 2), CASE WHEN i > 1 THEN 1 END, NOT i = 1 FROM sales LIMIT 1",
    "SELECT CAST(i AS VARCHAR), i::TEXT, TRY_CAST(s AS INT), EXTRACT(year FROM DATE '2020-01-01'), s[1], -i, i // 2 FROM sales LIMIT 1",
    "SELECT substring(s FROM 1 FOR 2), trim(s), position('n' IN s), coalesce(NULL, i), nullif(i, 1) FROM sales LIMIT 1",
    "SELECT * EXCLUDE (d), COLUMNS('i') FROM sales LIMIT 1",
    "SELECT count(*) FILTER (WHERE i > 5), string_agg(s, ',' ORDER BY s) FROM (FROM sales LIMIT 9)",
    "SELECT * FROM sales a JOIN sales b USING (i) SEMI JOIN sales c ON a.i = c.i LIMIT 1",
    "SELECT * FROM sales, LATERAL (SELECT i + 1 AS k) LIMIT 1",
    "SELECT * FROM range(3) t(x), generate_series(1, 2), unnest([1, 2])",
    "SELECT (SELECT max(i) FROM sales) AS m, EXISTS (SELECT 1 FROM sales WHERE i = 3)",
    "SELECT json_extract('{\"a\": [1, 2]}', '$.a[0]'), '{\"a\": 1}'::JSON ->> 'a'",
    "SELECT date_trunc('month', DATE '2024-03-05'), strftime(DATE '2024-03-05', '%d.%m.%Y'), age(DATE '2024-01-01', DATE '2023-01-01')",
    "SELECT i FROM sales UNION SELECT 1 EXCEPT SELECT 2 ORDER BY 1 LIMIT 3",
    "SELECT * FROM (PIVOT sales ON i IN (1, 2) USING sum(d))",
    "SELECT quantile_cont(d, 0.5), median(i), approx_count_distinct(s), corr(i, d), mode(s) FROM sales",
    "/* a comment */ SELECT 1 -- and another\n;",
]


@pytest.mark.parametrize("sql", READS)
def test_what_reads_the_given_tables_runs(folder: Path, sql: str) -> None:
    assert asked(folder, sql)["columns"]


@pytest.mark.parametrize("sql", [q for q in READS if q.startswith(("EXPLAIN", "DESCRIBE"))])
def test_a_plan_names_tables_and_no_file_of_the_service(folder: Path, sql: str) -> None:
    found = str(asked(folder, sql)["rows"])
    assert str(folder) not in found
    assert "ANALYZE" not in sql or "sales" in found


REFUSED = [
    ("SELECT * FROM read_parquet('{}/secret.parquet')", "function.unlisted"),
    ("SELECT * FROM read_csv('/etc/passwd')", "function.unlisted"),
    ("SELECT * FROM read_text('/etc/passwd')", "function.unlisted"),
    ("SELECT read_blob('/etc/passwd')", "function.unlisted"),
    ("WITH x AS (SELECT * FROM read_json('/etc/passwd')) SELECT * FROM x", "function.unlisted"),
    ("SELECT (SELECT count(*) FROM glob('/*'))", "function.unlisted"),
    ("SELECT * FROM sales WHERE i IN (SELECT 1 FROM sniff_csv('/etc/passwd'))", "function.unlisted"),
    ("SELECT * FROM sales ORDER BY getenv('PATH')", "function.unlisted"),
    ("SELECT getenv('HOME')", "function.unlisted"),
    ("SELECT current_setting('temp_directory')", "function.unlisted"),
    ("SELECT pg_catalog.current_setting('threads')", "function.unlisted"),
    ("SELECT count(*) FILTER (WHERE current_setting('x') = '') FROM sales", "function.unlisted"),
    ("SELECT sum(i) OVER (PARTITION BY current_setting('x')) FROM sales", "function.unlisted"),
    ("SELECT * FROM range(current_setting('threads')::INT)", "function.unlisted"),
    ("SELECT * FROM sales LIMIT (SELECT getvariable('x'))", "function.unlisted"),
    ("SELECT list_transform([1], lambda x: getvariable('x'))", "function.unlisted"),
    ("VALUES (getvariable('a'))", "function.unlisted"),
    ("SELECT 'threads'.current_setting()", "function.unlisted"),
    ("SELECT * FROM duckdb_settings()", "function.unlisted"),
    ("SELECT sql FROM duckdb_views()", "function.unlisted"),
    ("SELECT * FROM parquet_metadata('{}/sales.parquet')", "function.unlisted"),
    ("SELECT * FROM query('SELECT 1')", "function.unlisted"),
    ("SELECT * FROM query_table('sales')", "function.unlisted"),
    ("FROM json_execute_serialized_sql('x')", "function.unlisted"),
    ("SELECT sleep_ms(1)", "function.unlisted"),
    ("SELECT nextval('s')", "function.unlisted"),
    ("SELECT write_log('x')", "function.unlisted"),
    ("COPY sales TO '{}/out.csv'", "statement.read_only"),
    ("COPY (SELECT 1) TO '{}/sales.parquet'", "statement.read_only"),
    ("EXPORT DATABASE '{}/x'", "statement.read_only"),
    ("EXPLAIN COPY sales TO 'x'", "statement.read_only"),
    ("EXPLAIN ANALYZE COPY sales TO '{}/x'", "statement.read_only"),
    ("ATTACH '{}/x.db'", "statement.attach"),
    ("DETACH memory", "statement.attach"),
    ("INSTALL httpfs", "statement.read_only"),
    ("LOAD httpfs", "statement.read_only"),
    ("SET threads = 8", "statement.read_only"),
    ("RESET threads", "statement.read_only"),
    ("SET VARIABLE x = 1", "statement.read_only"),
    ("PRAGMA database_list", "statement.pragma"),
    ("CALL pragma_version()", "statement.read_only"),
    ("CREATE TABLE t AS SELECT 1", "statement.read_only"),
    ("CREATE MACRO f(x) AS x", "statement.read_only"),
    ("INSERT INTO sales VALUES (1, 'a', 1)", "statement.read_only"),
    ("DELETE FROM sales", "statement.read_only"),
    ("DROP VIEW sales", "statement.read_only"),
    ("PREPARE p AS SELECT 1", "statement.read_only"),
    ("EXECUTE p", "statement.read_only"),
    ("USE memory", "statement.read_only"),
    ("BEGIN", "statement.transaction"),
    ("VACUUM", "statement.vacuum"),
    ("SHOW TABLES", "statement.read_only"),
    ("SHOW ALL TABLES", "statement.read_only"),
    ("SELECT 1; SELECT 2", "statement.several"),
    ("SELECT 1; DROP VIEW sales", "statement.several"),
    ("", "statement.empty"),
    (";;", "statement.empty"),
    ("-- nothing", "statement.empty"),
    ("SELECT '\0'", "text.nul"),
    ("SELECT * FROM memory.main.sales", "object.table_list"),
    (
        "SELECT b.* FROM (WITH duckdb_views AS (SELECT 1) FROM duckdb_views) a, duckdb_views b",
        "object.reserved",
    ),
]


@pytest.mark.parametrize(("sql", "rule"), REFUSED)
def test_what_reaches_beyond_is_refused_and_says_why(folder: Path, sql: str, rule: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(GuardRefused) as refused:
        asked(folder, sql.format(folder))
    assert refused.value.rule == rule
    assert refused.value.hint
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    "table",
    [
        "nosuch",
        "duckdb_views",
        "duckdb_settings",
        "sqlite_master",
        "pg_catalog.pg_class",
        "information_schema.tables",
        "'{}/secret.parquet'",
        '"{}/secret.parquet"',
        "'/etc/passwd'",
        "engine",
        "other.sales",
    ],
)
def test_a_table_that_was_not_given_does_not_exist(folder: Path, table: str) -> None:
    with pytest.raises(SqlError, match="no table") as refused:
        asked(folder, f"SELECT * FROM {table.format(folder)}")
    assert refused.value.hint == "Tables: sales."


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_parquet('{}/secret.parquet')",
        "SELECT * FROM '{}/secret.parquet'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "COPY (SELECT 1) TO '{}/out.parquet'",
        "COPY (SELECT 1) TO '{}/sales.parquet'",
        "ATTACH '{}/other.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '64GB'",
        "SET lock_configuration = false",
        "SELECT * FROM engine",
        "CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
    ],
)
def test_the_database_is_shut_in_even_where_the_list_fails(engine: Engine, folder: Path, sql: str) -> None:
    """The layer behind the parser: the statement runs unchecked, and reaches nothing."""
    engine.grant([Table("", "sales", str(folder / "sales.parquet"))])
    with pytest.raises((DuraliteError, duckdb.Error)):
        engine.run(sql.format(folder), None).fetchmany(1)
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "sales.parquet",
        "secret.parquet",
    ]


def test_no_path_of_the_machine_is_told(engine: Engine, folder: Path) -> None:
    gone = folder / "gone.parquet"
    gone.write_bytes((folder / "sales.parquet").read_bytes())
    engine.grant([Table("", "t", str(gone))])
    gone.unlink()
    with pytest.raises(SqlError) as refused:
        engine.run("SELECT * FROM t", None).fetchmany(1)
    assert str(folder) not in refused.value.message + str(refused.value.hint)


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT sum(n) FROM r",
        "SELECT count(*) FROM sales a, sales b, sales c, sales d",
        "SELECT * FROM range(1000000000000) ORDER BY 1 DESC LIMIT 1",
    ],
)
def test_what_does_not_end_is_ended(folder: Path, sql: str) -> None:
    with pytest.raises((DeadlineExceeded, LimitExceeded)):
        asked(folder, sql, seconds=0.3)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT list(range) FROM range(1000000000)",
        "SELECT repeat(s, 1000000) FROM sales",
        "SELECT string_agg(a.s || b.s || c.s, '') FROM sales a, sales b, sales c",
    ],
)
def test_what_needs_too_much_memory_is_refused(folder: Path, sql: str) -> None:
    with pytest.raises(LimitExceeded) as refused:
        asked(folder, sql)
    assert refused.value.limit == "source_memory_bytes"


@pytest.mark.parametrize(
    "sql", ["SELECT " + "(" * 5_000 + "1" + ")" * 5_000, "SELECT " + "1+" * 20_000 + "1"]
)
def test_deep_statements_are_refused(folder: Path, sql: str) -> None:
    with pytest.raises(DuraliteError):
        asked(folder, sql)


def test_a_long_statement_is_refused(folder: Path) -> None:
    with pytest.raises(LimitExceeded) as refused:
        asked(folder, "SELECT '" + "x" * 300_000 + "'")
    assert refused.value.limit == "max_sql_bytes"


def test_another_databases_sql_is_answered_with_a_rewrite(folder: Path) -> None:
    with pytest.raises(SqlError) as refused:
        asked(folder, "SELECT strftime('%Y', '2024-01-01')")
    assert "DuckDB would write" in str(refused.value.hint)


def test_values_come_as_json_carries_them(folder: Path) -> None:
    answer = asked(
        folder,
        "SELECT 1::HUGEINT AS h, 170141183460469231731687303715884105727::HUGEINT AS big, 1.25 AS dec,"
        " 12345678901234567890.123456789::DECIMAL(38, 9) AS long, 'nan'::DOUBLE AS nan, 'inf'::DOUBLE AS inf,"
        " DATE '2020-02-03' AS day, TIMESTAMP '2020-02-03 04:05:06.5' AS at, TIME '04:05' AS t, INTERVAL 1 DAY AS gap,"
        " TIMESTAMPTZ '2020-02-03 04:05:06+00' AS zoned, [1, NULL] AS l, {'a': 1.5} AS st, 'x'::BLOB AS b, true AS yes,"
        " '00000000-0000-0000-0000-000000000001'::UUID AS u",
    )
    (row,) = answer["rows"]
    assert row == {
        "h": 1,
        "big": "170141183460469231731687303715884105727",
        "dec": 1.25,
        "long": "12345678901234567890.123456789",
        "nan": None,
        "inf": {"$float": "Infinity"},
        "day": "2020-02-03",
        "at": "2020-02-03T04:05:06.500000",
        "t": "04:05:00",
        "gap": "1 day, 0:00:00",
        "zoned": "2020-02-03 04:05:06+00",
        "l": [1, None],
        "st": {"a": 1.5},
        "b": {"$bytes": "eA=="},
        "yes": True,
        "u": "00000000-0000-0000-0000-000000000001",
    }
    assert {"name": "day", "type": "DATE"} in answer["fields"]


def test_parameters_are_bound_by_place_and_by_name(folder: Path) -> None:
    assert asked(folder, "SELECT s FROM sales WHERE i = ?", params=[7])["rows"] == [{"s": "n7"}]
    named = asked(folder, "SELECT s FROM sales WHERE i = $wanted", params={"wanted": 7})
    assert named["rows"] == [{"s": "n7"}]
    hostile = asked(folder, "SELECT ? AS x", params=["'; DROP VIEW sales; --"])
    assert hostile["rows"] == [{"x": "'; DROP VIEW sales; --"}]


def test_rows_and_bytes_are_cut_and_it_is_said_so(folder: Path) -> None:
    cut = asked(folder, "SELECT * FROM range(20000)")
    assert (cut["row_count"], cut["truncated"], cut["limit"]) == (10_000, True, "max_rows")
    own = asked(folder, "SELECT * FROM sales", limit=3)
    assert (own["row_count"], own["truncated"], own["limit"]) == (3, True, "limit")
    large = asked(folder, "SELECT repeat('x', 100000) AS x FROM range(1000)")
    assert (large["truncated"], large["limit"]) == (True, "max_result_bytes")
    assert large["row_count"] < 170


@pytest.mark.parametrize(
    ("sql", "lasting"),
    [
        ("SELECT count(*) FROM sales", True),
        ("SELECT random()", False),
        ("SELECT now()", False),
        ("SELECT current_date", False),
        ("SELECT current_timestamp", False),
        ("SELECT uuid()", False),
        ("SELECT * FROM sales USING SAMPLE 3", False),
        ("SELECT * FROM sales TABLESAMPLE 1 PERCENT", False),
        ("SELECT today()", False),
        ("SELECT age(DATE '2000-01-01')", False),
    ],
)
def test_an_answer_that_depends_on_the_moment_does_not_last(folder: Path, sql: str, lasting: bool) -> None:
    assert asked(folder, sql)["lasting"] is lasting


def test_no_listed_function_reads_files_settings_or_secrets() -> None:
    reaching = ("read_", "glob", "getenv", "setting", "secret", "getvariable", "pragma", "pg_", "duckdb_", "sleep", "query", "_scan", "parquet", "nextval", "log_")  # fmt: skip
    for name in FUNCTIONS | TABLE_FUNCTIONS:
        assert not any(part in name for part in reaching), name
    assert VOLATILE - {"current_time", "localtime", "localtimestamp"} <= FUNCTIONS
    assert "||" in OPERATORS
