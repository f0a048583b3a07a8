"""Files of an export, read as lines again: NDJSON, plain or compressed with gzip, and Parquet.

A line that can't be read is told by its number, and the others are read on. What can't be read on at all ends with
an `UnreadableError`, after all that could be: a damaged or cut off file, CSV, no Parquet.
"""

import codecs
import itertools
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from metrics_sidecar.files.formats import PARQUET_MISSING, has_parquet
from metrics_sidecar.files.line import NAMES, Line
from metrics_sidecar.files.unpacking import UnreadableError, read_chunks

PARQUET_MAGIC = b"PAR1"
CSV = re.compile(rb'"?id"?,|\d+,".*","\d{4}-\d\d-\d\dT')
"""How it begins, with and without its header."""
MAX_LINE_BYTES = 1024 * 1024

OnBad = Callable[[int, str], None]
"""Told of a line that is none: its number, from 1 on, and why."""


class Lines(NamedTuple):
    """Lines with their numbers, and how much of the file is read by now, from 0 to 1; None where that isn't known.
    `unknown`: columns of a later release, and of how many lines they are left out."""

    lines: list[Line]
    numbers: list[int] | range
    done: float | None
    unknown: Mapping[str, int] = {}


class _ParquetLine(Line, array_like=True, frozen=True, gc=False):
    """A row of columns instead of an object."""


class _KnownLine(Line, forbid_unknown_fields=True, frozen=True, gc=False):
    """A line that says nothing that isn't known here."""


_decoder = msgspec.json.Decoder(Line)
_known = msgspec.json.Decoder(_KnownLine)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
NO_LINE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoder raises."""


def read_file(path: Path, on_bad: OnBad) -> Iterator[Lines]:
    """All lines of a file or a pipe, whose format is told by how it begins. `OSError` if it can't be opened."""
    with path.open("rb") as file:
        yield from _read(file, path, on_bad)


def read_stream(stream: IO[bytes], on_bad: OnBad) -> Iterator[Lines]:
    """The same of what has no name, which can't be Parquet."""
    yield from _read(stream, None, on_bad)


def _read(file: IO[bytes], path: Path | None, on_bad: OnBad) -> Iterator[Lines]:
    head = file.read(len(PARQUET_MAGIC))
    status = os.fstat(file.fileno())
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    if head == PARQUET_MAGIC:
        if not (path and size):
            raise UnreadableError("Parquet can't be imported from a pipe: give the name of its file")
        yield from _read_parquet(path, on_bad)
        return
    yield from _read_text(read_chunks(head, file), on_bad, lambda: file.tell() / size if size else None)


def _read_text(chunks: Iterator[bytes], on_bad: OnBad, done: Callable[[], float | None]) -> Iterator[Lines]:
    rest, first = next(chunks, b"").removeprefix(codecs.BOM_UTF8), 1
    if CSV.match(rest):
        raise UnreadableError("CSV can't be imported, use NDJSON or Parquet")
    try:
        for chunk in itertools.chain([b""], chunks):
            text, newline, rest = (rest + chunk).rpartition(b"\n")
            if newline:
                yield _decode(text, first, on_bad, done())
                first += text.count(b"\n") + 1
            if len(rest) > MAX_LINE_BYTES:
                raise UnreadableError(f"the next one is longer than {MAX_LINE_BYTES:,} bytes")
    except UnreadableError as error:
        last = _decode(rest, first, lambda _number, _reason: None, done())  # which may be whole but for its end
        yield last
        raise UnreadableError(f"after line {first - 1 + len(last.lines)}: {error}") from None
    if rest:
        yield _decode(rest, first, on_bad, done())


def _decode(text: bytes, first: int, on_bad: OnBad, done: float | None) -> Lines:
    """All at once; one by one where that shows that some line is none, or says more than is known here."""
    try:
        lines: list[Line] = [*_known.decode_lines(text)]
        if len(lines) == text.count(b"\n") + 1:  # no empty ones among them
            return Lines(lines, range(first, first + len(lines)), done)
    except NO_LINE:
        pass
    unknown: Counter[str] = Counter()
    found: list[tuple[int, Line]] = []
    for number, line in enumerate(text.split(b"\n"), first):
        try:
            if line.strip():
                found.append((number, _decoder.decode(line)))
                unknown.update(name for name, value in _members.decode(line).items() if _is_lost(name, value))
        except NO_LINE as error:
            on_bad(number, str(error))
    return Lines([line for _, line in found], [number for number, _ in found], done, unknown)


def _is_lost(name: str, value: msgspec.Raw) -> bool:
    return name not in NAMES and bytes(value) != b"null"


def _read_parquet(path: Path, on_bad: OnBad) -> Iterator[Lines]:
    if not has_parquet():
        raise UnreadableError(PARQUET_MISSING)
    from metrics_sidecar.files.parquet import ParquetError, read_parquet  # noqa: PLC0415 - an extra

    first = 1
    try:
        for batch in read_parquet(path):
            yield _convert(batch.rows, first, on_bad, batch.done)._replace(unknown=batch.unknown)
            first += len(batch.rows)
    except ParquetError as error:
        raise UnreadableError(f"after row {first - 1}: {error}") from None


def _convert(rows: list[tuple[Any, ...]], first: int, on_bad: OnBad, done: float | None) -> Lines:
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
