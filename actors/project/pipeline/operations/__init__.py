"""The operations, one class each, in files by what they work on; `OPERATIONS` has them all by name."""

from __future__ import annotations

from ..step import BaseStep
from . import columns, groups, moments, rows, shape, tables, text, values, windows

__all__ = ("OPERATIONS", "OTHER_NAMES")

_MODULES = (text, columns, values, moments, rows, groups, shape, windows, tables)


def _collected() -> dict[str, type[BaseStep]]:
    found: dict[str, type[BaseStep]] = {}
    for module in _MODULES:
        for name in module.__all__:
            cls = getattr(module, name)
            if isinstance(cls, type) and issubclass(cls, BaseStep) and "operation" in cls.model_fields:
                found[cls.model_fields["operation"].default] = cls
    return found


OPERATIONS: dict[str, type[BaseStep]] = _collected()
"""All operations, by name."""

OTHER_NAMES: dict[str, str] = {
    "upper": "uppercase", "to_upper": "uppercase", "lower": "lowercase", "to_lower": "lowercase",
    "titlecase": "title_case", "proper_case": "title_case", "dedupe": "deduplicate", "distinct": "deduplicate",
    "remove_duplicates": "deduplicate", "rename": "rename_column", "rename_columns": "rename_column",
    "remove_columns": "remove_column", "drop_column": "remove_column", "drop_columns": "remove_column",
    "delete_column": "remove_column", "select": "select_columns", "keep_columns": "select_columns",
    "reorder_columns": "select_columns", "reorder": "select_columns", "cast": "cast_column", "convert": "cast_column",
    "change_type": "cast_column", "split": "split_column", "merge": "merge_columns", "concat_columns": "merge_columns",
    "combine_columns": "merge_columns", "melt": "unpivot", "order_by": "sort", "sort_by": "sort",
    "group_by": "group", "aggregate": "group", "summarize": "group", "summarise": "group", "replace": "replace_values",
    "find_replace": "replace_values", "map_values": "replace_values", "fill": "fill_value", "fill_empty": "fill_value",
    "fill_constant": "fill_value", "fillna": "fill_value", "derive": "compute", "formula": "compute",
    "add_column": "compute", "computed_column": "compute", "calculate": "compute", "mutate": "compute",
    "explode": "split_to_rows", "append": "union", "concat": "union", "union_all": "union", "take": "limit",
    "head": "limit", "offset": "skip", "add_row_number": "row_number", "where": "filter", "filter_rows": "filter",
    "prefix": "affix", "suffix": "affix", "add_prefix": "affix", "normalize_whitespace": "collapse_whitespace",
    "remove_control_characters": "strip_control", "extract_text": "extract", "date_parts": "date_part",
    "clean_column_names": "clean_names", "first_row_as_header": "promote_header", "round_number": "round",
    "drop_empty_rows": "remove_empty_rows", "drop_empty_columns": "remove_empty_columns", "random_sample": "sample",
    "left_join": "join", "inner_join": "join", "vlookup": "lookup", "bucket": "bin", "coalesce_columns": "coalesce",
    "rank": "window", "running_total": "window",
}  # fmt: skip
"""Names that people and models use for an operation."""
