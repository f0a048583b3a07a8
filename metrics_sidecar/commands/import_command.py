"""`metrics-sidecar import`: adds exported rows to a history that no sidecar runs on."""

import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from metrics_sidecar.commands.progress import shown
from metrics_sidecar.data_dir import locked
from metrics_sidecar.files.importing import History, Importer
from metrics_sidecar.files.reading import read_file, read_stream
from metrics_sidecar.files.unpacking import UnreadableError
from metrics_sidecar.history.queries import StoreError
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite.backend import SqliteBackend
from shared.clock import Clock, format_timestamp
from shared.settings import StartupError

STDIN = Path("-")
MAX_BAD_SHOWN = 20


class BadLines:
    """Tells of the first lines that can't be read, and counts all; and what of the others is left out."""

    def __init__(self) -> None:
        self.count = 0
        self.unknown: Counter[str] = Counter()
        self.path = STDIN

    def __call__(self, number: int, reason: str) -> None:
        self.tell(f"line {number}: {reason}")

    def tell(self, what: str) -> None:
        self.count += 1
        if self.count <= MAX_BAD_SHOWN:
            print(f"{self.path}: {what}", file=sys.stderr)


def import_files(data_dir: Path, files: Sequence[Path], max_models: int, clock: Clock) -> int:
    """Import and print; 0, or 1 if anything couldn't be read. What could is added in any case, and counted, also if
    it ends with a `StartupError` or a `KeyboardInterrupt`."""
    for path in files:
        if path != STDIN and (path.is_dir() or not path.exists()):
            raise StartupError(f"{path} can't be imported: it is no file")
    backend = SqliteBackend(data_dir / HISTORY_FILE)
    importer, bad = Importer(lambda: History(backend.open_writer(), clock, max_models)), BadLines()
    with locked(data_dir):
        try:
            _import_all(importer, files, bad)
        except StoreError as error:
            raise StartupError(f"the rest can't be imported: {error}") from None
        except KeyboardInterrupt:
            print("interrupted; what is added stays, and the same command goes on behind it", file=sys.stderr)
            raise
        finally:
            _tell(importer, bad)
    return 1 if bad.count else 0


def _import_all(importer: Importer, files: Sequence[Path], bad: BadLines) -> None:
    try:
        for file in files:
            bad.path = file
            _import_file(importer, file, bad)
    finally:
        importer.close()


def _import_file(importer: Importer, file: Path, bad: BadLines) -> None:
    try:
        with shown(f"import {file.name}") as advance:
            for lines in read_stream(sys.stdin.buffer, bad) if file == STDIN else read_file(file, bad):
                with _uninterrupted():
                    importer.add(lines, bad)
                bad.unknown.update(lines.unknown)
                advance(lines.done, f"{importer.added + importer.known:,} rows")
    except UnreadableError as error:
        bad.tell(str(error))
    except OSError as error:
        bad.tell(f"it can't be read: {error.strerror}")


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C comes after it: so what is committed is counted. It does end the wait for what a pipe has to say."""
    came: list[int] = []
    # A mask would not do: another thread can be given the signal, and Python's handler runs in this one.
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(came[0], None)


def _tell(importer: Importer, bad: BadLines) -> None:
    print(f"{importer.added:,} rows added, {importer.known:,} known before, {bad.count:,} bad", file=sys.stderr)
    if bad.unknown:
        columns = ", ".join(f"{name} ({count:,} rows)" for name, count in sorted(bad.unknown.items()))
        print(f"columns that this release doesn't know are left out: {columns}", file=sys.stderr)
    if importer.outlived:
        print(
            f"{importer.outlived:,} of these are older than what this history keeps "
            f"(from {format_timestamp(importer.kept_from_us)}) and will be removed",
            file=sys.stderr,
        )
