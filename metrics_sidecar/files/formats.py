"""The formats of an export, and the text ones among them."""

import csv
import importlib.util
import io
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Protocol

import msgspec

from metrics_sidecar.files.line import COLUMNS, NAMES, Cells, Line
from metrics_sidecar.history.exports import Format
from metrics_sidecar.history.shown import Column

MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
COMPRESSED_ITSELF: tuple[Format, ...] = ("parquet",)
PARQUET_MISSING = "Parquet needs pyarrow: pip install 'invocation-gateway[parquet]'"

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that spreadsheets take for a formula, full-width forms too
(https://owasp.org/www-community/attacks/CSV_Injection)."""


class Encoder(Protocol):
    """Makes the bytes of one file: what each lot of rows adds to it, and what its end does."""

    def encode(self, cells: Cells) -> bytes: ...

    def finish(self) -> bytes: ...


class NdjsonEncoder:
    """A JSON object per line."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()

    def encode(self, cells: Cells) -> bytes:
        return self._encoder.encode_lines([*map(Line, *cells)])

    def finish(self) -> bytes:
        return b""


class CsvEncoder:
    """RFC 4180, UTF-8, with a header. Texts are quoted, so that no separator of any spreadsheet splits them, and
    those that would be a formula begin with an apostrophe. `bom`: what tells Excel that it is UTF-8 comes first."""

    def __init__(self, *, bom: bool = False) -> None:
        self._buffer = io.StringIO(newline="")
        self._buffer.write("\ufeff" if bom else "")
        self._writer = csv.writer(self._buffer, quoting=csv.QUOTE_NONNUMERIC)
        self._writer.writerow(NAMES)

    def encode(self, cells: Cells) -> bytes:
        texts: list[Iterable[Any]] = [
            map(_TEXTS[name], column) if name in _TEXTS else column for name, column in zip(NAMES, cells, strict=True)
        ]
        self._writer.writerows(zip(*texts, strict=True))
        return self._take()

    def finish(self) -> bytes:
        return self._take()  # the header, where there was no line

    def _take(self) -> bytes:
        text = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return text.encode()


def _safe(text: str | None) -> str | None:
    return f"'{text}" if text and text.startswith(FORMULA_STARTS) else text


def _moment(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _truth(value: bool | None) -> str | None:
    return None if value is None else "true" if value else "false"


def _map(value: dict[str, str] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _texts(column: Column) -> Callable[[Any], Any] | None:
    """How its values are written, if not as they are."""
    if column.is_success or column.field.is_truth:
        return _truth
    if column.field.told.unit == "timestamp_us":
        return _moment
    if column.field.is_map:
        return _map
    return _safe if column.field.is_text else None


_TEXTS = {column.name: texts for column in COLUMNS if (texts := _texts(column))}


def has_parquet() -> bool:
    """Whether the package that Parquet needs is installed; it isn't loaded for that."""
    return importlib.util.find_spec("pyarrow") is not None


def make_encoder(format_: Format, *, bom: bool = False) -> Encoder:
    """`bom` is CSV's alone. `ModuleNotFoundError` for Parquet where pyarrow is missing: see `has_parquet`."""
    if format_ == "parquet":
        from metrics_sidecar.files.parquet import ParquetEncoder  # noqa: PLC0415 - an extra, 60 MB of memory

        return ParquetEncoder()
    return CsvEncoder(bom=bom) if format_ == "csv" else NdjsonEncoder()
