"""An actor type of your own: a counter that resets itself after a day, tested on a clock that moves when told to.

To serve it, name it in the setting `types`: `types = ["actors.session:SessionActor", "own_actor:CounterActor"]`.
"""

import asyncio
import tempfile
from pathlib import Path

from runtime.actor import Actor
from runtime.alarms import AlarmEvent
from runtime.method import method
from runtime.storage.migrations import Migration
from runtime.storage.transaction import Transaction
from runtime.testing import ManualClock, harness, settle

DAY = 86_400


class CounterActor(Actor, type_name="counter"):
    """A number that goes up."""

    migrations = (
        Migration(1, "CREATE TABLE counter (value INTEGER NOT NULL); INSERT INTO counter VALUES (0)", ""),
    )

    @method()
    def increase(self, tx: Transaction, by: int = 1) -> int:
        """Add to the number, and return it. The first call of a day sets the alarm."""
        if self.alarms.get(tx, "reset") is None:
            self.alarms.set(tx, "reset", tx.now + DAY)
        tx.execute("UPDATE counter SET value = value + ?", (by,))
        return self.value(tx)

    @method(read_only=True)
    def value(self, tx: Transaction) -> int:
        """Return the number."""
        row = tx.one("SELECT value FROM counter")
        return row[0] if row else 0

    def alarm(self, tx: Transaction, event: AlarmEvent) -> None:
        """Start anew; in one transaction with the removal of the alarm, so it happens exactly once."""
        tx.execute("UPDATE counter SET value = 0")


async def main(data: Path) -> None:
    clock = ManualClock()
    async with harness(data, CounterActor, clock=clock) as host:
        counter = host.namespace("counter").get("visits")
        print(await counter.increase(), await counter.increase(by=5))
        await clock.advance(DAY + 1)
        while await counter.value():
            await settle()
        print(await counter.value())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
