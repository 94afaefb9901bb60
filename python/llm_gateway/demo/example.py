"""Values that fit a JSON schema."""

from typing import Any

Schema = dict[str, Any]

_DEPTH = 8
_ITEMS = 8


def example(schema: Schema) -> Any:
    """The plainest value the schema allows: required members only, first choices, shortest arrays.

    Formats and patterns are not obeyed; beyond a depth of 8 everything is null, and arrays end after 8.
    """
    return _example(schema, schema, _DEPTH)


def _example(schema: Any, root: Schema, depth: int) -> Any:
    if not isinstance(schema, dict) or depth == 0:
        return None
    for fixed in ("const", "default"):
        if fixed in schema:
            return schema[fixed]
    if choices := schema.get("enum"):
        return choices[0]
    if isinstance(reference := schema.get("$ref"), str):
        return _example(_resolved(reference, root), root, depth - 1)
    for several in ("anyOf", "oneOf", "allOf"):
        if options := schema.get(several):
            return _example(options[0], root, depth - 1)
    return _of_type(schema, root, depth)


def _of_type(schema: Schema, root: Schema, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            members: Schema = schema.get("properties") or {}
            required = schema.get("required", list(members))
            return {name: _example(members.get(name, {}), root, depth - 1) for name in required}
        case "array":
            return [_example(schema.get("items", {}), root, depth - 1)] * min(
                schema.get("minItems", 0), _ITEMS
            )
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return "demo"


def _resolved(reference: str, root: Schema) -> Any:
    found: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(name) if isinstance(found, dict) else None
    return found
