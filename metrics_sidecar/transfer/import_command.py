"""`metrics-sidecar import`: adds exported rows to a history that no sidecar runs on."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from metrics_sidecar.data_dir import locked
from metrics_sidecar.queries import StoreError
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.transfer.importing import Importer, importing
from metrics_sidecar.transfer.progress import shown
from metrics_sidecar.transfer.reading import UnreadableError, read_file, read_stream
from shared.clock import Clock
from shared.settings import StartupError

STDIN = Path("-")
MAX_BAD_SHOWN = 20


class BadLines:
    """Tells of the first lines that can't be read, and counts all."""

    def __init__(self) -> None:
        self.count = 0
        self.path = STDIN

    def __call__(self, number: int, reason: str) -> None:
        self.tell(f"line {number}: {reason}")

    def tell(self, what: str) -> None:
        self.count += 1
        if self.count <= MAX_BAD_SHOWN:
            print(f"{self.path}: {what}", file=sys.stderr)


def import_files(data_dir: Path, files: Sequence[Path], max_models: int, clock: Clock) -> int:
    """Import and print; 0, or 1 if anything couldn't be read. What could is added in any case."""
    for path in files:
        if path != STDIN and not path.is_file():
            raise StartupError(f"{path} can't be imported: it is no file")
    with locked(data_dir):
        return asyncio.run(_import(data_dir / HISTORY_FILE, files, max_models, clock))


async def _import(path: Path, files: Sequence[Path], max_models: int, clock: Clock) -> int:
    bad = BadLines()
    try:
        async with importing(path, clock, max_models) as importer:
            try:
                for file in files:
                    bad.path = file
                    await _import_file(importer, file, bad)
            finally:
                print(
                    f"{importer.added:,} rows added, {importer.known:,} known before, {bad.count:,} bad",
                    file=sys.stderr,
                )
    except StoreError as error:
        raise StartupError(f"the rest can't be imported: {error}") from None
    return 1 if bad.count else 0


async def _import_file(importer: Importer, file: Path, bad: BadLines) -> None:
    try:
        with shown(f"import {file.name}") as advance:
            for lines in read_stream(sys.stdin.buffer, bad) if file == STDIN else read_file(file, bad):
                await importer.add(lines, bad)
                advance(lines.done, importer.added + importer.known)
    except UnreadableError as error:
        bad.tell(str(error))
    except OSError as error:
        bad.tell(f"it can't be read: {error.strerror}")
