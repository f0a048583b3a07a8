"""Query parameters: decoded by the Struct that also documents them; each error names the parameter."""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from multidict import MultiMapping

from shared.errors import invalid_parameter
from shared.openapi import query_schemas
from shared.record import ModelId

Parameters = TypeVar("Parameters", bound=msgspec.Struct)

ModelFilter = Annotated[ModelId, Meta(description="Only this model: 1 to 256 characters, no control characters.")]


def decode_query(query: MultiMapping[str], type_: type[Parameters]) -> Parameters:
    """The parameters as `type_`. A 400 problem if one is unknown, repeated or not as its field says."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
    values: dict[str, Any] = {}
    for name, text in query.items():
        if name not in fields:
            allowed = ", ".join(fields) or "none"
            raise invalid_parameter(name, text, allowed, f"There is no parameter of this name; allowed: {allowed}.")
        if name in values:
            raise invalid_parameter(name, text, "one value", "The parameter is given more than once.")
        try:
            values[fields[name].name] = msgspec.convert(text, fields[name].type, strict=False)
        except msgspec.ValidationError:
            raise invalid_parameter(name, text, allowed_values(type_, name)) from None
    return type_(**values)


def allowed_values(type_: type[msgspec.Struct], name: str) -> str:
    """What a parameter may be, in words: from its schema, or what its description says after a colon."""
    schema = query_schemas(type_)[name]
    if "enum" in schema:
        return " or ".join(schema["enum"])
    if schema.get("type") == "integer":
        return f"an integer from {schema['minimum']} to {schema['maximum']}"
    return str(schema["description"]).rpartition(": ")[2].rstrip(".")
