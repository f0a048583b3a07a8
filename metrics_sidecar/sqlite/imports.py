"""Which rows of other histories are in this one: a bit for each, set in the transaction that adds the row.

A cursor per history would not do: exports may be filtered, and be imported in any order.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence

from metrics_sidecar.ledger.transaction import Origin

CHUNK_IDS = 8192

# Rolled up are rows up to `older_id`, and those beyond `older_end_id` up to `last_id`. Where these leave no rows out
# but the last ones, the imported ones are added to those.
_ROLL_UP_LATER = """
UPDATE rollup_progress SET last_id = ?1, older_end_id = ?1,
    older_id = CASE WHEN older_id = older_end_id THEN last_id ELSE older_id END
WHERE older_id = older_end_id OR last_id = older_end_id
"""


def find_known(connection: sqlite3.Connection, history: str, ids: Sequence[int]) -> list[bool]:
    """For each id whether its row is here."""
    chunks = {number: _read(connection, history, number) for number in {row_id // CHUNK_IDS for row_id in ids}}
    return [bool(chunks[row_id // CHUNK_IDS][row_id % CHUNK_IDS >> 3] & 1 << (row_id & 7)) for row_id in ids]


def write_origin(connection: sqlite3.Connection, origin: Origin, last_id: int) -> None:
    """Note which rows these are, the last of which has this id here. Their rollups are made later, in the background,
    as those of an older release's rows: where they are spread over months, that takes four times as long as all the
    rest."""
    connection.execute("UPDATE books SET imported = imported + ?", (len(origin.ids),))
    connection.execute(_ROLL_UP_LATER, (last_id,))
    chunks: dict[int, list[int]] = defaultdict(list)
    for row_id in origin.ids:
        chunks[row_id // CHUNK_IDS].append(row_id % CHUNK_IDS)
    for number, places in chunks.items():
        bits = _read(connection, origin.history, number)
        for place in places:
            bits[place >> 3] |= 1 << (place & 7)
        connection.execute("INSERT OR REPLACE INTO imported VALUES (?, ?, ?)", (origin.history, number, bits))


def _read(connection: sqlite3.Connection, history: str, number: int) -> bytearray:
    """The bits of a chunk."""
    query = "SELECT ids FROM imported WHERE store_id = ? AND chunk = ?"
    row = connection.execute(query, (history, number)).fetchone()
    return bytearray(CHUNK_IDS // 8 if row is None else row[0])


def read_sources(connection: sqlite3.Connection) -> list[str]:
    """The histories that rows were imported from, in a file of an older release, too."""
    (known,) = connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'imported'").fetchone()
    query = "SELECT DISTINCT store_id FROM imported ORDER BY store_id"
    return [store_id for (store_id,) in connection.execute(query)] if known else []
