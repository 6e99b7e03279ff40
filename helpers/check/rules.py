"""The rules of the check, by id: what each finds. The reference page is made from this table."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ("RULES",)

RULES: Mapping[str, str] = {
    "syntax": "Text that is no Python: Markdown fences, bare SQL, JavaScript, curly quotes, a program cut off.",
    "syntax.return": "`return` outside a function.",
    "syntax.yield": "`yield` outside a function.",
    "syntax.await": "`await` in a function that is not async. At the top level it may stand.",
    "syntax.async for": "`async for` in a function that is not async.",
    "syntax.async with": "`async with` in a function that is not async.",
    "syntax.break": "`break` outside a loop.",
    "syntax.continue": "`continue` outside a loop.",
    "helper.import": "An import of what is in scope already, or of a module inside `helpers`.",
    "helper.unknown": "A helper, namespace or tool server that is not there; the nearest one is named.",
    "helper.subscript": '`db[…]`, `tools["name"]`: namespaces are reached with a dot.',
    "helper.call": "A namespace that is called like a function.",
    "helper.arguments": "Arguments that a helper does not take: too many, missing, twice, misspelt, or a literal of a wrong type.",
    "rows.attribute": "A method of cursors or data frames on the rows of a query: `fetchall`, `to_dict`.",
    "inputs.attribute": "`inputs.name`: inputs is a dict.",
    "inputs.key": "An input that this run does not have.",
    "name.undefined": "A name that is bound nowhere: `true`, `null`, a misspelling, `query(…)` for `db.query(…)`.",
    "size": "A program that is too large or too deeply nested to be looked at; it runs all the same.",
    "lint.whole_result": "A SELECT without LIMIT or aggregate that is printed, or is the program's value.",
    "lint.pasted_sql": "Values that are pasted into SQL text.",
    "lint.row_by_row": "Rows that are inserted one by one in a loop.",
    "lint.reads_only": "A statement that writes, in `db.query`.",
    "lint.writes_only": "A SELECT in `db.exec`.",
    "lint.await": "A call of a tool that is dropped without being awaited.",
    "lint.rows": "A column taken from the list of rows instead of one row.",
    "lint.row": "A number as the key of a row, which is a dict.",
    "lint.files": "`open`, which the sandbox refuses.",
    "lint.outside": "Files, processes, threads or the network by way of the standard library.",
    "lint.module": "An import of a module that is not there.",
    "lint.sleep": "`time.sleep`, which uses up the run's time.",
    "lint.input": "`input()`, which nobody answers.",
    "lint.exit": "`exit()` or `quit()`, which end the program without a value.",
    "lint.nested_loop": "`asyncio.run` beside `await` at the top level.",
}
