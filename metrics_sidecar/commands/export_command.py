"""`metrics-sidecar export`: writes a file of a history, whether a sidecar runs on it or not. Changes nothing."""

import contextlib
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import click
import msgspec

from metrics_sidecar.commands.progress import shown
from metrics_sidecar.commands.upkeep_commands import check_current
from metrics_sidecar.files.exporting import Piece, pieces
from metrics_sidecar.files.formats import PARQUET_MISSING, has_parquet
from metrics_sidecar.files.output import created, write_all
from metrics_sidecar.files.own_files import refuse_own
from metrics_sidecar.history.exports import Export, Format
from metrics_sidecar.history.queries import HistoryFilter, StoreError
from metrics_sidecar.parameters.decoding import decode_query
from metrics_sidecar.parameters.filters import FilterParameters, to_filter
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite.inspection import check_file, is_open, opened_to_read
from shared.problems import InvalidParameterError
from shared.settings import StartupError

SUFFIXES: dict[str, Format] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}
GZIP_SUFFIX = ".gz"
READER_GONE = 128 + signal.SIGPIPE


def export(data_dir: Path, output: Path, format_: Format | None, filters: str, bom: bool) -> int:
    """Write the file; 0, or what a shell says of others whose reader has gone. `StartupError` if it can't be written
    whole: then there is none."""
    path = data_dir / HISTORY_FILE
    wanted = _wanted(output, format_, _filter(filters))
    if bom and wanted.format != "csv":
        raise click.UsageError(f"--bom is for CSV, not for {wanted.format}.")
    wanted = msgspec.structs.replace(wanted, bom=bom)
    if wanted.format == "parquet" and not has_parquet():
        raise StartupError(PARQUET_MISSING)
    check_file(path, writable=False)
    refuse_own(output, data_dir)
    try:
        # No transaction is open meanwhile: the log beside the file would grow for as long as the reader takes.
        with created(output) as descriptor, _unchanged(path), opened_to_read(path, snapshot=False) as connection:
            check_current(connection, path)
            rows = _write(descriptor, pieces(connection, wanted))
    except StoreError as error:
        raise StartupError(f"{path} can't be exported: {error}") from None
    except BrokenPipeError:
        return READER_GONE
    except OSError as error:
        raise StartupError(f"{output} can't be written: {error.strerror}") from None
    print(f"{rows:,} rows exported", file=sys.stderr)
    return 0


def _wanted(output: Path, format_: Format | None, wanted: HistoryFilter) -> Export:
    """What the name says, where it isn't said otherwise."""
    gzip = output.suffix.lower() == GZIP_SUFFIX
    suffix = Path(output.stem).suffix if gzip else output.suffix
    named = SUFFIXES.get(suffix.lower())
    if format_ and named and format_ != named:
        raise click.UsageError(f"--format {format_} contradicts {output.name!r}.")
    chosen = format_ or named
    if chosen is None:
        raise click.UsageError(f"--format is needed: {output.name!r} doesn't end in {', '.join(SUFFIXES)}.")
    if gzip and chosen == "parquet":
        raise click.UsageError(f"{output.name!r}: Parquet is compressed itself.")
    return Export(chosen, wanted, gzip)


def _filter(filters: str) -> HistoryFilter:
    """As a query of the history; a usage error names what is wrong with it."""
    try:
        return to_filter(decode_query(parse_qsl(filters, keep_blank_values=True), FilterParameters))
    except InvalidParameterError as error:
        raise click.UsageError(f"--filter: {error}") from None


@contextlib.contextmanager
def _unchanged(path: Path) -> Iterator[None]:
    """A file that nobody has open is read as it stands; a sidecar may begin to write to it meanwhile."""
    was_open, before = is_open(path), _stamp(path)
    yield
    if not was_open and _stamp(path) != before:
        raise StartupError(f"{path} was changed while it was read: a sidecar has started on it; do it again")


def _write(descriptor: int, data: Iterable[Piece]) -> int:
    rows = 0
    with shown("export") as advance:
        for piece in data:
            write_all(descriptor, piece.data)
            rows += piece.rows
            advance(piece.done, f"{rows:,} rows")
    return rows


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
