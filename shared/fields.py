"""A table of fields: what is said of each, once, where its record declares it. All that has columns derives from it.

A field says so by a `Told` beside its type: `Annotated[int, Meta(ge=0), Told(help="…")]`. What comes after a release is
added at the end: columns keep their order, wherever they are shown.
"""

from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

Unit = Literal["", "us", "timestamp_us", "nano_usd"]
"""What a number counts: nothing, µs of a duration, µs since 1970 (UTC), 10⁻⁹ US dollars."""


class Range(msgspec.Struct, frozen=True):
    """Filtered by `min_…` and `max_…`, both inclusive; which says what, in words."""

    least: str
    most: str


class Equal(msgspec.Struct, frozen=True):
    """Filtered by a parameter of its name."""

    help: str
    example: str


class Contains(msgspec.Struct, frozen=True):
    """Filtered by a parameter that is part of its text."""

    parameter: str
    help: str
    example: str


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a field is beside its name and type. `filter`: how rows are chosen by it, beside what those ask for that are
    more than a column (models, error types, time). `summed`: added up over time; `counted`: and since the beginning,
    whatever is removed. `shown` and `exported`: a column of rows and of files. `few`: a text of few different values;
    `digits`: one that most often is hex digits. `of_failures`: a success has none."""

    help: str
    unit: Unit = ""
    filter: Range | Equal | Contains | None = None
    summed: bool = False
    counted: bool = False
    shown: bool = True
    exported: bool = True
    few: bool = False
    digits: bool = False
    of_failures: bool = False
    example: Any = None


class Field(msgspec.Struct, frozen=True):
    """A field of a record: as it is declared, and what is told of it. `type` with its bounds, `plain` without."""

    name: str
    type: Any
    plain: Any
    default: Any
    told: Told

    @property
    def shown_name(self) -> str:
        """In rows and files: moments are shown as such, durations in milliseconds, and money in dollars."""
        match self.told.unit:
            case "timestamp_us":
                return self.name.removesuffix("_us")
            case "us":
                return f"{self.name.removesuffix('_us')}_ms"
            case "nano_usd":
                return self.name.replace("_nano_usd", "_usd")
        return self.name

    @property
    def is_optional(self) -> bool:
        return type(None) in get_args(self.plain)

    @property
    def is_text(self) -> bool:
        return str in (self.plain, *get_args(self.plain))

    @property
    def is_truth(self) -> bool:
        return bool in (self.plain, *get_args(self.plain))

    @property
    def is_map(self) -> bool:
        """Of texts, by their names."""
        return dict[str, str] in (self.plain, *get_args(self.plain))


def read_fields(record: type[msgspec.Struct]) -> tuple[Field, ...]:
    """The table of a record, in its order."""
    hints = get_type_hints(record, include_extras=True)
    return tuple(
        _field(declared.name, hints[declared.name], declared.default) for declared in msgspec.structs.fields(record)
    )


def plain_struct(name: str, base: type[msgspec.Struct], fields: Sequence[Field]) -> type[msgspec.Struct]:
    """A record behind what `base` declares, as an array and without bounds: for what was within them when it came."""
    members = [(field.name, field.plain) for field in fields]
    return msgspec.defstruct(name, members, bases=(base,), frozen=True, array_like=True, gc=False)


def _field(name: str, type_: Any, default: Any) -> Field:
    told = [one for one in type_.__metadata__ if isinstance(one, Told)] if get_origin(type_) is Annotated else []
    if len(told) != 1:
        raise TypeError(f"what {name} is must be told once")
    return Field(name, type_, _plain(type_), default, told[0])


def _plain(type_: Any) -> Any:
    if get_origin(type_) is Annotated:
        return _plain(type_.__origin__)
    if get_origin(type_) in (Union, UnionType):
        return Union[tuple(map(_plain, get_args(type_)))]  # noqa: UP007 - of as many as there are
    if get_origin(type_) is dict:
        return dict[str, str]  # the one kind of map that there is
    return type_
