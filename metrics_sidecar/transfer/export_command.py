"""`metrics-sidecar export`: writes a file of a history, whether a sidecar runs on it or not. Changes nothing."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import parse_qsl

import click
from multidict import MultiDict
from rfc9457 import Problem

from metrics_sidecar.api.filters import FilterParameters, to_filter
from metrics_sidecar.api.parameters import decode_query
from metrics_sidecar.queries import HistoryFilter, StoreError
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.store.inspection import check_file, has_log, opened_to_read
from metrics_sidecar.transfer.exporting import Export, Piece, pieces
from metrics_sidecar.transfer.formats import PARQUET_MISSING, Format, has_parquet
from metrics_sidecar.transfer.progress import shown
from metrics_sidecar.transfer.upkeep_commands import check_current
from shared.settings import StartupError

STDOUT = Path("-")
SUFFIXES: dict[str, Format] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}
GZIP_SUFFIX = ".gz"


def export(data_dir: Path, output: Path, format_: Format | None, filters: str) -> int:
    """Write the file; 0. `StartupError` if it can't be written whole: then there is none."""
    path = data_dir / HISTORY_FILE
    wanted = _wanted(output, format_, _filter(filters))
    if wanted.format == "parquet" and not has_parquet():
        raise StartupError(PARQUET_MISSING)
    check_file(path, writable=False)
    try:
        with _created(output) as file, _unchanged(path), opened_to_read(path) as connection:
            check_current(connection, path)
            rows = _write(file, pieces(connection, wanted))
    except StoreError as error:
        raise StartupError(f"{path} can't be exported: {error}") from None
    except OSError as error:
        raise StartupError(f"{output} can't be written: {error.strerror}") from None
    print(f"{rows:,} rows exported", file=sys.stderr)
    return 0


def _wanted(output: Path, format_: Format | None, wanted: HistoryFilter) -> Export:
    """What the name says, where it isn't said otherwise."""
    gzip = output.suffix == GZIP_SUFFIX
    suffix = Path(output.stem).suffix if gzip else output.suffix
    chosen = format_ or SUFFIXES.get(suffix)
    if chosen is None:
        raise click.UsageError(f"--format is needed: {output.name!r} doesn't end in {', '.join(SUFFIXES)}.")
    if gzip and chosen == "parquet":
        raise click.UsageError(f"{output.name!r}: Parquet is compressed itself.")
    return Export(chosen, wanted, gzip)


def _filter(filters: str) -> HistoryFilter:
    """As a query of the history; a usage error names what is wrong with it."""
    query = MultiDict(parse_qsl(filters, keep_blank_values=True))
    try:
        return to_filter(decode_query(query, FilterParameters))
    except Problem as problem:
        raise click.UsageError(f"--filter: {problem.detail}") from None


@contextlib.contextmanager
def _created(output: Path) -> Iterator[IO[bytes]]:
    """The file, which gets its name when it is whole; until then there is what was there before."""
    if output == STDOUT:
        yield sys.stdout.buffer
        return
    partial = output.with_name(f"{output.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(output)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _unchanged(path: Path) -> Iterator[None]:
    """Without a log, SQLite reads the file as it stands; a sidecar may begin to write to it meanwhile."""
    had_log, before = has_log(path), _stamp(path)
    yield
    if not had_log and _stamp(path) != before:
        raise StartupError(f"{path} was changed while it was read: a sidecar has started on it; do it again")


def _write(file: IO[bytes], data: Iterable[Piece]) -> int:
    rows = 0
    with shown("export") as advance:
        for piece in data:
            file.write(piece.data)
            rows += piece.rows
            advance(piece.done, f"{rows:,} rows")
    file.flush()
    return rows


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
