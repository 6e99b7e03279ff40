"""Pages for people, rendered from the OpenAPI document: plain HTML that needs nothing from elsewhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from runtime.gateway.schemas import error_classes

__all__ = ("docs_page", "errors_page")

_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font:14px ui-monospace,monospace}pre{overflow:auto;padding:.8rem;background:#8881}"
    "details{border:1px solid #8885;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}summary{cursor:pointer}"
    "b.get{color:#2a7}b.post{color:#27c}b.delete{color:#c33}td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}"
)


def docs_page(document: dict[str, Any]) -> str:
    """Return the page of all routes."""
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for verb in ("get", "post", "delete"):
            if verb in item:
                groups.setdefault(item[verb]["tags"][0], []).append(_operation(path, verb, item[verb]))
    info = document["info"]
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>",
        '<p><a href="/openapi.json">openapi.json</a> · <a href="/docs/errors">error codes</a></p>',
    ]
    for name, operations in groups.items():
        parts.append(f"<h2>{escape(name)}</h2>{''.join(operations)}")
    return _page("duralite: HTTP", "".join(parts))


def errors_page() -> str:
    """Return the page that explains every error code; `type` of a problem points here."""
    rows = "".join(
        f'<tr id="{cls.code}"><td><code>{cls.code}</code></td><td>{cls.status}</td>'
        f"<td>{escape(cls.title)}</td><td>{escape((cls.__doc__ or '').strip())}</td></tr>"
        for cls in error_classes()
    )
    head = "<tr><th>code</th><th>status</th><th>title</th><th>when</th></tr>"
    return _page("duralite: errors", f"<h1>Error codes</h1><table>{head}{rows}</table>")


def _operation(path: str, verb: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<details id="{escape(operation["operationId"])}"><summary><b class="{verb}">{verb.upper()}</b> '
        f"<code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
    ]
    if rest := operation.get("description", "").removeprefix(operation["summary"]).strip():
        parts.append(f"<p>{escape(rest)}</p>")
    if scope := operation.get("x-scope"):
        parts.append(f"<p>Scope: <code>{escape(scope)}</code></p>")
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}</td>"
        f"<td>{escape(p.get('description', ''))}</td></tr>"
        for p in operation.get("parameters", ())
    )
    if rows:
        parts.append(f"<table>{rows}</table>")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        text = json.dumps(content["schema"], indent=2, ensure_ascii=False)
        parts.append(f"<p><code>{escape(media)}</code></p><pre>{escape(text)}</pre>")
    return "".join(parts) + "</details>"


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style><body>{body}</body></html>'
    )
