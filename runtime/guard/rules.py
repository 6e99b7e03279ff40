"""Rules are the sentences of the guard: every refusal names one row of the table below.

A row says which layer fires, what is refused, why, and what to write instead. The text is written so that
a language model can mend its own statement; the reference page of the guard is generated from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from runtime.errors import GuardRefused

__all__ = ("RULES", "Rule", "refusal", "rules")


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to refuse a statement: its id, the layer that fires, and what to do instead."""

    id: str
    layer: str
    title: str
    reason: str
    instead: str


_TABLE = (
    Rule(
        "text.nul",
        "text",
        "NUL characters are not allowed in a statement",
        "SQLite ends the text at a NUL, so what was checked and what runs could differ",
        "Pass binary data as a parameter.",
    ),
    Rule(
        "statement.empty",
        "gate",
        "The text holds no statement",
        "it is empty, or only comments and semicolons",
        "Write one SQL statement.",
    ),
    Rule(
        "statement.several",
        "gate",
        "A call takes one statement",
        "a second statement could hide behind the first",
        "Send the statements one by one, or use batch_insert for many rows.",
    ),
    Rule(
        "statement.unknown",
        "gate",
        "The text does not begin with a statement that is allowed here",
        "only statements on the allow list are run",
        "Begin with SELECT, WITH, VALUES, INSERT, REPLACE, UPDATE, DELETE, CREATE, DROP, ALTER or EXPLAIN; "
        "leave out prose and Markdown fences.",
    ),
    Rule(
        "statement.read_only",
        "gate",
        "Only statements that read are allowed here",
        "this call promises not to change anything",
        "Use SELECT, WITH, VALUES or EXPLAIN here, and exec for statements that write.",
    ),
    Rule(
        "statement.attach",
        "gate",
        "ATTACH and DETACH are not allowed",
        "an actor sees its own file and no other",
        "Keep the data in tables of this database; copy rows between databases in code.",
    ),
    Rule(
        "statement.pragma",
        "gate",
        "PRAGMA statements are not allowed",
        "they change settings that the runtime depends on",
        "To inspect, use the table-valued form: SELECT * FROM pragma_table_info('t'), pragma_table_list, "
        "pragma_index_list('t') or pragma_foreign_key_list('t').",
    ),
    Rule(
        "statement.transaction",
        "gate",
        "BEGIN, COMMIT, END, ROLLBACK, SAVEPOINT and RELEASE are not allowed",
        "every call already is one transaction: all or nothing",
        "Leave the statement out; what one call does commits together or not at all.",
    ),
    Rule(
        "statement.vacuum",
        "gate",
        "VACUUM and VACUUM INTO are not allowed",
        "they rewrite or copy the whole file",
        "Leave it out; the runtime keeps the file compact, and export gives a copy.",
    ),
    Rule(
        "statement.maintenance",
        "gate",
        "ANALYZE and REINDEX are not allowed",
        "they write the planner's own tables, and the runtime takes care of them",
        "Leave the statement out.",
    ),
    Rule(
        "limit.order_terms",
        "gate",
        "ORDER BY has too many terms",
        "SQLite versions in use have a memory fault near 64 terms",
        "Order by at most 60 terms.",
    ),
    Rule(
        "limit.expansion",
        "gate",
        "Common table expressions, views or joins take too long to plan",
        "each use of a name is compiled again, so names that use each other twice grow by doubling, and the plan "
        "of a join of dozens of tables takes seconds that nothing can interrupt",
        "Use WITH RECURSIVE, join fewer tables at once, or store a step in a table and read it from there.",
    ),
    Rule(
        "engine.fts5_trigram",
        "gate",
        "The trigram tokenizer's option lacks its value",
        "SQLite versions in use have a memory fault there",
        "Write tokenize='trigram case_sensitive 1'.",
    ),
    Rule(
        "engine.window",
        "gate",
        "A window function in a sub-select without FROM is not allowed",
        "SQLite versions in use have a memory fault there, and it computes nothing that a plain value does not",
        "Compute the window function in the outer SELECT, or give the sub-select a FROM.",
    ),
    Rule(
        "object.reserved",
        "authorizer",
        "The name is reserved for the runtime",
        "tables of the runtime and names with its prefix are out of reach, under any spelling",
        "Use another name: one that does not begin with an underscore, and is not session_state or "
        "execution_logs. State and logs are read through get_state, list_state and execution_logs.",
    ),
    Rule(
        "object.internal_write",
        "authorizer",
        "The table belongs to the runtime and cannot be changed",
        "the runtime keeps its own records there",
        "Use a table of your own; for small values use save_state.",
    ),
    Rule(
        "object.foreign_key",
        "authorizer",
        "A foreign key may not refer to a table of the runtime",
        "it could block the runtime's own writes",
        "Refer to a table of your own.",
    ),
    Rule(
        "object.schema_table",
        "authorizer",
        "SQLite's own tables cannot be changed",
        "they describe the file itself",
        "Use CREATE, ALTER and DROP.",
    ),
    Rule(
        "object.shadow",
        "authorizer",
        "Shadow tables of a virtual table cannot be changed",
        "they hold the index of the FTS5 or R-Tree table, and a change damages it",
        "Write to the virtual table itself.",
    ),
    Rule(
        "object.module",
        "authorizer",
        "The virtual table module is not allowed",
        "only fts5, rtree and rtree_i32 may be used for virtual tables, json_each and json_tree for reading",
        "Use an fts5 or rtree table, or an ordinary table.",
    ),
    Rule(
        "object.pragma_function",
        "authorizer",
        "This pragma function is not allowed",
        "only the pragma functions that describe tables are open",
        "Use pragma_table_info, pragma_table_xinfo, pragma_table_list, pragma_index_list, "
        "pragma_index_info, pragma_index_xinfo or pragma_foreign_key_list.",
    ),
    Rule(
        "object.table_list",
        "authorizer",
        "The table is not open to this caller",
        "the policy names the tables that may be used",
        "Use one of the tables that are listed for you.",
    ),
    Rule(
        "object.column_list",
        "authorizer",
        "The column is not open to this caller",
        "the policy closes this column",
        "Name the columns you need instead of *, and leave this one out.",
    ),
    Rule(
        "function.unlisted",
        "authorizer",
        "The function is not allowed",
        "only functions on the allow list are run",
        "Use SQLite's core, date, math, JSON, aggregate and window functions.",
    ),
    Rule(
        "function.argument",
        "functions",
        "The arguments of the function are too large",
        "this call would run for seconds without a way to stop it",
        "Use shorter values, or do this step in code.",
    ),
    Rule(
        "action.unlisted",
        "authorizer",
        "The statement does something that is not allowed",
        "what the policy does not list is refused",
        "Use plain SELECT, INSERT, UPDATE, DELETE, CREATE, DROP and ALTER.",
    ),
    Rule(
        "action.write",
        "authorizer",
        "The statement would write, and only reading is allowed here",
        "a statement that was read as a query must not change anything",
        "Use exec for statements that write.",
    ),
)

RULES: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in _TABLE})
"""All rules by id, in the order in which the layers run."""


def rules() -> tuple[Rule, ...]:
    """Return all rules, in the order in which the layers run."""
    return _TABLE


def refusal(rule_id: str, what: str | None = None, *, hint: str | None = None, **extra: Any) -> GuardRefused:
    """Return the error for a rule; `what` names the thing refused, `hint` replaces the rule's advice."""
    rule = RULES[rule_id]
    subject = f"{rule.title} ({what})" if what else rule.title
    return GuardRefused(
        f"{subject}: {rule.reason}.", rule=rule_id, hint=hint or rule.instead, layer=rule.layer, **extra
    )
