"""Which rows of other stores are in this one: a bit for each, set in the transaction that adds the row.

A cursor per store would not do: exports may be filtered, and be imported in any order.
"""

import collections
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from metrics_sidecar.ledger.transaction import Commit
from metrics_sidecar.sqlite.filters import first_kept_us
from metrics_sidecar.sqlite.sqlite import SqliteStore
from shared.settings import StartupError

CHUNK_IDS = 8192
MAX_CHUNKS_HELD = 4096

_SCHEMA = """
CREATE TABLE IF NOT EXISTS imported (
    store_id TEXT NOT NULL,
    chunk INTEGER NOT NULL,  -- of 8192 ids
    ids BLOB NOT NULL,  -- a bit for each
    PRIMARY KEY (store_id, chunk)
) WITHOUT ROWID
"""

# Rolled up are rows up to `older_id`, and those beyond `older_end_id` up to `last_id`. Where these leave no rows out
# but the last ones, the imported ones are added to those.
_ROLL_UP_LATER = """
UPDATE rollup_progress SET last_id = ?1, older_end_id = ?1,
    older_id = CASE WHEN older_id = older_end_id THEN last_id ELSE older_id END
WHERE older_id = older_end_id OR last_id = older_end_id
"""

Chunk = tuple[str, int]
"""Of which store, and which."""


class Marks(NamedTuple):
    """What a batch of rows has set: whole chunks, to be kept with the producer's sequence of its last record."""

    producer_id: str
    last_sequence: int
    chunks: dict[Chunk, bytes]


class ImportStore(SqliteStore):
    """A store that keeps, beside what is committed, where it is from. `expect` says so before a commit.
    Rollups of the rows are left to the sidecar, which makes them in the background, as those of an older release's
    rows: where they are spread over months, that takes four times as long as all the rest."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._connection.execute(_SCHEMA)
            # The ledger's thread uses the other one.
            self._reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        except sqlite3.Error as error:
            super().close()
            raise StartupError(f"{path} can't be used as history: {error}") from None
        self._expected: collections.deque[Marks] = collections.deque()

    def expect(self, marks: Marks) -> None:
        """Once this producer's sequence is committed, so are these marks."""
        self._expected.append(marks)

    def last_id(self) -> int:
        """The newest id of this store's own."""
        return self._last_id

    def kept_from_us(self) -> int:
        """Rows of earlier times are not shown any longer, and removed."""
        return first_kept_us(self._reader)

    def read_marks(self, chunk: Chunk) -> bytearray:
        """The bits of a chunk, as they are committed."""
        query = "SELECT ids FROM imported WHERE store_id = ? AND chunk = ?"
        row = self._reader.execute(query, chunk).fetchone()
        return bytearray(CHUNK_IDS // 8) if row is None else bytearray(row[0])

    def close(self) -> None:
        self._reader.close()  # first: who closes last copies the log into the file
        super().close()

    def commit(self, commit: Commit) -> list[str]:
        granted = super().commit(commit)
        for _ in self._due(commit):
            self._expected.popleft()
        return granted

    def tend(self, now_us: int, *, busy: bool = False, aged_us: int | None = None) -> bool:
        return False

    def _write(self, commit: Commit) -> list[str]:
        granted = super()._write(commit)
        self._rows = []
        self._connection.execute(_ROLL_UP_LATER, (self._last_id + len(commit.records),))
        for marks in self._due(commit):
            self._connection.executemany(
                "INSERT OR REPLACE INTO imported VALUES (?, ?, ?)",
                ((*chunk, ids) for chunk, ids in marks.chunks.items()),
            )
        return granted

    def _due(self, commit: Commit) -> list[Marks]:
        """Those whose records are in this commit, in order."""
        due = []
        for marks in self._expected:
            producer = commit.producers.get(marks.producer_id)
            if producer is None or producer.committed < marks.last_sequence:
                break
            due.append(marks)
        return due


class ImportedIds:
    """Tells rows that are new from those that are here already."""

    def __init__(self, store: ImportStore) -> None:
        self._store = store
        self._chunks: dict[Chunk, bytearray] = {}

    def add(self, store_id: str, ids: Iterable[int]) -> tuple[list[bool], dict[Chunk, bytes]]:
        """For each id whether it is new, and the chunks as they are now; to be committed before the next call."""
        if len(self._chunks) > MAX_CHUNKS_HELD:
            self._chunks.clear()
        changed: set[int] = set()
        new: list[bool] = []
        number, bits = -1, bytearray()
        for row_id in ids:
            if row_id // CHUNK_IDS != number:
                number = row_id // CHUNK_IDS
                bits = self._bits((store_id, number))
            byte, mask = (row_id % CHUNK_IDS) >> 3, 1 << (row_id & 7)
            is_new = not bits[byte] & mask
            new.append(is_new)
            if is_new:
                bits[byte] |= mask
                changed.add(number)
        return new, {(store_id, number): bytes(self._chunks[store_id, number]) for number in changed}

    def _bits(self, chunk: Chunk) -> bytearray:
        bits = self._chunks.get(chunk)
        if bits is None:
            bits = self._chunks[chunk] = self._store.read_marks(chunk)
        return bits


def read_sources(connection: sqlite3.Connection) -> list[str]:
    """The stores that rows were imported from."""
    (known,) = connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'imported'").fetchone()
    query = "SELECT DISTINCT store_id FROM imported ORDER BY store_id"
    return [store_id for (store_id,) in connection.execute(query)] if known else []
