"""The tool call of a model, answered: the schemas to send with a request, and what to send back for a call.

The call to the model itself is left out; `asked` is what any of the model APIs gives: a tool's name and arguments.
"""

import asyncio
import json
import tempfile
from pathlib import Path

from actors.session import SessionActor
from helpers.api import db_helpers, sql_helpers
from helpers.docs import model_docs
from helpers.schemas import tool_schemas, without_nulls
from runtime.errors import DuraliteError
from runtime.host import Host
from runtime.settings import Settings
from runtime.values import dumps

RUN = SessionActor.methods["run"]
TOOLS = tool_schemas([RUN], "anthropic", prefix="session")
SYSTEM = model_docs([*db_helpers(SessionActor.methods), *sql_helpers()], budget=2_000)


async def answer(host: Host, session: str, name: str, arguments: dict[str, object]) -> str:
    """Do what the model asked for; what went wrong is text too, so that the model can mend its call."""
    stub = host.namespace("session").get(session)
    method = SessionActor.methods[name.removeprefix("session_")]
    try:
        result = await getattr(stub, method.name)(**without_nulls(method, arguments))
        return dumps(result).decode()
    except DuraliteError as error:
        return dumps(error.to_problem()).decode()


async def main(data: Path) -> None:
    asked = {"name": "session_run", "input": {"code": "db.query('SELECT 6 * 7 AS answer')", "inputs": None}}
    async with Host(Settings.for_data(data)) as host:
        told = await answer(host, "chat-42", asked["name"], asked["input"])
    print(TOOLS[0]["name"], len(SYSTEM), json.loads(told)["value"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
