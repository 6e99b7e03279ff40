"""A snippet is a program that worked, kept under a name with what it does and which inputs it takes.

Snippets lie in the actor's own file. They are found by words of their name, description and program, and run by
name with inputs, which are checked against the snippet's JSON Schema first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from helpers.search import search
from helpers.spec import HelperSpec
from runtime.actor import Actor
from runtime.clock import iso
from runtime.errors import Conflict, InputError, LimitExceeded, NotFound
from runtime.method import method
from runtime.storage.transaction import Transaction
from runtime.values import dumps, loads
from sandbox.runs import history

__all__ = ("Snippet", "SnippetMethods", "check_inputs", "load_snippet")

_TABLE = (
    "CREATE TABLE IF NOT EXISTS main._duralite_snippets ("
    " name TEXT PRIMARY KEY, description TEXT NOT NULL, code TEXT NOT NULL, inputs TEXT, run TEXT,"
    " created REAL NOT NULL, updated REAL NOT NULL) STRICT, WITHOUT ROWID"
)
_COLUMNS = "name, description, code, inputs, run, created, updated"
_SCHEMA_BYTES = 16 * 1024
_CODE_SEARCHED = 2_000

Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,99}$",
        description="A name of letters, digits, _ and -.",
    ),
]


@dataclass(slots=True)
class Snippet:
    """A kept program. `inputs` is the JSON Schema of what it takes (None: anything), `run` the run that it was."""

    name: str
    description: str
    code: str
    inputs: dict[str, Any] | None
    run: str | None
    created: str
    updated: str


class SnippetMethods(Actor):
    """save_snippet, list_snippets, search_snippets, delete_snippet."""

    @method(idempotent=True, scope="run")
    def save_snippet(
        self,
        tx: Transaction,
        name: Name,
        run: Annotated[str | None, Field(max_length=64, description="A run that ended well.")] = None,
        code: Annotated[str | None, Field(description="Or a program.")] = None,
        description: Annotated[str, Field(max_length=2000, description="What it does, to be found by.")] = "",
        inputs: Annotated[
            dict[str, Any] | None, Field(description="JSON Schema of its inputs, an object's.")
        ] = None,
    ) -> Snippet:
        """Keep a program under a name, in place of what had it: that of a run that ended well, or a given one."""
        program = _program(tx, run, code)
        if inputs is not None and (len(dumps(inputs)) > _SCHEMA_BYTES or inputs.get("type") != "object"):
            raise InputError(
                f"inputs is a JSON Schema of type object, with at most {_SCHEMA_BYTES:,} bytes.",
                hint='For instance {"type": "object", "properties": {"year": {"type": "integer"}}, "required": ["year"]}.',
            )
        if not _is_made(tx):
            tx.execute(_TABLE)
        row = tx.one("SELECT count(*) FROM main._duralite_snippets WHERE name <> ?", (name,))
        if row is not None and row[0] >= tx.limits.snippets_kept:
            raise LimitExceeded(
                f"There are {tx.limits.snippets_kept:,} snippets already.",
                hint="Delete some with delete_snippet.",
                limit="snippets_kept",
            )
        schema = None if inputs is None else dumps(inputs).decode()
        tx.execute(
            "INSERT INTO main._duralite_snippets VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " description = excluded.description, code = excluded.code, inputs = excluded.inputs,"
            " run = excluded.run, updated = excluded.updated",
            (name, description, program, schema, run, tx.now, tx.now),
        )
        return load_snippet(tx, name)

    @method(read_only=True)
    def list_snippets(
        self,
        tx: Transaction,
        limit: Annotated[int, Field(ge=1, le=1000, description="At most so many.")] = 100,
        after: Annotated[str, Field(max_length=100, description="The last name of the page before.")] = "",
    ) -> list[Snippet]:
        """Return the snippets, by name."""
        if not _is_made(tx):
            return []
        rows = tx.all(
            f"SELECT {_COLUMNS} FROM main._duralite_snippets WHERE name > ? ORDER BY name LIMIT ?",
            (after, limit),
        )
        return [_snippet(*row) for row in rows]

    @method(read_only=True)
    def search_snippets(
        self,
        tx: Transaction,
        text: Annotated[str, Field(max_length=1000, description="Words of what is looked for.")],
        limit: Annotated[int, Field(ge=1, le=50, description="At most so many.")] = 10,
    ) -> list[Snippet]:
        """Find snippets by words: those of the name count most, then of the description, then of the program."""
        if not _is_made(tx):
            return []
        rows = tx.all(
            "SELECT name, description, substr(code, 1, ?) FROM main._duralite_snippets", (_CODE_SEARCHED,)
        )
        # Ranked like helpers: a snippet is a function that somebody here wrote.
        specs = [
            HelperSpec(f"snippets.{name}", doc=f"{description}\n\n{code}") for name, description, code in rows
        ]
        found = search(specs, text, limit)
        return [load_snippet(tx, each["path"].partition(".")[2]) for each in found]

    @method(destructive=True, idempotent=True, scope="run")
    def delete_snippet(self, tx: Transaction, name: Name) -> dict[str, bool]:
        """Delete a snippet."""
        if not _is_made(tx):
            return {"deleted": False}
        return {
            "deleted": tx.execute("DELETE FROM main._duralite_snippets WHERE name = ?", (name,)).rowcount > 0
        }


def load_snippet(tx: Transaction, name: str) -> Snippet:
    """Return a snippet.

    Raises:
        NotFound: there is none of this name.
    """
    row = (
        tx.one(f"SELECT {_COLUMNS} FROM main._duralite_snippets WHERE name = ?", (name,))
        if _is_made(tx)
        else None
    )
    if row is None:
        raise NotFound(f"There is no snippet {name!r:.120}.", hint="search_snippets finds one by its words.")
    return _snippet(*row)


def check_inputs(snippet: Snippet, inputs: dict[str, Any]) -> None:
    """Check the inputs of a snippet against its schema.

    Raises:
        InputError: they do not fit; the message says where and why.
    """
    if snippet.inputs is not None:
        from sandbox.tools.arguments import ArgumentCheck  # jsonschema takes a while to load

        names = ", ".join(snippet.inputs.get("properties", {}))
        ArgumentCheck(snippet.inputs)(snippet.name, inputs, f"inputs with {names or 'no names'}")


def _program(tx: Transaction, run: str | None, code: str | None) -> str:
    if (run is None) == (code is None):
        raise InputError("Give either the id of a run, or code.", hint="list_runs shows the runs.")
    if run is None:
        assert code is not None
        if len(code.encode("utf-8", "surrogatepass")) > tx.limits.run_code_bytes:
            raise LimitExceeded(
                f"The program has more than {tx.limits.run_code_bytes:,} bytes.",
                hint="Put data into tables or inputs, not into the program.",
                limit="run_code_bytes",
            )
        return code
    program, state = history.code_of(tx, run)
    if state != "ok":
        raise Conflict(
            f"The run {run} did not end well: it is {state}.", hint="Save a run that is ok, or give code."
        )
    return program


def _is_made(tx: Transaction) -> bool:
    return tx.one("SELECT 1 FROM main.sqlite_master WHERE name = '_duralite_snippets'") is not None


def _snippet(
    name: str,
    description: str,
    code: str,
    inputs: str | None,
    run: str | None,
    created: float,
    updated: float,
) -> Snippet:
    schema = None if inputs is None else loads(inputs)
    return Snippet(name, description, code, schema, run, iso(created) or "", iso(updated) or "")
