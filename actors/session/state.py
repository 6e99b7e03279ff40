"""State and facts of the session: saved values by key, and its metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import Field

from runtime.clock import iso
from runtime.errors import DuraliteError, InputError, LimitExceeded
from runtime.method import method
from runtime.storage.schema import list_tables
from runtime.storage.transaction import Transaction
from runtime.values import dumps

__all__ = ("StateMethods",)

Key = Annotated[str, Field(min_length=1, max_length=1024, description="Any text of 1 to 1,024 characters.")]


class StateMethods:
    """save_state, get_state, delete_state, list_state, get_metrics."""

    @method(idempotent=True, group=True, helper="saved")
    def save_state(
        self, tx: Transaction, key: Key, value: Annotated[Any, Field(description="Any JSON value.")]
    ) -> dict[str, bool]:
        """Save a JSON value under a key, in place of what was there."""
        text = _json(value)
        if len(text) > tx.limits.max_state_bytes:
            raise LimitExceeded(
                f"The value has {len(text):,} bytes of JSON; at most {tx.limits.max_state_bytes:,} are allowed.",
                hint="Put large data into a table with batch_insert, and save only what finds it again.",
                limit="max_state_bytes",
            )
        row = tx.one("SELECT count(*) FROM main.session_state WHERE key <> ?", (key,))
        if row is not None and row[0] >= tx.limits.max_state_keys:
            raise LimitExceeded(
                f"The session holds {tx.limits.max_state_keys:,} keys already.",
                hint="Delete keys with delete_state, or keep the values in a table.",
                limit="max_state_keys",
            )
        tx.execute(
            "INSERT OR REPLACE INTO main.session_state (key, value, updated_at) VALUES (?, ?, ?)",
            (key, text.decode(), iso(tx.now)),
        )
        return {"saved": True}

    @method(read_only=True, helper="value")
    def get_state(self, tx: Transaction, key: Key) -> dict[str, Any]:
        """Return the value saved under a key; `found` tells a saved null from nothing saved."""
        row = tx.one("SELECT value FROM main.session_state WHERE key = ?", (key,))
        if row is None:
            return {"value": None, "found": False}
        value = orjson.Fragment(row[0].encode()) if tx.wire else orjson.loads(row[0])
        return {"value": value, "found": True}

    @method(idempotent=True, group=True, helper="deleted")
    def delete_state(self, tx: Transaction, key: Key) -> dict[str, bool]:
        """Delete the value saved under a key; `deleted` is false if there was none."""
        return {"deleted": tx.execute("DELETE FROM main.session_state WHERE key = ?", (key,)).rowcount > 0}

    @method(read_only=True, helper="whole")
    def list_state(
        self,
        tx: Transaction,
        prefix: Annotated[str, Field(description="Only keys that begin so.")] = "",
        limit: Annotated[int, Field(ge=1, le=1000, description="At most so many.")] = 100,
        after: Annotated[str, Field(description="Only keys after this one, for the next page.")] = "",
    ) -> list[dict[str, Any]]:
        """Return saved keys in their order, with the size of each value in bytes and when it was saved."""
        rows = tx.all(
            "SELECT key, length(CAST(value AS BLOB)), updated_at FROM main.session_state"
            " WHERE key > ? AND substr(key, 1, length(?)) = ? ORDER BY key LIMIT ?",
            (after, prefix, prefix, limit),
        )
        return [{"key": key, "bytes": size, "updated_at": at} for key, size, at in rows]

    @method(read_only=True, helper="whole")
    def get_metrics(self, tx: Transaction) -> dict[str, Any]:
        """Return sizes, tables, counts of queries and rows since the file was opened, and how near the limits are."""
        page_size, pages, free = (
            tx.one(f"PRAGMA {name}") or (0,) for name in ("page_size", "page_count", "freelist_count")
        )
        size = page_size[0] * pages[0]
        tables = list_tables(tx)
        state = tx.one(
            "SELECT count(*), coalesce(sum(length(CAST(value AS BLOB))), 0) FROM main.session_state"
        ) or (0, 0)
        stats, limits = tx.stats, tx.limits
        return {
            "size_bytes": size,
            "free_bytes": page_size[0] * free[0],
            "tables": {t.name: t.rows for t in tables},
            "table_count": len(tables),
            "row_count": sum(t.rows or 0 for t in tables),
            "state_keys": state[0],
            "state_bytes": state[1],
            "queries": stats.queries,
            "writes": stats.writes,
            "errors": stats.errors,
            "rows_read": stats.rows_read,
            "rows_written": stats.rows_written,
            "busy_ms": round(stats.busy_ms, 3),
            "limits": {
                "max_file_bytes": {
                    "limit": limits.max_file_bytes,
                    "used": size,
                    "share": round(size / limits.max_file_bytes, 4),
                },
                "max_state_keys": {
                    "limit": limits.max_state_keys,
                    "used": state[0],
                    "share": round(state[0] / limits.max_state_keys, 4),
                },
                "max_rows": {"limit": limits.max_rows},
                "statement_s": {"limit": limits.statement_s},
            },
        }


def _json(value: Any) -> bytes:
    try:
        text = dumps(value)
    except (TypeError, ValueError, UnicodeEncodeError) as error:
        if isinstance(error, DuraliteError):
            raise
        raise InputError(
            f"The value has no JSON form: {error}.",
            hint="Save objects, lists, texts, numbers, booleans or null.",
        ) from None
    # Written as null, and so lost without a word.
    if b"null" in text and _endless(value):
        raise InputError(
            "The value holds NaN or an infinity, which JSON has not.",
            hint="Send null, or the number as text.",
        )
    return text


def _endless(value: Any) -> bool:
    """Tell whether a value that has a JSON form holds a float that is no finite number."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_endless, value.values()))
    return isinstance(value, (list, tuple, set, frozenset)) and any(map(_endless, value))
