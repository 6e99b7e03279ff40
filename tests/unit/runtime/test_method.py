"""A method is what its declaration says, and a call that does not fit it is told how to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from runtime.actor import Actor
from runtime.errors import InputError
from runtime.method import MethodSpec, collect_methods, method
from runtime.storage.transaction import Transaction
from tests.scratch import Scratch


class Shop(Actor, type_name="shop"):
    """Methods of every kind."""

    @method(read_only=True)
    def find(
        self,
        tx: Transaction,
        text: Annotated[str, Field(description="What to look for.", min_length=1)],
        limit: int | None = None,
        mode: Literal["exact", "near"] = "near",
    ) -> list[str]:
        """Find things.

        More about it.
        """
        return []

    @method(idempotent=True, scope="admin")
    async def restock(self, item: str, count: int = 1) -> None:
        """Restock."""

    @method(concurrent=True, public=False)
    async def watch(self) -> None:
        """Watch."""


class Branch(Shop, type_name="branch"):
    """Overrides what it inherits."""

    @method()
    async def find(self, text: str) -> str:  # type: ignore[override]
        """Find by asking."""
        return text

    async def restock(self, item: str, count: int = 1) -> None:
        """No longer a method."""


def spec(name: str, kind: type[Actor] = Shop) -> MethodSpec:
    return kind.methods[name]


def test_a_spec_tells_kind_scope_and_words() -> None:
    find, restock, watch = (spec(name) for name in ("find", "restock", "watch"))
    assert [s.kind for s in (find, restock, watch)] == ["unit", "turn", "concurrent"]
    assert [s.scope for s in (find, restock, watch)] == ["read", "admin", "write"]
    assert find.idempotent
    assert find.summary == "Find things."
    assert find.parameters[0].doc == "What to look for."
    assert [p.required for p in find.parameters] == [True, False, False]
    assert find.input_schema()["required"] == ["text"]
    assert find.signature() == "find(text, limit=…, mode=…)"


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("a",), {}),
        (("a", 5), {}),
        (("a",), {"limit": None, "mode": "exact"}),
        ((), {"text": "a"}),
        ((), {"mode": "exact", "text": "a"}),
    ],
)
def test_positional_and_named_arguments_bind_as_in_python(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert spec("find").bind_call(args, kwargs)["text"] == "a"


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "text: this field is required"),
        (("",), {}, "text"),
        ((7,), {}, "text"),
        ((True,), {}, "text"),
        (("a", "5"), {}, "limit"),
        (("a", 1.5), {}, "limit"),
        (("a", True), {}, "limit"),
        (("a", None, "far"), {}, "mode"),
        (("a", None, "near", 1), {}, "at most 3 arguments"),
        (("a",), {"text": "b"}, "'text' twice"),
        (("a",), {"colour": 1}, "colour: there is no such argument"),
        (("a",), {"self": 1}, "no such argument"),
        (("a",), {"tx": 1}, "no such argument"),
    ],
)
def test_a_call_that_does_not_fit_is_told_how_to(
    args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as refused:
        spec("find").bind_call(args, kwargs)
    assert words in refused.value.message
    assert refused.value.hint == "Use find(text, limit=…, mode=…)."


@pytest.mark.parametrize("body", [None, [], "text", 7, [["text", "a"]]])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(InputError) as refused:
        spec("find").bind(body)
    assert "object" in refused.value.message


def test_every_problem_is_listed_with_its_path() -> None:
    with pytest.raises(InputError) as refused:
        spec("find").bind({"limit": "x", "extra": 1})
    assert {p["path"] for p in refused.value.extra["errors"]} == {"text", "limit", "extra"}


def test_arguments_of_a_url_may_be_written_as_text() -> None:
    assert spec("find").bind({"text": "a", "limit": "5"}, lax=True)["limit"] == 5
    with pytest.raises(InputError):
        spec("find").bind({"text": "a", "limit": "five"}, lax=True)


def test_an_overriding_method_replaces_the_inherited_one_and_a_plain_one_removes_it() -> None:
    assert spec("find", Branch).kind == "turn"
    assert "restock" not in Branch.methods
    assert spec("watch", Branch).kind == "concurrent"
    assert spec("find").kind == "unit"


def test_what_is_not_written_as_one_of_the_three_kinds_is_refused() -> None:
    class NoTx:
        @method()
        def wrong(self, text: str) -> None:
            """Lacks tx."""

    class Loud:
        @method(concurrent=True)
        def wrong(self, tx: Transaction) -> None:
            """Cannot be concurrent."""

    class Mute:
        @method()
        async def wrong(self) -> None: ...

    for kind in (NoTx, Loud, Mute):
        with pytest.raises(TypeError):
            collect_methods(kind)


@pytest.mark.parametrize("name", ["Upper", "with-dash", "with space", "", "é", "../x"])
def test_a_type_name_that_could_not_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(TypeError):
        type("Bad", (Actor,), {}, type_name=name)


def test_every_method_of_a_session_can_be_shown() -> None:
    for found in Scratch.methods.values():
        assert found.summary.endswith(".")
        assert found.input_schema()["type"] == "object"
