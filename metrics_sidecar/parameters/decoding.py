"""Query parameters: decoded by the Struct that also documents them; each error names the parameter."""

import functools
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from shared.openapi import query_schemas
from shared.problems import InvalidParameterError

Parameters = TypeVar("Parameters", bound=msgspec.Struct)


class NoParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be asked for."""


def decode_query(query: Iterable[tuple[str, str]], type_: type[Parameters]) -> Parameters:
    """The parameters as `type_`; one whose type is a list may be repeated, and of a map each value has a parameter,
    whose name is the map's, a point, and the value's. `InvalidParameterError` if one is unknown, given too often or not
    as its field says."""
    fields = _fields(type_)
    given: dict[str, list[str]] = {}
    for name, text in query:
        given.setdefault(name, []).append(text)
    values: dict[str, Any] = {}
    for name, texts in given.items():
        text = texts[0]
        head, point, key = name.partition(".")
        if point and head in fields and _map_type(fields[head].type) is not None:
            values[head] = _with_entry(type_, head, values.get(head, {}), key, texts)
            continue
        if name not in fields or _map_type(fields[name].type) is not None:
            allowed = ", ".join(map(_shown_name, fields.values())) or "none"
            raise InvalidParameterError(name, text, allowed, f"There is no parameter of this name; allowed: {allowed}.")
        field = fields[name]
        list_type = _list_type(field.type)
        if list_type is None and len(texts) > 1:
            raise InvalidParameterError(name, text, "one value", "The parameter is given more than once.")
        values[field.name] = _convert(type_, name, texts if list_type else text, list_type or field.type)
    return type_(**values)


def decode_path(names: Mapping[str, str], type_: type[Parameters]) -> Parameters:
    """What stands in a path as `type_`; `InvalidParameterError` as for a parameter."""
    fields = _fields(type_)
    return type_(**{field.name: _convert(type_, name, names[name], field.type) for name, field in fields.items()})


def allowed_values(type_: type[msgspec.Struct], name: str) -> str:
    """What a parameter, or each of its values, may be, in words: from its schema, or what its description says
    after a colon."""
    schema = query_schemas(type_)[name]
    values = schema.get("items", schema)
    if "enum" in values:
        return " or ".join(values["enum"])
    if values.get("type") == "boolean":
        return "true or false"
    if values.get("type") == "integer":
        return f"an integer from {values['minimum']} to {values['maximum']}"
    if values.get("type") == "number":
        return f"a number from {values['minimum']} to {values['maximum']}"
    return str(schema["description"]).rpartition(": ")[2].rstrip(".")


@functools.cache
def _fields(type_: type[msgspec.Struct]) -> dict[str, FieldInfo]:
    """By the name that a caller gives. Kept, as finding their types takes longer than all else that is done here."""
    return {field.encode_name: field for field in msgspec.structs.fields(type_)}


def _convert(type_: type[msgspec.Struct], name: str, value: Any, to: Any) -> Any:
    """As its type; the problem shows the value that is none."""
    try:
        return msgspec.convert(value, to, strict=False)
    except msgspec.ValidationError:
        allowed = allowed_values(type_, name)
    if isinstance(value, str):
        raise InvalidParameterError(name, value, allowed)
    (item_type,) = get_args(_without_meta(to))
    for text in value:
        _convert(type_, name, text, item_type)
    most = query_schemas(type_)[name]["maxItems"]  # each is right, so there are too many
    raise InvalidParameterError(name, str(len(value)), f"at most {most} values", f"{name} is given {len(value)} times; "
                            f"allowed: at most {most} values.")  # fmt: skip


def _with_entry(
    type_: type[msgspec.Struct], name: str, entries: dict[str, str], key: str, texts: list[str]
) -> dict[str, str]:
    """A map with one more."""
    if len(texts) > 1:
        raise InvalidParameterError(f"{name}.{key}", texts[0], "one value", "The parameter is given more than once.")
    map_type = _map_type(_fields(type_)[name].type)
    more = {**entries, key: texts[0]}
    try:
        msgspec.convert(more, map_type)
    except msgspec.ValidationError:
        raise InvalidParameterError(f"{name}.{key}", texts[0], allowed_values(type_, name)) from None
    return more


def _shown_name(field: FieldInfo) -> str:
    return field.encode_name if _map_type(field.type) is None else f"{field.encode_name}.NAME"


def _map_type(type_: Any) -> Any:
    """The map among what a field may be; None for any other."""
    return next((one for one in (type_, *get_args(type_)) if get_origin(_without_meta(one)) is dict), None)


def _list_type(type_: Any) -> Any:
    """The list among what a field may be; None for a field of a single value."""
    if get_origin(_without_meta(type_)) is list:
        return type_
    return next((one for one in get_args(type_) if get_origin(_without_meta(one)) is list), None)


def _without_meta(type_: Any) -> Any:
    return type_.__origin__ if get_origin(type_) is Annotated else type_
