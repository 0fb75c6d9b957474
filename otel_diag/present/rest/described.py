"""The page at /docs: the OpenAPI description as plain HTML. It loads nothing, from nowhere."""

from __future__ import annotations

from html import escape
from typing import Any, Final

HEADERS: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem } h3 { margin-bottom: 0.3rem } code { font-size: 0.95em }
table { border-collapse: collapse; width: 100% } td { padding: 0.2rem 1rem 0.2rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #e4e6ea } a { color: #8ab4f8 } }
"""


def page(description: dict[str, Any]) -> str:
    """HTML for an OpenAPI 3.1 description."""
    title = escape(f"{description['info']['title']} {description['info']['version']}")
    operations = [
        _operation(f"{method.upper()} {path}", operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = [_schema(name, schema) for name, schema in description.get("components", {}).get("schemas", {}).items()]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"</head><body><h1>{title}</h1><p>{escape(description['info'].get('summary', ''))} "
        'The same for programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"<h2>Endpoints</h2>{''.join(operations)}<h2>Fields</h2>{''.join(schemas)}</body></html>"
    )


def _operation(name: str, operation: dict[str, Any]) -> str:
    rows = [
        _row(parameter["name"], parameter["schema"], parameter.get("description", ""))
        for parameter in operation.get("parameters", ())
    ]
    if "requestBody" in operation:
        rows.append(_row("body", _content(operation["requestBody"]), ""))
    for status, response in operation["responses"].items():
        rows.append(_row(status, _content(response), response["description"]))
    return f"<h3><code>{escape(name)}</code></h3><p>{escape(operation.get('summary', ''))}</p>{_table(rows)}"


def _schema(name: str, schema: dict[str, Any]) -> str:
    fields = schema.get("properties", {}).items()
    rows = [_row(field, child, child.get("description", "")) for field, child in fields]
    if "enum" in schema:
        rows.append(_row("one of", schema, ""))
    said = escape(schema.get("description", ""))
    return f'<h3 id="{escape(name)}"><code>{escape(name)}</code></h3><p>{said}</p>{_table(rows)}'


def _content(message: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = message.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _table(rows: list[str]) -> str:
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _row(name: str, schema: dict[str, Any], description: str) -> str:
    return f"<tr><td><code>{escape(name)}</code><td>{_type(schema)}<td>{escape(description)}</tr>"


def _type(schema: dict[str, Any]) -> str:
    """The type in a few words; a named one is a link to its fields."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return escape(", ".join(map(str, schema["enum"])))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("format") or schema.get("const") or schema.get("type", "")))
