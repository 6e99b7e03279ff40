"""What the acceptance tests of the sandbox stand on: a host over real SQLite, and helper specs like the product's."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import DuraliteError, NotFound, SqlError
from sandbox.engine import HelperSpec, ParamSpec

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / "shared" / "cases"
LIBRARIES: Mapping[str, Path] = {"sql": ROOT / "helpers" / "sql"}

_SQL = (ParamSpec("sql"), ParamSpec("params", False))
SPECS = (
    HelperSpec("db.query", _SQL, "rows"),
    HelperSpec("db.exec", _SQL, "rows_affected"),
    HelperSpec("db.batch_insert", (ParamSpec("table"), ParamSpec("records")), "inserted"),
    HelperSpec("db.get_state", (ParamSpec("key"),), "value"),
    HelperSpec("db.save_state", (ParamSpec("key"), ParamSpec("value"))),
    HelperSpec("db.echo", (ParamSpec("value", False),)),
    HelperSpec("tools.slow", (ParamSpec("i", False),), awaitable=True),
    HelperSpec("tools.echo", (ParamSpec("value", False),), awaitable=True),
    HelperSpec("tools.shop.list_items", (ParamSpec("page"),), awaitable=True),
    HelperSpec("tools.shop.get_item", (ParamSpec("id"),), awaitable=True),
)


def shared(name: str) -> Any:
    """Load one of the shared case files, or skip where they are not beside the repository."""
    path = CASES / name
    if not path.exists():
        pytest.skip(f"the shared cases are not beside the repository: {name}")
    return json.loads(path.read_text())


class SqliteHost:
    """Serves helper calls from an in-memory database and two tools."""

    def __init__(self, setup: tuple[str, ...] | list[str] = ()) -> None:
        self.secret = "CANARY-in-the-heap-of-the-host"
        self.names: list[str] = []
        self.under_way = 0
        self.most_under_way = 0
        self._db = sqlite3.connect(":memory:")
        self._state: dict[str, Any] = {}
        for statement in setup:
            self._db.execute(statement)

    def close(self) -> None:
        self._db.close()

    def output(self, stream: str, text: str) -> None:
        assert isinstance(text, str)

    async def call(self, index: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        self.names.append(name)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._serve(name, args, kwargs)
        finally:
            self.under_way -= 1

    async def _serve(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        spec = next(each for each in SPECS if each.path == name)
        bound = dict(zip([each.name for each in spec.parameters], args, strict=False)) | kwargs
        if name.startswith("tools."):
            return await self._tool(name, bound)
        try:
            return self._database(name, bound)
        except sqlite3.Error as error:
            raise SqlError(str(error), exception=type(error).__name__) from None

    def _database(self, name: str, bound: dict[str, Any]) -> Any:
        if name == "db.get_state":
            return {"value": self._state.get(bound["key"])}
        if name == "db.save_state":
            self._state[bound["key"]] = bound["value"]
            return {"saved": True}
        if name == "db.echo":
            return bound.get("value")
        if name == "db.batch_insert":
            for record in bound["records"]:
                marks = ", ".join("?" * len(record))
                names = ", ".join(f'"{key}"' for key in record)
                self._db.execute(
                    f'insert into "{bound["table"]}" ({names}) values ({marks})', [*record.values()]
                )
            return {"inserted": len(bound["records"])}
        cursor = self._db.execute(bound["sql"], bound.get("params") or ())
        if name == "db.exec":
            return {"rows_affected": cursor.rowcount}
        columns = [each[0] for each in cursor.description or ()]
        return {"columns": columns, "rows": cursor.fetchall(), "truncated": False}

    async def _tool(self, name: str, bound: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        if name == "tools.slow":
            await asyncio.Event().wait()
        if name == "tools.echo":
            return bound.get("value")
        if name == "tools.shop.list_items":
            page = bound["page"]
            return {"items": [page * 10 + i for i in range(3)], "next": page + 1 if page < 3 else None}
        if bound["id"] == 99:
            raise NotFound("no such item 99", exception="ToolError")
        return {"id": bound["id"], "status": "done" if bound["id"] % 2 else "open"}


def unwrap(error: DuraliteError | None) -> str:
    return error.message if error else ""
