"""The tools of every actor type are what each model API's own client library says that a tool is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import mcp_types
import pytest
from anthropic.types import ToolParam
from openai.types.chat import ChatCompletionFunctionToolParam
from openai.types.responses import FunctionToolParam
from pydantic import TypeAdapter

from helpers.schemas import TARGETS, code_tool, tool_schemas
from runtime.gateway.testing import live_server
from runtime.registry import Registry
from runtime.settings import Settings

TYPES = list(Registry(Settings().types))
_SHAPES: dict[str, TypeAdapter[Any]] = {
    "openai": TypeAdapter(FunctionToolParam),
    "openai-chat": TypeAdapter(ChatCompletionFunctionToolParam),
    "anthropic": TypeAdapter(ToolParam),
    "mcp": TypeAdapter(mcp_types.Tool),
}
# What the strict mode of OpenAI documents as unsupported.
_NOT_STRICT = {
    "default",
    "oneOf",
    "allOf",
    "not",
    "if",
    "patternProperties",
    "unevaluatedProperties",
    "title",
}


def check(target: str, tool: dict[str, Any]) -> None:
    """Hold one tool against its library's type, and its schemas against JSON Schema 2020-12."""
    _SHAPES[target].validate_python(tool)
    inner = tool.get("function") or tool
    schemas = [inner[k] for k in ("parameters", "input_schema", "inputSchema", "outputSchema") if k in inner]
    assert schemas and inner["description"]
    for schema in schemas:
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
    if inner.get("strict"):
        for part in parts(inner["parameters"]):
            assert not _NOT_STRICT & part.keys()
            if part.get("type") == "object":
                assert part["additionalProperties"] is False
                assert part["required"] == list(part["properties"])


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and every schema inside it."""
    if isinstance(schema, dict):
        yield schema
        for key in ("properties", "$defs"):
            for inner in schema.get(key, {}).values():
                yield from parts(inner)
        for inner in (schema.get("items"), *schema.get("anyOf", ())):
            yield from parts(inner)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("actor_type", TYPES, ids=lambda cls: cls.type_name)
def test_every_method_is_a_tool_of_each_api(actor_type: Any, target: str) -> None:
    name = actor_type.type_name
    made = tool_schemas(actor_type.methods, target, prefix=name, actor=f"{name}_actor")
    assert len(made) == sum(spec.public for spec in actor_type.methods.values())
    for tool in made:
        check(target, tool)
    if "run" in actor_type.methods:
        check(target, code_tool(actor_type.methods["run"], target, description="All.", actor=name))


async def test_a_session_gives_its_tools_over_http(tmp_path: Path) -> None:
    async with live_server(tmp_path) as server, httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        await http.post("/v1/session/s 1/touch", json={})
        for target in TARGETS:
            answer = await http.get("/v1/session/s 1/tools", params={"format": target, "methods": "true"})
            assert answer.status_code == 200, answer.text
            for tool in answer.json():
                check(target, tool)
        for query in ({"format": "soap"}, {"budget": "1"}, {"budget": "many"}, {"nope": "1"}):
            answer = await http.get("/v1/session/s 1/tools", params=query)
            assert answer.status_code == 422 or answer.status_code == 400, answer.text
            assert answer.json()["detail"]
