"""duralite inside a Python program, without a server: a host, a stub, a program in the sandbox."""

import asyncio
import tempfile
from pathlib import Path

from runtime.host import Host
from runtime.settings import Settings


async def main(data: Path) -> None:
    async with Host(Settings.for_data(data)) as host:
        chat = host.namespace("session").get("chat-42")
        await chat.create_table("orders", {"customer": "TEXT", "amount": "REAL"})
        await chat.batch_insert(
            "orders", [{"customer": "ann", "amount": 12.5}, {"customer": "bob", "amount": 7.0}]
        )
        rows = await chat.query("SELECT sum(amount) AS total FROM orders")
        print(rows.rows)
        result = await chat.run("db.query(sql.top_n('orders', 'amount', 1))")
        print(result.status, result.value)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
