"""Files of an export, read as lines again: NDJSON, plain or compressed with gzip, and Parquet.

A line that can't be read is told by its number, and the others are read on. What can't be read on at all ends with
an `UnreadableError`: no NDJSON, cut off in the middle of its compression, no Parquet.
"""

import gzip
import itertools
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from metrics_sidecar.transfer.formats import PARQUET_MISSING, has_parquet
from metrics_sidecar.transfer.line import Line

GZIP_MAGIC, PARQUET_MAGIC = b"\x1f\x8b", b"PAR1"
CHUNK_BYTES = 8 * 1024 * 1024
"""Of text at once, which is some 30,000 lines and one commit: that many touch most pages of the indexes, which are
then written once for all of them."""
MAX_LINE_BYTES = 1024 * 1024

OnBad = Callable[[int, str], None]
"""Told of a line that is none: its number, from 1 on, and why."""


class UnreadableError(Exception):
    """The rest of the file can't be read; the message says why."""


class Lines(NamedTuple):
    """Lines with their numbers, and how much of the file is read by now, from 0 to 1."""

    lines: list[Line]
    numbers: list[int] | range
    done: float


class _ParquetLine(Line, array_like=True, frozen=True, gc=False):
    """A row of columns instead of an object."""


_decoder = msgspec.json.Decoder(Line)


def read_file(path: Path, on_bad: OnBad) -> Iterator[Lines]:
    """All lines of a file, whose format is told by how it begins. `OSError` if it can't be opened."""
    with path.open("rb") as file:
        magic = file.read(len(PARQUET_MAGIC))
        if magic == PARQUET_MAGIC:
            yield from _read_parquet(path, on_bad)
            return
        size = path.stat().st_size
        file.seek(0)

        def done() -> float:
            return file.tell() / size if size else 1.0

        if magic.startswith(GZIP_MAGIC):
            with gzip.GzipFile(fileobj=file) as text:
                yield from _read_text(text, on_bad, done)
        else:
            yield from _read_text(file, on_bad, done)


def read_stream(stream: IO[bytes], on_bad: OnBad) -> Iterator[Lines]:
    """The same for NDJSON of unknown length, not compressed."""
    yield from _read_text(stream, on_bad, lambda: 0.0)


def _read_text(file: IO[bytes] | gzip.GzipFile, on_bad: OnBad, done: Callable[[], float]) -> Iterator[Lines]:
    rest, first = b"", 1
    while True:
        try:
            chunk = file.read(CHUNK_BYTES)
        except (EOFError, OSError, zlib.error) as error:
            raise UnreadableError(f"after line {first - 1}: {error}") from None
        text, newline, rest = (rest + chunk).rpartition(b"\n") if chunk else (rest, b"", b"")
        if text:
            yield _decode(text, first, on_bad, done())
        first += text.count(b"\n") + len(newline)
        if not chunk:
            return
        if len(rest) > MAX_LINE_BYTES:
            raise UnreadableError(f"line {first} is longer than {MAX_LINE_BYTES:,} bytes")


def _decode(text: bytes, first: int, on_bad: OnBad, done: float) -> Lines:
    """All at once; one by one where that shows that some line is none."""
    try:
        lines = _decoder.decode_lines(text)
        if len(lines) == text.count(b"\n") + 1:  # no empty ones among them
            return Lines(lines, range(first, first + len(lines)), done)
    except (msgspec.DecodeError, RecursionError):
        pass
    found: list[tuple[int, Line]] = []
    for number, line in enumerate(text.split(b"\n"), first):
        try:
            if line.strip():
                found.append((number, _decoder.decode(line)))
        except (msgspec.DecodeError, RecursionError) as error:
            on_bad(number, str(error))
    return Lines([line for _, line in found], [number for number, _ in found], done)


def _read_parquet(path: Path, on_bad: OnBad) -> Iterator[Lines]:
    if not has_parquet():
        raise UnreadableError(PARQUET_MISSING)
    from metrics_sidecar.transfer.parquet import ParquetError, read_parquet  # noqa: PLC0415 - an extra

    first = 1
    try:
        for rows, done in read_parquet(path):
            yield _convert(rows, first, on_bad, done)
            first += len(rows)
    except ParquetError as error:
        raise UnreadableError(f"after row {first - 1}: {error}") from None


def _convert(rows: list[tuple[Any, ...]], first: int, on_bad: OnBad, done: float) -> Lines:
    try:
        lines: list[Line] = [*msgspec.convert(rows, list[_ParquetLine])]
        return Lines(lines, range(first, first + len(lines)), done)
    except msgspec.ValidationError:
        pass
    found: list[tuple[int, Line]] = []
    for number, row in zip(itertools.count(first), rows, strict=False):
        try:
            found.append((number, msgspec.convert(row, _ParquetLine)))
        except msgspec.ValidationError as error:
            on_bad(number, str(error))
    return Lines([line for _, line in found], [number for number, _ in found], done)
