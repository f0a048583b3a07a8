"""Parquet, with pyarrow: an extra of its own, because it is large. Its columns are those of a line."""

import io
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from metrics_sidecar.files.line import COLUMNS, EPOCH, Line
from shared.record import MAX_TIMESTAMP_US

ROW_GROUP_ROWS = 65_536
MAX_ROW_GROUP_BYTES = 512 * 1024 * 1024
READ_ROWS = 32_768

_NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("model_id", _NAME, nullable=False),
        pa.field("timestamp", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("success", pa.bool_(), nullable=False),
        pa.field("latency_ms", pa.float64(), nullable=False),
        pa.field("error_log", pa.string(), nullable=False),
        pa.field("input_size", pa.int64(), nullable=False),
        pa.field("output_size", pa.int64(), nullable=False),
        pa.field("error_type", _NAME),
        pa.field("trace_id", pa.string()),
        pa.field("store", _NAME, nullable=False),
    ]
)
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

    def encode(self, lines: Sequence[Line]) -> bytes:
        if lines:
            columns = zip(*map(_cells, lines), strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
            self._batches.append(pa.record_batch(arrays, schema=SCHEMA))
            self._rows += len(lines)
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


def _cells(line: Line) -> tuple[object, ...]:
    return (
        line.id,
        line.model_id,
        line.timestamp,
        line.success,
        float(line.latency_ms),
        line.error_log,
        line.input_size,
        line.output_size,
        line.error_type,
        line.trace_id,
        line.store,
    )


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


def read_parquet(path: Path) -> Iterator[tuple[list[tuple[object, ...]], float]]:
    """Rows as tuples in the order of a line's columns, and how much of the file is read with them, from 0 to 1.
    `ParquetError` if the file is another one."""
    try:
        with pq.ParquetFile(path) as file:
            _check(file)
            total, read = file.metadata.num_rows, 0
            for batch in file.iter_batches(READ_ROWS, columns=list(COLUMNS)):
                read += batch.num_rows
                table = pa.Table.from_batches([batch]).select(list(COLUMNS)).cast(_READ_AS)
                yield _rows(table), read / total
    except (pa.ArrowException, OSError) as error:
        raise ParquetError(str(error)) from None


def _check(file: pq.ParquetFile) -> None:
    missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
    if missing:
        raise ParquetError(f"it has no column {missing[0]!r}")
    for number in range(file.metadata.num_row_groups):
        if (size := file.metadata.row_group(number).total_byte_size) > MAX_ROW_GROUP_BYTES:
            raise ParquetError(f"row group {number} has {size:,} bytes; allowed are {MAX_ROW_GROUP_BYTES:,}")


def _rows(table: pa.Table) -> list[tuple[object, ...]]:
    # From integers: pyarrow's own datetimes would cost ten times as much, and it has no way to say the year 10000.
    micros = table.column("timestamp").cast(pa.int64()).to_pylist()
    columns = [_values(column) for name, column in zip(COLUMNS, table.columns, strict=True) if name != "timestamp"]
    columns.insert(COLUMNS.index("timestamp"), [_moment(value) for value in micros])
    return list(zip(*columns, strict=True))


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
