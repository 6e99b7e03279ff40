"""Methods with arguments and answers of every kind, for the tests of what is generated from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from runtime.method import MethodSpec, collect_methods, method


class Answer(TypedDict):
    """Rows as they travel."""

    columns: list[str]
    rows: list[list[Any]]
    truncated: bool


class Price(BaseModel):
    """An amount of money; `parts` shows that a model may refer to itself."""

    amount: float
    currency: Literal["EUR", "USD"] = "EUR"
    parts: list[Price] = []


class Shop:
    """As an actor type would be."""

    @method(read_only=True, helper="rows")
    async def query(
        self,
        sql: Annotated[str, Field(description="One statement.")],
        params: list[Any] | dict[str, Any] | None = None,
        limit: Annotated[int | None, Field(ge=0)] = None,
        row_format: Literal["objects", "arrays"] = "objects",
    ) -> Answer:
        """Run one read statement
        and return its rows.

        At most 10,000 rows come back.
        """
        raise AssertionError

    @method(helper="inserted")
    async def batch_insert(self, table: str, records: list[dict[str, Any]]) -> dict[str, int]:
        """Insert many records."""
        raise AssertionError

    @method(helper="whole", destructive=True, idempotent=True)
    async def set_price(self, item: str, price: Price, note: str = "none") -> Price | None:
        """Set the price of an item."""
        raise AssertionError

    @method(read_only=True)
    async def count(self, tags: list[str] | None = None, deep: bool = False) -> int:
        """Count the items."""
        raise AssertionError

    @method(public=False)
    async def sweep(self) -> None:
        """Clean up."""
        raise AssertionError


METHODS: Mapping[str, MethodSpec] = collect_methods(Shop)
