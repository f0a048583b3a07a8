"""Parquet, with pyarrow: an extra of its own, because it is large. Its columns are those of a line."""

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from metrics_sidecar.files.line import COLUMNS, EPOCH, NAMES, Cells, Line
from metrics_sidecar.history.shown import Column
from shared.record import MAX_TIMESTAMP_US

ROW_GROUP_ROWS = 65_536
MAX_ROW_GROUP_BYTES = 512 * 1024 * 1024
READ_ROWS = 32_768

_NAME = pa.dictionary(pa.int32(), pa.string())
_MAP = pa.map_(pa.string(), pa.string())


def schema(columns: Sequence[Column]) -> pa.Schema:
    """Of a file with these columns; its order is that of a line."""
    by_name = {column.name: _field(column) for column in columns}
    by_name |= {"id": pa.field("id", pa.int64(), nullable=False), "store": pa.field("store", _NAME, nullable=False)}
    return pa.schema([by_name[name] for name in NAMES])


def _field(column: Column) -> pa.Field:
    if column.is_success:
        return pa.field(column.name, pa.bool_(), nullable=False)
    field = column.field
    types = {"timestamp_us": pa.timestamp("us", "UTC"), "us": pa.float64(), "nano_usd": pa.string()}
    kinds = ((field.is_truth, pa.bool_()), (field.is_map, _MAP), (field.is_text and field.told.few, _NAME))
    plain = pa.string() if field.is_text else pa.int64()
    type_ = types.get(field.told.unit) or next((type_ for is_it, type_ in kinds if is_it), plain)
    return pa.field(column.name, type_, nullable=field.is_optional)


SCHEMA = schema(COLUMNS)
_READ_AS = pa.schema([field.with_type(pa.string()) if field.type == _NAME else field for field in SCHEMA])


class ParquetError(Exception):
    """This is no Parquet file of an export; the message says why."""


class ParquetEncoder:
    """Row groups of 65,536 rows, compressed with Zstandard; no more than one of them is in memory."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(self._sink, SCHEMA, compression="zstd")
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def encode(self, cells: Cells) -> bytes:
        if rows := len(cells[0]):
            arrays = [pa.array(column, field.type) for column, field in zip(cells, SCHEMA, strict=True)]
            self._batches.append(pa.record_batch(arrays, schema=SCHEMA))
            self._rows += rows
        if self._rows >= ROW_GROUP_ROWS:
            self._write_group()
        return self._sink.take()

    def finish(self) -> bytes:
        if self._batches:
            self._write_group()
        self._writer.close()
        return self._sink.take()

    def _write_group(self) -> None:
        table = pa.Table.from_batches(self._batches, SCHEMA).unify_dictionaries()
        self._writer.write_table(table, row_group_size=self._rows)
        self._batches, self._rows = [], 0


class _Sink(io.RawIOBase):
    """A file of which what is written is taken at once."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload] # pyarrow's own buffer, which is gone after the call
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class Batch(NamedTuple):
    """Rows as tuples in the order of a line's columns, and how much of the file is read with them, from 0 to 1.
    `unknown`: columns that a line hasn't, and in how many rows they say something, as far as statistics tell."""

    rows: list[tuple[object, ...]]
    done: float
    unknown: Mapping[str, int] = {}


def read_parquet(path: Path) -> Iterator[Batch]:
    """What an older release's file lacks has its default, and what a newer one's has is told. `ParquetError` if the
    file is another one."""
    try:
        with pq.ParquetFile(path) as file:
            _check(file)
            there = [name for name in NAMES if name in file.schema_arrow.names]
            read_as = pa.schema([_READ_AS.field(name) for name in there])
            total, read = file.metadata.num_rows, 0
            yield Batch([], 0.0, _unknown(file))
            for batch in file.iter_batches(READ_ROWS, columns=there):
                read += batch.num_rows
                table = pa.Table.from_batches([batch]).select(there)
                yield Batch(_rows(table.cast(read_as)), read / total)
    except (pa.ArrowException, OSError) as error:
        raise ParquetError(str(error)) from None


def _unknown(file: pq.ParquetFile) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        said: dict[str, int] = {}
        for column in map(group.column, range(group.num_columns)):
            name = column.path_in_schema.partition(".")[0]  # of a map, there are several
            nulls = column.statistics.null_count if column.is_stats_set else 0
            said[name] = max(said.get(name, 0), group.num_rows - (nulls or 0))
        for name in said.keys() - {*NAMES}:
            found[name] = found.get(name, 0) + said[name]
    return {name: count for name, count in found.items() if count}


def _check(file: pq.ParquetFile) -> None:
    required = (field.name for field in msgspec.structs.fields(Line) if field.default is msgspec.NODEFAULT)
    missing = [name for name in required if name not in file.schema_arrow.names]
    if missing:
        raise ParquetError(f"it has no column {missing[0]!r}")
    for number in range(file.metadata.num_row_groups):
        if (size := file.metadata.row_group(number).total_byte_size) > MAX_ROW_GROUP_BYTES:
            raise ParquetError(f"row group {number} has {size:,} bytes; allowed are {MAX_ROW_GROUP_BYTES:,}")


def _rows(table: pa.Table) -> list[tuple[object, ...]]:
    return list(zip(*(_cells(name, table) for name in NAMES), strict=True))


def _cells(name: str, table: pa.Table) -> Iterable[object]:
    if name not in table.column_names:
        return itertools.repeat(_DEFAULTS[name], table.num_rows)
    if name == "timestamp":
        # From integers: pyarrow's own datetimes would cost ten times as much, and it can't say the year 10000.
        return map(_moment, table.column(name).cast(pa.int64()).to_pylist())
    values: list[Any] = _values(table.column(name))
    if SCHEMA.field(name).type == _MAP:
        return [None if value is None else dict(value) for value in values]
    return values


_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Line)}


def _moment(timestamp_us: int | None) -> datetime | None:
    """None where no datetime can say it, which is no line then."""
    if timestamp_us is None or not 0 <= timestamp_us <= MAX_TIMESTAMP_US:
        return None
    return EPOCH + timedelta(0, 0, timestamp_us)


def _values(column: pa.ChunkedArray) -> list[object]:
    """Texts that are none are left as bytes, which make no line."""
    try:
        return [*column.to_pylist()]
    except UnicodeDecodeError:
        return [_text(value) for value in column.cast(pa.binary()).to_pylist()]


def _text(value: bytes | None) -> str | bytes | None:
    try:
        return value and value.decode()
    except UnicodeDecodeError:
        return value
