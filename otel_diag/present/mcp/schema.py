"""Tool definitions are paid for in every conversation: their schemas say what is needed and no more."""

from __future__ import annotations

from typing import Any, Final

_LONG_ENUM: Final = 6
"""An enumeration with more values is published as its base type; the values mean nothing before an answer is there."""


def slim(schema: dict[str, Any], *, depth: int = 2) -> dict[str, Any]:
    """A looser JSON schema than ``schema``: whatever is valid there is valid here.

    References are resolved, objects deeper than ``depth`` lose their fields, nested objects the list of required ones;
    titles, defaults and bounds go. What an answer may lack (``distinguishing``, ``data_quality``) keeps its name and
    type only: it is there when it has something to say, and then its fields speak for themselves.
    """
    return _slim(schema, schema.get("$defs", {}), depth, root=True)


def _slim(node: dict[str, Any], definitions: dict[str, Any], depth: int, *, root: bool = False) -> dict[str, Any]:
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    if "anyOf" in node:
        return _union([_slim(choice, definitions, depth) for choice in node["anyOf"]])
    result: dict[str, Any] = {"type": node["type"]} if "type" in node else {}
    if "enum" in node and len(node["enum"]) <= _LONG_ENUM:
        result["enum"] = node["enum"]
    if "items" in node:
        result["items"] = _slim(node["items"], definitions, depth)
    if "properties" in node and depth > 0:
        required = node.get("required", [])
        result["properties"] = {
            name: _slim(child, definitions, 0 if root and name not in required else depth - 1)
            for name, child in node["properties"].items()
        }
        if root:
            result["required"] = required
    return result


def _union(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """``anyOf``, or the shorter list of types where one choice at most says more than its type."""
    if any(not isinstance(choice.get("type"), str) or "enum" in choice for choice in choices):
        return {"anyOf": choices}
    merged: dict[str, Any] = {}
    for choice in choices:
        merged |= choice
    return merged | {"type": [choice["type"] for choice in choices]}


def without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments without the titles that repeat their names."""
    properties = {
        name: {key: value for key, value in child.items() if key != "title"}
        for name, child in schema.get("properties", {}).items()
    }
    return {key: value for key, value in schema.items() if key != "title"} | {"properties": properties}
