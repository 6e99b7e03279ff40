"""The OpenAPI document says of every route what the method specs say: nothing in it is written twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runtime.gateway.aliases import snake_case
from runtime.gateway.pages import CreateKey
from runtime.gateway.routes import is_upload
from runtime.gateway.schemas import (
    FORMAT,
    IDEMPOTENCY,
    IF_NONE_MATCH,
    NAME,
    PROBLEMS,
    SEARCH,
    error_classes,
    facts_schema,
    json_response,
    key_schema,
    page_schema,
    paging,
    problem_schema,
    query,
)
from runtime.gateway.version import version_facts
from runtime.host import Host
from runtime.ids import MAX_NAME_BYTES
from runtime.method import MethodSpec
from runtime.storage.rows import Rows

__all__ = ("error_classes", "openapi_document")

Json = dict[str, Any]
_DESCRIPTION = """A small SQLite database of its own for every session, project and user.

Every request may carry `X-Request-Id` (it is echoed), `X-Request-Timeout` (seconds; the call is given up then, with
504; it can only shorten the service's own limit) and a W3C `traceparent` (it goes into the log)."""


def openapi_document(host: Host) -> Json:
    """Return the OpenAPI 3.1 document of a service."""
    most = host.settings.limits.max_page_size
    paths: Json = {}
    schemas: Json = {"Problem": problem_schema(), "Page": page_schema(), "Facts": facts_schema()}
    for actor_type in host.registry:
        name = actor_type.type_name
        for spec in actor_type.methods.values():
            if spec.public:
                paths[f"/v1/{name}/{{name}}/{spec.name}"] = _method_path(name, spec, schemas)
                for alias in spec.aliases:
                    verb, _, path = alias.partition(" ")
                    entry = paths.setdefault(path, {})
                    entry[verb.lower()] = _alias(name, spec, verb, path, schemas)
        paths.update(_type_paths(name, most))
        if "run" in actor_type.methods and "/v1/run" not in paths:
            paths["/v1/run"] = _run_path(actor_type.methods["run"], schemas)
    paths.update(_key_paths(schemas, most))
    paths.update(_site_paths())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "duralite",
            "version": version_facts()["version"],
            "description": _DESCRIPTION,
        },
        "paths": paths,
        "security": [{"key": []}, {"keyHeader": []}, {}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key: dl_<id>_<secret>."},
                "keyHeader": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    }


def _method_path(type_name: str, spec: MethodSpec, schemas: Json) -> Json:
    path: Json = {"parameters": [NAME], "post": _post(type_name, spec, schemas)}
    if spec.read_only and not any(is_upload(p.annotation) for p in spec.parameters):
        path["get"] = _get(type_name, spec, schemas)
    return path


def _alias(type_name: str, spec: MethodSpec, verb: str, path: str, schemas: Json) -> Json:
    """Return the operation of a path that a method declares beside its own; what is in the path is nowhere else."""
    in_path = re.findall(r"\{(\w+)\}", path)
    names = {snake_case(name) for name in in_path if name != "name"}
    by_query = verb in ("GET", "DELETE")
    operation = (_get if by_query else _post)(type_name, spec, schemas)
    operation["operationId"] = f"{verb.lower()}_{re.sub(r'[^a-zA-Z0-9]+', '_', path).strip('_')}"
    parameters = [p for p in operation["parameters"] if not (p["in"] == "query" and p["name"] in names)]
    if verb == "DELETE":
        parameters = [p for p in parameters if p["in"] == "query" and p["name"] != "format"]
        operation["responses"].pop("304", None)
    for name in in_path:
        if name == "name":
            parameters.append(NAME)
            continue
        schema = next(p.schema for p in spec.parameters if p.name == snake_case(name))
        parameters.append(
            {"name": name, "in": "path", "required": True, "schema": _lifted(dict(schema), schemas)}
        )
    operation["parameters"] = parameters
    for content in operation.get("requestBody", {}).get("content", {}).values():
        body = content["schema"]
        if "properties" in body:
            content["schema"] = {
                **body,
                "properties": {k: v for k, v in body["properties"].items() if k not in names},
                "required": [name for name in body.get("required", ()) if name not in names],
            }
    return operation


def _about(type_name: str, spec: MethodSpec, verb: str) -> Json:
    return {
        "operationId": f"{type_name}_{spec.name}" + ("_get" if verb == "get" else ""),
        "tags": [type_name],
        "summary": spec.summary,
        "description": spec.doc,
        "x-scope": spec.scope,
        "x-read-only": spec.read_only,
        "x-destructive": spec.destructive,
    }


def _post(type_name: str, spec: MethodSpec, schemas: Json) -> Json:
    operation = _about(type_name, spec, "post")
    upload = next((p.name for p in spec.parameters if is_upload(p.annotation)), None)
    parameters: list[Json] = []
    if upload is not None:
        parameters += _query_parameters(spec, schemas, skip=upload)
        operation["requestBody"] = {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {upload: {"type": "string", "format": "binary"}},
                        "required": [upload],
                        "additionalProperties": False,
                    }
                },
            },
        }
    else:
        body = _lifted(spec.input_schema(), schemas)
        operation["requestBody"] = {
            "required": any(p.required for p in spec.parameters),
            "content": {"application/json": {"schema": {**body, "additionalProperties": False}}},
        }
        if spec.returns is Rows:
            parameters.append(FORMAT)
    if not spec.idempotent:
        parameters.append(IDEMPOTENCY)
    operation["parameters"] = parameters
    operation["responses"] = _responses(spec, schemas)
    return operation


def _get(type_name: str, spec: MethodSpec, schemas: Json) -> Json:
    operation = _about(type_name, spec, "get")
    parameters = _query_parameters(spec, schemas)
    if spec.returns is Rows:
        parameters.append(FORMAT)
    operation["parameters"] = [*parameters, IF_NONE_MATCH]
    operation["responses"] = _responses(spec, schemas, tagged=True)
    return operation


def _query_parameters(spec: MethodSpec, schemas: Json, skip: str | None = None) -> list[Json]:
    found = []
    for parameter in spec.parameters:
        if parameter.name == skip:
            continue
        schema = _lifted(dict(parameter.schema), schemas)
        entry: Json = {"name": parameter.name, "in": "query", "required": parameter.required}
        if parameter.doc:
            entry["description"] = parameter.doc
        if _is_plain(schema):
            entry["schema"] = schema
        else:
            entry["content"] = {"application/json": {"schema": schema}}
        found.append(entry)
    return found


def _is_plain(schema: Mapping[str, Any]) -> bool:
    if "anyOf" in schema:
        return all(_is_plain(option) for option in schema["anyOf"])
    return schema.get("type") in ("string", "integer", "number", "boolean", "null") or "enum" in schema


def _responses(spec: MethodSpec, schemas: Json, *, tagged: bool = False) -> Json:
    output = spec.output_schema()
    content: Json = {"application/json": {"schema": _lifted(output, schemas)}}
    if spec.returns is Rows:
        content["text/csv"] = {"schema": {"type": "string"}}
        content["application/x-ndjson"] = {"schema": {"type": "string"}}
    elif not output:
        content = {"*/*": {"schema": {}}}
    responses: Json = {"200": {"description": "The answer.", "content": content}}
    if tagged:
        responses["304"] = {"description": "Nothing changed since the tag in If-None-Match."}
    return {**responses, **PROBLEMS}


def _lifted(schema: Mapping[str, Any], schemas: Json) -> Json:
    """Return a schema whose own definitions are moved among the document's components."""
    lifted = dict(schema)
    for name, definition in (lifted.pop("$defs", None) or {}).items():
        schemas.setdefault(name, _repointed(definition))
    found = _repointed(lifted)
    assert isinstance(found, dict)
    return found


def _repointed(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: v.replace("#/$defs/", "#/components/schemas/")
            if k == "$ref" and isinstance(v, str)
            else _repointed(v)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_repointed(item) for item in value]
    return value


# Paths that are not methods


def _type_paths(name: str, most: int) -> Json:
    one = {"parameters": [NAME]}
    facts = {"$ref": "#/components/schemas/Facts"}
    page = {
        "allOf": [
            {"$ref": "#/components/schemas/Page"},
            {"properties": {"items": {"type": "array", "items": facts}}},
        ]
    }
    return {
        f"/v1/{name}": {
            "get": {
                "operationId": f"{name}_list",
                "tags": [name],
                "summary": f"List the {name} actors of the account, in the order of their names.",
                "parameters": [*paging(most), query("q", "Only names that hold this text.", SEARCH)],
                "responses": {"200": json_response("One page.", page), **PROBLEMS},
            }
        },
        f"/v1/{name}/{{name}}": {
            **one,
            "get": {
                "operationId": f"{name}_facts",
                "tags": [name],
                "summary": f"Return what is known of one {name}.",
                "responses": {"200": json_response("Its facts.", facts), **PROBLEMS},
            },
            "delete": {
                "operationId": f"{name}_delete",
                "tags": [name],
                "summary": f"Delete one {name}: its file, log and alarms.",
                "x-destructive": True,
                "responses": {"204": {"description": "It is gone."}, **PROBLEMS},
            },
        },
        f"/v1/{name}/{{name}}/events": {
            **one,
            "get": {
                "operationId": f"{name}_events",
                "tags": [name],
                "summary": "Follow its events: Server-Sent Events, or a WebSocket that also takes calls.",
                "parameters": [
                    {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": {
                        "description": "A stream of events.",
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    },
                    **PROBLEMS,
                },
            },
        },
    }


def _run_path(spec: MethodSpec, schemas: Json) -> Json:
    operation = _post("code", spec, schemas)
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    session = {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_NAME_BYTES,
        "default": "default-session",
        "description": "The session to run in; each account has a default one.",
    }
    schema["properties"] = {**schema["properties"], "session": session}
    return {"post": {**operation, "operationId": "run"}}


def _key_paths(schemas: Json, most: int) -> Json:
    schemas["CreateKey"] = CreateKey.model_json_schema()
    schemas["Key"] = key_schema()
    key = {"$ref": "#/components/schemas/Key"}
    page = {
        "allOf": [
            {"$ref": "#/components/schemas/Page"},
            {"properties": {"items": {"type": "array", "items": key}}},
        ]
    }
    made = {"allOf": [key, {"properties": {"key": {"type": "string"}}, "required": ["key"]}]}
    return {
        "/v1": {
            "get": {
                "operationId": "types",
                "tags": ["service"],
                "summary": "List actor types and their methods.",
                "responses": {
                    "200": json_response("Types by name.", {"type": "object"}),
                    **PROBLEMS,
                },
            }
        },
        "/v1/keys": {
            "get": {
                "operationId": "keys_list",
                "tags": ["keys"],
                "summary": "List keys, never their secrets.",
                "parameters": [
                    *paging(most),
                    query("account", "Only of this account.", {"type": "string"}),
                ],
                "responses": {"200": json_response("One page.", page), **PROBLEMS},
            },
            "post": {
                "operationId": "keys_create",
                "tags": ["keys"],
                "summary": "Make a key; it is shown this once.",
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/CreateKey"}}}
                },
                "responses": {"201": json_response("The key.", made), **PROBLEMS},
            },
        },
        "/v1/keys/{id}": {
            "delete": {
                "operationId": "keys_revoke",
                "tags": ["keys"],
                "summary": "Revoke a key, with effect on the next request.",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"200": json_response("It is revoked.", {"type": "object"}), **PROBLEMS},
            }
        },
    }


def _site_paths() -> Json:
    def page(operation: str, summary: str, media: str = "application/json") -> Json:
        return {
            "get": {
                "operationId": operation,
                "tags": ["service"],
                "summary": summary,
                "security": [],
                "responses": {
                    "200": {"description": "As said.", "content": {media: {"schema": {}}}},
                    **PROBLEMS,
                },
            }
        }

    return {
        "/healthz": page("healthz", "Tell that the process answers."),
        "/readyz": page("readyz", "Tell whether calls are taken."),
        "/version": page("version", "Return versions."),
        "/metrics": page("metrics", "Return metrics in the Prometheus text format.", "text/plain"),
        "/openapi.json": page("openapi", "Return this document."),
        "/docs": page("docs", "Show this document to people.", "text/html"),
        "/docs/errors": page("docs_errors", "Explain every error code.", "text/html"),
    }
