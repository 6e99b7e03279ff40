"""Attacks of our own, in the format of the shared corpus: worse ones than anybody was asked for.

`user` steps run through the guard before the attack; a refusal there counts as stopped.
"""

from __future__ import annotations

from typing import Any

__all__ = ("ATTACKS",)

T = ["CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b)", "INSERT INTO t VALUES(1,'x',10),(2,'y',20)"]
FTS = ["CREATE VIRTUAL TABLE ft USING fts5(body)", "INSERT INTO ft VALUES('hello world'),('other words')"]
STATE = [
    "CREATE TABLE IF NOT EXISTS session_state(key TEXT PRIMARY KEY, value TEXT)",
    "INSERT OR REPLACE INTO session_state(key,value) VALUES('k','secret')",
]
LOGS = [
    "CREATE TABLE IF NOT EXISTS execution_logs(id INTEGER PRIMARY KEY, msg TEXT)",
    "INSERT INTO execution_logs(msg) VALUES('log-row')",
]
BIG = "replace(hex(zeroblob(249999)),'0','ab')"  # 999,996 characters
COUNT = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c"

ROWS = {"sql": "SELECT id,a FROM main.t ORDER BY id", "rows": [[1, "x"], [2, "y"]]}
SECRET = {"sql": "SELECT value FROM main.session_state WHERE key='k'", "rows": [["secret"]]}
LOGGED = {"sql": "SELECT count(*) FROM main.execution_logs", "rows": [[1]]}
FOUND = {"sql": "SELECT count(*) FROM ft WHERE ft MATCH 'hello'", "rows": [[1]]}

ATTACKS: list[dict[str, Any]] = []


def blocked(
    name: str, sql: Any, setup: list[str] | None = None, *, user: list[Any] | None = None, **more: Any
) -> None:
    _add(name, sql, "blocked", setup, user, more)


def bounded(
    name: str, sql: Any, setup: list[str] | None = None, *, user: list[Any] | None = None, **more: Any
) -> None:
    _add(name, sql, "bounded", setup, user, more)


def _add(
    name: str, sql: Any, must: str, setup: list[str] | None, user: list[Any] | None, more: dict[str, Any]
) -> None:
    case = {
        "name": name,
        "setup": setup or [],
        "sql": sql,
        "must": must,
        "params": None,
        "user_setup": user or [],
    }
    ATTACKS.append(case | more)


def doubling_views(depth: int, *, backwards: bool) -> list[str]:
    views = [f"CREATE VIEW w{i} AS SELECT p.x FROM w{i - 1} p, w{i - 1} q" for i in range(1, depth + 1)]
    return [*reversed(views), "CREATE TABLE w0(x)"] if backwards else ["CREATE TABLE w0(x)", *views]


# Shadow tables
blocked("shadow_insert", "INSERT INTO ft_data VALUES(99,x'00')", FTS, probe=FOUND)
blocked("shadow_quoted", 'DELETE FROM "main"."FT_Data"', FTS, probe=FOUND)
blocked("shadow_string_name", "DELETE FROM 'ft_data'", FTS, probe=FOUND)
blocked("shadow_backtick", "UPDATE `ft_idx` SET pgno=0", FTS, probe=FOUND)
blocked("shadow_drop", "DROP TABLE ft_data", FTS, probe=FOUND)
blocked("shadow_drop_column", "ALTER TABLE ft_content DROP COLUMN c0", FTS, probe=FOUND)
blocked("shadow_rename", "ALTER TABLE ft_docsize RENAME TO x", FTS, probe=FOUND)
blocked("shadow_index", "CREATE UNIQUE INDEX ix ON ft_data(block)", FTS, probe=FOUND)
blocked(
    "shadow_trigger_on", "CREATE TRIGGER tr AFTER INSERT ON ft_content BEGIN SELECT 1; END", FTS, probe=FOUND
)
blocked(
    "shadow_upsert",
    "INSERT INTO ft_config VALUES('version',9) ON CONFLICT DO UPDATE SET v=9",
    FTS,
    probe=FOUND,
)
blocked(
    "shadow_from_trigger",
    "INSERT INTO t(a) VALUES('z')",
    [*FTS, *T],
    user=["CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM ft_data; END"],
    probe=FOUND,
)
blocked(
    "shadow_from_instead_of",
    "DELETE FROM vv",
    FTS,
    user=[
        "CREATE VIEW vv AS SELECT 1 AS x",
        "CREATE TRIGGER tr INSTEAD OF DELETE ON vv BEGIN UPDATE ft_data SET block=x'00'; END",
    ],
    probe=FOUND,
)
blocked("shadow_rtree", "DELETE FROM rt_node", ["CREATE VIRTUAL TABLE rt USING rtree(id,x0,x1)"])
blocked("shadow_with", "WITH z AS (SELECT 1) DELETE FROM ft_content", FTS, probe=FOUND)

# The runtime's tables
blocked("int_case", "SELECT * FROM SeSSion_State", STATE)
blocked("int_string_table", "DELETE FROM 'session_state'", STATE, probe=SECRET)
blocked("int_prefix_case", "SELECT * FROM _DURALITE_META")
blocked("int_prefix_write", "UPDATE _duralite_meta SET value=0")
blocked("int_prefix_drop", "DROP TABLE _duralite_alarms")
blocked("int_create_prefix", "CREATE TABLE _Duralite_x(a)")
blocked("int_create_temp_prefix", "CREATE TEMP TABLE _duralite_meta(a)")
blocked("int_view_reads", "SELECT * FROM v", STATE, user=["CREATE VIEW v AS SELECT value FROM session_state"])
blocked("int_cte_named_like", "WITH z AS (SELECT value FROM main.session_state) SELECT * FROM z", STATE)
blocked("int_union", "SELECT a FROM t UNION ALL SELECT value FROM session_state", [*STATE, *T])
blocked("int_exists", "SELECT EXISTS(SELECT 1 FROM session_state WHERE value LIKE 's%')", STATE)
blocked("int_ctas", "CREATE TABLE z AS SELECT * FROM session_state", STATE)
blocked("int_insert_select", "INSERT INTO t(a) SELECT value FROM session_state", [*STATE, *T], probe=ROWS)
blocked("int_check_subquery", "CREATE TABLE z(a CHECK(a IN (SELECT value FROM session_state)))", STATE)
blocked(
    "int_rename_case",
    "ALTER TABLE t RENAME TO [Session_State2]",
    T,
    user=["ALTER TABLE t RENAME TO SESSION_STATE"],
)
blocked("int_rename_prefix", "ALTER TABLE t RENAME TO `_DuraLite_q`", T, probe=ROWS)
blocked("int_fk", "CREATE TABLE z(a REFERENCES Session_State(key) ON DELETE RESTRICT)", STATE)
blocked("int_fk_add_column", "ALTER TABLE t ADD COLUMN k REFERENCES 'session_state'(key)", [*STATE, *T])
blocked("int_fk_table_constraint", 'CREATE TABLE z(a, FOREIGN KEY(a) REFERENCES "execution_logs"(id))', LOGS)
blocked("int_fk_future", "CREATE TABLE z(a REFERENCES _duralite_future(key))")
blocked(
    "int_fts_content", "CREATE VIRTUAL TABLE z USING fts5(value, content='session_state')", STATE, user=[]
)
blocked(
    "int_fts_content_read",
    "SELECT * FROM z",
    STATE,
    user=["CREATE VIRTUAL TABLE z USING fts5(value, content='session_state')"],
)
blocked(
    "int_fts_content_rebuild",
    "SELECT count(*) FROM z WHERE z MATCH 'secret'",
    STATE,
    user=[
        "CREATE VIRTUAL TABLE z USING fts5(value, content='session_state')",
        "INSERT INTO z(z) VALUES('rebuild')",
    ],
)
blocked(
    "int_trigger_update",
    "UPDATE t SET a='q'",
    [*STATE, *T],
    user=["CREATE TRIGGER tr AFTER UPDATE ON t BEGIN UPDATE session_state SET value='own'; END"],
    probe=SECRET,
)
blocked(
    "int_temp_trigger", "CREATE TEMP TRIGGER tr AFTER INSERT ON main.execution_logs BEGIN SELECT 1; END", LOGS
)
blocked("int_index_info", "SELECT * FROM pragma_index_info('sqlite_autoindex_session_state_1')", STATE)
blocked("int_fk_list", "SELECT * FROM pragma_foreign_key_list('SESSION_STATE')", STATE)
blocked("int_table_xinfo_arg", "SELECT * FROM pragma_table_xinfo WHERE arg='session_state'", STATE)
blocked(
    "int_table_info_lateral",
    "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c",
    STATE,
)
blocked("int_drop_index", "DROP INDEX lx", [*LOGS, "CREATE INDEX lx ON execution_logs(msg)"], probe=LOGGED)
blocked(
    "int_returning_hidden",
    "DELETE FROM t RETURNING (SELECT max(value) FROM session_state)",
    [*STATE, *T],
    probe=ROWS,
)
blocked("int_window_filter", "SELECT count(*) FILTER (WHERE b IN (SELECT value FROM session_state)) OVER () FROM t", [*STATE, *T])  # fmt: skip
blocked("int_upsert_where", "INSERT INTO t(id) VALUES(1) ON CONFLICT(id) DO UPDATE SET a=(SELECT value FROM session_state)", [*STATE, *T], probe=ROWS)  # fmt: skip
blocked("int_vacuum_alias", "VACUUM main")
blocked("int_same_text_comment", "SELECT value FROM session_state /*0123456789abcdef*/", STATE, internal_first=["SELECT value FROM session_state", []])  # fmt: skip

# Verbs in disguise
for number, text in enumerate(
    (
        "\ufeffATTACH ':memory:' AS m",
        "/*/*/ATTACH ':memory:' AS m",
        "--\n--\nDETACH main",
        ";\f;PRAGMA writable_schema=1",
        "/* x */;/**/pragma/**/query_only=1",
        "EXPLAIN PRAGMA query_only=1",
        "explain query plan vacuum",
        "EXPLAIN EXPLAIN SELECT 1",
        "eXpLaIn QuErY pLaN cOmMiT",
        "SELECT 1;\x0b;ROLLBACK",
        "SELECT 1 /* ; */ ; COMMIT",
        "VALUES(1);ATTACH ':memory:' AS m",
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END; COMMIT",
        "CREATE TEMP TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END;PRAGMA query_only=1;",
        "RELEASE unit",
        "ROLLBACK TO unit",
        "SAVEPOINT unit",
        "ANALYZE sqlite_master",
        "REINDEX NOCASE",
        "\x0bSELECT 1",
        "\u00a0SELECT 1",
        "SELECT\u20031",
    )
):
    blocked(f"verb_{number}", text, T, probe=ROWS)

# Functions and modules
for name in ("load_extension('x')", "fts3_tokenizer('simple')", "sqlite_compileoption_get(1)", "sqlite_source_id()", "sqlite_log(1,'x')", "rtreecheck('t')", "fts5(x'00')", "subtype('x')", "matchinfo('t')", "edit('x')", "readfile('/etc/passwd')", "writefile('/tmp/x','y')"):  # fmt: skip
    blocked(f"function_{name.split('(')[0]}", f"SELECT {name}")
blocked("function_in_order", "SELECT 1 ORDER BY load_extension('x')")
blocked("function_in_generated", "CREATE TABLE z(a, b AS (fts3_tokenizer(a)))")
blocked("function_in_index", "CREATE INDEX ix ON t(sqlite_compileoption_used(a))", T)
blocked(
    "function_rename_internal", "SELECT sqlite_rename_table('main','table','t','CREATE TABLE t(a)','t','u',0)"
)
blocked("function_in_alter_default", "ALTER TABLE t ADD COLUMN z DEFAULT (load_extension('x'))", T)
for module in ("sqlite_stmt", "dbstat", "sqlite_dbpage", "bytecode('SELECT 1')", "tables_used('SELECT 1')", "fts3tokenize", "pragma_database_list", "pragma_function_list", "pragma_hard_heap_limit(1)", "pragma_user_version", "pragma_module_list", "pragma_quick_check", "pragma_optimize", "pragma_journal_mode('off')", "pragma_data_version"):  # fmt: skip
    blocked(f"module_{module.split('(')[0]}", f"SELECT * FROM {module}")
blocked("module_fts4_case", "CREATE VIRTUAL TABLE z USING FTS4(x)")
blocked("module_temp", "CREATE VIRTUAL TABLE temp.z USING sqlite_stmt")
blocked("module_fts5vocab_temp", "CREATE VIRTUAL TABLE temp.z USING fts5vocab('main','ft','row')", FTS)

# The end of the transaction
bounded("or_rollback_insert", "INSERT OR ROLLBACK INTO t(id) VALUES(1)", T, probe=ROWS)
bounded("fk_deferred", "DELETE FROM p", ["CREATE TABLE p(id INTEGER PRIMARY KEY)", "CREATE TABLE k(p REFERENCES p DEFERRABLE INITIALLY DEFERRED)", "INSERT INTO p VALUES(1)", "INSERT INTO k VALUES(1)"], probe={"sql": "SELECT count(*) FROM p", "rows": [[1]]})  # fmt: skip
bounded("trigger_raise_rollback", "UPDATE t SET a='q'", T, user=["CREATE TRIGGER tr BEFORE UPDATE ON t BEGIN SELECT RAISE(ROLLBACK,'no'); END"], probe=ROWS)  # fmt: skip

# Compile time
bounded("views_doubling", "SELECT count(*) FROM w24", user=doubling_views(24, backwards=False))
bounded("views_doubling_backwards", "SELECT count(*) FROM w24", user=doubling_views(24, backwards=True))
bounded(
    "views_behind_trigger",
    "INSERT INTO t(a) VALUES('z')",
    T,
    user=[
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT count(*) FROM w24; END",
        *doubling_views(24, backwards=True),
    ],
)
bounded("views_trusted_file", "SELECT count(*) FROM w26", doubling_views(26, backwards=False))
bounded("views_trusted_string_name", "SELECT count(*) FROM 'w26'", doubling_views(26, backwards=False))
bounded("views_in_sub_select", "SELECT (SELECT count(*) FROM main.w26)", doubling_views(26, backwards=False))
bounded("views_update", "UPDATE w26 SET x=1", doubling_views(26, backwards=False))
bounded("views_in_operator", "SELECT 1 WHERE 1 IN w26", doubling_views(26, backwards=False))
bounded(
    "ctes_in_scopes",
    "SELECT * FROM (WITH a AS (SELECT 1 x), b AS (SELECT p.x FROM a p, a q) SELECT * FROM (WITH a AS (SELECT p.x "
    "FROM b p, b q), c AS (SELECT p.x FROM a p, a q) SELECT * FROM (" + "".join(
        f"WITH s{i} AS (SELECT p.x FROM {f's{i - 1}' if i else 'c'} p, {f's{i - 1}' if i else 'c'} q) SELECT * FROM ("
        for i in range(22)
    ) + "SELECT count(*) FROM s21" + ")" * 22 + ")))",
)  # fmt: skip
bounded(
    "ctes_forward",
    "WITH " + ", ".join(f"a{i}(x) AS (SELECT p.x FROM a{i + 1} p, a{i + 1} q)" for i in range(22))
    + ", a22(x) AS (SELECT 1) SELECT count(*) FROM a0",
)  # fmt: skip
bounded(
    "ctes_in_list",
    "WITH a0(x) AS (SELECT 1), " + ", ".join(
        f"a{i}(x) AS (SELECT 1 WHERE 1 IN a{i - 1} OR 2 IN a{i - 1})" for i in range(1, 23)
    ) + " SELECT count(*) FROM a22",
)  # fmt: skip
bounded(
    "ctes_materialized",
    "WITH a0(x) AS MATERIALIZED (SELECT 1), " + ", ".join(
        f"a{i}(x) AS NOT MATERIALIZED (SELECT p.x FROM a{i - 1} p JOIN a{i - 1} q)" for i in range(1, 23)
    ) + " SELECT count(*) FROM a22",
)  # fmt: skip
bounded(
    "joins_60_all_pairs",
    "SELECT 1 FROM t x0 " + " ".join(
        f"JOIN t x{i} ON " + " AND ".join(f"x{i}.a=x{j}.b" for j in range(i)) for i in range(1, 60)
    ),
    [*T, "CREATE INDEX ta ON t(a)", "CREATE INDEX tb ON t(b,a)"],
)  # fmt: skip
bounded(
    "joins_many_selects",
    " UNION ALL ".join(
        "SELECT 1 FROM " + ",".join(f"t x{i}" for i in range(16))
        + " WHERE " + " AND ".join(f"x{i}.a=x{j}.b" for i in range(16) for j in range(i))
        for _ in range(100)
    ),
    [*T, "CREATE INDEX ta ON t(a,b)", "CREATE INDEX tb ON t(b,a)"],
)  # fmt: skip
bounded("generated_doubling", "SELECT c25 FROM g", user=["CREATE TABLE g(c0, " + ", ".join(f"c{i} AS (c{i - 1}||c{i - 1})" for i in range(1, 26)) + ")"])  # fmt: skip
bounded("case_branches", {"$concat": ["SELECT CASE 1 ", ["WHEN 2 THEN 3 ", 15000], "END"]})
bounded("or_flood", {"$concat": ["SELECT 1 WHERE 1=2", [" OR 1=2", 30000]]})
bounded("in_list_flood", {"$concat": ["SELECT 1 WHERE 1 IN (2", [",2", 100000], ")"]})
bounded("values_flood", {"$concat": ["VALUES(1)", [",(1)", 50000]]})
bounded("nesting_functions", {"$concat": ["SELECT ", ["abs(", 400], "1", [")", 400]]})
bounded("nesting_selects", {"$concat": [["SELECT (", 1], ["SELECT (", 200], "1", [")", 201]]})
bounded("nesting_from", {"$concat": [["SELECT * FROM (", 100], "SELECT 1", [")", 100]]})
bounded("quotes_open", {"$concat": ["SELECT '", ["''", 60000]]})
bounded("comment_openers", {"$concat": ["SELECT 1 ", ["/*", 60000]]})
bounded("brackets_open", {"$concat": ["SELECT 1 ", ["[", 100000]]})
bounded("as_parens", {"$concat": ["WITH ", ["a AS (", 20000], "SELECT 1", [")", 20000], " SELECT 1"]})
bounded("window_flood", {"$concat": ["SELECT ", ["sum(1) OVER (ORDER BY 1),", 300], "1"]})

# One call, or one row, that takes its time
bounded("instr_two", f"SELECT instr({BIG}, {BIG}||'c'), instr({BIG}, {BIG}||'c')")
bounded("instr_slow", "SELECT instr(hex(zeroblob(499999)), hex(zeroblob(240000))||'1')")
bounded("instr_flood", {"$concat": ["SELECT instr(x,y||'1')", ["+instr(x,y||'1')", 300], " FROM (SELECT hex(zeroblob(499999)) x, hex(zeroblob(240000)) y)"]})  # fmt: skip
bounded("replace_flood", {"$concat": ["SELECT length(replace(x,y||'1',''))", ["+length(replace(x,y||'1',''))", 300], " FROM (SELECT hex(zeroblob(499999)) x, hex(zeroblob(240000)) y)"]})  # fmt: skip
bounded("replace_in_view", "SELECT * FROM v", user=["CREATE VIEW v AS SELECT " + "+".join(["instr(x,y||'1')"] * 200) + " z FROM (SELECT hex(zeroblob(499999)) x, hex(zeroblob(240000)) y)"])  # fmt: skip
bounded("instr_in_generated", "SELECT g FROM z", user=["CREATE TABLE z(x, y, g AS (" + "+".join(["instr(x,y||'1')"] * 200) + "))", "INSERT INTO z(x,y) VALUES(hex(zeroblob(249999)),hex(zeroblob(200000)))"])  # fmt: skip
bounded("instr_in_trigger", "INSERT INTO t(a) VALUES(hex(zeroblob(499999)))", T, user=["CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT " + "+".join(["instr(new.a, substr(new.a,1,240000)||'1')"] * 200) + "; END"], probe=ROWS)  # fmt: skip
bounded("instr_in_check", "INSERT INTO z VALUES(hex(zeroblob(499999)))", user=["CREATE TABLE z(x CHECK(" + "+".join(["instr(x,substr(x,1,240000)||'1')"] * 200) + "=0))"])  # fmt: skip
bounded("instr_in_index", "INSERT INTO z VALUES(hex(zeroblob(499999)))", user=["CREATE TABLE z(x)", "CREATE INDEX ix ON z(" + "+".join(["instr(x,substr(x,1,240000)||'1')"] * 200) + ")"])  # fmt: skip
bounded("instr_quoted_name", {"$concat": ["SELECT \"instr\"(x,y||'1')", ["+[instr](x,y||'1')", 200], " FROM (SELECT hex(zeroblob(499999)) x, hex(zeroblob(240000)) y)"]})  # fmt: skip
bounded("json_patch_large", "SELECT length(json_patch(a,b)) FROM (SELECT json_group_object('k'||x,x) a, json_group_object('j'||x,x) b FROM (" + COUNT + " WHERE x<40000) SELECT x FROM c))")  # fmt: skip
bounded("json_patch_in_view", "SELECT * FROM v", user=["CREATE VIEW v AS SELECT length(json_patch(a,b)) FROM (SELECT json_group_object('k'||x,x) a, json_group_object('j'||x,x) b FROM (" + COUNT + " WHERE x<60000) SELECT x FROM c))"])  # fmt: skip
bounded("trim_set", "SELECT length(trim(hex(zeroblob(400000)), hex(randomblob(200000))||'x'))")
bounded("trim_set_utf8", "SELECT length(rtrim(replace(hex(zeroblob(160000)),'0','é'), replace(hex(zeroblob(150000)),'0','à')||'é'))")  # fmt: skip
bounded("printf_format_column", "SELECT printf(f, 2000000000, 'x') FROM (SELECT '%.*c' f)")
bounded("printf_many_directives", "SELECT length(printf(replace(hex(zeroblob(20000)),'00','%.99999c'),'x'))")
bounded("printf_in_view", "SELECT * FROM v", user=["CREATE VIEW v AS SELECT printf('%.*c', 2000000000, 'x')"])
bounded(
    "printf_in_trusted_view", "SELECT * FROM v", ["CREATE VIEW v AS SELECT printf('%.*c', 2000000000, 'x')"]
)
bounded("printf_in_default", "INSERT INTO z DEFAULT VALUES", user=["CREATE TABLE z(a DEFAULT (format('%.*c', 2000000000, 'x')))"])  # fmt: skip
bounded("printf_quoted", "SELECT \"printf\"('%.2000000000c', 'x')")
bounded("printf_concatenated", "SELECT printf('%.20'||'00000000c', 'x')")
bounded("printf_width_flood", "SELECT length(printf(replace(hex(zeroblob(100000)),'00','%9999d'),1))")
bounded("printf_float", "SELECT length(printf('%.' || '900000' || 'f', 1.5))")
bounded("like_flood", {"$concat": ["SELECT x LIKE p", ["+(x LIKE p)", 300], " FROM (SELECT hex(zeroblob(499999)) x, '%'||hex(zeroblob(240))||'1%' p)"]})  # fmt: skip
bounded("glob_flood", {"$concat": ["SELECT x GLOB p", ["+(x GLOB p)", 300], " FROM (SELECT hex(zeroblob(499999)) x, '*'||replace(hex(zeroblob(60)),'0','[0]')||'1' p)"]})  # fmt: skip
bounded(
    "hex_flood",
    {"$concat": ["SELECT length(hex(zeroblob(499999)))", ["+length(hex(zeroblob(499999)))", 400]]},
)
bounded("concat_flood", {"$concat": ["SELECT length(x||y)", ["+length(x||y)", 400], " FROM (SELECT hex(zeroblob(240000)) x, hex(zeroblob(240000)) y)"]})  # fmt: skip
bounded("snippet_large", "SELECT length(snippet(f,0,'[',']','…',60)) FROM f WHERE f MATCH 'a'", ["CREATE VIRTUAL TABLE f USING fts5(x)", "INSERT INTO f VALUES(replace(hex(zeroblob(240000)),'0','a '))"])  # fmt: skip
bounded("highlight_large", "SELECT length(highlight(f,0,'[',']')) FROM f WHERE f MATCH 'a'", ["CREATE VIRTUAL TABLE f USING fts5(x)", "INSERT INTO f VALUES(replace(hex(zeroblob(240000)),'0','a '))"])  # fmt: skip
bounded("fts_near_storm", "SELECT count(*) FROM f WHERE f MATCH 'NEAR(a a a a a a a a, 100000)'", ["CREATE VIRTUAL TABLE f USING fts5(x)", "INSERT INTO f VALUES(replace(hex(zeroblob(240000)),'0','a '))"])  # fmt: skip
bounded("fts_phrase_storm", {"$concat": ["SELECT count(*) FROM f WHERE f MATCH '\"", ["a ", 4000], "b\"'"]}, ["CREATE VIRTUAL TABLE f USING fts5(x)", "INSERT INTO f VALUES(replace(hex(zeroblob(240000)),'0','a '))"])  # fmt: skip
bounded("fts_nested_query", {"$concat": ["SELECT count(*) FROM ft WHERE ft MATCH '", ["(", 3000], "a", [")", 3000], "'"]}, FTS)  # fmt: skip
bounded("json_deep_path", {"$concat": ["SELECT json_set('{}','$", [".a", 20000], "',1)"]})
bounded("json_each_bomb", "SELECT count(*) FROM json_each(" + "(SELECT json_group_array(x) FROM (" + COUNT + " WHERE x<100000) SELECT x FROM c))) a, json_each('[1,2,3]') b, json_tree(a.value) d, json_each('['||hex(zeroblob(0))||']') e")  # fmt: skip
bounded("json_tree_deep", {"$concat": ["SELECT count(*) FROM json_tree('", ["[", 900], ["]", 900], "') a, json_tree('", ["[", 900], ["]", 900], "') b, json_tree('", ["[", 900], ["]", 900], "') c"]})  # fmt: skip
bounded("json_extract_index", {"$concat": ["SELECT ", ["json_extract(j,'$[99999]'),", 400], "1 FROM (SELECT json_group_array(x) j FROM (", COUNT, " WHERE x<100000) SELECT x FROM c))"]})  # fmt: skip
bounded("strftime_flood", "SELECT length(strftime(replace(hex(zeroblob(100000)),'00','%f'),'now'))")

# Memory and disk
bounded("row_of_large_cells", {"$concat": ["SELECT ", ["hex(zeroblob(499999)),", 499], "1"]})
bounded(
    "row_of_large_columns", {"$concat": ["SELECT ", ["a,", 499], "a FROM (SELECT hex(zeroblob(499999)) a)"]}
)
bounded("row_of_stars", {"$concat": ["SELECT ", ["t.*,", 150], "1 FROM t"]}, [T[0], "INSERT INTO t VALUES(1,hex(zeroblob(450000)),1)"])  # fmt: skip
bounded(
    "row_of_parameters", {"$concat": ["SELECT ", ["?1,", 499], "?1"]}, params=[{"$repeat": ["z", 990000]}]
)
bounded("group_concat_window", COUNT + " WHERE x<5000) SELECT sum(length(g)) FROM (SELECT group_concat(hex(zeroblob(400))) OVER (ORDER BY x ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) g FROM c)")  # fmt: skip
bounded("json_group_window", COUNT + " WHERE x<20000) SELECT max(length(g)) FROM (SELECT json_group_array(hex(zeroblob(20))) OVER (ORDER BY x) g FROM c)")  # fmt: skip
bounded(
    "group_by_large",
    COUNT + ") SELECT count(*) FROM (SELECT x, max(hex(zeroblob(2000))||x) FROM c GROUP BY x)",
)
bounded("distinct_large", COUNT + ") SELECT count(DISTINCT hex(randomblob(500))||x) FROM c")
bounded("many_groups_of_strings", COUNT + ") SELECT count(*) FROM (SELECT group_concat(hex(randomblob(2000))) FROM c GROUP BY x%5000)")  # fmt: skip
bounded("window_partition", COUNT + ") SELECT max(s) FROM (SELECT count(*) OVER (PARTITION BY x%2) s, hex(randomblob(200)) h FROM c)")  # fmt: skip
bounded("recursive_queue", "WITH RECURSIVE c(x,s) AS (SELECT 1,'a' UNION ALL SELECT x+1,hex(randomblob(2000)) FROM c UNION ALL SELECT x+1,s FROM c) SELECT count(*) FROM c")  # fmt: skip
bounded("recursive_union_distinct", "WITH RECURSIVE c(x) AS (SELECT randomblob(1000) UNION SELECT randomblob(1000) FROM c) SELECT count(*) FROM c")  # fmt: skip
bounded("recursive_order", "WITH RECURSIVE c(x) AS (SELECT randomblob(1000) UNION ALL SELECT randomblob(1000) FROM c, (SELECT 1 UNION ALL SELECT 2) ORDER BY 1) SELECT count(*) FROM c")  # fmt: skip
bounded("auto_index", "SELECT count(*) FROM (" + COUNT + ") SELECT x%10 a, hex(randomblob(500)) b FROM c) p JOIN (SELECT 1 a) q USING(a)")  # fmt: skip
bounded("trigger_recursion", "INSERT INTO t(a) VALUES('z')", T, user=["CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO t(a) VALUES(new.a||'q'); INSERT INTO t(a) VALUES(new.a||'r'); END"])  # fmt: skip
bounded("trigger_loop", "UPDATE t SET b=b+1 WHERE id=1", T, user=["CREATE TRIGGER tr AFTER UPDATE ON t BEGIN UPDATE t SET b=b+1; END"])  # fmt: skip
bounded(
    "trigger_fan_out",
    "INSERT INTO k0 VALUES(1)",
    user=[
        *[f"CREATE TABLE k{i}(a)" for i in range(13)],
        *[f"CREATE TRIGGER r{i} AFTER INSERT ON k{i} BEGIN " + f"INSERT INTO k{i + 1} VALUES(1); " * 20 + "END" for i in range(12)],
    ],
    probe={"sql": "SELECT count(*) FROM k0", "rows": [[0]]},
)  # fmt: skip
bounded("temp_table_fill", "CREATE TEMP TABLE z AS " + COUNT + ") SELECT randomblob(3000) r FROM c")
bounded("temp_index_fill", "CREATE INDEX temp.zi ON z(a,b)", user=["CREATE TEMP TABLE z AS " + COUNT + " WHERE x<200000) SELECT x a, randomblob(100) b FROM c"])  # fmt: skip
bounded("fts_fill", "INSERT INTO ft(body) " + COUNT + ") SELECT hex(randomblob(500))||' '||x FROM c", FTS)
bounded("rtree_fill", "INSERT INTO rt " + COUNT + ") SELECT x,x,x+1 FROM c", ["CREATE VIRTUAL TABLE rt USING rtree(id,x0,x1)"])  # fmt: skip
bounded("tables_many_columns", {"$concat": ["CREATE TABLE z(c", [",c", 10000], ")"]})
bounded("statement_journal", "UPDATE OR ABORT n SET x=randomblob(300)", ["CREATE TABLE n(x UNIQUE)", "INSERT INTO n " + COUNT + " WHERE x<100000) SELECT x FROM c"])  # fmt: skip
bounded("alter_large", "ALTER TABLE n ADD COLUMN z CHECK(z IS NULL OR length(x||hex(zeroblob(2000)))<0)", ["CREATE TABLE n(x)", "INSERT INTO n " + COUNT + " WHERE x<300000) SELECT x FROM c"])  # fmt: skip
bounded("drop_column_large", "ALTER TABLE n DROP COLUMN y", ["CREATE TABLE n(x,y)", "INSERT INTO n " + COUNT + " WHERE x<300000) SELECT x,hex(zeroblob(50)) FROM c"])  # fmt: skip

# Parameters and text
blocked("param_infinite_int", "SELECT ?", params=[2**70])
blocked("param_object", "SELECT ?", params=[{"a": 1}])
blocked("param_nul_name", 'SELECT "a\0b"')
blocked("text_surrogate_in_name", 'SELECT 1 AS "\udfff"')
bounded("param_many", {"$concat": ["SELECT ?", [",?", 32000]]}, params=[1] * 32001)
bounded("param_large_blob", "SELECT length(?)", params=[{"$repeat": ["z", 20_000_000]}])
bounded("identifier_long", {"$concat": ['CREATE TABLE "', ["x", 200000], '"(a)']})

# Shapes that fault in SQLite 3.40
bounded("fault_window_sub_select", "SELECT a,(SELECT a+sum(1) OVER ()) FROM t LEFT JOIN (SELECT 1 z) ON z=a GROUP BY a", T, isolate=True)  # fmt: skip
bounded("fault_order_64", "SELECT DISTINCT " + ",".join(["1"] * 66) + " ORDER BY " + ",".join(["'x'"] * 64))
bounded("fault_order_64_compound", "SELECT * FROM (SELECT DISTINCT " + ",".join(["1"] * 66) + " ORDER BY " + ",".join(["'x'"] * 64) + ")")  # fmt: skip
bounded("fault_trigram_double", 'CREATE VIRTUAL TABLE z USING fts5(z, tokenize="trigram case_sensitive")')
bounded("fault_trigram_quoted", "CREATE VIRTUAL TABLE z USING fts5(z, tokenize=\"trigram 'case_sensitive'\")")
bounded(
    "fault_trigram_porter", "CREATE VIRTUAL TABLE z USING fts5(z, tokenize='porter trigram case_sensitive')"
)
bounded("fault_trigram_bracket", "CREATE VIRTUAL TABLE z USING fts5(z, tokenize=[trigram case_sensitive])")
bounded("fault_group_64", "SELECT " + ",".join(["1"] * 66) + " GROUP BY " + ",".join(["'x'"] * 64))
bounded("fault_distinct_group_order", "SELECT DISTINCT " + ",".join(f"{i}" for i in range(70)) + " FROM t GROUP BY " + ",".join(f"a+{i}" for i in range(64)), T)  # fmt: skip
