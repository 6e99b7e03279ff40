"""A step is one operation with its settings: a pydantic model that checks itself and knows what it does to a draft.

A class names its `operation`, documents itself in one line, carries an `example`, and has `apply`, which changes
a draft. From the class come the JSON Schema, the reference page and the forms of a user interface.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from .draft import Draft

__all__ = ("BaseStep", "ColumnName", "ColumnNames", "Scalar", "snake_case")

Scalar: TypeAlias = str | bool | int | float | None
"""A value of a cell as JSON has it."""

ColumnName: TypeAlias = str
ColumnNames: TypeAlias = list[str]


def snake_case(name: str) -> str:
    """Return `targetType` as `target_type`; both spellings are accepted everywhere."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m[1].lower(), name).replace("-", "_").lower()


class BaseStep(BaseModel):
    """What all steps share."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, str_max_length=10_000,
        allow_inf_nan=False,
    )  # fmt: skip

    example: ClassVar[Mapping[str, Any]] = {}
    """A step as JSON that works."""
    spellings: ClassVar[Mapping[str, str]] = {}
    """Other names of settings, each with the setting that it stands for."""
    blocking: ClassVar[bool] = False
    """Whether the step must see all rows before it gives the first one."""

    id: str | None = Field(default=None, description="A name of the caller's for the step.", max_length=200)
    enabled: bool = Field(default=True, description="False leaves the step out, and keeps it in the list.")

    def apply(self, draft: Draft) -> None:
        """Change the draft as the operation does.

        Raises:
            StepError: the step does not fit the columns it meets.
        """
        self._apply(draft)

    def _apply(self, draft: Draft) -> None:
        raise AssertionError(f"{type(self).__name__} does nothing")

    @classmethod
    def summary(cls) -> str:
        """Return the one line that says what the operation does."""
        return (cls.__doc__ or "").strip().split("\n")[0]

    @property
    def name(self) -> str:
        """The operation."""
        return str(getattr(self, "operation"))  # noqa: B009 - declared by each step with its own literal
