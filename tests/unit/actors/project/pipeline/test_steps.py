"""Steps are read in every spelling that people and models use, and written in one."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from actors.project.pipeline import (
    StepError,
    dump_steps,
    operations,
    parse_steps,
    read_document,
    step_schema,
    write_document,
)
from actors.project.pipeline.operations import OPERATIONS, OTHER_NAMES
from actors.project.pipeline.step import BaseStep
from runtime.errors import InputError

CAST = {"operation": "cast_column", "column": "a", "target_type": "number", "on_error": "null"}


@pytest.mark.parametrize(
    "spelled",
    [
        CAST,
        {"type": "cast_column", "config": {"column": "a", "targetType": "number", "onError": "null"}},
        {"type": "cast_column", "column": "a", "targetType": "number", "config": {"onError": "null"}},
        {"op": "castColumn", "params": {"column": "a", "to": "float", "on_error": "null"}},
        {"operation": "Cast", "column": "a", "new_type": "Number", "onError": "null", "disabled": False},
    ],
)
def test_a_step_is_read_in_every_spelling(spelled: dict[str, Any]) -> None:
    assert dump_steps(parse_steps([spelled])) == [CAST]


@pytest.mark.parametrize(
    "spelled",
    [
        {
            "operation": "sort",
            "columns": [{"name": "a", "direction": "desc"}, {"name": "b", "direction": "asc"}],
        },
        {
            "type": "sort",
            "config": {"columns": [{"column": "a"}, {"column": "b", "order": "asc"}], "direction": "desc"},
        },
        {"operation": "sort", "by": ["a", {"name": "b", "direction": "ascending"}], "descending": True},
    ],
)
def test_a_direction_beside_the_columns_is_that_of_those_without_one(spelled: dict[str, Any]) -> None:
    both = [{"name": "a", "direction": "desc"}, {"name": "b", "direction": "asc"}]
    (step,) = dump_steps(parse_steps([spelled]))
    assert [{"direction": "asc"} | key for key in step["columns"]] == both
    (one,) = dump_steps(parse_steps([{"operation": "sort", "column": "a", "order": "DESC"}]))
    assert one["columns"] == both[:1]


def test_the_other_names_lead_to_operations() -> None:
    assert set(OTHER_NAMES.values()) <= set(OPERATIONS)
    assert not set(OTHER_NAMES) & set(OPERATIONS)


@pytest.mark.parametrize("cls", OPERATIONS.values(), ids=lambda c: c.__name__)
def test_every_operation_is_documented_and_its_example_is_valid(cls: type[BaseStep]) -> None:
    """One line, an example that reads and fits the schema, and a description of each setting."""
    assert cls.summary().endswith(".") and "\n" not in cls.summary()
    (step,) = parse_steps([cls.example])
    assert parse_steps(dump_steps([step])) == (step,)
    jsonschema.validate(dict(cls.example), cls.model_json_schema())
    jsonschema.validate(dict(cls.example), step_schema())
    settings = set(cls.model_fields) - {"operation"}
    assert all(cls.model_fields[name].description for name in settings)
    assert set(cls.spellings.values()) <= settings
    assert not set(cls.spellings) & settings


def test_the_list_for_models_has_all_operations() -> None:
    listed = operations()
    assert [o["operation"] for o in listed] == list(OPERATIONS)
    assert {"trim", "uppercase", "lowercase", "deduplicate", "filter", "rename_column", "remove_column", "unpivot",
            "pivot", "split_column", "merge_columns", "cast_column", "fill_down", "fill_across", "sort"} <= set(OPERATIONS)  # fmt: skip


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"operation": "trimm"}, r'Step 1 \(trimm\): there is no operation "trimm". The nearest is "trim"'),
        ({"column": "a"}, "does not say its operation"),
        ({"operation": "limit"}, r'Step 1 \(limit\): the setting "count" is missing'),
        ({"operation": "limit", "coumt": 3, "count": 2}, r'no setting "coumt". The nearest is "count"'),
        ({"operation": "limit", "count": -1}, '"count": Input should be greater than or equal to 0'),
        ({"operation": "limit", "count": 1e400}, '"count"'),
        ({"operation": "bin", "column": "a", "newColumn": "b"}, "give either `limits` or `width`"),
        (
            {"operation": "filter", "column": "a", "operator": "likes", "value": 1},
            '"operator": Input should be',
        ),
        (
            {"operation": "filter", "conditions": [{"column": "a"}]},
            "a comparison needs `column` and `operator`",
        ),
        ({"operation": "filter"}, "a comparison needs"),
        ({"operation": "trim", "columns": []}, '"columns"'),
        ("trim", "a step is an object, not str"),
        (None, "a step is an object, not NoneType"),
    ],
    ids=str,
)
def test_a_bad_step_says_what_to_write(step: Any, said: str) -> None:
    with pytest.raises(StepError, match=said) as e:
        parse_steps([step])
    assert e.value.status == 422 and (e.value.hint or not isinstance(step, dict))


@pytest.mark.parametrize(
    "data", ["trim", 7, None, {"a": 1}, [{"operation": "trim"}] * 501], ids=lambda d: str(d)[:20]
)
def test_what_is_no_list_of_steps_is_refused(data: Any) -> None:
    with pytest.raises(InputError):
        parse_steps(data)


def test_a_document_comes_back_and_a_later_version_is_refused() -> None:
    steps = parse_steps(
        [{"operation": "trim", "id": "x"}, {"operation": "limit", "count": 3, "enabled": False}]
    )
    document = write_document(steps, name="tidy")
    assert document["format"] == "duralite.pipeline" and document["name"] == "tidy"
    assert read_document(document) == steps == parse_steps(document)
    with pytest.raises(InputError, match="version 2"):
        read_document(document | {"version": 2})
    with pytest.raises(InputError, match="steps"):
        read_document({"version": 1})
