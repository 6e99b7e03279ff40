"""What is stored and asked in every measurement, alike for all sides."""

from __future__ import annotations

from typing import Any

__all__ = ("BIG", "COLUMNS", "INSERT", "POINT", "SNIPPET", "SNIPPET_JS", "SNIPPET_VALUE", "record")

BIG = 10_000
COLUMNS = "id INTEGER PRIMARY KEY, name TEXT, email TEXT, score REAL, qty INTEGER, note TEXT"
POINT = "SELECT * FROM items WHERE id = ?"
INSERT = "INSERT INTO items (name, email, score, qty, note) VALUES (?, ?, ?, ?, ?)"

SNIPPET = """
db.create_table("t", "id INTEGER PRIMARY KEY, k TEXT, v REAL")
db.exec("DELETE FROM t")
db.batch_insert("t", [{"id": i, "k": f"k{i % 5}", "v": i * 0.5} for i in range(100)])
total = 0
for g in range(5):
    row = db.query("SELECT count(*) AS n, max(v) AS m FROM t WHERE k = ?", [f"k{g}"])[0]
    total += row["n"] + row["m"]
total
"""
SNIPPET_JS = """
await db.createTable("t", "id INTEGER PRIMARY KEY, k TEXT, v REAL");
await db.exec("DELETE FROM t");
await db.batchInsert("t", Array.from({ length: 100 }, (_, i) => ({ id: i, k: `k${i % 5}`, v: i * 0.5 })));
let total = 0;
for (let g = 0; g < 5; g++) {
  const { rows } = await db.query("SELECT count(*) AS n, max(v) AS m FROM t WHERE k = ?", [`k${g}`]);
  total += rows[0].n + rows[0].m;
}
return total;
"""
SNIPPET_VALUE = 342.5


def record(number: int) -> dict[str, Any]:
    """Return one record of the six columns."""
    return {
        "id": number,
        "name": f"name-{number:06d}",
        "email": f"user{number:06d}@example.org",
        "score": number * 0.5,
        "qty": number % 997,
        "note": f"a short note {number % 100}",
    }
