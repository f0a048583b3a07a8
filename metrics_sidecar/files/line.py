"""One invocation as all formats show it: the row of `GET /metrics/history`, and the store that it is from."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from metrics_sidecar.history.shown import Column, dollars, exported_columns, is_later, nano_dollars
from metrics_sidecar.history.windows import MINUTE_US
from metrics_sidecar.sqlite.columns import COLUMNS as STORED
from metrics_sidecar.sqlite.export import Slice
from shared.clock import format_timestamp
from shared.record import FIELDS, MAX_COUNT, MAX_ERROR_LOG_BYTES, MAX_TIMESTAMP_US, Record, check_model_id

COLUMNS = exported_columns(FIELDS)
RECORDED = [column for column in COLUMNS if not column.is_success]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_KNOWN_MODELS = 10_000
MAX_LATENCY_MS = 9_223_372_036_854_774.0
"""The last float whose µs `MAX_COUNT` holds; with integers of that size floats are compared slowly."""


def line_type(columns: Sequence[Column]) -> type[msgspec.Struct]:
    """A row of a file. `store` and `id` together are what identifies it, wherever it is copied to; what files of older
    releases lack has its default. A duration is exact up to 2⁵¹ µs, which is 71 years; beyond that it is the nearest
    float."""
    first = [(column.name, _type(column)) for column in columns if not is_later(column)]
    later = [(column.name, _type(column), column.field.default) for column in columns if is_later(column)]
    members: list[Any] = [("id", Annotated[int, Meta(ge=1, le=MAX_COUNT)]), *first, ("store", str), *later]
    return msgspec.defstruct("Line", members, frozen=True, gc=False)


def _type(column: Column) -> Any:
    if column.is_success:
        return bool
    if column.name == "model_id":
        return str  # looked at once for each, not once for each row
    optional = column.field.is_optional
    match column.field.told.unit:
        case "timestamp_us":
            type_: Any = Annotated[datetime, Meta(tz=True)]
        case "us":
            type_ = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]
        case "nano_usd":
            type_ = str
        case _:
            return column.field.type
    return type_ | None if optional else type_


if TYPE_CHECKING:

    class Line(msgspec.Struct, frozen=True, gc=False):
        id: int
        store: str
        model_id: str
        timestamp: datetime
        success: bool
        latency_ms: int | float
        error_log: str
        error_type: str | None

else:
    Line = line_type(COLUMNS)

NAMES: tuple[str, ...] = Line.__struct_fields__
"""Of all columns of a file, in their order."""

Cells = list[Sequence[Any]]
"""Columns of some rows, in the order of `NAMES`."""


class LineError(Exception):
    """This is no row of an export; the message says what is wrong with it."""


def to_columns(read: Slice, store_id: str) -> Cells:
    """Rows as they are read from the store of this id."""
    if not read.rows:
        return [() for _ in NAMES]
    stored: dict[str, Sequence[Any]] = dict(zip(STORED.names, zip(*read.rows, strict=True), strict=True))
    stored["model_id"] = [read.models[model] for model in stored["model"]]
    cells: dict[str, Sequence[Any]] = {column.name: _shown(column, stored[column.field.name]) for column in COLUMNS}
    cells |= {"id": stored["id"], "store": (store_id,) * len(read.rows)}
    return [cells[name] for name in NAMES]


def _shown(column: Column, values: Sequence[Any]) -> Sequence[Any]:
    if column.is_success:
        return [value is None for value in values]
    match column.field.told.unit:
        case "timestamp_us":
            return _moments(values)
        case "us":
            return [value and (value / 1000 if value % 1000 else value // 1000) for value in values]
        case "nano_usd":
            return [None if value is None else dollars(value) for value in values]
    return [value or "" for value in values] if column.field.default == "" else values


def _moments(timestamps_us: Iterable[int]) -> list[datetime]:
    """What those of one minute have in common is found once: to add to a `datetime` takes as long as all the rest."""
    moments: list[datetime] = []
    minute_us = year = month = day = hour = minute = -1
    for timestamp_us in timestamps_us:
        if timestamp_us // MINUTE_US * MINUTE_US != minute_us:
            minute_us = timestamp_us // MINUTE_US * MINUTE_US
            year, month, day, hour, minute, *_ = (EPOCH + timedelta(0, minute_us // 1_000_000)).timetuple()
        past_us = timestamp_us - minute_us
        moments.append(datetime(year, month, day, hour, minute, past_us // 1_000_000, past_us % 1_000_000, UTC))
    return moments


class Records:
    """Makes the records that lines were made of."""

    def __init__(self) -> None:
        self._models: set[str] = set()

    def record(self, line: Line) -> Record:
        """`LineError` for a line that is decoded, and yet says what no record can say."""
        model_id = line.model_id
        if model_id not in self._models:
            self._check_model(model_id)
        if line.success != (line.error_type is None):
            raise LineError("success and error_type contradict each other")
        if line.error_log:
            _check_error_log(line)
        passed = line.timestamp - EPOCH
        timestamp_us = (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
        if not 0 <= timestamp_us <= MAX_TIMESTAMP_US:
            last = format_timestamp(MAX_TIMESTAMP_US)
            raise LineError(f"timestamp is {line.timestamp.isoformat()}; allowed: from 1970 on, to {last}")
        return Record(**{column.field.name: _recorded(column, line, timestamp_us) for column in RECORDED})

    def _check_model(self, model_id: str) -> None:
        if wrong := check_model_id(model_id):
            raise LineError(f"model_id: {wrong}")
        if len(self._models) >= MAX_KNOWN_MODELS:
            self._models.clear()
        self._models.add(model_id)


def _recorded(column: Column, line: Line, timestamp_us: int) -> Any:
    value = getattr(line, column.name)
    match column.field.told.unit:
        case "timestamp_us":
            return timestamp_us
        case "us" if value is not None:
            if value > MAX_LATENCY_MS:
                raise LineError(f"{column.name} is too large; allowed: up to {MAX_LATENCY_MS:.0f}")
            return round(value * 1000)
        case "nano_usd" if value is not None:
            try:
                return nano_dollars(value)
            except ValueError as error:
                raise LineError(f"{column.name}: {error}") from None
    return value


def _check_error_log(line: Line) -> None:
    if line.success:
        raise LineError("a success has an error_log")
    if (size := len(line.error_log.encode())) > MAX_ERROR_LOG_BYTES:
        raise LineError(f"error_log has {size:,} bytes; allowed are {MAX_ERROR_LOG_BYTES:,}")
