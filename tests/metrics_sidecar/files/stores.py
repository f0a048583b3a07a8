"""Histories that are filled, exported and imported without a process."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from metrics_sidecar.commands.import_command import import_files
from metrics_sidecar.files.exporting import pieces
from metrics_sidecar.history.exports import Export, Format
from metrics_sidecar.history.queries import HistoryFilter
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite.books import SqliteAudit
from metrics_sidecar.sqlite.export import opened
from shared.clock import SystemClock
from shared.record import Record
from tests.metrics_sidecar.ledgers import Books


def fill(directory: Path, records: Sequence[Record], producer: str = "0" * 32) -> None:
    """Commit these records as a gateway's."""

    async def commit() -> None:
        books = Books(directory / HISTORY_FILE, 2000)
        first = books.ledger.committed(producer) + 1
        if records:
            await books.commit(first, *records, producer=producer)
        await books.close()

    directory.mkdir(exist_ok=True)
    asyncio.run(commit())


def export(directory: Path, format_: Format, wanted: HistoryFilter | None = None, *, gzip: bool = False) -> bytes:
    with opened(directory / HISTORY_FILE) as connection:
        order = Export(format_, wanted or HistoryFilter(), gzip)
        return b"".join(piece.data for piece in pieces(connection, order))


def add(directory: Path, *exports: bytes) -> int:
    """Import files of these contents; the exit code."""
    paths = []
    directory.mkdir(exist_ok=True)
    for number, content in enumerate(exports):
        paths.append(directory / f"import-{number}")
        paths[-1].write_bytes(content)
    return import_files(directory, paths, 2000, SystemClock())


def lines(exported: bytes) -> list[dict[str, object]]:
    """Rows of NDJSON without what tells the store."""
    rows = [msgspec.json.decode(line) for line in exported.splitlines()]
    return [{name: value for name, value in row.items() if name != "store"} for row in rows]


def is_consistent(directory: Path) -> bool:
    """Whether rows, totals and sequences agree, and nothing is missing."""
    snapshot = SqliteAudit(directory / HISTORY_FILE)
    try:
        books = snapshot.reconcile(None)
        return books.consistent and books.missing.count == 0
    finally:
        snapshot.close()
