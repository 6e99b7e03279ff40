"""Promotion as a method: a session becomes a lasting project, by this command or by the operator's rule."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from runtime.instance import Instance
from runtime.method import method

__all__ = ("PromotionMethods",)


class Promoted(TypedDict):
    """Where a promoted actor is found from now on; the old name leads there too."""

    type: str
    name: str
    promoted_from: str


class PromotionMethods:
    """promote."""

    _instance: Instance

    @method(idempotent=True, concurrent=True)
    async def promote(
        self,
        project: Annotated[
            str | None, Field(description="The project's name; else that of the session. It must be free.")
        ] = None,
    ) -> Promoted:
        """Turn this session into a project for good, with its tables, indexes and saved state.

        It no longer expires. The session's name goes on working: both names are the same database.
        """
        instance = self._instance
        address = instance.address
        old = instance.host.promotions.promoted_from(address) or address
        target = await instance.host.promotions.promote(old, project)
        return {"type": target.type, "name": target.name, "promoted_from": old.name}
