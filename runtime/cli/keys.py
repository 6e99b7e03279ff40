"""`keys`: who may call the service. A key is shown once, when it is made."""

from __future__ import annotations

import re
from urllib.parse import quote

import click

from runtime.accounts import DEFAULT_SCOPES, SCOPES
from runtime.cli.client import Client
from runtime.cli.command import connected
from runtime.cli.output import Output
from runtime.context import LOCAL_ACCOUNT

__all__ = ("COMMANDS",)

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@click.group("keys", epilog="\b\nExample:\n  duralite keys create --label ci --expires 30d")
def keys() -> None:
    """Make, list and revoke keys."""


def _seconds(context: click.Context, option: click.Parameter, given: str | None) -> float | None:
    if given is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", given)
    if found is None:
        raise click.BadParameter("write a number and s, m, h or d, such as 30d.", context, option)
    return float(found[1]) * _UNITS[found[2]]


@connected("create", example="duralite keys create --account alice --scope read --expires 30d")
@click.option("--account", default=LOCAL_ACCOUNT, show_default=True, help="Whose key it is.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    default=DEFAULT_SCOPES,
    show_default=True,
    help="What it may do; may be given again.",
)
@click.option("--label", default="", help="What it is for.")
@click.option("--expires", "expires_s", callback=_seconds, help="Its life, such as 12h or 30d; else no end.")
async def create(
    client: Client, out: Output, account: str, scopes: tuple[str, ...], label: str, expires_s: float | None
) -> None:
    """Make a key. It is written to stdout this once; only its hash is stored."""
    body = {"account": account, "scopes": list(scopes), "label": label, "expires_s": expires_s}
    made = await client.call("POST", "/v1/keys", {k: v for k, v in body.items() if v is not None})
    if out.as_json:
        out.json(made)
        return
    out.text(made["key"])
    out.note("Keep it now: it cannot be shown again.")


@connected("ls", example="duralite keys ls")
async def ls(client: Client, out: Output) -> None:
    """List the keys, never their secrets."""
    found = [item async for item in client.pages("/v1/keys")]
    if out.as_json:
        out.json(found)
        return
    columns = ("id", "account", "label", "scopes", "created", "last_used", "expires", "revoked")
    rows = [[" ".join(k[c]) if c == "scopes" else k.get(c) for c in columns] for k in found]
    out.table(columns, rows, null="")


@connected("revoke", example="duralite keys revoke 3f9c1a2b4d5e")
@click.argument("id")
async def revoke(client: Client, out: Output, id: str) -> None:
    """Revoke a key, with effect on the next request."""
    await client.call("DELETE", f"/v1/keys/{quote(id, safe='')}")
    out.done({"revoked": id}, f"revoked {id}")


for _command in (create, ls, revoke):
    keys.add_command(_command)
COMMANDS = (keys,)
