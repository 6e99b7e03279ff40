"""What the tests of projects share: a small file, and a project that starts without a sandbox."""

from __future__ import annotations

from actors.project.actor import ProjectActor
from runtime.host import Host

__all__ = ("SALES", "Quiet")

SALES = """city,amount,paid,day
Berlin,10.50,true,2024-01-01
Rom,20.25,false,2024-01-02
Berlin,,true,2024-01-03
Oslo,5.00,true,
Rom,100.00,false,2024-02-01
,7.25,,2024-02-02
"""


class Quiet(ProjectActor, type_name="project"):
    """A project without a sandbox, which starts at once."""

    @classmethod
    async def start_type(cls, host: Host) -> None:
        """Start nothing."""

    @classmethod
    async def stop_type(cls, host: Host) -> None:
        """Stop nothing."""
