"""Tables of the models file by what their Structs say of them: all that is wrong in one is told, field by field."""

import difflib
import functools
import re
import types
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, inspect

from invoker.models_file.findings import MAX_SHOWN_CHARS, Place, in_words
from invoker.routing.credentials import HIDDEN

Table = TypeVar("Table", bound=msgspec.Struct)

_SECRET = {"headers", "api_key_env"}
_IN_A_URL = re.compile(r"(//)[^/?#]*(?=@)|(\?).+")


def read_table(kind: type[Table], written: object, place: Place) -> Table | None:
    """What is wrong is told, and left out; None if nothing can be made of the rest."""
    try:
        return msgspec.convert(written, kind)
    except msgspec.ValidationError:
        good = _good_of(kind, written, place)
    try:
        return msgspec.convert(good, kind)
    except msgspec.ValidationError:
        return None


def shown(value: object, place: Place) -> str:
    """As TOML has it, but for what may be secret."""
    if _SECRET.intersection(map(str, place.keys[1:])):
        return f"its value ({HIDDEN})"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else f"an array of {len(value)}"
    if isinstance(value, str) and len(place.keys) == 1:
        return "a text"
    if isinstance(value, str):
        return repr(_IN_A_URL.sub(lambda match: f"{match[1] or match[2]}{HIDDEN}", value))[:MAX_SHOWN_CHARS]
    return str(value).lower()[:MAX_SHOWN_CHARS]


def _good_of(hint: Any, written: object, place: Place) -> Any:
    """What is left of a value without what is wrong in it, or UNSET."""
    hint = _meant(hint, written)
    bare, allowed = _bare(hint), _allowed(_info(hint))
    if isinstance(written, dict) and isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        return _good_fields(bare, written, place)
    if isinstance(written, dict) and get_origin(bare) is dict:
        return _good_values(get_args(bare)[1], written, place)
    if isinstance(written, list) and get_origin(bare) is list and _fits(_any_items(hint), written):
        return [*_good_values(get_args(bare)[0], dict(enumerate(written)), place).values()]
    if _fits(hint, written):
        return written
    place.error(f"{shown(written, place)} is not {allowed}")
    return UNSET


def _good_values(hint: Any, written: dict[Any, object], place: Place) -> dict[Any, Any]:
    good = {key: _good_of(hint, value, place.at(key)) for key, value in written.items()}
    return {key: value for key, value in good.items() if value is not UNSET}


def _good_fields(kind: type[msgspec.Struct], written: dict[str, object], place: Place) -> Any:
    hints = _hints_of(kind)
    good: dict[str, Any] = {}
    for name, value in written.items():
        if name not in hints:
            place.at(name).error(_unknown(name, value, [*hints], place))
        elif (found := _good_of(hints[name], value, place.at(name))) is not UNSET:
            good[name] = found
    required = [field.name for field in msgspec.structs.fields(kind) if field.required]
    for name in required:
        if name not in written:
            place.error(f"{name} is missing: {_allowed(_info(hints[name]))}")
    return good if good.keys() >= set(required) else UNSET


def _unknown(name: str, value: object, known: list[str], place: Place) -> str:
    """Its value isn't shown: it may be a key that was written where its name belongs."""
    if isinstance(value, dict) and len(place.keys) == 1:
        return f'there is no such field; a model id with a dot in it is written in quotes: ["{place.keys[0]}.{name}"]'
    close = difflib.get_close_matches(name, known, 2)
    names = f"is {in_words(close)} meant?" if close else f"there are {', '.join(known)}"
    return f"there is no such field; {names}"


@functools.cache
def _hints_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


@functools.cache
def _info(hint: Any) -> inspect.Type:
    info = inspect.type_info(hint)
    if isinstance(info, inspect.UnionType):
        (info,) = [one for one in info.types if not isinstance(one, inspect.NoneType)]
    return info


def _meant(hint: Any, written: object) -> Any:
    """Of what may be a text or a table, the one that it is like."""
    is_union = get_origin(hint) in (Union, types.UnionType)
    kinds = [one for one in get_args(hint) if one is not types.NoneType] if is_union else []
    if len(kinds) < 2:
        return hint
    return next(one for one in kinds if isinstance(one, type) == isinstance(written, dict))


def _bare(hint: Any) -> Any:
    """Without None and bounds."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = [one for one in get_args(hint) if one is not types.NoneType]
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


@functools.cache
def _any_items(hint: Any) -> Any:
    """A list of so many, whatever they are."""
    metas = getattr(hint, "__metadata__", ())
    return Annotated[list[Any], *metas] if metas else list[Any]


def _fits(hint: Any, written: object) -> bool:
    try:
        msgspec.convert(written, hint)
    except msgspec.ValidationError:
        return False
    return True


def _allowed(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata(extra_json_schema={"description": str(described)}):
            return described
        case inspect.LiteralType(values=values):
            return in_words(map(repr, values))
        case inspect.IntType() | inspect.FloatType():
            return f"a {'whole ' if isinstance(info, inspect.IntType) else ''}number{_between(info)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType():
            return "a text"
        case inspect.ListType():
            of = " tables" if isinstance(info.item_type, inspect.StructType) else ""
            return f"an array of {info.min_length or 0} to {info.max_length or 'many'}{of}"
        case _:
            return "a table"


def _between(info: inspect.IntType | inspect.FloatType) -> str:
    low = f"above {info.gt}" if info.gt is not None else f"of at least {info.ge}" if info.ge is not None else ""
    high = f"at most {info.le}" if info.le is not None else ""
    if info.ge is not None and high:
        return f" from {info.ge} to {info.le}"
    return "".join(f" {part}" for part in (low, "and" if low and high else "", high) if part)
