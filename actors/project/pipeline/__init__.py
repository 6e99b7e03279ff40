"""Pipelines of a project: steps that clean and shape a table, compiled to SQL and run inside the engine."""

from .compile import Plan, check_order, compile_pipeline, named_tables, resolver
from .steps import Step, dump_steps, operations, parse_steps, read_document, step_schema, write_document
from .table import Field, StepError, Table

__all__ = (
    "Field",
    "Plan",
    "Step",
    "StepError",
    "Table",
    "check_order",
    "compile_pipeline",
    "dump_steps",
    "named_tables",
    "operations",
    "parse_steps",
    "read_document",
    "resolver",
    "step_schema",
    "write_document",
)
